"""Connections that post events: raw HTTP/1.1 on uvloop, one request at a time on each."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import httptools

from service.lab.bench import stamps
from service.lab.bench.board import Board, Slot
from service.lab.bench.processes import HOST

#: Answers that every event of the request was accepted by; 200 is the receiver's own.
_TAKEN: Final = frozenset((HTTPStatus.OK, HTTPStatus.ACCEPTED))


@dataclass(frozen=True, slots=True)
class Route:
    """Where events go, and in what form."""

    port: int
    key: str
    #: Events in a request; more than one go as a JSON array.
    batch: int = 1
    #: Types that the events have, one after the other.
    types: int = 1
    path: str = "/v1/events"

    def head(self, length: int) -> bytes:
        """The head of a request with a body of so many bytes."""
        about = ("content-type: application/json", f"content-length: {length}")
        return self._request(f"POST {self.path}", *about)

    def poll(self, after: int) -> bytes:
        """A request that is answered once there is more than so many events."""
        return self._request(f"GET {self.path}?after={after}&wait=30")

    def _request(self, what: str, *about: str) -> bytes:
        known = (f"host: {HOST}:{self.port}", f"authorization: Bearer {self.key}")
        return "\r\n".join((f"{what} HTTP/1.1", *known, *about, "", "")).encode()


@dataclass(slots=True)
class Tally:
    """What came of a load so far."""

    #: Requests by the status of their answers; 0: there was none.
    statuses: dict[int, int] = field(default_factory=dict)
    #: Microseconds from when a request was to be sent until its answer came, and until it was sent.
    answered: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def note(self, status: int) -> None:
        """One more answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Author:
    """Writes requests: numbered events with stamps."""

    def __init__(self, run: str, route: Route, board: Board) -> None:
        self._run = run.encode()
        self._batch = route.batch
        self._route = route
        self._board = board
        self._heads: dict[int, bytes] = {}
        self.written = 0

    def request(self, moment: int) -> bytes:
        """The next request, which was to be sent at ``moment``."""
        first, self.written = self.written, self.written + self._batch
        self._board.add(Slot.POSTED, self._batch)
        numbers = range(first, first + self._batch)
        events = [stamps.event(self._run, each, moment, self._route.types) for each in numbers]
        body = events[0] if self._batch == 1 else b"[" + b",".join(events) + b"]"
        head = self._heads.get(len(body))
        if head is None:
            head = self._heads[len(body)] = self._route.head(len(body))
        return head + body


class Connection(asyncio.Protocol):
    """One connection; ``on_idle`` is called whenever it could take a request."""

    def __init__(self, tally: Tally, accepted: Callable[[int], None]) -> None:
        self._tally = tally
        self._accepted = accepted
        self._parser = httptools.HttpResponseParser(self)
        self._moment = 0
        self.on_idle: Callable[[Connection], None] = _nothing
        #: Set while no answer is awaited.
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        # uvloop's transports are of no class of asyncio's
        self.transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes, moment: int) -> None:
        """Send a request that was to be sent at ``moment``."""
        self.idle.clear()
        self._moment = moment
        self._tally.late.append(stamps.now() - moment)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the answer, and be ready for the next request."""
        status = self._parser.get_status_code()
        self._tally.note(status)
        self._tally.answered.append(stamps.now() - self._moment)
        self._accepted(status)
        self.idle.set()
        self.on_idle(self)

    def hang_up(self) -> None:
        """Close it; what is under way has no answer."""
        self._give_up()
        if not self.transport.is_closing():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's own signature
        """What was under way has no answer."""
        self._give_up()

    def _give_up(self) -> None:
        if not self.idle.is_set():
            self._tally.note(0)
            self.idle.set()


def _nothing(_: Connection) -> None:
    return


async def connections(count: int, route: Route, board: Board, tally: Tally) -> list[Connection]:
    """Open so many."""

    def accepted(status: int) -> None:
        if status in _TAKEN:
            board.add(Slot.ACCEPTED, route.batch)

    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(tally, accepted), HOST, route.port)
        for _ in range(count)
    ]
    return [connection for _, connection in made]
