"""Settle: results into the tables, fenced by token (the journey's third transaction)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from service.domain.attempt_log import error_of
from service.domain.delivery import DeliveryStatus
from service.domain.ids import DeliveryRef
from service.domain.retry import Dead, DeadReason, Delivered, RetryAfter
from service.ports import Settlement
from service.store import burying, ordering
from service.store.database import Tx
from service.store.queueing import IS_ONE_OF, PAIR
from service.store.schema import attempts, deliveries, delivery_queue
from service.store.statements import Change, Insert, Many, Row, one_of

_ATTEMPT_COLUMNS: Final = tuple(column.name for column in attempts.columns)
#: A result that comes after its lease ran out replaces the ``unknown`` the sweep wrote for it.
_ATTEMPT_KNOWN: Final = (
    "ON CONFLICT (event_key, subscription_no, number) DO UPDATE SET "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in ("duration_ms", "status_code", "error_class", "message", "detail")
    )
)
_OWNED: Final = (*PAIR, delivery_queue.c.token)
_TAKE_OUT: Final = Many(
    f"DELETE FROM delivery_queue WHERE {one_of([column.name for column in _OWNED])} "
    "RETURNING event_key, subscription_no, operation_key",
    *_OWNED,
)
_POSTPONE: Final = Many(
    "UPDATE delivery_queue SET due_at = v.column4, token = NULL, trigger = 'schedule' "
    "FROM {rows} WHERE event_key = v.column1 "
    "AND subscription_no = v.column2 AND token = v.column3 RETURNING event_key, subscription_no",
    *_OWNED,
    delivery_queue.c.due_at,
)
_RESOLVE: Final = Many(
    f"UPDATE dead_letters SET state = 'resolved', resolved_at = :now WHERE {IS_ONE_OF}", *PAIR
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a settle changed."""

    #: The results whose lease still held.
    results: Sequence[Settlement]
    #: For each lane with something to come, when its first is due.
    due: Mapping[int, int]
    #: What was buried, of which somebody is to be told.
    dead: Sequence[burying.Corpse]


async def settle(tx: Tx, results: Sequence[Settlement]) -> Kept:
    """Write results."""
    current = _newest(results)
    finished = [each for each in current if not isinstance(each.verdict, RetryAfter)]
    delayed = [each for each in current if isinstance(each.verdict, RetryAfter)]
    owned = await _take_out(tx, finished)
    postponed = await _postpone(tx, delayed)
    done = [each for each in finished if each.claimed.ref in owned]
    dead = [_corpse(each) for each in done if isinstance(each.verdict, Dead)]
    await burying.bury(tx, dead)
    # a result that is told twice is one: the last
    made = {(*each.claimed.ref, each.claimed.attempt): each for each in results}
    rows = [_attempt_row(each, tx.now) for _, each in sorted(made.items(), key=itemgetter(0))]
    delivered = [each for each in done if isinstance(each.verdict, Delivered)]
    known = Insert(attempts, _ATTEMPT_COLUMNS, rows, _ATTEMPT_KNOWN)
    await tx.together(*_finish(delivered, tx.now), known)
    kept = done + [each for each in delayed if each.claimed.ref in postponed]
    held = await _hold(tx, kept)
    released = await ordering.release_next(
        tx, ((ref.subscription_no, chain) for ref, chain in owned.items())
    )
    next_due = {lane: max(at, held.get(lane, at)) for lane, at in released.items()}
    return Kept(kept, _earliest(kept, next_due, tx.now), dead)


def _newest(results: Sequence[Settlement]) -> list[Settlement]:
    """Of several results of one delivery, that of its latest claim: the others lost their lease."""
    latest: dict[DeliveryRef, int] = {}
    for each in results:
        claimed = each.claimed
        latest[claimed.ref] = max(latest.get(claimed.ref, 0), claimed.token)  # tokens only grow
    return [each for each in results if latest[each.claimed.ref] == each.claimed.token]


async def _take_out(tx: Tx, finished: Sequence[Settlement]) -> dict[DeliveryRef, int | None]:
    """Delete what is finished from the queue; what of it was still ours, with its chain."""
    rows = sorted((*each.claimed.ref, each.claimed.token) for each in finished)
    return {DeliveryRef(*ref): chain for *ref, chain in await tx.each(_TAKE_OUT, rows)}


async def _postpone(tx: Tx, delayed: Sequence[Settlement]) -> set[DeliveryRef]:
    rows = sorted(
        (*each.claimed.ref, each.claimed.token, tx.now + _delay(each)) for each in delayed
    )
    return {DeliveryRef(*row) for row in await tx.each(_POSTPONE, rows)}


def _delay(each: Settlement) -> int:
    return each.verdict.delay_ms if isinstance(each.verdict, RetryAfter) else 0


def _finish(delivered: Sequence[Settlement], now: int) -> tuple[Insert, Change]:
    """What is finished now, and that it needs no dead letter any more."""
    columns = ("event_key", "subscription_no", "status", "attempts", "finished_at")
    status = DeliveryStatus.DELIVERED.value
    rows = [(*d.claimed.ref, status, d.claimed.attempt, now) for d in delivered]
    # nothing in a claim tells which had a dead letter: it may have died before its first attempt
    resolved = Change(_RESOLVE, [row[:2] for row in rows], {"now": now})
    return Insert(deliveries, columns, rows), resolved


def _corpse(each: Settlement) -> burying.Corpse:
    claimed = each.claimed
    status, error, message = error_of(each.outcome)
    return burying.Corpse(
        ref=claimed.ref,
        tenant_id=claimed.tenant_id,
        reason=each.verdict.reason if isinstance(each.verdict, Dead) else DeadReason.EXPIRED,
        attempts=claimed.attempt,
        status_code=status,
        error_class=error,
        message=message,
        event=(
            claimed.event_id,
            claimed.event_type,
            claimed.operation_id,
            claimed.sequence,
            claimed.body,
        ),
    )


def _attempt_row(each: Settlement, now: int) -> Row:
    claimed = each.claimed
    status, error, message = error_of(each.outcome)
    due = now + _wait(each.verdict) if isinstance(each.verdict, RetryAfter) else None
    return (
        *claimed.ref,
        claimed.attempt,
        claimed.trigger.value,
        each.started_at,
        each.outcome.timing.total,
        status,
        error,
        message,
        due,
        each.detail,
    )


async def _hold(tx: Tx, kept: Iterable[Settlement]) -> dict[int, int]:
    """Hold back lanes whose receiver asked for it; until when."""
    until: dict[int, int] = {}
    for each in kept:
        if not isinstance(each.verdict, Delivered) and each.verdict.hold_ms:
            lane = each.claimed.ref.subscription_no
            until[lane] = max(until.get(lane, 0), tx.now + each.verdict.hold_ms)
    for lane, moment in sorted(until.items()):
        await tx.sql(
            "UPDATE subscriptions SET hold_until = ? WHERE no = ? AND hold_until < ?",
            (moment, lane, moment),
        )
    return until


def _wait(verdict: RetryAfter) -> int:
    return max(verdict.delay_ms, verdict.hold_ms or 0)


def _earliest(kept: Iterable[Settlement], due: dict[int, int], now: int) -> dict[int, int]:
    """When to look at each lane again: at its first retry, or at what is due in it by ``due``."""
    for each in kept:
        if isinstance(each.verdict, RetryAfter):
            lane = each.claimed.ref.subscription_no
            at = now + _wait(each.verdict)
            due[lane] = min(due.get(lane, at), at)
    return due
