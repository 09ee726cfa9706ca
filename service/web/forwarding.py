"""What proxies say of those who ask: only requests that come with such words are looked at."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service.web import headers

#: What is said in, by the names that uvicorn's middleware knows.
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"


class Forwarded:
    """An application; requests that come with a proxy's words go through ``told`` to it."""

    def __init__(self, app: ASGIApp, told: ASGIApp) -> None:
        self._app = app
        self._told = told

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or WebSocket."""
        is_told = headers.has(scope, _FOR) or headers.has(scope, _PROTO)
        return (self._told if is_told else self._app)(scope, receive, send)
