"""The ways in and out. To the console: an API key is shown once. To the portal: a link is opened.

What is possible without a session: each handler looks for itself whether one of our own pages asks.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from service.console.entrances import NOTHING_HERE, SIGN_IN, Entrance
from service.console.layout import THEMES
from service.console.looking import Looks
from service.console.routing import FOREIGN
from service.console.sessions import is_from_here
from service.console.visits import Form, Page, form_of
from service.domain.api_keys import hash_key
from service.domain.errors import Refusal, RefusalKind
from service.ports import StoreUnavailableError
from service.usecases.portals import Portals
from service.web import answers, problems
from service.web.answers import Answer
from service.web.browsers import takes_pages
from service.web.telling import ENTERING, WHO

Handler = Callable[[Request], Awaitable[Answer]]
T = TypeVar("T")

#: Seconds that a choice of colours is kept.
_YEAR: Final = 365 * 86_400
_UNKNOWN: Final = Refusal(
    RefusalKind.UNAUTHENTICATED, "This API key is unknown, revoked or expired."
)
_SPENT: Final = Refusal(
    RefusalKind.UNAUTHENTICATED,
    "This link was opened already, or its time is over: each opens the portal once. Open the "
    "portal again from the application that led here.",
)
_UNAVAILABLE: Final = Refusal(
    RefusalKind.UNAVAILABLE, "The store cannot be read just now. Try again in a moment."
)


class Entry:
    """What both sites have."""

    def __init__(self, entrance: Entrance, looks: Looks) -> None:
        self._looks = looks
        self._entrance = entrance
        self._layout = entrance.layout
        self._site = entrance.layout.site
        self._sessions = entrance.sessions

    def routes(self) -> list[Route]:
        """What is possible."""
        return [
            Route(f"{self._site.root}/sign-out", Door(self.sign_out)),
            Route(f"{self._site.root}/theme", Door(self.theme)),
        ]

    async def sign_out(self, request: Request) -> Answer:
        """End the session."""
        session = self._sessions.of(request)
        form = await _own(request)
        if isinstance(form, Refusal) or (session and not session.is_token(form.one("token"))):
            return self._layout.refused(request, None, FOREIGN)
        refusal = None if session is None else await self._end(session.digest)
        if refusal is not None:
            return self._layout.refused(request, None, refusal)
        if session is not None:
            self._looks.end(session.token)
        return Answer(303, headers=(("location", self._outside()), self._sessions.ended()))

    async def theme(self, request: Request) -> Answer:
        """Keep which colours are wanted."""
        form = await _own(request)
        if isinstance(form, Refusal):
            return self._layout.refused(request, None, form)
        chosen = form.one("theme")
        kept = self._sessions.cookies.header(
            self._site.theme_cookie, chosen if chosen in THEMES else THEMES[0], _YEAR
        )
        return Answer(303, headers=(("location", self._site.inside(form.one("next"))), kept))

    async def _end(self, _: bytes) -> Refusal | None:
        """Whatever is to be done besides letting the browser forget."""

    def _outside(self) -> str:
        """Where one is without a session."""
        return self._site.root


class _ForBrowsers(Route):
    """What programs do not find: they have no business there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request, of whoever takes pages, is for it."""
        if scope["type"] == "http" and takes_pages(scope):
            return super().matches(scope)
        return Match.NONE, {}


class ConsoleEntry(Entry):
    """The way into the console."""

    def routes(self) -> list[Route]:
        """What is possible."""
        home = _ForBrowsers("/", Door(self.home), methods=["GET"])
        return [home, Route(self._outside(), Door(self.sign_in)), *super().routes()]

    async def home(self, _: Request) -> Answer:
        """What people find at the bare address of the service."""
        return Answer(303, headers=(("location", self._site.root),))

    async def sign_in(self, request: Request) -> Answer:
        """The page that asks for a key; and what to do with one."""
        if request.method != "POST":
            return self._asking(request, request.query_params.get("next", ""), None)
        form = await _own(request)
        if isinstance(form, Refusal):
            return self._layout.refused(request, None, form)
        refusal = await self._known(request, form.one("key"))
        where = self._site.inside(form.one("next"))
        if refusal is not None:
            return self._asking(request, where, refusal)
        session = self._sessions.begin(form.one("key"))
        return Answer(303, headers=(("location", where), self._sessions.kept(session)))

    async def _known(self, request: Request, key: str) -> Refusal | None:
        """Why this key lets nobody in; failures count as those of the API do."""
        keeper = self._entrance.doorkeeper
        request.scope[ENTERING] = True
        try:
            found = await keeper.find_key(hash_key(key)) if key else None
        except StoreUnavailableError:
            return _UNAVAILABLE
        if found is None:
            return keeper.guesses.failed(request.scope, _UNKNOWN)
        request.scope[WHO] = found
        return None

    def _asking(self, request: Request, where: str, refusal: Refusal | None) -> Answer:
        kind = None if refusal is None else problems.TABLE[refusal.kind]
        wait = None if refusal is None else refusal.retry_after
        page = Page(
            "sign_in.html",
            "Sign in",
            {
                "next": self._site.inside(where),
                "fault": None if refusal is None else refusal.detail,
            },
            status=200 if kind is None else kind.status,
            headers=() if wait is None else (("retry-after", str(wait)),),
        )
        return self._layout.page(request, None, page)

    def _outside(self) -> str:
        return f"{self._site.root}{SIGN_IN}"


class PortalEntry(Entry):
    """The way into the portal."""

    def __init__(self, entrance: Entrance, looks: Looks, portals: Portals) -> None:
        super().__init__(entrance, looks)
        self._portals = portals

    def routes(self) -> list[Route]:
        """What is possible."""
        enter = f"{self._site.root}/enter"
        return [
            Route(enter, Door(self.enter)),
            Route(f"{enter}/look", Door(self.look)),
            *super().routes(),
        ]

    async def enter(self, request: Request) -> Answer:
        """The page that a link leads to, whose script sends the secret; and what to do with it."""
        if request.method != "POST":
            page = Page("enter.html", "One moment", frames=True)
            return self._layout.page(request, None, page)
        opened = await self._found(request, self._portals.open)
        if isinstance(opened, Refusal):
            return self._layout.refused(request, None, opened)
        digest, guest = opened
        request.scope[WHO] = guest.principal
        kept = self._sessions.kept(self._sessions.named(digest, guest.ends_at))
        return Answer(303, headers=(("location", self._site.root), kept))

    async def look(self, request: Request) -> Answer:
        """Whether the portal can be shown where the page of a link stands: before it is opened.

        Which pages stand around it, only the browser knows. So it is shown an empty page that the
        same ones may embed: what comes of that, the script of the page around it sees.
        """
        if request.method != "POST":
            return self._layout.refused(request, None, NOTHING_HERE)
        origins = await self._found(request, self._portals.embedders)
        if isinstance(origins, Refusal):
            return self._layout.refused(request, None, origins)
        return self._layout.bare(origins)

    async def _found(
        self, request: Request, find: Callable[[str], Awaitable[T | None]]
    ) -> T | Refusal:
        """What is found by the secret that a page of ours has sent; failures are guesses."""
        form = await _own(request)
        if isinstance(form, Refusal):
            return form
        request.scope[ENTERING] = True
        try:
            found = await find(form.one("link"))
        except StoreUnavailableError:
            return _UNAVAILABLE
        if found is None:
            return self._entrance.doorkeeper.guesses.failed(request.scope, _SPENT)
        return found

    async def _end(self, digest: bytes) -> Refusal | None:
        """A copy of the cookie must not outlive it."""
        try:
            await self._portals.end(digest)
        except StoreUnavailableError:
            return _UNAVAILABLE
        return None


class Door:
    """An ASGI application around one of the handlers."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            answer = await self._handler(request)
        except ClientDisconnect:
            return
        await answers.send(answer, send, head=request.method == "HEAD")


async def _own(request: Request) -> Form | Refusal:
    return await form_of(request) if is_from_here(request) else FOREIGN
