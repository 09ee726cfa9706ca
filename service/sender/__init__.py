"""The HTTP client: one request to a vetted address, and whatever happens becomes a value."""

from service.sender.client import GuardedSender

__all__ = ["GuardedSender"]
