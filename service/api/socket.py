"""An operation as it happens, by WebSocket: one message an event, closed after the last."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from service.api.event_names import ends
from service.api.finding import is_over, readable_operation, refuse_ahead
from service.api.following import WHERE
from service.api.routing import guarded
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind
from service.domain.operation import Operation
from service.ports import StoreUnavailableError
from service.usecases.following import Follower
from service.web import answers, queries
from service.web.answers import Answer
from service.web.authentication import Doorkeeper
from service.web.holding import noticing
from service.web.problems import Problems, instance_of

SOCKET_PATH: Final = "/v1/operations/{id}/status"
#: Seconds between two looks whether there is something to say; the server itself sends pings.
_LOOK: Final = 60.0
#: Close codes (RFC 6455, 7.4.1, and its registry).
_DONE: Final = (1000, "The operation has ended")
_RESTART: Final = (1012, "The service restarts; connect again and go on after your last sequence")
_SHUT_OUT: Final = (1008, "The key is no longer valid")
_LATER: Final = (1013, "The store is not available; connect again in a moment")


@dataclass(frozen=True, slots=True)
class _Opened:
    """Who follows what from where on, and whether nothing is left to come."""

    operation: Operation
    after: int
    key_id: str
    is_over: bool


class StatusSocket:
    """The ASGI application of ``/v1/operations/{id}/status``."""

    def __init__(self, services: Services, doorkeeper: Doorkeeper, told: Problems) -> None:
        self._services = services
        self._doorkeeper = doorkeeper
        self._problems = told

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        asked = HTTPConnection(scope)
        await receive()  # the handshake
        opening = self._opening(asked)
        opened = await guarded(opening, self._problems, "WEBSOCKET", scope)
        if isinstance(opened, Answer):
            await answers.deny(opened, send)
            return
        following = self._services.watch.operation(opened.operation, opened.after, opened.key_id)
        async with following as follower:
            if isinstance(follower, Refusal):
                refused = self._problems.answer(follower, instance_of(scope))
                await answers.deny(refused, send)
                return
            await send({"type": "websocket.accept"})
            async with noticing(receive, follower.stop):
                code, reason = _DONE if opened.is_over else await _pump(follower, send)
            await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _opening(self, asked: HTTPConnection) -> _Opened | Refusal:
        principal = await self._doorkeeper.admit(asked, Scope.OPERATIONS_READ, by_ticket=True)
        if isinstance(principal, Refusal):
            return principal
        values = queries.read(asked, WHERE)
        if isinstance(values, Refusal):
            return values
        name = str(asked.path_params["id"])
        operation = await readable_operation(self._services, principal.tenant_id, name)
        if isinstance(operation, Refusal):
            return operation
        after = values.get("after", 0)
        ahead = refuse_ahead(operation, after)
        if ahead is not None:
            return ahead
        over = await is_over(self._services, operation, after)
        return _Opened(operation, after, principal.key_id, over)


class NoSocket:
    """Answers WebSockets where none is spoken."""

    def __init__(self, told: Problems) -> None:
        self._problems = told

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Say where one is."""
        await receive()  # the handshake
        refusal = Refusal(
            RefusalKind.NOT_FOUND,
            f"No WebSocket is spoken here; one is at {SOCKET_PATH}. See /docs.",
        )
        await answers.deny(self._problems.answer(refusal, instance_of(scope)), send)


async def _pump(follower: Follower, send: Send) -> tuple[int, str]:
    """Send events as they come; how to close."""
    while not follower.is_over:
        try:
            found = await follower.next(_LOOK)
        except StoreUnavailableError:
            return _LATER
        for each in found:
            await send({"type": "websocket.send", "text": each.event.body.decode()})
        if found and ends(found[-1].event.type):
            return _DONE
    return _SHUT_OUT if follower.is_shut_out else _RESTART
