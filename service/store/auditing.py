"""The audit log: who did what to which object, in the transaction that did it."""

from typing import Final

from sqlalchemy import bindparam, select

from service.domain.ids import KeyMaker
from service.store.database import Tx
from service.store.schema import audit_log
from service.store.statements import Statement

#: (tenant id, id of the acting API key, or :data:`SYSTEM`)
Actor = tuple[str, str]

#: Who acts where nobody asked for it. No key has this id.
SYSTEM: Final = "system"

_KEY: Final = Statement(select(audit_log.c.key).where(audit_log.c.key == bindparam("key")))


async def note(
    tx: Tx, keys: KeyMaker, actor: Actor, action: str, target: str, detail: str | None = None
) -> None:
    """Write one entry. ``detail`` is JSON text without secrets."""
    key = keys.next(tx.now)
    columns = ("key", "tenant_id", "actor", "action", "target", "detail")
    await tx.insert(audit_log, columns, [(key, *actor, action, target, detail)])
    tx.noted = key


async def is_there(tx: Tx, key: int) -> bool:
    """Whether an entry is there, and with it all that its transaction did: no key is made twice."""
    return bool(await tx.fetch(_KEY, key=key))
