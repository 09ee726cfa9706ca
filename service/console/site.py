"""The two sets of pages: the console of operators and the portal of consumers.

They share handlers and templates; here is what differs between them.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from service.domain.api_keys import Scope

#: Where live pages are listened to.
LIVE: Final = "/live"


@dataclass(frozen=True, slots=True)
class Section:
    """Pages about one kind of thing, and the scope that they need."""

    label: str
    path: str
    scope: Scope | None
    #: Whether it is only for who sees the whole tenant.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """One set of pages."""

    root: str
    #: What its navigation is called.
    name: str
    sections: tuple[Section, ...]
    #: Whether who looks at it has the command line and API keys.
    for_operators: bool
    #: Who may embed its pages where nobody is known; those show nothing of anybody.
    strangers_in: str
    #: The cookie that keeps which colours are wanted; without it the system's are.
    theme_cookie: str

    def inside(self, where: str) -> str:
        """The address, if it is one of these pages; that of the first page otherwise."""
        parts = urlsplit(where)
        is_ours = where.startswith(f"{self.root}/") and where.isascii() and where.isprintable()
        return where if is_ours and not parts.netloc and not parts.scheme else self.root

    def section_of(self, path: str) -> Section | None:
        """The section that a path below the root belongs to, apart from the first page."""
        return next(
            (each for each in self.sections if each.path and path.startswith(each.path)), None
        )


_OVERVIEW: Final = Section("Overview", "", None)
_SHARED: Final = (
    _OVERVIEW,
    Section("Dead letters", "/dead-letters", Scope.DELIVERIES_READ),
    Section("Deliveries", "/deliveries", Scope.DELIVERIES_READ),
    Section("Subscriptions", "/subscriptions", Scope.SUBSCRIPTIONS_READ),
    Section("Operations", "/operations", Scope.OPERATIONS_READ, whole=True),
    Section("Events", "/events", Scope.OPERATIONS_READ),
)

CONSOLE: Final = Site(
    root="/console",
    name="Console",
    sections=(
        *_SHARED,
        Section("API keys", "/keys", Scope.ADMIN),
        Section("Tenants", "/tenants", Scope.ADMIN),
        Section("Audit log", "/audit-log", Scope.ADMIN),
        Section("System", "/system", Scope.ADMIN),
    ),
    for_operators=True,
    strangers_in="'none'",
    theme_cookie="ringback-theme",
)
PORTAL: Final = Site(
    root="/portal",
    name="Portal",
    sections=_SHARED,
    for_operators=False,
    strangers_in="*",
    theme_cookie="ringback-portal-theme",
)
