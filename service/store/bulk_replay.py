"""The steps of a bulk replay: each looks at the next candidates and reopens what it wants.

The cursor is written in the same transaction as what was reopened, so that a crash neither skips
nor repeats.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from service.domain import ids
from service.domain.delivery import DeadLetterState, Trigger
from service.domain.ids import DeliveryRef
from service.domain.matching import is_literal, matches_any, wants
from service.domain.operation import REPLAY_TYPE, Operation, is_end
from service.domain.subscription import Subscription
from service.ports import ReplayPlan, ReplayRun, ReplayStep
from service.store import forgotten
from service.store.database import Tx
from service.store.queueing import enqueue, reopen
from service.store.rows import (
    OPERATION_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    json_bytes,
    operation_of,
    subscription_of,
)
from service.store.schema import (
    dead_letters,
    deliveries,
    delivery_queue,
    events,
    operations,
    replays,
    subscriptions,
)
from service.store.statements import CHUNK, Row, Statement, unindexed

_START: Final = DeliveryRef(0, -1)
#: Milliseconds after its last look in which nobody else carries on what a process carries through.
_CARRIED: Final = 10_000
#: Events of anybody that one look goes past: of a tenant who has few it would not end in time else.
LOOKED: Final = 5_000
#: Looks to count what matches: at 10,000 events of the tenant, or fewer among others; some 0.1 s.
MOST_LOOKS: Final = 20

RUNNING: Final = Statement(
    select(replays.c.operation_key).where(replays.c.finished_at.is_(None)).limit(1)
)


async def take(tx: Tx, node: int) -> list[ReplayRun]:
    """The running bulk replays that a process is to carry through: those nobody else does now.

    So that each is as fast as it was asked to be, however many processes there are.
    """
    taken = await tx.sql(
        "UPDATE replays SET carrier = ?, carried_until = ? WHERE finished_at IS NULL "
        "AND (carrier = ? OR carried_until < ?) RETURNING operation_key",
        (node, tx.now + _CARRIED, node, tx.now),
    )
    return await _runs(tx, replays.c.operation_key.in_([row[0] for row in taken]))


async def lock(tx: Tx, key: int) -> ReplayRun:
    """One bulk replay, for a step of it: nobody else does one now."""
    return (await _runs(tx, replays.c.operation_key == key))[0]


async def _runs(tx: Tx, which: ColumnElement[bool]) -> list[ReplayRun]:
    """The bulk replays of which this holds, with their operations as they are now."""
    rows = await tx.query(
        select(replays, *(operations.c[name].label(f"op_{name}") for name in OPERATION_COLUMNS))
        .join(operations, operations.c.key == replays.c.operation_key)
        .where(which)
        .order_by(replays.c.operation_key)
        .with_for_update(of=replays)
    )
    return [_run(row) for row in rows]


def _run(row: Mapping[str, Any]) -> ReplayRun:
    plan = json.loads(row["plan"])
    plan["event_types"] = tuple(plan["event_types"])
    return ReplayRun(
        operation=operation_of(tuple(row[f"op_{name}"] for name in OPERATION_COLUMNS)),
        plan=ReplayPlan(**plan),
        cursor=DeliveryRef(row["cursor_event"], row["cursor_subscription"]),
        matched=row["matched"],
        replayed=row["replayed"],
        skipped=row["skipped"],
    )


def begun(operation: Operation, plan: ReplayPlan, matched: int | None) -> ReplayRun:
    """A bulk replay before its first step."""
    return ReplayRun(operation, plan, _START, matched, 0, 0)


def run_row(run: ReplayRun) -> dict[str, Any]:
    """The row of a bulk replay."""
    return {
        "operation_key": run.operation.key,
        "tenant_id": run.operation.tenant_id,
        "operation_id": run.operation.id,
        "plan": json_bytes(asdict(run.plan)),
        "cursor_event": run.cursor.event_key,
        "cursor_subscription": run.cursor.subscription_no,
        "matched": run.matched,
        "replayed": run.replayed,
        "skipped": run.skipped,
    }


async def count(tx: Tx, tenant_id: str, plan: ReplayPlan) -> int | None:
    """How many deliveries the plan is about now; ``None`` where too many would have to be seen.

    It locks nothing, and so may be asked where nothing is written.
    """
    if plan.only == "dead":
        return await count_dead(tx, tenant_id, plan)
    subscription = await _open_subscription(tx, tenant_id, plan)
    if subscription is None:
        return 0
    found, place, floor = 0, _START.event_key, await forgotten.see(tx)
    for _ in range(MOST_LOOKS):
        wanted, end = await _next(tx, plan, subscription, place, floor)
        rows = await tx.query(wanted)
        found += sum(_is_wanted(plan, subscription, row) for row in rows)
        if len(rows) == CHUNK:
            place = rows[-1]["key"]
        elif end is None:
            return found
        else:
            place = end
    return None


async def count_dead(tx: Tx, tenant_id: str, plan: ReplayPlan) -> int | None:
    """How many dead letters the plan is about now; ``None`` where only looking at each tells."""
    if plan.only != "dead" or not all(is_literal(each) for each in plan.event_types):
        return None
    which = _dead_conditions(tenant_id, plan)
    if plan.event_types:
        which.append(dead_letters.c.event_type.in_(plan.event_types))
    rows = await tx.query(select(func.count().label("n")).select_from(dead_letters).where(*which))
    return int(rows[0]["n"])


async def step(tx: Tx, run: ReplayRun, limit: int) -> ReplayStep:
    """Do the next step."""
    if is_end(run.operation.status):  # cancelled meanwhile
        return ReplayStep(run, frozenset(), finished=True)
    if run.plan.only == "dead":
        return await _step_dead(tx, run, limit)
    return await _step_events(tx, run, limit)


# --- dead letters


def _dead_conditions(tenant_id: str, plan: ReplayPlan) -> list[ColumnElement[bool]]:
    table = dead_letters.c
    which = [table.tenant_id == tenant_id, table.state == DeadLetterState.OPEN.value]
    if plan.subscription_no is not None:
        which.append(table.subscription_no == plan.subscription_no)
    if plan.reason is not None:
        which.append(table.reason == plan.reason)
    if plan.kind == "subscription":
        which.append(table.event_key >= ids.key_floor(plan.since))
        which.append(table.event_key < ids.key_floor(plan.until))
    else:
        which.append(table.dead_at >= plan.since)
        which.append(table.dead_at < plan.until)
    return which


async def _step_dead(tx: Tx, run: ReplayRun, limit: int) -> ReplayStep:
    after = run.cursor
    rows = await _next_dead(tx, run, limit)
    types = run.plan.event_types
    wanted = [row for row in rows if not types or matches_any(types, row["event_type"])]
    able = [row for row in wanted if row["deleted_at"] is None and row["status"] != "disabled"]
    lanes = [row["subscription_no"] for row in able]
    if not run.plan.dry_run:
        await reopen(
            tx,
            [(row["event_key"], row["subscription_no"], row["attempts"]) for row in able],
            Trigger.REPLAY,
        )
    last = rows[-1] if rows else None
    cursor = DeliveryRef(last["event_key"], last["subscription_no"]) if last else after
    return _advanced(run, cursor, lanes, skipped=len(wanted) - len(able), more=len(rows) == limit)


async def _next_dead(tx: Tx, run: ReplayRun, limit: int) -> list[dict[str, Any]]:
    """The next open dead letters, with their subscriptions' states."""
    table, after = dead_letters.c, run.cursor
    return await tx.query(
        select(
            table.event_key,
            table.subscription_no,
            # the delivery's own count: a replay that was cancelled has gone on from the letter's
            func.coalesce(deliveries.c.attempts, table.attempts).label("attempts"),
            table.event_type,
            subscriptions.c.status,
            subscriptions.c.deleted_at,
        )
        .join(subscriptions, subscriptions.c.no == table.subscription_no)
        .outerjoin(
            deliveries,
            and_(
                deliveries.c.event_key == table.event_key,
                deliveries.c.subscription_no == table.subscription_no,
            ),
        )
        .where(
            *_dead_conditions(run.operation.tenant_id, run.plan),
            or_(
                table.event_key > after.event_key,
                and_(
                    table.event_key == after.event_key,
                    table.subscription_no > after.subscription_no,
                ),
            ),
        )
        .order_by(table.event_key, table.subscription_no)
        .limit(limit)
        .with_for_update(of=dead_letters)
    )


def _advanced(
    run: ReplayRun, cursor: DeliveryRef, lanes: Sequence[int], *, skipped: int, more: bool
) -> ReplayStep:
    seen = run.replayed + run.skipped + len(lanes) + skipped
    after = replace(
        run,
        cursor=cursor,
        replayed=run.replayed + len(lanes),
        skipped=run.skipped + skipped,
        matched=None if run.matched is None else max(run.matched, seen),
    )
    woken = frozenset() if run.plan.dry_run else frozenset(lanes)
    return ReplayStep(after, woken, finished=not more)


# --- events that match a subscription


async def _step_events(tx: Tx, run: ReplayRun, limit: int) -> ReplayStep:
    subscription = await _open_subscription(tx, run.operation.tenant_id, run.plan)
    if subscription is None:  # disabled or deleted meanwhile: nothing can be sent
        return ReplayStep(run, frozenset(), finished=True)
    floor = await forgotten.hold(tx)
    wanted, end = await _next(tx, run.plan, subscription, run.cursor.event_key, floor)
    # as long as one is wanted, retention leaves it
    rows = await tx.query(wanted.with_for_update(of=events, read=True, key_share=True))
    missing: list[Row] = []
    again: list[Row] = []
    cursor = run.cursor
    for row in rows:
        if len(missing) + len(again) == limit:
            break
        cursor = DeliveryRef(row["key"], subscription.no)
        if not _is_wanted(run.plan, subscription, row):
            continue
        if row["status"] is None:
            missing.append((row["key"], subscription.no))
        else:
            again.append((row["key"], subscription.no, row["attempts"]))
    if not run.plan.dry_run:
        await enqueue(tx, missing, Trigger.REPLAY)
        await reopen(tx, again, Trigger.REPLAY)
    left = len(rows) == CHUNK or (bool(rows) and cursor.event_key != rows[-1]["key"])
    if not left and end is not None:  # those of others that come behind the last one are seen, too
        cursor = DeliveryRef(end, subscription.no)
    lanes = [subscription.no] * (len(missing) + len(again))
    return _advanced(run, cursor, lanes, skipped=0, more=left or end is not None)


async def _open_subscription(tx: Tx, tenant_id: str, plan: ReplayPlan) -> Subscription | None:
    rows = await tx.query(
        select(*(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS)).where(
            subscriptions.c.no == plan.subscription_no,
            subscriptions.c.tenant_id == tenant_id,
            subscriptions.c.deleted_at.is_(None),
            subscriptions.c.status != "disabled",
        )
    )
    return subscription_of(tuple(rows[0].values())) if rows else None


async def _next(
    tx: Tx,
    plan: ReplayPlan,
    subscription: Subscription,
    after: int,
    floor: int,
) -> tuple[Select[Any], int | None]:
    """What finds the next events of its tenant, and the key that it looks up to at most.

    ``None``: to the last there is.
    """
    # of several bounds SQLite looks up the first alone, and goes past all up to the others
    low = max(after + 1, ids.key_floor(plan.since), floor)
    span = (events.c.key >= low, events.c.key < ids.key_floor(plan.until))
    key = select(events.c.key).where(*span).order_by(events.c.key)
    rows = await tx.query(key.offset(LOOKED - 1).limit(1))
    end: int | None = rows[0]["key"] if rows else None
    wanted = _candidates(subscription).where(*span)
    return wanted if end is None else wanted.where(events.c.key <= end), end


def _candidates(subscription: Subscription) -> Select[Any]:
    """Events of its tenant, with what the subscription has of each."""
    no = subscription.no
    queued, done = delivery_queue.c, deliveries.c
    return (
        select(
            events.c.key,
            events.c.type,
            events.c.operation_type,
            events.c.operation_id,
            done.status,
            done.attempts,
            queued.due_at,
        )
        .select_from(events)
        .outerjoin(deliveries, and_(done.event_key == events.c.key, done.subscription_no == no))
        .outerjoin(
            delivery_queue, and_(queued.event_key == events.c.key, queued.subscription_no == no)
        )
        .where(unindexed(events.c.tenant_id) == subscription.tenant_id)
        .order_by(events.c.key)
        .limit(CHUNK)
    )


def _is_wanted(plan: ReplayPlan, subscription: Subscription, row: Mapping[str, Any]) -> bool:
    """Whether a candidate is sent: what waits already is not sent twice."""
    if not _matches(plan, subscription, row):
        return False
    return row["due_at"] is None if row["status"] is None else plan.only == "all"


def _matches(plan: ReplayPlan, subscription: Subscription, row: Mapping[str, Any]) -> bool:
    if row["operation_type"] == REPLAY_TYPE:  # a replay's own events are never replayed
        return False
    if plan.event_types and not matches_any(plan.event_types, row["type"]):
        return False
    return wants(subscription, row["type"], row["operation_type"], row["operation_id"])
