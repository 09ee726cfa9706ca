"""The TLS of one connection, between its socket and its exchange.

The event loops' own TLS agrees on it in the loop's thread, where a receiver that makes it costly
stops the whole process, and takes in whatever is no data of the answer without any bound.
"""

import asyncio
import ssl
from typing import Any, Final

from service.sender.errors import TooMuchTlsError
from service.sender.exchange import Exchange
from service.sender.fair_threads import FairThreads

#: Bytes until TLS is agreed on. Long chains of large certificates are of 16 KiB, and so are the
#: names of all common authorities that a receiver may want a client's certificate to be of.
MAX_HANDSHAKE_BYTES: Final = 64 * 1024
#: Turns in a thread until then: an ordinary handshake takes one or two.
_MAX_STEPS: Final = 64
#: Bytes that carry nothing, since something was last written. 16 KiB are the largest record, of
#: which all but the last byte may have come; 8 KiB are for session tickets, usually two of 250
#: bytes, and of a few KiB with a client's certificate in them.
MAX_BARE_BYTES: Final = 24 * 1024
#: A record adds 22 bytes to what is in it, so pieces of five and more are paid for.
_WORTH: Final = 5
#: Bytes that are decrypted between two looks at the bounds.
_PORTION: Final = 4 * 1024
#: What the largest record holds.
_RECORD: Final = 16 * 1024
#: A record's header (RFC 8446, 5.1): its type, the version, and the length of what follows.
_HEADER: Final = 5
_RECORD_TYPES: Final = range(20, 24)
_MAJOR: Final = 3
#: The version whose client certificates are judged after the handshake, seen from here.
_LATE: Final = "TLSv1.3"


class Channel(asyncio.Transport, asyncio.Protocol):
    """To the socket's transport a protocol, to the exchange a transport."""

    def __init__(self, exchange: Exchange, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self._exchange = exchange
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._raw: asyncio.Transport | None = None
        self._agreed = False
        #: What came before TLS was agreed on, and is not looked at yet: a thread may be reading.
        self._early = bytearray()
        self._early_bytes = 0
        self._news = asyncio.Event()
        #: Why the connection ended, where it was not just closed.
        self.error: Exception | None = None
        self._bare_bytes = 0

    @property
    def late(self) -> ssl.SSLObject | None:
        """TLS that this side is through with before the receiver has judged our certificate."""
        return self._tls if self._tls.version() == _LATE else None

    async def agree(self, threads: FairThreads, owner: str) -> None:
        """Agree with the receiver on TLS; the exchange is ready afterwards, or has ended already.

        Raises:
            OSError: it failed, mostly as ssl.SSLError.
        """
        self._shake_hands()  # it says hello, which costs the same for all
        self._flush()
        for _ in range(_MAX_STEPS):
            await self._news.wait()
            self._incoming.write(self._held())
            self._agreed = await threads.run(owner, self._shake_hands)
            self._flush()
            if self._agreed:
                break
        else:
            raise TooMuchTlsError(f"it came in more than {_MAX_STEPS} pieces")
        self._exchange.connection_made(self)
        self._decrypt(b"")  # what came with the last of the handshake
        self.data_received(bytes(self._early))
        if self._raw is None:
            self._exchange.connection_lost(self.error)

    # --- what the socket's transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have the way to the receiver."""
        self._raw = transport  # type: ignore[assignment]  # uvloop's claim no kinship

    def connection_lost(self, exc: Exception | None) -> None:
        """End what goes on."""
        self._raw = None
        self.error = self.error or exc
        self._news.set()
        if self._agreed:
            self._exchange.connection_lost(self.error)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._exchange.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._exchange.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Decrypt what came, and no more of it than may carry nothing."""
        if not self._agreed:
            self._hold(data)
            return
        for start in range(0, len(data), _PORTION):
            self._decrypt(data[start : start + _PORTION])
            if self.is_closing():
                return

    # --- what the exchange calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt, and send."""
        self._bare_bytes = 0
        try:
            written = self._tls.write(data)
            if written < len(data):
                self._write_rest(memoryview(data)[written:])
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._flush()

    def abort(self) -> None:
        """End the connection. Whatever was not sent yet is not sent any more."""
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it has ended, or will at once."""
        return self._raw is None or self._raw.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  asyncio's types
        """What the socket's transport knows."""
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    # ---

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _hold(self, data: bytes) -> None:
        self._early += data
        self._early_bytes += len(data)
        if _whole(self._early):
            self._news.set()
        if self._early_bytes > MAX_HANDSHAKE_BYTES:
            self._fail(TooMuchTlsError(f"more than {MAX_HANDSHAKE_BYTES} bytes came"))

    def _held(self) -> bytes:
        """What came in; once that is all, why there is no more of it."""
        if isinstance(self.error, TooMuchTlsError):
            raise self.error
        if not self._early:
            raise self.error or ConnectionResetError
        end = len(self._early)
        if self._raw is not None:
            end = _whole(self._early)
            self._news.clear()
        held = bytes(self._early[:end])
        del self._early[:end]
        return held

    def _decrypt(self, data: bytes) -> None:
        self._incoming.write(data)
        plain = b""
        ended = False
        try:
            # a read takes one record, and on its way all that carry nothing
            while self._incoming.pending:
                part = self._tls.read(_RECORD)
                if not part:
                    ended = True
                    break
                plain += part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = self.error or error
            ended = True
        self._deliver(data, plain)
        if ended:
            self.abort()

    def _deliver(self, data: bytes, plain: bytes) -> None:
        if self._outgoing.pending:
            self._flush()
        self._bare_bytes += len(data) - _WORTH * len(plain)
        if plain:
            self._exchange.data_received(plain)
        if self._bare_bytes > MAX_BARE_BYTES:
            self._fail(TooMuchTlsError("more of TLS came than answers need"))

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            rest = rest[self._tls.write(rest) :]

    def _flush(self) -> None:
        if self._raw is not None:
            self._raw.write(self._outgoing.read())

    def _fail(self, error: Exception) -> None:
        self.error = self.error or error
        self.abort()


def _whole(data: bytearray) -> int:
    """Bytes of whole records at the start of ``data``, and of what is none at all.

    A thread is not troubled for less: bytes that drip in singly would cost the loop a turn each.
    """
    end = 0
    while len(data) >= end + _HEADER:
        size = int.from_bytes(data[end + 3 : end + _HEADER])
        if data[end] not in _RECORD_TYPES or data[end + 1] != _MAJOR or size > 2 * _RECORD:
            return len(data)  # TLS says best what is wrong with it
        if len(data) < end + _HEADER + size:
            break
        end += _HEADER + size
    return end
