"""Claim, release and settle: the journey's second and third transactions.

A claim moves ``due_at`` to the lease's end and writes a token; whatever comes back later is
fenced by that token.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

from sqlalchemy import bindparam, or_, select

from service.domain.attempt_log import error_of
from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.retry import Dead, DeadReason, Delivered, RetryAfter
from service.domain.subscription import SubscriptionStatus
from service.domain.times import HURRIED
from service.ports import Claim, Claimed, Lane, LaneQuota, Settled, Settlement
from service.store import burying, ordering
from service.store.database import Database, Tx
from service.store.rows import SUBSCRIPTION_COLUMNS, secret_of, subscription_of
from service.store.schema import (
    attempts,
    dead_letters,
    deliveries,
    events,
    subscription_secrets,
    subscriptions,
)
from service.store.statements import (
    CHUNK,
    Row,
    Statement,
    among,
    flat,
    is_one_of,
    placeholders,
)

_LANES: Final = Statement(
    select(
        *(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS),
        subscription_secrets.c.version,
        subscription_secrets.c.sealed,
        subscription_secrets.c.created_at,
        subscription_secrets.c.expires_at,
    )
    .join(subscription_secrets, subscription_secrets.c.subscription_no == subscriptions.c.no)
    .where(
        among(subscriptions.c.no, "lanes"),
        subscriptions.c.status != "disabled",
        subscriptions.c.deleted_at.is_(None),
        or_(
            subscription_secrets.c.expires_at.is_(None),
            subscription_secrets.c.expires_at > bindparam("now"),
        ),
    )
    .order_by(subscription_secrets.c.version.desc())
)
_EVENTS: Final = Statement(
    select(
        events.c.key,
        events.c.id,
        events.c.type,
        events.c.operation_id,
        events.c.sequence,
        events.c.body,
    ).where(among(events.c.key, "keys"))
)
_SNAPSHOTS: Final = Statement(
    select(
        dead_letters.c.event_key,
        dead_letters.c.event_id,
        dead_letters.c.event_type,
        dead_letters.c.operation_id,
        dead_letters.c.sequence,
        dead_letters.c.body,
    ).where(among(dead_letters.c.event_key, "keys"))
)

_ATTEMPT_COLUMNS: Final = tuple(column.name for column in attempts.columns)
#: A result that comes after its lease ran out replaces the ``unknown`` the sweep wrote for it.
_ATTEMPT_KNOWN: Final = (
    "ON CONFLICT (event_key, subscription_no, number) DO UPDATE SET "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in ("duration_ms", "status_code", "error_class", "message", "detail")
    )
)
_PAIR: Final = ("event_key", "subscription_no")


@lru_cache(maxsize=1024)
def _claim_text(lanes: int) -> str:
    """Each lane gives its own oldest due rows: a backlog of one is never ahead of another."""
    lane = (
        "SELECT * FROM (SELECT event_key, subscription_no FROM delivery_queue "
        "WHERE subscription_no = ? AND due_at <= ? AND token IS NULL ORDER BY due_at LIMIT ?)"
    )
    return (
        "UPDATE delivery_queue SET due_at = ?, token = ?, attempts = attempts + 1, step = step + 1 "
        # the SELECT around the UNION lets SQLite find the rows by their key (see is_one_of)
        "WHERE (event_key, subscription_no) IN "
        f"(SELECT * FROM ({' UNION ALL '.join([lane] * lanes)})) "
        "RETURNING event_key, subscription_no, attempts, step, trigger"
    )


@lru_cache(maxsize=1024)
def _delete_text(rows: int) -> str:
    owned = is_one_of((*_PAIR, "token"), rows)
    return (
        f"DELETE FROM delivery_queue WHERE {owned} "
        "RETURNING event_key, subscription_no, operation_key"
    )


@lru_cache(maxsize=1024)
def _postpone_text(rows: int) -> str:
    return (
        "UPDATE delivery_queue SET due_at = v.column4, token = NULL, trigger = 'schedule' "
        f"FROM (VALUES {placeholders(4, rows)}) AS v WHERE event_key = v.column1 "
        "AND subscription_no = v.column2 AND token = v.column3 RETURNING event_key, subscription_no"
    )


@lru_cache(maxsize=1024)
def _release_text(rows: int) -> str:
    return (
        "UPDATE delivery_queue SET due_at = ?, token = NULL, attempts = attempts - 1, "
        f"step = step - 1 FROM (VALUES {placeholders(3, rows)}) AS v WHERE event_key = v.column1 "
        "AND subscription_no = v.column2 AND token = v.column3"
    )


class DeliverStore:
    """See :class:`service.ports.DeliverStore`."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database = database
        self._keys = keys

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        """Lease due deliveries of these lanes."""

        async def job(tx: Tx) -> Claim:
            lanes = await _lanes(tx, [each.lane for each in quotas])
            open_quotas = [each for each in quotas if each.lane in lanes]
            if not open_quotas:
                return Claim(lanes, ())
            token = self._keys.next(tx.now)
            arguments = chain.from_iterable(
                (q.lane, _horizon(lanes[q.lane], tx.now), _within_limit(q, lanes[q.lane]))
                for q in open_quotas
            )
            rows = await tx.sql(_claim_text(len(open_quotas)), (tx.now + lease, token, *arguments))
            found = await _events(tx, sorted({row[0] for row in rows}))
            claimed = [_claimed(row, token, lanes[row[1]], found[row[0]]) for row in rows]
            return Claim(lanes, claimed)

        return await self._database.write(job)

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was claimed and not sent."""

        async def job(tx: Tx) -> None:
            for start in range(0, len(claimed), CHUNK):
                chunk = claimed[start : start + CHUNK]
                rows = flat((*each.ref, each.token) for each in chunk)
                await tx.sql(_release_text(len(chunk)), (tx.now, *rows))

        await self._database.write(job)

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        """Write results, fenced by token."""

        async def job(tx: Tx) -> Settled:
            settled, gone = await _settle(tx, results)
            for tenant, lane in gone:
                await burying.disable(tx, self._keys, tenant, lane)
            return settled

        return await self._database.write(job)


def _horizon(lane: Lane, now: int) -> int:
    """Until when what is due may go: in a paused or held lane only what somebody hurried."""
    subscription = lane.subscription
    is_open = subscription.status is SubscriptionStatus.ACTIVE and subscription.hold_until <= now
    return now if is_open else HURRIED


def _within_limit(quota: LaneQuota, lane: Lane) -> int:
    """The quota, less what would be more in flight than the subscription allows now."""
    limit = lane.subscription.max_concurrency
    return quota.quota if limit is None else min(quota.quota, max(limit - quota.in_flight, 0))


async def _lanes(tx: Tx, numbers: list[int]) -> dict[int, Lane]:
    width = len(SUBSCRIPTION_COLUMNS)
    found: dict[int, list[Row]] = {}
    for row in await tx.fetch(_LANES, lanes=numbers, now=tx.now):
        found.setdefault(row[0], []).append(row)
    return {
        no: Lane(subscription_of(rows[0][:width]), tuple(secret_of(row[width:]) for row in rows))
        for no, rows in found.items()
    }


async def _events(tx: Tx, keys: list[int]) -> dict[int, Row]:
    """The events by key; one that retention took lives on in its dead letter."""
    if not keys:
        return {}
    found = {row[0]: row for row in await tx.fetch(_EVENTS, keys=keys)}
    missing = [key for key in keys if key not in found]
    if missing:
        found |= {row[0]: row for row in await tx.fetch(_SNAPSHOTS, keys=missing)}
    return found


def _claimed(row: Row, token: int, lane: Lane, event: Row) -> Claimed:
    return Claimed(
        tenant_id=lane.subscription.tenant_id,
        ref=DeliveryRef(row[0], row[1]),
        token=token,
        attempt=row[2],
        step=row[3],
        trigger=Trigger(row[4]),
        event_id=event[1],
        event_type=event[2],
        operation_id=event[3],
        sequence=event[4],
        body=event[5],
    )


async def _settle(tx: Tx, results: Sequence[Settlement]) -> tuple[Settled, set[tuple[str, int]]]:
    """Write the results; also the (tenant, lane) of each receiver that said it is gone."""
    current = _newest(results)
    finished = [each for each in current if not isinstance(each.verdict, RetryAfter)]
    delayed = [each for each in current if isinstance(each.verdict, RetryAfter)]
    owned = await _take_out(tx, finished)
    postponed = await _postpone(tx, delayed)
    done = [each for each in finished if each.claimed.ref in owned]
    await _finish(tx, [each for each in done if isinstance(each.verdict, Delivered)])
    await burying.bury(tx, [_corpse(each) for each in done if isinstance(each.verdict, Dead)])
    await tx.insert(
        attempts, _ATTEMPT_COLUMNS, [_attempt_row(each, tx.now) for each in results], _ATTEMPT_KNOWN
    )
    kept = done + [each for each in delayed if each.claimed.ref in postponed]
    held = await _hold(tx, kept)
    released = await ordering.release_next(
        tx, ((ref.subscription_no, chain) for ref, chain in owned.items())
    )
    gone = {
        (each.claimed.tenant_id, each.claimed.ref.subscription_no)
        for each in done
        if _is_gone(each)
    }
    next_due = {lane: max(at, held.get(lane, at)) for lane, at in released.items()}
    return Settled(len(results) - len(kept), _earliest(kept, next_due, tx.now)), gone


def _newest(results: Sequence[Settlement]) -> list[Settlement]:
    """Of several results of one delivery, that of its latest claim: the others lost their lease."""
    latest: dict[DeliveryRef, int] = {}
    for each in results:
        claimed = each.claimed
        latest[claimed.ref] = max(latest.get(claimed.ref, 0), claimed.token)  # tokens only grow
    return [each for each in results if latest[each.claimed.ref] == each.claimed.token]


async def _take_out(tx: Tx, finished: Sequence[Settlement]) -> dict[DeliveryRef, int | None]:
    """Delete what is finished from the queue; what of it was still ours, with its chain."""
    owned: dict[DeliveryRef, int | None] = {}
    for start in range(0, len(finished), CHUNK):
        chunk = finished[start : start + CHUNK]
        rows = flat((*each.claimed.ref, each.claimed.token) for each in chunk)
        deleted = await tx.sql(_delete_text(len(chunk)), rows)
        owned |= {DeliveryRef(*ref): chain for *ref, chain in deleted}
    return owned


async def _postpone(tx: Tx, delayed: Sequence[Settlement]) -> set[DeliveryRef]:
    owned: set[DeliveryRef] = set()
    for start in range(0, len(delayed), CHUNK):
        chunk = delayed[start : start + CHUNK]
        rows = flat(
            (*each.claimed.ref, each.claimed.token, tx.now + _delay(each)) for each in chunk
        )
        owned.update(DeliveryRef(*row) for row in await tx.sql(_postpone_text(len(chunk)), rows))
    return owned


def _delay(each: Settlement) -> int:
    return each.verdict.delay_ms if isinstance(each.verdict, RetryAfter) else 0


async def _finish(tx: Tx, delivered: Sequence[Settlement]) -> None:
    columns = ("event_key", "subscription_no", "status", "attempts", "finished_at")
    status = DeliveryStatus.DELIVERED.value
    rows = [(*d.claimed.ref, status, d.claimed.attempt, tx.now) for d in delivered]
    await tx.insert(deliveries, columns, rows)
    # nothing in a claim tells which had a dead letter: it may have died before its first attempt
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        await tx.sql(
            "UPDATE dead_letters SET state = 'resolved', resolved_at = ? WHERE "
            + is_one_of(_PAIR, len(chunk)),
            (tx.now, *flat(row[:2] for row in chunk)),
        )


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


def _is_gone(each: Settlement) -> bool:
    return isinstance(each.verdict, Dead) and each.verdict.reason is DeadReason.GONE


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
