"""The audit log: who did what to which object, in the transaction that did it."""

from service.domain.ids import KeyMaker
from service.store.database import Tx
from service.store.schema import audit_log

#: (tenant id, id of the acting API key)
Actor = tuple[str, str]


async def note(
    tx: Tx, keys: KeyMaker, actor: Actor, action: str, target: str, detail: str | None = None
) -> None:
    """Write one entry. ``detail`` is JSON text without secrets."""
    columns = ("key", "tenant_id", "actor", "action", "target", "detail")
    await tx.insert(audit_log, columns, [(keys.next(tx.now), *actor, action, target, detail)])
