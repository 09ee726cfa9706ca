"""Settle: results into the tables, fenced by token (the journey's third transaction)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from service.domain.attempt_log import error_of
from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.ids import DeliveryRef
from service.domain.outcome import Responded
from service.domain.retry import Dead, DeadReason, Delivered, RetryAfter
from service.ports import Claimed, Settlement
from service.store import burying, health, ordering
from service.store.database import Expected, Tx, UnexpectedError
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
_DELIVERY_COLUMNS: Final = ("event_key", "subscription_no", "status", "attempts", "finished_at")
_OWNED: Final = (*PAIR, delivery_queue.c.token)
_TAKE_OUT: Final = Many(
    f"DELETE FROM delivery_queue WHERE {one_of([column.name for column in _OWNED])} "
    "RETURNING event_key, subscription_no",
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

# --- the statement for all: what it is about goes to the server once, each value of it costs

_GIVEN: Final = "given"
#: Of the lease, and of the attempt that was made.
_GIVE: Final = Many(
    "SELECT * FROM {rows}",
    *_OWNED,
    *(attempts.c[name] for name in ("number", "trigger", "started_at", "duration_ms")),
    *(attempts.c[name] for name in ("status_code", "detail")),
)
_TAKE_GIVEN: Final = Many(
    "DELETE FROM delivery_queue WHERE (event_key, subscription_no, token) IN "
    f"(SELECT column1, column2, column3 FROM {_GIVEN}) RETURNING event_key"
)
_DELIVER_GIVEN: Final = Many(
    f"INSERT INTO deliveries ({', '.join(_DELIVERY_COLUMNS)}) "
    f"SELECT column1, column2, '{DeliveryStatus.DELIVERED}', column4, :now FROM {_GIVEN}"
)
_RESOLVE_GIVEN: Final = Many(
    "UPDATE dead_letters SET state = 'resolved', resolved_at = :now "
    f"WHERE (event_key, subscription_no) IN (SELECT column1, column2 FROM {_GIVEN})"
)
_LOG_GIVEN: Final = Many(
    "INSERT INTO attempts (event_key, subscription_no, number, trigger, started_at, duration_ms, "
    "status_code, detail) SELECT column1, column2, column4, column5, column6, column7, column8, "
    f"column9 FROM {_GIVEN}"
)

_IS_DELIVERED: Final = Many(f"SELECT 1 FROM deliveries WHERE {IS_ONE_OF}", *PAIR)
_IS_LEASED: Final = Many(
    f"SELECT 1 FROM delivery_queue WHERE {one_of([column.name for column in _OWNED])}", *_OWNED
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
    #: Whether no receiver of these has been in trouble lately.
    are_clean: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to write of results."""

    #: Those that end their delivery, the last of each.
    finished: Sequence[Settlement]
    #: Of all attempts that were made.
    results: Sequence[Settlement]
    #: Looks for receivers that are in trouble.
    look: Change


#: Writes it; which of the finished were still leased, and whether all receivers are well.
Write = Callable[[Tx, Work], Awaitable[tuple[Sequence[Settlement], bool]]]


async def settle(tx: Tx, results: Sequence[Settlement], write: Write) -> Kept:
    """Write results.

    Raises:
        UnexpectedError: see :func:`wholly` and :func:`at_once`.
    """
    current = _newest(results)
    finished = [each for each in current if not isinstance(each.verdict, RetryAfter)]
    delayed = [each for each in current if isinstance(each.verdict, RetryAfter)]
    owned = await _postpone(tx, delayed)
    postponed = [each for each in delayed if each.claimed.ref in owned]
    lanes = (each.claimed.ref.subscription_no for each in results if tx.is_shared)
    look = health.look_for_unclean(lanes)
    done, are_clean = await write(tx, Work(finished, results, look))
    not_taken = [each for each in done if not isinstance(each.verdict, Delivered)]
    dead = [_corpse(each) for each in not_taken if isinstance(each.verdict, Dead)]
    await burying.bury(tx, dead)
    held = await _hold(tx, [*not_taken, *postponed])
    chains = [each.claimed for each in done if each.claimed.chain is not None]
    released = await ordering.release_next(
        tx, [(each.ref.subscription_no, each.chain) for each in chains]
    )
    next_due = {lane: max(at, held.get(lane, at)) for lane, at in released.items()}
    due = _earliest(postponed, next_due, tx.now)
    return Kept([*done, *postponed], due, dead, are_clean)


def is_plain(results: Sequence[Settlement]) -> bool:
    """Whether all that there is to write of results is that deliveries of no chain were taken."""
    return bool(results) and all(
        isinstance(each.verdict, Delivered) and each.claimed.chain is None for each in results
    )


async def wholly(tx: Tx, work: Work) -> tuple[Sequence[Settlement], bool]:
    """Write what :func:`is_plain` as all that a transaction does in a database that is shared.

    Raises:
        UnexpectedError: a lease does not hold, or a receiver is in trouble.
    """
    if len(work.finished) < len(work.results):
        raise UnexpectedError  # of some there is more than one result
    given = sorted(map(_given_row, work.finished))
    rows = [row[: len(_OWNED)] for row in given]
    now, claims = {"now": tx.now}, [each.claimed for each in work.finished]

    async def trace(tx: Tx) -> bool:
        # somebody else may have delivered some, but not those that are leased still
        is_delivered = bool(await tx.each(_IS_DELIVERED, [row[:2] for row in rows[:1]]))
        return is_delivered and not await tx.each(_IS_LEASED, rows)

    await tx.only(
        Expected(Change(_GIVE, given, name=_GIVEN)),
        Expected(Change(_TAKE_GIVEN, [()]), len(rows)),
        Expected(Change(_DELIVER_GIVEN, [()], now)),
        Expected(Change(_RESOLVE_GIVEN, [()] if any(map(_may_have_died, claims)) else [], now)),
        # an attempt that is there is the sweep's, which took the lease
        Expected(Change(_LOG_GIVEN, [()])),
        Expected(work.look, 0),
        trace=trace,
    )
    return work.finished, True


async def at_once(tx: Tx, work: Work) -> tuple[Sequence[Settlement], bool]:
    """Write it, taking it that all leases hold, as they nearly always do.

    Raises:
        UnexpectedError: one does not.
    """
    out = Change(_TAKE_OUT, _leases(work.finished))
    # what was finished by somebody else meanwhile is there, and its lease is not
    deliveries, resolved = _finish(work.finished, tx.now, "ON CONFLICT DO NOTHING")
    log = _attempts(work.results, tx.now)
    taken, *_, unclean = await tx.together(out, deliveries, resolved, log, work.look)
    if taken < len(work.finished):
        raise UnexpectedError
    return work.finished, not unclean


async def in_turn(tx: Tx, work: Work) -> tuple[Sequence[Settlement], bool]:
    """See which leases hold, then write it."""
    owned = {DeliveryRef(*row) for row in await tx.each(_TAKE_OUT, _leases(work.finished))}
    done = [each for each in work.finished if each.claimed.ref in owned]
    log = _attempts(work.results, tx.now)
    *_, unclean = await tx.together(*_finish(done, tx.now), log, work.look)
    return done, not unclean


def _newest(results: Sequence[Settlement]) -> list[Settlement]:
    """Of several results of one delivery the last of its latest claim: others lost their lease."""
    latest = {each.claimed.ref: each for each in results}
    if len(latest) == len(results):
        return list(results)  # as it is nearly always
    for each in results:
        known = latest[each.claimed.ref]
        if known.claimed.token <= each.claimed.token:  # tokens only grow
            latest[each.claimed.ref] = each
    return list(latest.values())


def _leases(finished: Iterable[Settlement]) -> list[Row]:
    return sorted((*each.claimed.ref, each.claimed.token) for each in finished)


def _attempts(results: Iterable[Settlement], now: int) -> Insert:
    # a result that is told twice is one: the last
    made = {(*each.claimed.ref, each.claimed.attempt): each for each in results}
    rows = [_attempt_row(each, now) for _, each in sorted(made.items(), key=itemgetter(0))]
    return Insert(attempts, _ATTEMPT_COLUMNS, rows, _ATTEMPT_KNOWN)


async def _postpone(tx: Tx, delayed: Sequence[Settlement]) -> set[DeliveryRef]:
    rows = sorted(
        (*each.claimed.ref, each.claimed.token, tx.now + _delay(each)) for each in delayed
    )
    return {DeliveryRef(*row) for row in await tx.each(_POSTPONE, rows)}


def _delay(each: Settlement) -> int:
    return each.verdict.delay_ms if isinstance(each.verdict, RetryAfter) else 0


def _finish(done: Iterable[Settlement], now: int, conflict: str = "") -> tuple[Insert, Change]:
    """What is delivered now, and that it needs no dead letter any more."""
    delivered = [each.claimed for each in done if isinstance(each.verdict, Delivered)]
    status = DeliveryStatus.DELIVERED.value
    # sorted, as two settles may write the same: the one that has the lease, and one that lost it
    rows = sorted((*each.ref, status, each.attempt, now) for each in delivered)
    again = sorted(each.ref for each in delivered if _may_have_died(each))
    resolved = Change(_RESOLVE, again, {"now": now})
    return Insert(deliveries, _DELIVERY_COLUMNS, rows, conflict), resolved


def _may_have_died(claimed: Claimed) -> bool:
    """Whether it may have a dead letter: whoever replays one says so, and then come the retries.

    It may have died before its first attempt.
    """
    return claimed.attempt > 1 or claimed.trigger is not Trigger.SCHEDULE


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


def _given_row(each: Settlement) -> Row:
    """What :data:`_GIVE` takes of a result that its receiver took."""
    claimed, outcome = each.claimed, each.outcome
    status = outcome.status if isinstance(outcome, Responded) else None
    return (
        *claimed.ref,
        claimed.token,
        claimed.attempt,
        str(claimed.trigger),
        each.started_at,
        outcome.timing.total,
        status,
        each.detail,
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
