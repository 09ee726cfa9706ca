"""Receivers in a process that outlives the service it serves.

    python -m service.lab.torture.receivers --log FILE --port N --seed N

logs every request, whole, before it answers, each line with the answer it will give and whether the
signatures are right: ``/all`` takes everything, ``/flaky`` fails three of ten, ``/ordered`` takes
its time. The seed decides, so that a run can be repeated; it makes the secrets too.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import time
from pathlib import Path
from typing import Final

from service.lab.processes import HOST

ALL: Final = "/all"
FLAKY: Final = "/flaky"
ORDERED: Final = "/ordered"
_FAILING: Final = 0.3
_SLOWNESS: Final = (0.02, 0.1)
_OK: Final = 204
_LATER: Final = 503
#: Kept of each request: what tells attempts apart.
_KEPT: Final = {
    "id": "webhook-id",
    "attempt": "x-webhook-attempt",
    "delivery": "x-webhook-delivery",
    "operation": "x-operation-id",
    "sequence": "x-operation-sequence",
}
_ANSWER: Final = b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n"
_BODILESS: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def secret(seed: int, path: str) -> str:
    """The secret of a path's subscription."""
    digest = hashlib.sha256(f"{seed}{path}".encode()).digest()
    return f"whsec_{base64.b64encode(digest).decode()}"


def is_signed(seed: int, path: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether both signatures are right. Written anew: the service's own code proves nothing."""
    key = hashlib.sha256(f"{seed}{path}".encode()).digest()
    content = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
    standard = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    plain = hmac.digest(key, body, "sha256").hex()
    return (
        headers.get("webhook-signature") == f"v1,{standard}"
        and headers.get("x-webhook-signature") == f"sha256={plain}"
    )


class Receiver(asyncio.Protocol):
    """One connection. Requests are served one after the other."""

    def __init__(self, log: int, seed: int) -> None:
        self._log = log
        self._seed = seed
        self._buffer = b""
        self._is_busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody calls."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what comes, request by request."""
        self._buffer += data
        self._next()

    def _next(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if self._is_busy or not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._is_busy = True
        self._receive(first.split()[1], headers, rest[:length])

    def _receive(self, path: str, headers: dict[str, str], body: bytes) -> None:
        attempt = f"{headers.get('webhook-id')}/{headers.get('x-webhook-attempt')}"
        dice = random.Random(f"{self._seed}{path}/{attempt}")  # noqa: S311  to be repeated, not to be safe
        status = _LATER if path == FLAKY and dice.random() < _FAILING else _OK
        facts = {
            "at": round(time.time(), 3),
            "path": path,
            "status": status,
            "signed": is_signed(self._seed, path, headers, body),
            **{short: headers.get(name) for short, name in _KEPT.items()},
            "body": body.decode(),
        }
        # in one write: a line is in the file, whole, before its request is answered
        os.write(self._log, json.dumps(facts, ensure_ascii=False).encode() + b"\n")
        delay = dice.uniform(*_SLOWNESS) if path == ORDERED else 0.0
        asyncio.get_running_loop().call_later(delay, self._answer, status)

    def _answer(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_BODILESS if status == _OK else _ANSWER % status)
        self._is_busy = False
        self._next()


async def _run(log: Path, port: int, seed: int) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(file, seed), HOST, port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="Receivers for the torture.")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_run(options.log, options.port, options.seed))


if __name__ == "__main__":
    main()
