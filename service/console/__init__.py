"""Pages for people, over the same use cases and reads as the API: the console and the portal."""

from service.console.app import routes
from service.console.services import About, Bodies, Services, Setting

__all__ = ["About", "Bodies", "Services", "Setting", "routes"]
