"""Operations described: written down before their first event, or completed after it."""

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import bindparam, select, update

from service.domain.delivery import Trigger
from service.domain.errors import Refusal, conflict
from service.domain.ids import LEAD, KeyMaker
from service.domain.lifetime import timed
from service.domain.matching import wants
from service.domain.operation import Operation, changed, refuse_expired
from service.domain.subscription import Subscription
from service.ports import Described, Once, OperationPlan, Replayed
from service.store import auditing, forgotten, subscribing
from service.store.database import Database, Tx
from service.store.moving import MovedError, judged_again
from service.store.once import once as do_once
from service.store.planning import Recalled
from service.store.queueing import enqueue
from service.store.rows import OPERATION_COLUMNS, operation_of, operation_row
from service.store.schema import events, operations
from service.store.statements import Row, Statement

#: The newest events that a subscription gets which came before it did, so that no transaction is
#: too long; its end is among them.
_MAX_BEFORE: Final = 5_000

_COLUMNS: Final = tuple(operations.c[name] for name in OPERATION_COLUMNS)
_BY_ID: Final = Statement(
    select(*_COLUMNS)
    .where(operations.c.tenant_id == bindparam("tenant"), operations.c.id == bindparam("name"))
    .with_for_update()
)
_BY_CLIENT_JOB: Final = Statement(
    select(*_COLUMNS).where(
        operations.c.tenant_id == bindparam("tenant"),
        operations.c.client_job_id == bindparam("name"),
    )
)
_EVENTS: Final = Statement(
    select(events.c.key, events.c.type)
    .where(events.c.operation_key == bindparam("operation"), events.c.key >= bindparam("first"))
    .order_by(events.c.sequence.desc())
    .limit(_MAX_BEFORE)
    # as long as their deliveries are not committed, retention leaves them
    .with_for_update(read=True, key_share=True)
)
#: What a description says of an operation that an event created.
_TOLD: Final = (
    "type",
    "metadata",
    "client_job_id",
    "expected_ms",
    "ttl_ms",
    "timeout_ms",
    "webhook_id",
)


class OperationStore:
    """See :class:`service.ports.OperationStore`.

    ``ttl`` (ms) is for operations that have none of their own; what it describes is ``recalled``
    when events come.
    """

    def __init__(self, database: Database, keys: KeyMaker, ttl: int, recalled: Recalled) -> None:
        self._database = database
        self._keys = keys
        self._ttl = ttl
        self._recalled = recalled

    async def create(
        self, plan: OperationPlan, actor: str, once: Once | None = None
    ) -> Described | Refusal | Replayed:
        """Write an operation down, or describe the one that an event created."""
        tenant_id = plan.operation.tenant_id

        async def body(tx: Tx) -> Described | Refusal:
            known = await _of_the_same_client_job(tx, plan)
            if known is not None:
                return known
            described = await self._described(tx, plan)
            if isinstance(described, Described):
                await self._note(tx, described, actor)
            return described

        async def job(tx: Tx) -> Described | Refusal | Replayed:
            return await do_once(tx, tenant_id, once, body)

        done = await judged_again(lambda: self._database.write(job))
        if isinstance(done, Described) and self._database.is_shared:
            self._recalled.note([done.operation])  # its first event comes in a moment
        return done

    async def _described(self, tx: Tx, plan: OperationPlan) -> Described | Refusal:
        new = plan.operation
        rows = await tx.fetch(_BY_ID, tenant=new.tenant_id, name=new.id)
        known = operation_of(rows[0]) if rows else None
        refusal = None if known is None else _refuse(known, new, tx.now)
        if refusal is not None:
            return refusal
        # first these, then the tenant's row: retention takes them in this order
        missed = [] if plan.webhook is None else await _events_of(tx, known)
        webhook = None if plan.webhook is None else await subscribing.make(tx, plan.webhook)
        new = changed(new, webhook_id=None if webhook is None else webhook.id)
        if known is None:
            made = timed(new, tx.now, self._ttl)
            await tx.insert(operations, OPERATION_COLUMNS, [operation_row(made)])
            return Described(made, webhook, made=True)
        after = await _complete(tx, known, new, self._ttl)
        waiting = webhook is not None and await _make_up(tx, after, webhook, missed)
        return Described(after, webhook, made=True, waiting=waiting)

    async def _note(self, tx: Tx, described: Described, actor: str) -> None:
        operation, webhook = described.operation, described.webhook
        told: dict[str, object] = {"type": operation.type}
        if webhook is not None:
            # the host only: the rest of a URL is a secret with many receivers
            host = urlsplit(webhook.url).hostname
            told["webhook"] = {"subscriptionId": webhook.id, "host": host}
        who = (operation.tenant_id, actor)
        detail = json.dumps(told)
        await auditing.note(tx, self._keys, who, "operation.created", operation.id, detail)


async def _of_the_same_client_job(tx: Tx, plan: OperationPlan) -> Described | Refusal | None:
    """The operation that has the client's id already; an expired one gives it up."""
    new = plan.operation
    if new.client_job_id is None:
        return None
    rows = await tx.fetch(_BY_CLIENT_JOB, tenant=new.tenant_id, name=new.client_job_id)
    if not rows:
        return None
    known = operation_of(rows[0])
    if refuse_expired(known, tx.now) is not None:
        which = operations.c.key == known.key
        await tx.change(update(operations).where(which).values(client_job_id=None))
        return None
    if known.type != new.type or (plan.named and known.id != new.id):
        return conflict(
            f"The clientJobId {new.client_job_id!r} is that of operation {known.id!r}, of type "
            f"{known.type!r}. Give this operation another one, or read that one.",
            operationId=known.id,
        )
    name = known.webhook_id
    webhook = None if name is None else await subscribing.find(tx, known.tenant_id, name)
    return Described(known, webhook, made=False)


def _refuse(known: Operation, new: Operation, now: int) -> Refusal | None:
    """Why the operation that is there is not to be described."""
    if known.described or refuse_expired(known, now) is not None:
        return conflict(
            f"Operation {known.id!r} exists already, with status {known.status}. "
            "Post its events, or choose another operationId.",
            operationId=known.id,
        )
    if known.type is not None and known.type != new.type:
        return conflict(
            f"Operation {known.id!r} was created by an event as type {known.type!r}, "
            f"not {new.type!r}.",
            operationId=known.id,
        )
    return None


async def _complete(tx: Tx, known: Operation, new: Operation, ttl: int) -> Operation:
    """Complete the operation that an event created; it is done once."""
    told = {name: getattr(new, name) for name in _TOLD}
    told |= {"described": True, "updated_at": max(tx.now, known.updated_at)}
    after = timed(changed(known, **told), tx.now, ttl)
    values = dict(zip(OPERATION_COLUMNS, operation_row(after), strict=True))
    as_read = (
        operations.c.key == known.key,
        operations.c.status == known.status.value,
        operations.c.sequence == known.sequence,
        operations.c.described == 0,
    )
    if not await tx.change(update(operations).where(*as_read).values(values)):
        raise MovedError
    return after


async def _events_of(tx: Tx, operation: Operation | None) -> list[Row]:
    """Key and type of the operation's newest events, newest first."""
    if operation is None:
        return []
    first = max(operation.key - LEAD, await forgotten.hold(tx))
    return await tx.fetch(_EVENTS, operation=operation.key, first=first)


async def _make_up(
    tx: Tx, operation: Operation, webhook: Subscription, missed: Sequence[Row]
) -> bool:
    """Make the deliveries of the events that came before the subscription; whether there are any.

    Who asks to be told of an operation's end must be told, also when the end was quicker.
    """
    wanted = [
        (key, webhook.no)
        for key, kind in reversed(missed)
        if wants(webhook, kind, operation.type, operation.id)
    ]
    await enqueue(tx, wanted, Trigger.SCHEDULE)
    return bool(wanted)
