"""An operation as it happens, by WebSocket: one message an event, closed after the last."""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from service.api.event_names import ends
from service.api.finding import readable_operation
from service.api.following import WHERE
from service.api.routing import guarded
from service.api.services import Services
from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.domain.operation import Operation
from service.ports import StoreUnavailableError
from service.usecases.following import Follower
from service.web import answers, limiting, queries
from service.web.answers import Answer
from service.web.authentication import Doorkeeper
from service.web.holding import noticing
from service.web.problems import Problems, instance_of

SOCKET_PATH: Final = "/v1/operations/{id}/status"
#: Seconds between two looks whether there is something to say; the server itself sends pings.
_LOOK: Final = 60.0
#: Close codes (RFC 6455, 7.4.1, and its registry).
_DONE: Final = (1000, "The operation has ended")
_REVOKED: Final = (1008, "The API key is no longer in force")
_RESTART: Final = (1012, "The service restarts; connect again and go on after your last sequence")
_LATER: Final = (1013, "The store is not available; connect again in a moment")


class StatusSocket:
    """The ASGI application of ``/v1/operations/{id}/status``."""

    def __init__(self, services: Services, doorkeeper: Doorkeeper, told: Problems) -> None:
        self._services = services
        self._doorkeeper = doorkeeper
        self._problems = told

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        asked = HTTPConnection(scope)
        send = limiting.telling(scope, send)
        instance = instance_of(scope)
        await receive()  # the handshake
        opening = self._opening(asked)
        opened = await guarded(opening, self._problems, "WEBSOCKET", instance)
        if isinstance(opened, Answer):
            await answers.deny(opened, send)
            return
        operation, after, key_id = opened
        async with self._services.watch.operation(operation, after, key_id) as follower:
            if isinstance(follower, Refusal):
                await answers.deny(self._problems.answer(follower, instance), send)
                return
            await send({"type": "websocket.accept"})
            async with noticing(receive, follower.stop):
                ended = after >= operation.sequence and operation.ended_at is not None
                code, reason = _DONE if ended else await _pump(follower, send)
            await send({"type": "websocket.close", "code": code, "reason": reason})

    async def _opening(self, asked: HTTPConnection) -> tuple[Operation, int, str] | Refusal:
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
        return operation, values.get("after", 0), principal.key_id


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
    return _REVOKED if follower.dismissed else _RESTART
