"""An answer as a value: handlers return it, an ``Idempotency-Key`` keeps it, the wire gets it."""

from typing import Final

import msgspec
from starlette.types import Send

from service.web.whole import WHOLE

JSON: Final = "application/json"

#: What a client of an API with secrets in it, or a proxy on the way, must not keep.
_NO_STORE: Final = (b"cache-control", b"no-store")
_CACHE_CONTROL: Final = "cache-control"

Headers = tuple[tuple[str, str], ...]
encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """A status, headers and a whole body."""

    status: int
    body: bytes = b""
    headers: Headers = ()
    media_type: str = JSON


_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(Answer)


def of(value: object, status: int = 200, headers: Headers = ()) -> Answer:
    """An answer with ``value`` as JSON; ``msgspec.Raw`` within it keeps its bytes."""
    return Answer(status, encode(value), headers)


def pack(answer: Answer) -> bytes:
    """The answer as bytes that :func:`unpack` reads."""
    return _packer.encode(answer)


def unpack(packed: bytes) -> Answer:
    """The answer that :func:`pack` was given."""
    return _unpacker.decode(packed)


def with_headers(answer: Answer, *headers: tuple[str, str]) -> Answer:
    """The same answer with further headers."""
    return msgspec.structs.replace(answer, headers=(*answer.headers, *headers))


async def send(answer: Answer, send: Send, *, head: bool = False, whole: bool = False) -> None:
    """Send the answer; ``head`` leaves the body out and its length in.

    With ``whole`` it goes as one message (:mod:`service.web.whole`) where all its headers are ours.
    """
    body = b"" if head else answer.body
    if whole and not answer.headers:
        headers = _own_headers(answer)
        await send({"type": WHOLE, "status": answer.status, "headers": headers, "body": body})
    else:
        await _send(answer, send, "http.response", body)


async def deny(answer: Answer, send: Send) -> None:
    """Send the answer in place of a WebSocket's handshake (ASGI's Denial Response)."""
    await _send(answer, send, "websocket.http.response", answer.body)


async def _send(answer: Answer, send: Send, kind: str, body: bytes) -> None:
    headers = _headers_of(answer)
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    own = _own_headers(answer)
    if any(name == _CACHE_CONTROL for name, _ in answer.headers):
        own.remove(_NO_STORE)
    return headers + own


def _own_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """What every answer has beside the headers that it was given."""
    headers = [_NO_STORE]
    if answer.body:
        headers.append((b"content-type", answer.media_type.encode("latin-1")))
    if answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return headers
