"""The way in and out: an API key is shown once, a session begins. Switches that need no scope."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.console.layout import THEME, THEMES, inside
from service.console.routing import FOREIGN, SIGN_IN, Entrance
from service.console.sessions import SECURE, cookie, is_from_here
from service.console.visits import ROOT, Form, Page, form_of
from service.domain.api_keys import hash_key
from service.domain.errors import Refusal, RefusalKind
from service.ports import StoreUnavailableError
from service.web import answers, problems
from service.web.answers import Answer

Handler = Callable[[Request], Awaitable[Answer]]

#: Seconds that a choice of colours is kept.
_YEAR: Final = 365 * 86_400
_UNKNOWN: Final = Refusal(
    RefusalKind.UNAUTHENTICATED, "This API key is unknown, revoked or expired."
)
_UNAVAILABLE: Final = Refusal(
    RefusalKind.UNAVAILABLE, "The store cannot be read just now. Try again in a moment."
)


class Entry:
    """Handlers of what is possible without a session; the other half of :class:`Entrance`."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._sessions = entrance.sessions

    def routes(self) -> list[Route]:
        """What is possible."""
        return [
            Route(SIGN_IN, Door(self.sign_in)),
            Route(f"{ROOT}/sign-out", Door(self.sign_out)),
            Route(f"{ROOT}/theme", Door(self.theme)),
        ]

    async def sign_in(self, request: Request) -> Answer:
        """The page that asks for a key; and what to do with one."""
        if request.method != "POST":
            return self._asking(request, request.query_params.get("next", ""), None)
        form = await _own(request)
        if isinstance(form, Refusal):
            return self._entrance.layout.refused(request, None, form)
        refusal = await self._known(request, form.one("key"))
        where = inside(form.one("next"))
        if refusal is not None:
            return self._asking(request, where, refusal)
        session = self._sessions.begin(form.one("key"))
        return Answer(303, headers=(("location", where), self._sessions.kept(session)))

    async def sign_out(self, request: Request) -> Answer:
        """End the session."""
        session = self._sessions.of(request)
        form = await _own(request)
        if isinstance(form, Refusal) or (session and not session.is_token(form.one("token"))):
            return self._entrance.layout.refused(request, None, FOREIGN)
        return Answer(303, headers=(("location", SIGN_IN), self._sessions.ended()))

    async def theme(self, request: Request) -> Answer:
        """Keep which colours are wanted."""
        form = await _own(request)
        if isinstance(form, Refusal):
            return self._entrance.layout.refused(request, None, form)
        chosen = form.one("theme")
        kept = cookie(
            THEME,
            chosen if chosen in THEMES else THEMES[0],
            _YEAR,
            secure=self._sessions.cookie_name == SECURE,
        )
        return Answer(303, headers=(("location", inside(form.one("next"))), kept))

    async def _known(self, request: Request, key: str) -> Refusal | None:
        """Why this key lets nobody in; failures count as those of the API do."""
        keeper = self._entrance.doorkeeper
        try:
            found = await keeper.find_key(hash_key(key)) if key else None
        except StoreUnavailableError:
            return _UNAVAILABLE
        return keeper.guesses.failed(request.scope, _UNKNOWN) if found is None else None

    def _asking(self, request: Request, where: str, refusal: Refusal | None) -> Answer:
        kind = None if refusal is None else problems.TABLE[refusal.kind]
        wait = None if refusal is None else refusal.retry_after
        page = Page(
            "sign_in.html",
            "Sign in",
            {"next": inside(where), "fault": None if refusal is None else refusal.detail},
            status=200 if kind is None else kind.status,
            headers=() if wait is None else (("retry-after", str(wait)),),
        )
        return self._entrance.layout.page(request, None, page)


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
