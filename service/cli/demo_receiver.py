"""The demo's receiver: reads each delivery raw, verifies its signature, then answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from queue import Empty, SimpleQueue

from service.cli.receiving import Request, RequestServer, serving
from service.domain.signature import SignatureFault, key_bytes, verify_body, verify_standard


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came in, and how it was answered."""

    #: Header names are in lower case.
    headers: dict[str, str]
    body: bytes
    #: On the clock of :func:`time.monotonic`.
    at: float
    #: Why the signature does not verify; ``None`` when it does.
    fault: SignatureFault | None
    answer: HTTPStatus

    @property
    def event_type(self) -> str:
        """What happened."""
        return self.headers.get("x-webhook-event", "?")

    @property
    def operation_id(self) -> str:
        """To which operation."""
        return self.headers.get("x-operation-id", "?")

    @property
    def sequence(self) -> str:
        """As which of its events."""
        return self.headers.get("x-operation-sequence", "?")

    @property
    def attempt(self) -> str:
        """In which attempt to tell it."""
        return self.headers.get("x-webhook-attempt", "?")

    @property
    def webhook_id(self) -> str:
        """By what a receiver knows it again."""
        return self.headers.get("webhook-id", "?")


@dataclass(slots=True)
class Inbox:
    """One path of the receiver: how it answers, and what has come in."""

    url: str
    #: Known once the subscription is made; nothing verifies before that.
    secret: str = ""
    answer: HTTPStatus = HTTPStatus.NO_CONTENT
    _arrivals: SimpleQueue[Arrival] = field(default_factory=SimpleQueue)

    def take(self, headers: dict[str, str], body: bytes) -> HTTPStatus:
        """Verify a request, keep it, and say how to answer it."""
        fault = fault_of(self.secret, headers, body)
        answer = self.answer if fault is None else HTTPStatus.UNAUTHORIZED
        self._arrivals.put(Arrival(headers, body, time.monotonic(), fault, answer))
        return answer

    def next(self, seconds: float) -> Arrival | None:
        """The next arrival; ``None`` when none came within ``seconds``."""
        try:
            return self._arrivals.get(timeout=max(seconds, 0.0))
        except Empty:
            return None


def fault_of(secret: str, headers: dict[str, str], body: bytes) -> SignatureFault | None:
    """Why one of the two signatures does not verify; ``None`` when both do."""
    key = key_bytes(secret)
    return verify_standard([key], headers, body, int(time.time())) or verify_body(
        key, headers.get("x-webhook-signature"), body
    )


class Receiver(RequestServer):
    """Listens on a free loopback port; each path it knows is an inbox."""

    def __init__(self) -> None:
        super().__init__()
        self._inboxes: dict[str, Inbox] = {}

    def open(self, path: str) -> Inbox:
        """Receive at a path."""
        return self._inboxes.setdefault(path, Inbox(f"http://{self.address}{path}"))

    def take(self, request: Request) -> int:
        """Let the inbox of the path take it."""
        inbox = self._inboxes.get(request.path)
        if inbox is None:
            return HTTPStatus.NOT_FOUND
        return inbox.take(request.headers, request.body)


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver, for as long as it is needed."""
    with serving(Receiver()) as receiver:
        yield receiver
