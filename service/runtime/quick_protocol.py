"""uvicorn's protocol, with less work for each request: whole answers, and one timer a connection.

uvicorn searches each header of an answer for what must not be there, and writes head and body
apart; ours come whole and are our own words (:mod:`service.web.whole`). And it sets a timer after
each answer and takes it back before the next request; ours looks, when it is due, whether anything
was asked meanwhile. Together that was a sixth of what a small request takes outside of its handler.
"""

import asyncio
from collections.abc import Awaitable, Generator
from functools import partial
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.runtime.gathering import Gathering
from service.web.whole import ANNOUNCED, WHOLE

#: Seconds in which is heard what had come when the time was over.
_HEARD: Final = 0.05

# uvicorn's types of what the application is given are its own
_Any = Any


class QuickProtocol(HttpToolsProtocol):
    """uvicorn's protocol, quicker."""

    def __init__(self, **given: _Any) -> None:
        super().__init__(**given)
        #: Since when nothing is asked, by the loop's clock; ``None`` while something is.
        self._idle_since: float | None = None
        self._looking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection; what is written to it in parts leaves as one."""
        super().connection_made(Gathering(transport, self.loop))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self._idle_since = None
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Go on with the next request that has come, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request, but not for ever."""
        self._idle_since = self.loop.time()
        if self._looking is None:
            self._look_in(self.timeout_keep_alive)

    def _look_in(self, seconds: float, *, again: bool = False) -> None:
        self._looking = self.loop.call_later(seconds, self._look, again)

    def _look(self, again: bool) -> None:  # noqa: FBT001  a timer's argument
        """Let go who asks no more; what came while nobody had a turn is heard before."""
        self._looking = None
        if self._idle_since is None:
            return  # whoever answers what was asked looks again
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket's by now
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_in(left)
        elif again:
            self.timeout_keep_alive_handler()
        else:
            self._look_in(_HEARD, again=True)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: _Any) -> None:
        cycle.scope["extensions"] = ANNOUNCED  # type: ignore[typeddict-item]  # more than ASGI's
        super()._start_asgi_task(cycle, partial(_begun, app, cycle))


class _Usual:
    """The headers of every answer as bytes; uvicorn makes a new list of them each second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """What they are on the wire."""
        if headers is not self._headers:
            self._lines = b"".join([b"%b: %b\r\n" % each for each in headers])
            self._headers = headers
        return self._lines


_usual: Final = _Usual()


class _Done:
    """What is awaited of something that is done."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]  # as empty as any generator


_DONE: Final = _Done()


def _begun(
    app: _Any, cycle: RequestResponseCycle, scope: _Any, receive: _Any, _: _Any
) -> Awaitable[None]:
    result: Awaitable[None] = app(scope, receive, partial(_send, cycle))
    return result


def _send(cycle: RequestResponseCycle, message: _Any) -> Awaitable[None]:
    if message["type"] != WHOLE:
        return cycle.send(message)
    if cycle.response_started or cycle.flow.write_paused or not cycle.keep_alive:
        return _apart(cycle, message)
    if not cycle.disconnected:
        _write(cycle, message)
    return _DONE


async def _apart(cycle: RequestResponseCycle, message: _Any) -> None:
    """Send a whole answer as uvicorn does, who waits, refuses and hangs up where that is due."""
    beginning: _Any = {**message, "type": "http.response.start"}
    await cycle.send(beginning)
    await cycle.send({"type": "http.response.body", "body": message["body"]})


def _write(cycle: RequestResponseCycle, message: _Any) -> None:
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    parts = [STATUS_LINE[message["status"]], _usual.lines(cycle.default_headers)]
    for name, value in message["headers"]:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", message["body"])
    cast("Gathering", cycle.transport).write_whole(b"".join(parts))
    cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
