"""``Idempotency-Key``: a request is done once, and asked again it gets the answer it got then.

The answer is kept by the store in the transaction of the change itself, sealed, since it may hold a
secret shown once. Two requests with one key at the same time: the second is told to wait, here
within a process and by the store's locks between processes.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.domain.errors import Refusal, RefusalKind, still_running
from service.ports import Once, Replayed, Vault
from service.web import answers, headers
from service.web.answers import Answer
from service.web.calls import Call

T = TypeVar("T")

#: Does the work, keeping the answer with it when it is given how.
Act = Callable[[Once | None], Awaitable[T | Refusal | Replayed]]
#: The answer to a result; ``None`` when the result changed nothing that must not be done twice.
Keep = Callable[[T], Answer | None]

_HEADER: Final = b"idempotency-key"
#: The draft standard has a quoted string, most clients send it bare.
_QUOTED: Final = re.compile(r'"([ !#-\[\]-~]{1,255})"')
_BARE: Final = re.compile(r"[!#-~]{1,255}")
_REPLAYED: Final = ("idempotency-replayed", "true")


class Idempotency:
    """Does what requests ask, each key once."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._running: set[tuple[str, str]] = set()

    async def run(
        self, call: Call, body: bytes, act: Act[T], render: Callable[[T], Answer], keep: Keep[T]
    ) -> Answer | Refusal:
        """Do it, or give the answer given before."""
        key = _key_of(call)
        if isinstance(key, Refusal):
            return key
        if key is None:
            return _answer(await act(None), render)
        slot = (call.tenant, key)
        if slot in self._running:
            return still_running(key)
        self._running.add(slot)
        try:
            result = await act(self._once(call, key, body, keep))
        finally:
            self._running.discard(slot)
        if isinstance(result, Replayed):
            kept = answers.unpack(self._vault.open(result.answer, _context(call.tenant, key)))
            return answers.with_headers(kept, _REPLAYED)
        return _answer(result, render)

    def _once(self, call: Call, key: str, body: bytes, keep: Keep[T]) -> Once:
        def render(result: T) -> bytes | None:
            answer = keep(result)
            if answer is None:
                return None
            return self._vault.seal(answers.pack(answer), _context(call.tenant, key))

        return Once(key, _fingerprint(call, body), render)


def _answer(result: T | Refusal | Replayed, render: Callable[[T], Answer]) -> Answer | Refusal:
    if isinstance(result, Refusal):
        return result
    if isinstance(result, Replayed):
        raise TypeError("An answer was replayed for a request without an Idempotency-Key.")
    return render(result)


def _key_of(call: Call) -> str | Refusal | None:
    given = headers.values(call.request.scope, _HEADER)
    if not given:
        return None
    text = given[0].strip()
    quoted = _QUOTED.fullmatch(text)
    if len(given) == 1 and (quoted is not None or _BARE.fullmatch(text) is not None):
        return text if quoted is None else quoted[1]
    return Refusal(
        RefusalKind.MALFORMED,
        "The Idempotency-Key must be one header of 1 to 255 printable ASCII characters, bare or in "
        "quotes. A new UUID for every request, and the same one when repeating it, does well.",
    )


def _fingerprint(call: Call, body: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (call.request.method.encode(), call.path.encode(), body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _context(tenant_id: str, key: str) -> str:
    return f"idempotency_keys/{tenant_id}/{key}"
