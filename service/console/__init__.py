"""Pages for people, over the same use cases and reads as the API: the console and the portal."""

from service.console.app import routes
from service.console.looking import Looks
from service.console.services import About, Bodies, Part, Services, Setting, Work

__all__ = ["About", "Bodies", "Looks", "Part", "Services", "Setting", "Work", "routes"]
