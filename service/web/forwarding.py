"""What proxies say of those who ask: only requests that come with such words are looked at."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.web import headers

#: What it is said in, as uvicorn's middleware reads it.
_SAID_IN: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


class Forwarded:
    """An application; requests that come with a proxy's words go through ``told`` to it."""

    def __init__(self, app: ASGIApp, told: ASGIApp) -> None:
        self._app = app
        self._told = told

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or WebSocket."""
        app = self._told if headers.has_any(scope, _SAID_IN) else self._app
        return app(scope, receive, send)
