"""Do it once: the answer to an ``Idempotency-Key`` is kept in the transaction of the change itself.

So there is no moment at which the change is there and its answer is not: a producer that never saw
the answer asks again and gets it.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from sqlalchemy import bindparam, delete, select

from service.domain.errors import Refusal, RefusalKind, still_running
from service.ports import Once, Replayed
from service.store.database import Tx
from service.store.schema import idempotency_keys
from service.store.statements import CHUNK, Statement, among

T = TypeVar("T")

#: How long an answer is kept, in ms (contract, section 4).
LIFETIME: Final = 24 * 3600 * 1000

TenantKey = tuple[str, str]
#: Tenant, key, fingerprint, answer and the time it was given.
KeptAnswer = tuple[str, str, bytes, bytes, int]

_COLUMNS: Final = tuple(column.name for column in idempotency_keys.columns)
_OF_TENANT: Final = (
    idempotency_keys.c.tenant_id == bindparam("tenant"),
    among(idempotency_keys.c.key, "keys"),
)
_FIND: Final = Statement(
    select(
        idempotency_keys.c.key,
        idempotency_keys.c.fingerprint,
        idempotency_keys.c.answer,
        idempotency_keys.c.created_at,
    ).where(*_OF_TENANT)
)
_DELETE: Final = Statement(delete(idempotency_keys).where(*_OF_TENANT))
_PAST: Final = Statement(
    select(idempotency_keys.c.tenant_id, idempotency_keys.c.key)
    .where(idempotency_keys.c.created_at <= bindparam("before"))
    .order_by(idempotency_keys.c.created_at)
    .limit(CHUNK)
)


async def once(
    tx: Tx, tenant_id: str, wanted: Once | None, body: Callable[[Tx], Awaitable[T | Refusal]]
) -> T | Refusal | Replayed:
    """Run ``body``, or give the answer kept before, or say why that one is not for this request."""
    if wanted is None:
        return await body(tx)
    kept = await find_answer(tx, tenant_id, wanted)
    if kept is not None:
        return kept
    result = await body(tx)
    if not isinstance(result, Refusal):
        answer = wanted.render(result)
        if answer is not None:
            await keep_answers(tx, [(tenant_id, wanted.key, wanted.fingerprint, answer, tx.now)])
    return result


async def find_answer(tx: Tx, tenant_id: str, wanted: Once) -> Replayed | Refusal | None:
    """The answer kept before; why it is not for this request; ``None`` where there is none."""
    if await hold(tx, [(tenant_id, wanted.key)]):
        return still_running(wanted.key)
    kept = await find_answers(tx, [(tenant_id, wanted.key)])
    return judge(wanted, *kept[tenant_id, wanted.key]) if kept else None


def judge(wanted: Once, fingerprint: bytes, answer: bytes) -> Replayed | Refusal:
    """The answer kept under this key, if it was given to the same request."""
    if fingerprint == wanted.fingerprint:
        return Replayed(answer)
    return Refusal(
        RefusalKind.IDEMPOTENCY_KEY_REUSED,
        f"The Idempotency-Key {wanted.key!r} was used in the last 24 hours for another request. "
        "Give this request a key of its own, or repeat the first one unchanged.",
    )


async def hold(tx: Tx, pairs: Iterable[TenantKey]) -> set[TenantKey]:
    """Let nobody else use these keys until the transaction ends; those that somebody uses now."""
    names = {f"once/{tenant}/{key}": (tenant, key) for tenant, key in pairs}
    return {names[name] for name in await tx.hold(names)}


async def find_answers(tx: Tx, pairs: Iterable[TenantKey]) -> dict[TenantKey, tuple[bytes, bytes]]:
    """Fingerprint and answer of each key that has one; those past their time are deleted."""
    by_tenant: dict[str, list[str]] = {}
    for tenant, key in pairs:
        by_tenant.setdefault(tenant, []).append(key)
    found: dict[TenantKey, tuple[bytes, bytes]] = {}
    for tenant, keys in sorted(by_tenant.items()):
        stale = []
        for key, fingerprint, answer, created_at in await tx.fetch(_FIND, tenant=tenant, keys=keys):
            if created_at <= tx.now - LIFETIME:
                stale.append(key)
            else:
                found[tenant, key] = (fingerprint, answer)
        if stale:
            await tx.fetch(_DELETE, tenant=tenant, keys=stale)
    return found


async def forget_answers(tx: Tx) -> int:
    """Delete a batch of the answers past their time that nobody asked for again; how many."""
    old = await tx.fetch(_PAST, before=tx.now - LIFETIME)
    for tenant in {row[0] for row in old}:
        await tx.fetch(_DELETE, tenant=tenant, keys=[key for name, key in old if name == tenant])
    return len(old)


async def keep_answers(tx: Tx, answers: Sequence[KeptAnswer]) -> None:
    """Keep answers under keys that have none."""
    await tx.insert(idempotency_keys, _COLUMNS, answers)
