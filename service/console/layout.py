"""What stands around every page: navigation, headers, and how a refusal looks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request

from service.console import moments
from service.console.forms import told
from service.console.rendering import Templates
from service.console.site import LIVE, Site
from service.console.typed import Typed
from service.console.visits import Page, Visit
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind
from service.ports import Clock
from service.web import problems
from service.web.answers import Answer
from service.web.problems import instance_of

#: A page without anything on it that somebody could see, or do.
_BARE: Final = b'<!doctype html><html lang="en"><title>-</title><i id="fits"></i></html>'
_BARE_POLICY: Final = "default-src 'none'; frame-ancestors 'self' {embedding}"
_POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' data:; "
    "connect-src 'self'; "
    "form-action 'self'; "
    "frame-ancestors {embedding}; "
    "base-uri 'none'"
)
#: With no referrer at all, browsers would not name the origin of forms either.
_HEADERS: Final = (
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
)
#: What the API says of keys, said of sessions.
_TITLES: Final[Mapping[RefusalKind, str]] = {
    RefusalKind.UNAUTHENTICATED: "There is no session",
    RefusalKind.FORBIDDEN: "This is not allowed",
}
_HTML: Final = "text/html; charset=utf-8"
THEMES: Final = ("auto", "light", "dark")

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
    "saved": "Saved.",
    "unchanged": "Nothing was changed in the form, so nothing was saved.",
    "started": "Started. This page follows it.",
    "begun": "Started: what is to be sent again goes back into the queue. While it lasts, the page "
    "Dead letters can cancel it.",
}


class Entry(NamedTuple):
    """One entry of the navigation."""

    label: str
    address: str
    is_current: bool


class Layout:
    """Puts the pages of one site together."""

    def __init__(self, templates: Templates, clock: Clock, site: Site, public_url: str) -> None:
        self._templates = templates
        self._clock = clock
        self._public_url = public_url
        self.site = site

    def page(self, request: Request, visit: Visit | None, page: Page) -> Answer:
        """The whole page."""
        around = self._around(request, visit)
        body = self._templates.render(page.template, {**around, "title": page.title, **page.values})
        policy = _POLICY.format(embedding=self._embedding(visit))
        if page.frames:
            policy = f"{policy}; frame-src 'self'"
        headers = (("content-security-policy", policy), *_HEADERS, *page.headers)
        return Answer(page.status, body, headers, _HTML)

    def bare(self, origins: Sequence[str]) -> Answer:
        """Nothing, which a browser shows in one of our pages if all others around are of these."""
        policy = _BARE_POLICY.format(embedding=" ".join(origins)).rstrip()
        headers = (("content-security-policy", policy), *_HEADERS)
        return Answer(200, _BARE, headers, _HTML)

    def refused(
        self,
        request: Request,
        visit: Visit | None,
        refusal: Refusal,
        typed: Sequence[Typed] = (),
    ) -> Answer:
        """The page about what was refused, and why, with what was typed into the form."""
        kind = problems.TABLE[refusal.kind]
        deleted = refusal.extra.get("deleted")
        title = "Deleted" if deleted else _TITLES.get(refusal.kind, kind.title)
        faults = moments.told(refusal.faults)
        values: dict[str, object] = {"detail": told(refusal), "faults": faults, "typed": typed}
        values["deleted"] = deleted
        return self.page(request, visit, Page("error.html", title, values, kind.status))

    def here(self, request: Request) -> str:
        """The address of what is shown; for what a form answered, of the page that sent it."""
        if request.method == "POST":
            sender = urlsplit(request.headers.get("referer", ""))
            return self.site.inside(sender._replace(scheme="", netloc="").geturl())
        path = instance_of(request.scope)
        query = request.scope["query_string"].decode("latin-1")
        return f"{path}?{query}" if query else path

    def _embedding(self, visit: Visit | None) -> str:
        """Whose pages may have this one in them."""
        if visit is None:
            return self.site.strangers_in
        return " ".join(visit.guest.origins) or "'none'"

    def _around(self, request: Request, visit: Visit | None) -> dict[str, Any]:
        path = instance_of(request.scope)
        theme = request.cookies.get(self.site.theme_cookie, THEMES[0])
        return {
            "root": self.site.root,
            "live_at": LIVE,
            "site": self.site,
            "public_url": self._public_url,
            "visit": visit,
            "scope": Scope,
            "now": self._clock.now(),
            "here": self.here(request),
            "navigation": [] if visit is None else list(_navigation(visit, path)),
            "token": "" if visit is None else visit.session.token,
            "theme": theme if theme in THEMES else THEMES[0],
            "themes": THEMES,
            "notice": NOTICES.get(request.query_params.get("done", "")),
        }


def _navigation(visit: Visit, path: str) -> Iterator[Entry]:
    for section in visit.site.sections:
        if visit.opens(section):
            address = visit.site.root + section.path
            inside = path == address or (bool(section.path) and path.startswith(f"{address}/"))
            yield Entry(section.label, address, inside)
