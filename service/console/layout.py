"""What stands around every page: navigation, headers, and how a refusal looks."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from service.console.rendering import Templates
from service.console.visits import ROOT, Page, Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.ports import Clock
from service.web import problems
from service.web.answers import Answer
from service.web.problems import instance_of

_POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' data:; "
    "connect-src 'self'; "
    "form-action 'self'; "
    "frame-ancestors 'none'; "
    "base-uri 'none'"
)
#: With no referrer at all, browsers would not name the origin of forms either.
HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
)
_HTML: Final = "text/html; charset=utf-8"
#: The cookie that keeps which colours are wanted; without it the system's are.
THEME: Final = "ringback-theme"
THEMES: Final = ("auto", "light", "dark")

#: Pages of the navigation, and the scope each needs.
_NAVIGATION: Final[tuple[tuple[str, str, Scope | None], ...]] = (
    ("Overview", "", None),
    ("Dead letters", "/dead-letters", Scope.DELIVERIES_READ),
    ("Deliveries", "/deliveries", Scope.DELIVERIES_READ),
    ("Subscriptions", "/subscriptions", Scope.SUBSCRIPTIONS_READ),
    ("Operations", "/operations", Scope.OPERATIONS_READ),
    ("Events", "/events", Scope.OPERATIONS_READ),
    ("API keys", "/keys", Scope.ADMIN),
    ("Tenants", "/tenants", Scope.ADMIN),
    ("Audit log", "/audit-log", Scope.ADMIN),
    ("System", "/system", Scope.ADMIN),
)
#: What is said after something was done, by the name that the address then carries.
NOTICES: Final = {
    "replayed": "Sent again: the attempt is on its way.",
    "retried": "Sent again: the attempt is on its way.",
    "cancelled": "Cancelled.",
    "discarded": "Discarded. The audit log keeps that it was there.",
    "paused": "Paused: deliveries are made and wait.",
    "resumed": "Resumed: deliveries go out again.",
    "deleted": "Deleted.",
    "revoked": "Revoked: the key is dead in every process.",
    "created": "Created.",
    "started": "Started. This page follows it.",
}


class Entry(NamedTuple):
    """One entry of the navigation."""

    label: str
    address: str
    is_current: bool


class Layout:
    """Puts pages together."""

    def __init__(self, templates: Templates, clock: Clock) -> None:
        self._templates = templates
        self._clock = clock

    def page(self, request: Request, visit: Visit | None, page: Page) -> Answer:
        """The whole page."""
        around = self._around(request, visit)
        body = self._templates.render(page.template, {**around, "title": page.title, **page.values})
        return Answer(page.status, body, (*HEADERS, *page.headers), _HTML)

    def refused(self, request: Request, visit: Visit | None, refusal: Refusal) -> Answer:
        """The page about what was refused, and why."""
        kind = problems.TABLE[refusal.kind]
        values = {"detail": refusal.detail, "faults": refusal.faults}
        return self.page(request, visit, Page("error.html", kind.title, values, kind.status))

    def _around(self, request: Request, visit: Visit | None) -> dict[str, Any]:
        path = instance_of(request.scope)
        theme = request.cookies.get(THEME, THEMES[0])
        return {
            "root": ROOT,
            "visit": visit,
            "scope": Scope,
            "now": self._clock.now(),
            "here": here(request),
            "navigation": [] if visit is None else list(_navigation(visit, path)),
            "token": "" if visit is None else visit.session.token,
            "theme": theme if theme in THEMES else THEMES[0],
            "themes": THEMES,
            "notice": NOTICES.get(request.query_params.get("done", "")),
        }


def here(request: Request) -> str:
    """The address of what is shown; for what a form answered, of the page that sent it."""
    if request.method == "POST":
        return inside(
            urlsplit(request.headers.get("referer", ""))._replace(scheme="", netloc="").geturl()
        )
    path = instance_of(request.scope)
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def inside(where: str) -> str:
    """The address, if it is one of the console; that of its first page otherwise."""
    parts = urlsplit(where)
    is_ours = where.startswith(f"{ROOT}/") and where.isascii() and where.isprintable()
    return where if is_ours and not parts.netloc and not parts.scheme else ROOT


def _navigation(visit: Visit, path: str) -> Iterator[Entry]:
    for label, below, needed in _NAVIGATION:
        if needed is None or visit.may(needed):
            address = ROOT + below
            inside = path == address or (bool(below) and path.startswith(f"{address}/"))
            yield Entry(label, address, inside)
