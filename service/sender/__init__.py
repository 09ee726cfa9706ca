"""The HTTP client: one request to a vetted address, and whatever happens becomes a value."""

from service.sender.client import GuardedSender
from service.sender.names import to_ascii

__all__ = ["GuardedSender", "to_ascii"]
