"""The receiver of `ringback listen`: verifies, forwards, answers, and tells what came."""

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from service.cli import exact, verifying
from service.cli.receiving import Request, RequestServer
from service.cli.render import Column
from service.domain import times

if TYPE_CHECKING:
    import httpx

Json = Any

#: Of a request's headers; these are of the connection that brought it.
_NOT_FORWARDED: Final = frozenset({"host", "content-length", "connection", "accept-encoding"})

_PATIENCE: Final = 0.2

COLUMNS: Final = (
    Column("time", "at", lambda text: text[11:19]),
    Column("event", "event"),
    Column("operation", "operationId"),
    Column("sequence", "sequence", lambda text: f"#{text}"),
    Column("attempt", "attempt", lambda text: f"attempt {text}"),
    Column("signature", "signature"),
    Column("answer", "answer", lambda text: f"-> {text}"),
    Column("note", "note"),
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How to answer.

    Attributes:
        secret: verifies; ``None``: nothing is verified.
        status: the answer to what verifies.
        fail_first: so many are answered 500 before.
        forward: where each goes, whose answer is then ours; ``None``: nowhere.
    """

    secret: str | None
    status: int
    fail_first: int
    forward: str | None


@dataclass(slots=True)
class _Failures:
    """How many are still to fail; threads share it."""

    left: int
    lock: Lock = field(default_factory=Lock)

    def take(self) -> bool:
        """Whether this one is to fail."""
        with self.lock:
            self.left -= 1
            return self.left >= 0


class Listener(RequestServer):
    """Receives at every path."""

    def __init__(self, port: int, manner: Manner, client: "httpx.Client") -> None:
        super().__init__(port)
        self._arrivals: SimpleQueue[Json] = SimpleQueue()
        self._manner = manner
        self._failures = _Failures(manner.fail_first)
        self._client = client
        #: What to tell of a request when its answer is out.
        self._told: dict[int, Json] = {}

    def take(self, request: Request) -> int:
        """Verify and forward it."""
        signature = _signature(self._manner.secret, request)
        answer, note = self._judged(request, signature)
        self._told[id(request)] = _record(request) | {
            "signature": signature,
            "answer": answer,
            "note": note,
            "headers": request.headers,
            "body": _body(request.body),
        }
        return answer

    def next(self) -> Json:
        """What came next, as soon as it is answered."""
        while True:
            try:
                return self._arrivals.get(timeout=_PATIENCE)
            except Empty:
                continue  # Ctrl-C comes through between two waits

    def answered(self, request: Request) -> None:
        """Tell of it."""
        self._arrivals.put(self._told.pop(id(request)))

    def _judged(self, request: Request, signature: str) -> tuple[int, str | None]:
        if signature not in ("verified", "not checked"):
            return HTTPStatus.UNAUTHORIZED, None
        if self._failures.take():
            return HTTPStatus.INTERNAL_SERVER_ERROR, "failed as asked"
        if self._manner.forward is None:
            return self._manner.status, None
        return self._forwarded(self._manner.forward, request)

    def _forwarded(self, url: str, request: Request) -> tuple[int, str]:
        import httpx

        kept = {n: v for n, v in request.headers.items() if n not in _NOT_FORWARDED}
        began = time.monotonic()
        try:
            answer = self._client.post(url, content=request.body, headers=kept)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            return HTTPStatus.BAD_GATEWAY, f"not forwarded: {said}"
        return answer.status_code, f"forwarded in {(time.monotonic() - began) * 1000:.0f} ms"


def _signature(secret: str | None, request: Request) -> str:
    """``verified``, ``not checked``, or the fault."""
    if secret is None:
        return "not checked"
    fault = verifying.fault_of([secret], request.headers, request.body, int(time.time()))
    return "verified" if fault is None else fault.value


def _record(request: Request) -> dict[str, Json]:
    headers = request.headers
    return {
        "at": times.render(round(time.time() * 1000)),
        "path": request.path,
        "event": headers.get("x-webhook-event"),
        "eventId": headers.get("webhook-id"),
        "operationId": headers.get("x-operation-id"),
        "sequence": headers.get("x-operation-sequence"),
        "attempt": headers.get("x-webhook-attempt"),
    }


def _body(body: bytes) -> Json:
    """The body as JSON, or as the text it is."""
    try:
        return exact.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
