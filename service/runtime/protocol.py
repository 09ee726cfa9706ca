"""What a connection may do before the application hears of a request; its refusals are problems.

uvicorn bounds neither the bytes of a request's head, nor the time in which a request comes, nor,
with an answer in our format, how many connections there are. How large a body may be is the
application's matter (:mod:`service.web.bodies`).
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.domain.errors import Refusal, RefusalKind
from service.runtime.quick_protocol import QuickProtocol
from service.web.problems import Problems, instance_of

#: Bytes of a request's line and headers together.
_MAX_HEAD: Final = 65_536
#: Seconds in which they have to come.
_HEAD_SECONDS: Final = 20.0
#: Seconds in which a body has to come, and the bytes a second that a large one may take longer for;
#: what comes beyond all that any body may have buys no time.
_BODY_SECONDS: Final = 30.0
_PACE: Final = 16_384
_PAID: Final = 32 * 1024 * 1024
#: Seconds for which who is refused may go on talking; closing at once would take the answer from
#: him before he reads it.
_LINGER: Final = 1.0
_FRAMED_BY: Final = frozenset((b"content-length", b"transfer-encoding"))
#: Connections above the limit that are told so; those above are closed without a word.
_TOLD: Final = 200
#: Open files that are wanted, if the system gives as many.
_FILES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server allows."""

    told: Problems
    connections: int
    head_bytes: int = _MAX_HEAD
    head_seconds: float = _HEAD_SECONDS
    body_seconds: float = _BODY_SECONDS


class GuardedProtocol(QuickProtocol):
    """uvicorn's protocol within bounds."""

    def __init__(self, bounds: Bounds, **given: Any) -> None:  # noqa: ANN401  uvicorn's own
        super().__init__(**given)
        self._bounds = bounds
        self._is_under_way = False
        self._in_head = True
        #: Bytes of a request that is not complete.
        self._received = 0
        #: Bytes in which it came, and what came with it; its head has no more.
        self._came = 0
        self._piece = 0
        #: Bytes since there was last any of a body among them: what is beside it is bounded, too.
        self._beside = 0
        #: Set while something is waited for: what comes in one piece costs no timer.
        self._alarm: asyncio.TimerHandle | None = None
        self._body_began = 0.0
        self._refused = False
        self._fault = _NOT_HTTP

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        over = len(self.connections) - self._bounds.connections
        if over > _TOLD:
            self.transport.close()
        elif over > 0:
            self._refuse(_TOO_MANY)
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_alarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless a head never ends; wait for the rest, but not for ever."""
        if self._refused:
            return
        self._piece = len(data)
        self._received += self._piece
        self._came += self._piece
        self._beside += self._piece
        super().data_received(data)
        if self._in_head and self._received > self._bounds.head_bytes:
            self._refuse(_head_too_large(self._bounds.head_bytes))
        elif not self._in_head and self._beside > self._bounds.head_bytes:
            self._hear_no_more(_too_much_beside(self._bounds.head_bytes))
        elif self._is_under_way or (self._in_head and self._received):
            self._watch()  # a line end before a request is nothing that a parser tells of

    def on_message_begin(self) -> None:
        """Begin to count what comes."""
        self._is_under_way = True
        self._came = self._piece
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Let a head through that is not too large."""
        self._stop_alarm()
        self._in_head = False
        most = self._bounds.head_bytes
        if self._came > most and self._size_of_head() > most:
            self._fault = _head_too_large(most)
            raise ValueError  # the parser stops, and says so to send_400_response
        upgrades = self.parser.should_upgrade()
        if upgrades and any(name in _FRAMED_BY for name, _ in self.headers):
            raise ValueError  # what follows is a body to some, and to others no longer HTTP
        self._body_began = self.loop.time()
        self._beside = 0
        super().on_headers_complete()
        if not upgrades:
            self.headers = []  # trailers are none of a request's headers, and nobody asks for them

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next head."""
        self._stop_alarm()
        self._is_under_way = False
        self._in_head = True
        self._received = 0
        super().on_message_complete()
        # one for a WebSocket is not answered here: the cycle is none, or of a request before
        if not self.parser.should_upgrade() and self.cycle.response_complete:
            self._rest()  # it was answered before it was all there

    def timeout_keep_alive_handler(self) -> None:
        """Let go who asks no more; who has begun to ask has as long as the alarm gives him."""
        if not (self._in_head and self._is_under_way):
            super().timeout_keep_alive_handler()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  ours says more
        """Refuse what the parser did not take."""
        self._refuse(self._fault)

    def _watch(self) -> None:
        if self._alarm is None and not self._refused:
            seconds = self._bounds.head_seconds if self._in_head else self._body_left()
            self._alarm = self.loop.call_later(seconds, self._is_late)

    def _body_left(self) -> float:
        """Seconds that the rest of the body may take; the more came, the more."""
        patience = self._bounds.body_seconds + min(self._received, _PAID) / _PACE
        return self._body_began + patience - self.loop.time()

    def _is_late(self) -> None:
        self._alarm = None
        if not self._in_head:
            self._body_is_late()
        elif _is_unanswered(self.cycle):
            self._watch()  # a refusal would be taken for the answer to the request before
        elif self._is_under_way:
            self._refuse(_HEAD_TOO_LATE)
        else:
            self.transport.close()

    def _body_is_late(self) -> None:
        if self.flow.read_paused:  # it is the application that does not read
            self._body_began = self.loop.time()
        left = self._body_left()
        if left > 0:
            self._alarm = self.loop.call_later(left, self._is_late)
        else:
            self._hear_no_more(_body_too_late(self._bounds.body_seconds))

    def _hear_no_more(self, refusal: Refusal) -> None:
        """Refuse a request whose body does not end as it should, unless it was refused."""
        if self._refused:
            return
        if self.cycle.response_complete:  # what was not wanted does not come to an end either
            self.transport.close()
        else:
            self._refuse(refusal, instance_of(dict(self.cycle.scope)))

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _refuse(self, refusal: Refusal, instance: str = "/") -> None:
        """Say why, wait a moment for that to be read, and hang up."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_alarm()
        if not _is_answering(self.cycle):
            self.transport.write(self._answer(refusal, instance))
        _let_go(self.cycle)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._alarm = self.loop.call_later(_LINGER, self.transport.close)

    def _answer(self, refusal: Refusal, instance: str) -> bytes:
        answer = self._bounds.told.answer(refusal, instance)
        headers = [
            ("content-type", answer.media_type),
            ("content-length", str(len(answer.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
            *(each for each in answer.headers if each[0] != "connection"),
        ]
        lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers]
        return b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body])


def most_connections() -> int:
    """How many clients may be connected: most of the files that the system lets us open.

    The others are for receivers, and for the store.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return (_FILES if soft == resource.RLIM_INFINITY else soft) * 3 // 4


def _is_answering(cycle: RequestResponseCycle | None) -> bool:
    """Whether an answer is on its way, in the middle of which nothing else may stand."""
    return cycle is not None and cycle.response_started and not cycle.response_complete


def _is_unanswered(cycle: RequestResponseCycle | None) -> bool:
    """Whether an answer is still to come to its end."""
    return cycle is not None and not cycle.response_complete


def _let_go(cycle: RequestResponseCycle | None) -> None:
    """Let the application know that nobody waits for what it is about to say."""
    if cycle is not None:
        cycle.disconnected = True
        cycle.message_event.set()


def _head_too_large(limit: int) -> Refusal:
    return Refusal(
        RefusalKind.HEAD_TOO_LARGE,
        f"The address and the headers have more than {limit} bytes together. Send less of them.",
        extra={"maximumBytes": limit},
    )


def _too_much_beside(limit: int) -> Refusal:
    return Refusal(
        RefusalKind.HEAD_TOO_LARGE,
        f"More than {limit} bytes came with nothing of the body among them: headers after it, or "
        "words beside the sizes of its chunks. Nothing was kept: send it without these.",
        extra={"maximumBytes": limit},
    )


def _body_too_late(seconds: float) -> Refusal:
    return Refusal(
        RefusalKind.REQUEST_TIMEOUT,
        f"The body did not come within {seconds:.0f} seconds, and more at {_PACE} bytes a second. "
        "Nothing was kept: send it again.",
    )


_NOT_HTTP: Final = Refusal(
    RefusalKind.MALFORMED, "This is not HTTP/1.1 as its standard (RFC 9112) has it."
)
_HEAD_TOO_LATE: Final = Refusal(
    RefusalKind.REQUEST_TIMEOUT,
    "The headers of the request did not come in time. Nothing was done: send it again.",
)
_TOO_MANY: Final = Refusal(
    RefusalKind.UNAVAILABLE,
    "Too many clients are connected. Nothing was done: come again in a moment.",
    retry_after=1,
)
