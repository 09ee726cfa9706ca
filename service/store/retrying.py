"""A failed operation is tried once more: in the transaction of accept, as its first event is."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import bindparam, select

from service.domain.acceptance import Planner
from service.domain.errors import Refusal, not_found
from service.domain.operation import Operation, refuse_expired
from service.domain.operation import changed as changed_operation
from service.domain.second_try import first_event, refuse_retry, successor
from service.domain.subscription import (
    Secret,
    Subscription,
    changed,
    headers_context,
    key_context,
    secret_context,
    tls_context,
)
from service.ports import NewSubscription, Retried, Retry, SealedKey
from service.store import moving, subscribing
from service.store.database import Tx
from service.store.rows import OPERATION_COLUMNS, operation_of
from service.store.schema import operations
from service.store.statements import Statement

_FIND: Final = Statement(
    select(*(operations.c[name] for name in OPERATION_COLUMNS)).where(
        operations.c.tenant_id == bindparam("tenant"), operations.c.id == bindparam("name")
    )
)


async def retry(tx: Tx, planner: Planner, tenant_id: str, wanted: Retry) -> Retried | Refusal:
    """Plan the operation that retries the failed one; or give the one that does already."""
    failed = planner.find(tenant_id, wanted.failed)
    if failed is None:
        return not_found("operation", wanted.failed)
    expired = refuse_expired(failed, tx.now)
    if expired is not None:
        return expired
    if failed.retried_by is not None:
        return await _known(tx, planner, tenant_id, failed.retried_by)
    refusal = refuse_retry(failed, tx.now)
    if refusal is not None:
        return refusal
    marked = changed_operation(failed, retried_by=wanted.id)
    await moving.mark_retried(tx, marked)
    planner.note(marked)
    new = successor(failed, wanted.key, wanted.id, tx.now)
    webhook = await _inherited(tx, failed, new, wanted)
    new = changed_operation(new, webhook_id=None if webhook is None else webhook.id)
    planner.begin(new, first_event(new))
    return Retried(planner.find(tenant_id, new.id) or new, webhook, made=True)


async def _known(tx: Tx, planner: Planner, tenant_id: str, name: str) -> Retried | Refusal:
    """The operation that retries already; it may have been planned in this very transaction."""
    operation = planner.find(tenant_id, name)
    if operation is None:
        rows = await tx.fetch(_FIND, tenant=tenant_id, name=name)
        operation = operation_of(rows[0]) if rows else None
    if operation is None:
        return not_found("operation", name)
    return Retried(operation, await _webhook_of(tx, operation), made=False)


async def _webhook_of(tx: Tx, operation: Operation) -> Subscription | None:
    name = operation.webhook_id
    return None if name is None else await subscribing.find(tx, operation.tenant_id, name)


async def _inherited(
    tx: Tx, failed: Operation, new: Operation, wanted: Retry
) -> Subscription | None:
    """The failed operation's own subscription as it is now, made once more for the new one."""
    own = await _webhook_of(tx, failed)
    if own is None or own.operation_id != failed.id:
        return None
    secret = (await subscribing.secrets(tx, own))[0]
    heir = wanted.webhook_id

    def moved(sealed: bytes | None, context: Callable[..., str]) -> bytes | None:
        return sealed and wanted.reseal(sealed, context(own.id), context(heir))

    made = changed(
        own,
        id=heir,
        operation_id=new.id,
        headers=moved(own.headers, headers_context),
        tls=moved(own.tls, tls_context),
    )
    return await subscribing.make(tx, _secrets_moved(made, own, secret, wanted))


def _secrets_moved(
    made: Subscription, own: Subscription, secret: Secret, wanted: Retry
) -> NewSubscription:
    """The new subscription with the secret of the other, and the private key beside it."""

    def moved(sealed: bytes, context: Callable[[str, int], str]) -> bytes:
        return wanted.reseal(sealed, context(own.id, secret.version), context(made.id, 1))

    key = None
    if secret.sealed_key is not None and secret.public_key is not None:
        key = SealedKey(moved(secret.sealed_key, key_context), secret.public_key)
    return NewSubscription(made, moved(secret.sealed, secret_context), key)
