"""What came of one attempt. The network never raises past the sender: it returns one of these."""

from enum import StrEnum

from service.domain.values import Value

#: At most so much of a response is read and kept (contract, section 5).
MAX_RESPONSE_BYTES = 16 * 1024

_SUCCESS = 2  # the first digit of a status that means success


class ErrorClass(StrEnum):
    """Why an attempt failed, in the words of the attempt log."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    BLOCKED = "blocked"
    HTTP_STATUS = "http_status"
    UNKNOWN = "unknown"


class Timing(Value, frozen=True):
    """Milliseconds of the whole attempt and of its parts; ``None`` where there is none to know."""

    total: float
    resolve: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None


class Responded(Value, frozen=True):
    """A status line came back. A body cut by size or time changes nothing about it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_cut: bool
    timing: Timing

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took the delivery: any 2xx."""
        return self.status // 100 == _SUCCESS

    def header(self, name: str) -> str | None:
        """The first header of that name (lower case), or ``None``."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Failed(Value, frozen=True):
    """No status line came back."""

    error: ErrorClass
    message: str
    timing: Timing


Outcome = Responded | Failed
