"""What is said to those who still wait when the service stops and waits for nobody any longer."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain.errors import Refusal, RefusalKind
from service.web import answers
from service.web.problems import Problems, instance_of

_STOPPING: Final = Refusal(
    RefusalKind.UNAVAILABLE,
    "The service is stopping, and this took longer than it could wait. Nothing is acknowledged: "
    "send it again.",
    retry_after=5,
)


class Parting:
    """An application whose requests may be cancelled, which the server answers with a bare 500."""

    def __init__(self, app: ASGIApp, told: Problems) -> None:
        self._app = app
        self._problems = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        def noticed(message: Message) -> Awaitable[None]:
            nonlocal begun
            begun = True
            return send(message)

        try:
            await self._app(scope, receive, noticed)
        except asyncio.CancelledError:
            if begun or scope["type"] != "http":
                raise
            answer = self._problems.answer(_STOPPING, instance_of(scope))
            await answers.send(answer, send, head=scope["method"] == "HEAD")
