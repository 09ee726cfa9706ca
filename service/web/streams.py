"""Server-Sent Events (WHATWG HTML, 9.2): what follows a log, written for as long as it lasts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from starlette.types import Receive, Send

from service.domain.errors import Refusal
from service.ports import StoreUnavailableError
from service.web import answers
from service.web.answers import Answer
from service.web.holding import noticing

#: Seconds of silence after which a comment shows both sides that the other is there.
HEARTBEAT: Final = 15.0
#: Events of others after which a stream that shows none of them says how far it is.
_QUIET: Final = 1_000
#: Milliseconds after which a client connects again, and the spread when all are sent away at once.
_RETRY: Final = 2_000
_SPREAD: Final = 4_000

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # proxies that gather answers before they pass them on are asked not to
    (b"x-accel-buffering", b"no"),
]
_GREETING: Final = b"retry: %d\n\n" % _RETRY


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """What is told of things as they come."""

    @property
    def place(self) -> int:
        """How far it is."""

    @property
    def is_over(self) -> bool:
        """Whether nobody is there to be told any more, or the service stops."""

    def stop(self) -> None:
        """Wait no longer: who asked is gone."""

    async def next(self, seconds: float) -> Sequence[T_co]:
        """What comes next, as soon as it does; nothing when ``seconds`` passed or it is over.

        Raises:
            StoreUnavailableError: it could not be read.
        """


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """How a stream shows what it follows."""

    #: The event as a message; empty when it is not to be shown.
    message: Callable[[T], bytes]
    #: What is sent after a silence, given the place.
    heartbeat: Callable[[int], bytes]
    #: Whether nothing can follow.
    is_last: Callable[[T], bool]


class EventStream(Generic[T]):
    """An answer that goes on until the log ends, the client goes, or the service stops."""

    def __init__(
        self,
        following: AbstractAsyncContextManager[Source[T] | Refusal],
        view: View[T],
        refuse: Callable[[Refusal], Answer],
        chance: Callable[[], float],
    ) -> None:
        self._following = following
        self._view = view
        self._refuse = refuse
        self._chance = chance

    async def __call__(self, receive: Receive, send: Send, *, head: bool) -> None:
        """Send it, or why there is no place for one more."""
        async with self._following as follower:
            if isinstance(follower, Refusal):
                await answers.send(self._refuse(follower), send, head=head)
                return
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if not head:
                await _write(send, _GREETING)
                async with noticing(receive, follower.stop):
                    await self._pump(follower, send)
            await send({"type": "http.response.body", "body": b""})

    async def _pump(self, follower: Source[T], send: Send) -> None:
        silent_since = follower.place
        while True:
            found = await _next(follower)
            if found is None:  # not all of them in the same moment
                await _write(send, b"retry: %d\n\n" % (_RETRY + self._chance() * _SPREAD))
                return
            text = b"".join(map(self._view.message, found))
            if text:
                silent_since = follower.place
                await _write(send, text)
            elif not found or follower.place - silent_since > _QUIET:
                silent_since = follower.place
                await _write(send, self._view.heartbeat(follower.place))
            if found and self._view.is_last(found[-1]):
                return


async def _next(follower: Source[T]) -> Sequence[T] | None:
    """The next events, none after a silence; ``None`` when the client has to come again."""
    try:
        found = await follower.next(HEARTBEAT)
    except StoreUnavailableError:
        return None
    return None if follower.is_over else found


def message(place: str, name: str, data: bytes) -> bytes:
    """One message; line breaks between the members of ``data`` part it into several lines."""
    lines = data.splitlines() if b"\n" in data or b"\r" in data else [data]
    text = b"\ndata: ".join(lines)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (place.encode(), name.encode(), text)


async def _write(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})
