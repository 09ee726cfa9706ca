"""Replay: finished deliveries go back into the queue, the same ones, their schedule anew."""

import json
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, insert, select, update

from service.domain import ids
from service.domain.delivery import DeadLetterState, DeliveryStatus, Trigger
from service.domain.errors import Refusal, conflict, not_found
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.operation import Operation
from service.domain.outcome import ErrorClass
from service.domain.subscription import Subscription, SubscriptionStatus, changed
from service.domain.times import HURRIED, NEVER
from service.ports import Once, Replayed, ReplayPlan, ReplayRun, ReplayStep
from service.store import auditing, bulk_replay, forgotten, ordering
from service.store.database import Database, Tx
from service.store.once import once
from service.store.queueing import reopen
from service.store.rows import (
    OPERATION_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    operation_row,
    subscription_of,
)
from service.store.schema import (
    attempts,
    dead_letters,
    deliveries,
    delivery_queue,
    events,
    operations,
    replays,
    subscriptions,
)

#: What it is called in the audit log that a delivery was sent again.
_REOPENED: Final = {Trigger.MANUAL: "delivery.retried", Trigger.REPLAY: "delivery.replayed"}


class ReplayStore:
    """See :class:`service.ports.ReplayStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def replay_one(
        self,
        tenant_id: str,
        ref: DeliveryRef,
        trigger: Trigger,
        actor: str,
        only: Once | None = None,
    ) -> DeliveryRef | Refusal | Replayed:
        """Reopen one delivery; with the trigger ``replay`` it must have an open dead letter."""

        async def body(tx: Tx) -> DeliveryRef | Refusal:
            refusal = await self._reopen_one(tx, tenant_id, ref, trigger)
            if refusal is not None:
                return refusal
            action = _REOPENED[trigger]
            await auditing.note(tx, self._keys, (tenant_id, actor), action, ids.delivery_id(ref))
            return ref

        async def job(tx: Tx) -> DeliveryRef | Refusal | Replayed:
            return await once(tx, tenant_id, only, body)

        return await self._database.write(job)

    async def _reopen_one(
        self, tx: Tx, tenant_id: str, ref: DeliveryRef, trigger: Trigger
    ) -> Refusal | None:
        subscription = await _subscription(tx, tenant_id, ref.subscription_no)
        name = ids.delivery_id(ref)
        if subscription is None:
            return not_found("delivery", name)
        if trigger is Trigger.REPLAY:
            refusal = await _refuse_replay(tx, ref)
            if refusal is not None:
                return refusal
        queued = await _queued(tx, ref)
        if queued is not None:
            return await _hurry(tx, ref, queued, trigger)
        has_event = await _has_event(tx, ref.event_key)
        if not has_event and not await _is_kept(tx, dead_letters, _pair(dead_letters, ref)):
            return not_found("delivery", name)  # there is nothing left that could be sent
        finished = await tx.query(
            select(deliveries).where(_pair(deliveries, ref)).with_for_update()
        )
        if not finished:
            return not_found("delivery", name)
        refusal = _refuse_closed(subscription)
        if refusal is None:
            await reopen(tx, [(*ref, finished[0]["attempts"])], trigger)
        return refusal

    async def start_replay(
        self,
        operation: Operation,
        plan: ReplayPlan,
        actor: str,
        only: Once | None = None,
        matched: int | None = None,
    ) -> ReplayRun | Refusal | Replayed:
        """Write down a bulk replay and the operation that shows it."""

        async def body(tx: Tx) -> ReplayRun | Refusal:
            dead = await bulk_replay.count_dead(tx, operation.tenant_id, plan)
            await tx.insert(operations, OPERATION_COLUMNS, [operation_row(operation)])
            run = bulk_replay.begun(operation, plan, matched if dead is None else dead)
            await tx.change(insert(replays).values(bulk_replay.run_row(run)))
            await auditing.note(
                tx,
                self._keys,
                (operation.tenant_id, actor),
                "replay.started",
                operation.id,
                json.dumps(asdict(plan)),
            )
            return run

        async def job(tx: Tx) -> ReplayRun | Refusal | Replayed:
            return await once(tx, operation.tenant_id, only, body)

        return await self._database.write(job)

    async def count_replay(self, tenant_id: str, plan: ReplayPlan) -> int | None:
        """How many deliveries a plan is about; ``None`` where too many would have to be seen."""
        async with self._database.read() as tx:
            return await bulk_replay.count(tx, tenant_id, plan)

    async def running_replays(self) -> list[ReplayRun]:
        """The bulk replays that are not finished and that this process is to carry through."""
        node = self._database.node

        async def job(tx: Tx) -> list[ReplayRun]:
            return await bulk_replay.take(tx, node)

        if not await self._database.look(bulk_replay.RUNNING):
            return []  # the usual case, and one that needs no writer
        return await self._database.write(job)

    async def step_replay(self, run: ReplayRun, limit: int) -> ReplayStep:
        """Look at the next candidates of a bulk replay and reopen what it matches."""

        async def job(tx: Tx) -> ReplayStep:
            key = run.operation.key
            present = await bulk_replay.lock(tx, key)
            step = await bulk_replay.step(tx, present, limit)
            await tx.change(
                update(replays)
                .where(replays.c.operation_key == key)
                .values(bulk_replay.run_row(step.run))
            )
            return step

        return await self._database.write(job)

    async def finish_replay(self, run: ReplayRun) -> None:
        """Note that a bulk replay is over; its operation has ended."""

        async def job(tx: Tx) -> None:
            which = replays.c.operation_key == run.operation.key
            await tx.change(update(replays).where(which).values(finished_at=tx.now))

        await self._database.write(job)

    async def cancel_delivery(
        self, tenant_id: str, ref: DeliveryRef, actor: str
    ) -> DeliveryStatus | Refusal:
        """Take an open delivery out of the queue; the result of a send under way comes too late."""

        async def job(tx: Tx) -> DeliveryStatus | Refusal:
            name = ids.delivery_id(ref)
            if await _subscription(tx, tenant_id, ref.subscription_no) is None:
                return not_found("delivery", name)
            queued = await _queued(tx, ref)
            if queued is None:
                return await _already(tx, ref)
            await tx.change(delivery_queue.delete().where(_pair(delivery_queue, ref)))
            await ordering.release_next(tx, [(ref.subscription_no, queued["operation_key"])])
            row = (*ref, DeliveryStatus.CANCELLED.value, queued["attempts"], tx.now)
            await tx.insert(
                deliveries,
                ("event_key", "subscription_no", "status", "attempts", "finished_at"),
                [row],
            )
            await _close_attempt(tx, ref, queued)
            replayed = and_(
                _pair(dead_letters, ref), dead_letters.c.state == DeadLetterState.REPLAYING.value
            )
            await tx.change(
                update(dead_letters).where(replayed).values(state=DeadLetterState.OPEN.value)
            )
            await auditing.note(tx, self._keys, (tenant_id, actor), "delivery.cancelled", name)
            return DeliveryStatus.CANCELLED

        return await self._database.write(job)

    async def discard(self, tenant_id: str, ref: DeliveryRef, actor: str) -> Refusal | None:
        """Delete a dead letter, keeping the fact in the audit log."""

        async def job(tx: Tx) -> Refusal | None:
            name = ids.dead_letter_id(ref)
            # first this, then the letter: retention takes them in this order
            has_event = await _has_event(tx, ref.event_key)
            which = and_(_pair(dead_letters, ref), dead_letters.c.tenant_id == tenant_id)
            found = await tx.query(select(dead_letters).where(which).with_for_update())
            if not found:
                return not_found("dead letter", name)
            letter = found[0]
            if await _queued(tx, ref) is not None:  # it may live on the dead letter's copy
                return conflict(
                    f"The delivery of dead letter {name!r} is under way. Wait for it, "
                    "or cancel it first.",
                    deliveryId=ids.delivery_id(ref),
                )
            await _forget_letter(tx, ref, has_event=has_event)
            detail = json.dumps({"eventId": letter["event_id"], "reason": letter["reason"]})
            await auditing.note(
                tx, self._keys, (tenant_id, actor), "dead_letter.discarded", name, detail
            )
            return None

        return await self._database.write(job)


# --- one


async def _refuse_replay(tx: Tx, ref: DeliveryRef) -> Refusal | None:
    name = ids.dead_letter_id(ref)
    found = await tx.query(
        select(dead_letters.c.state).where(_pair(dead_letters, ref)).with_for_update()
    )
    if not found:
        return not_found("dead letter", name)
    state = found[0]["state"]
    if state == DeadLetterState.OPEN:
        return None
    if state == DeadLetterState.REPLAYING:
        return conflict(
            f"Dead letter {name!r} is being replayed already; follow its delivery.",
            deliveryId=ids.delivery_id(ref),
        )
    return conflict(
        f"Dead letter {name!r} is resolved: its delivery went through. To send it once more, "
        "retry the delivery.",
        deliveryId=ids.delivery_id(ref),
    )


async def _has_event(tx: Tx, key: int) -> bool:
    """Whether the event is there and not forgotten; as long as this is not committed, it stays."""
    return key >= await forgotten.hold(tx) and await _is_kept(tx, events, events.c.key == key)


async def _is_kept(tx: Tx, table: Table, which: ColumnElement[bool]) -> bool:
    """Whether there is such a row; as long as this is not committed, retention leaves it."""
    wanted = select(table.primary_key.columns[0]).where(which)
    return bool(await tx.query(wanted.with_for_update(read=True, key_share=True)))


async def _hurry(
    tx: Tx, ref: DeliveryRef, queued: dict[str, Any], trigger: Trigger
) -> Refusal | None:
    name = ids.delivery_id(ref)
    if queued["token"] is not None or trigger is not Trigger.MANUAL:
        return conflict(f"Delivery {name!r} is under way already.", deliveryId=name)
    # what is sent out of turn leaves its chain, which would go on with it otherwise
    chain = None if queued["due_at"] >= NEVER else queued["operation_key"]
    await tx.change(
        update(delivery_queue)
        .where(_pair(delivery_queue, ref))
        .values(due_at=HURRIED, trigger=trigger.value, operation_key=chain)
    )
    return None


async def _close_attempt(tx: Tx, ref: DeliveryRef, queued: dict[str, Any]) -> None:
    """Write down the attempt under way; its result, should it still come, takes the place."""
    if queued["token"] is not None:
        attempt = {
            "number": queued["attempts"],
            "trigger": queued["trigger"],
            "started_at": ids.key_time(queued["token"]),
            "error_class": ErrorClass.UNKNOWN.value,
            "message": "The delivery was cancelled under way; the receiver may have it.",
        }
        await tx.change(insert(attempts).values(**ref._asdict(), **attempt))


async def _forget_letter(tx: Tx, ref: DeliveryRef, *, has_event: bool) -> None:
    """Delete a dead letter; where it was all that was left of its event, the delivery as well."""
    await tx.change(dead_letters.delete().where(_pair(dead_letters, ref)))
    if not has_event:
        for table in (deliveries, attempts):
            await tx.change(table.delete().where(_pair(table, ref)))


def _refuse_closed(subscription: Subscription | None) -> Refusal | None:
    if subscription is None or subscription.status is SubscriptionStatus.DISABLED:
        return conflict(
            "The subscription is disabled or deleted, so nothing can be sent to it. "
            "Resume it first, or make another."
        )
    return None


async def _already(tx: Tx, ref: DeliveryRef) -> Refusal:
    name = ids.delivery_id(ref)
    found = await tx.query(select(deliveries.c.status).where(_pair(deliveries, ref)))
    if not found:
        return not_found("delivery", name)
    status = found[0]["status"]
    return conflict(
        f"Delivery {name!r} is {status}; only an open one can be cancelled.", currentStatus=status
    )


def _pair(table: Table, ref: DeliveryRef) -> ColumnElement[bool]:
    return and_(table.c.event_key == ref.event_key, table.c.subscription_no == ref.subscription_no)


async def _queued(tx: Tx, ref: DeliveryRef) -> dict[str, Any] | None:
    found = await tx.query(
        select(delivery_queue).where(_pair(delivery_queue, ref)).with_for_update()
    )
    return found[0] if found else None


async def _subscription(tx: Tx, tenant_id: str, no: int) -> Subscription | None:
    """The tenant's subscription; a deleted one shows as disabled."""
    found = await tx.query(
        select(
            *(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS), subscriptions.c.deleted_at
        ).where(subscriptions.c.no == no, subscriptions.c.tenant_id == tenant_id)
    )
    if not found:
        return None
    *columns, deleted_at = found[0].values()
    own = subscription_of(tuple(columns))
    return own if deleted_at is None else changed(own, status=SubscriptionStatus.DISABLED)
