"""The JSON API: what programs say to the service, and what it answers."""

from service.api.app import create_app, create_status_app, description
from service.api.services import ApiSettings, Services

__all__ = ["ApiSettings", "Services", "create_app", "create_status_app", "description"]
