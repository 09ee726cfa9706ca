"""What is known about one attempt while it is under way.

Times are seconds of ``perf_counter``: the clock of uvloop stands still within a turn of the loop.
"""

from ssl import SSLObject

from service.domain.outcome import Timing


class Attempt:
    """The marks that resolver, connector and connection leave on their way."""

    # Defaults on the class: most attempts set few of them, and there is one Attempt per delivery.
    resolving: float | None = None
    resolved: float | None = None
    #: When the first socket was made, and when TCP was connected; ``None`` on a reused connection.
    dialled: float | None = None
    connected: float | None = None
    #: When the connection was ready for the request.
    ready: float | None = None
    first_byte: float | None = None
    reused: bool = False
    #: TLS 1.3 of a new connection: this side is through with it before the receiver has judged
    #: our certificate.
    agreement: SSLObject | None = None
    #: Demand a connection that carried nothing before.
    fresh: bool = False
    refused: bool = False
    #: It waits for room of ours to look the name up.
    crowded_out: bool = False
    #: The answer as it came, up to the end of its header block.
    head: bytes = b""
    #: The final status, known as soon as its header block is complete, with the headers in it.
    status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    body_cut: bool = True

    def __init__(self, host: str, port: int, started: float, *, secure: bool) -> None:
        self.host = host
        self.port = port
        self.started = started
        self.secure = secure

    def hear(self, data: bytes, now: float) -> None:
        """Keep what came in before the header block was complete."""
        if not self.head:
            self.first_byte = now
        self.head += data

    def start_afresh(self) -> None:
        """Forget the connection that was lost; the next one must be new."""
        self.ready, self.reused, self.fresh = None, False, True

    @property
    def unconfirmed(self) -> bool:
        """Whether the receiver gave no sign, such as a session ticket, that it agrees on TLS."""
        if self.agreement is None or self.head:
            return False
        session = self.agreement.session
        return session is None or not session.has_ticket

    @property
    def phase(self) -> str:
        """What the attempt is doing, to end the sentence "no answer ... while"."""
        if self.ready is not None:
            return "waiting for the answer" if self.first_byte is None else "reading the answer"
        if self.connected is not None and self.secure:
            return "agreeing on TLS"
        if self.dialled is not None:
            return "connecting"
        return "resolving the name" if self.resolving is not None else "preparing to connect"

    def timing(self, now: float) -> Timing:
        """The parts so far, in milliseconds."""
        return Timing(
            total=(now - self.started) * 1000,
            resolve=_span(self.resolving, self.resolved),
            connect=_span(self.dialled, self.connected),
            tls=_span(self.connected, self.ready) if self.secure else None,
            first_byte=_span(self.ready, self.first_byte),
        )


def _span(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else (end - start) * 1000
