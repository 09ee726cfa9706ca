"""Claim, release and settle: the journey's second and third transactions.

A claim moves ``due_at`` to the lease's end and writes a token; whatever comes back later is
fenced by that token. A claim also keeps to what was decided of a lane since it was planned: its
limits, its pause or hold, its circuit.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import bindparam, case, or_, select

from service.domain.delivery import Trigger
from service.domain.health import Health
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.subscription import SubscriptionStatus
from service.domain.times import HURRIED
from service.ports import (
    Claim,
    Claimed,
    Lane,
    LaneQuota,
    Settled,
    Settlement,
    StoreBusyError,
)
from service.store import health, hours, pacing, settling, tallying
from service.store.announcing import Announcer
from service.store.counting import WaitingCounts
from service.store.database import Database, Leased, Tx, UnexpectedError, Use, alone
from service.store.health_book import Draft, HealthBook
from service.store.lane_memory import WIDTH, LaneMemory
from service.store.rows import SECRET_COLUMNS, SUBSCRIPTION_COLUMNS
from service.store.schema import (
    delivery_queue,
    subscription_secrets,
    subscriptions,
)
from service.store.schema_health import subscription_health
from service.store.statements import Many, Row, Statement, among
from service.store.tallying import Counts

T = TypeVar("T")

_LANES: Final = Statement(
    select(
        *(subscriptions.c[name] for name in SUBSCRIPTION_COLUMNS),
        *(subscription_secrets.c[name] for name in SECRET_COLUMNS),
        # how long the circuit is open, where it is not closed
        case((subscription_health.c.trips > 0, subscription_health.c.open_until)),
    )
    .join(subscription_secrets, subscription_secrets.c.subscription_no == subscriptions.c.no)
    .outerjoin(subscription_health, subscription_health.c.subscription_no == subscriptions.c.no)
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
_TOKEN: Final = Statement(
    select(delivery_queue.c.token).where(
        delivery_queue.c.event_key == bindparam("event"),
        delivery_queue.c.subscription_no == bindparam("lane"),
    )
)
_TRIGGERS: Final = {str(each): each for each in Trigger}
_RELEASE: Final = Many(
    # who asked for it by hand does not wait for a hold or a circuit
    f"UPDATE delivery_queue SET due_at = CASE trigger WHEN '{Trigger.MANUAL}' THEN {HURRIED} "
    "ELSE CAST(:now AS BIGINT) END, token = NULL, attempts = attempts - 1, step = step - 1 "
    "FROM {rows} WHERE event_key = v.column1 "
    "AND subscription_no = v.column2 AND token = v.column3",
    delivery_queue.c.event_key,
    delivery_queue.c.subscription_no,
    delivery_queue.c.token,
)


@dataclass(frozen=True, slots=True)
class _State:
    """A lane as all workers find it."""

    lane: Lane
    #: Until when its circuit is open; ``None``: it is closed.
    open_until: int | None = None
    #: Sends in flight, where they are limited for all workers together.
    in_flight: int = 0
    #: What its rate allows now; ``None``: whatever the worker thinks.
    allowance: int | None = None


class DeliverStore:
    """See :class:`service.ports.DeliverStore`. Without a ``breaker`` no circuit opens."""

    def __init__(
        self,
        database: Database,
        keys: KeyMaker,
        announcer: Announcer,
        counts: WaitingCounts,
        *,
        breaker: bool = True,
    ) -> None:
        self._database = database
        self._keys = keys
        self._counts = counts
        self._breaker = breaker
        self._book = HealthBook(announcer, keys, breaker=breaker)
        self._lanes = LaneMemory()

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        """Lease due deliveries of these lanes."""
        claim, moved = await self._claimed(quotas, lease)
        if moved:  # what is leased stays so, whatever comes of these: it is met again next time
            with suppress(Exception):
                others = [each for each in quotas if each.lane in moved]
                more, _ = await self._claimed(others, lease)
                return Claim({**claim.lanes, **more.lanes}, [*claim.deliveries, *more.deliveries])
        return claim

    async def _claimed(
        self, quotas: Sequence[LaneQuota], lease: int
    ) -> tuple[Claim, frozenset[int]]:
        """Lease what is due; of the lanes that are not as they were remembered, nothing."""

        async def job(tx: Tx) -> tuple[Claim, frozenset[int]]:
            numbers = [each.lane for each in quotas]
            known = self._lanes.trusted(numbers, tx.now)
            found = {no: _State(lane) for no, lane in known.items()}
            if unknown := [no for no in numbers if no not in known]:
                found |= await self._looked_up(tx, unknown)
            open_quotas = [each for each in quotas if each.lane in found]
            if not open_quotas:
                return Claim({}, ()), frozenset()
            token = self._keys.next(tx.now)
            wanted = [
                (*_share(q, found[q.lane], tx.now), *_version(known.get(q.lane)))
                for q in open_quotas
            ]
            leased = await tx.lease(wanted, tx.now + lease, token)
            paced = (row[1] for row in leased.leases if found[row[1]].allowance is not None)
            await pacing.spend(tx, Counter(paced))
            moved = known.keys() - leased.lanes - {row[1] for row in leased.leases}
            self._lanes.forget(moved)
            lanes = {no: state.lane for no, state in found.items() if no not in moved}
            return Claim(lanes, _deliveries(leased, token, lanes)), frozenset(moved)

        return await self._database.write(job, Use.CLAIM, _is_claimed)

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was claimed and not sent."""

        async def job(tx: Tx) -> None:
            rows = sorted((*each.ref, each.token) for each in claimed)
            await tx.each(_RELEASE, rows, now=tx.now)

        await self._database.write(job, Use.CLAIM)

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        """Write results, fenced by token."""

        async def work(write: settling.Write, tx: Tx) -> tuple[Settled, Draft, Counts]:
            kept = await settling.settle(tx, results, write)
            draft = await self._book.draft(tx, kept.results, kept.dead, are_clean=kept.are_clean)
            due = {lane: _not_before(at, draft.judged.get(lane)) for lane, at in kept.due.items()}
            due |= dict.fromkeys(draft.told | draft.recovered, tx.now)
            late = len(results) - len(kept.results)
            counts = tallying.counts_of(kept.results, kept.dead, tx.now)
            recovered = frozenset(draft.recovered)
            return Settled(late, due, recovered, draft.opened, draft.disabled), draft, counts

        async with self._book.turn:
            settled, draft, counts = await self._written(results, work)
            self._book.keep(draft)
            self._counts.add(counts)
        return settled

    async def _written(
        self, results: Sequence[Settlement], work: Callable[[settling.Write, Tx], Awaitable[T]]
    ) -> T:
        """What the first way of writing these results that they allow comes to."""
        lanes = {each.claimed.ref.subscription_no for each in results}
        is_plain = self._database.is_shared and settling.is_plain(results)
        ways = [settling.wholly] if is_plain and self._book.is_well(lanes) else []
        for write in (*ways, settling.at_once):
            with suppress(UnexpectedError):
                return await self._database.write(partial(work, write), Use.SETTLE)
        return await self._database.write(partial(work, settling.in_turn), Use.SETTLE)

    async def flush(self) -> int:
        """Write what settles only counted; how much of it still waits, as others are in the way.

        Of what it is judged by and of the counts neither keeps the other from being written.
        Whoever cancels this waits for neither.
        """
        left, failed = 0, None
        try:
            if not self._book.is_empty:
                async with self._book.turn:
                    self._book.keep(await self._database.write(self._book.catch_up, Use.SETTLE))
        except StoreBusyError:
            left = 1
        except Exception as error:  # noqa: BLE001  raised when the counts are written
            failed = error
        left += await self._counts.flush()
        if failed is not None:
            raise failed
        return left

    async def forget_counts(self) -> int:
        """Delete a batch of counts that nobody asks for any more; how much."""
        for kind in (tallying, hours):
            if await kind.is_due(self._database):
                return await self._database.write(alone(kind.forget, 0))
        return 0  # the usual case, and one that needs no writer

    async def _looked_up(self, tx: Tx, numbers: list[int]) -> dict[int, _State]:
        found: dict[int, list[Row]] = {}
        for row in await tx.aside(_LANES, lanes=numbers, now=tx.now):
            found.setdefault(row[0], []).append(row)
        states = {}
        for no, rows in found.items():
            lane = self._lanes.read(rows)
            states[no] = state = _State(lane, rows[0][WIDTH] if self._breaker else None)
            if tx.is_shared and rows[0][WIDTH] is None and not _is_limited(tx, state):
                self._lanes.trust(lane, tx.now)
        return await _limited(tx, states)


async def _is_claimed(tx: Tx, done: tuple[Claim, frozenset[int]]) -> bool:
    """Whether the claim is there: all of it, if its first delivery is."""
    for each in done[0].deliveries[:1]:
        event, lane = each.ref
        return await tx.fetch(_TOKEN, event=event, lane=lane) == [(each.token,)]
    return True


async def _limited(tx: Tx, states: dict[int, _State]) -> dict[int, _State]:
    """The lanes with what limits them; those left out whose limits another worker reckons with."""
    limited = [no for no, state in states.items() if _is_limited(tx, state)]
    if not limited:
        return states
    busy = await tx.hold(f"lane/{no}" for no in limited)
    own = [no for no in limited if f"lane/{no}" not in busy]
    in_flight = await health.in_flight(tx, own)
    rates = {no: states[no].lane.subscription.rate for no in own}
    allowances = await pacing.allowances(tx, {no: rate for no, rate in rates.items() if rate})
    for no in own:
        states[no] = replace(
            states[no], in_flight=in_flight.get(no, 0), allowance=allowances.get(no)
        )
    return {no: state for no, state in states.items() if f"lane/{no}" not in busy}


def _is_limited(tx: Tx, state: _State) -> bool:
    """Whether the lane has limits that this worker alone cannot keep."""
    if not tx.is_shared:
        return state.open_until is not None
    subscription = state.lane.subscription
    limits = (state.open_until, subscription.max_concurrency, subscription.rate)
    return any(limit is not None for limit in limits)


def _not_before(at: int, judged: Health | None) -> int:
    return at if judged is None else max(at, judged.open_until)


def _share(quota: LaneQuota, state: _State, now: int) -> Row:
    """What to lease of a lane: until when it is due, and how much."""
    return quota.lane, _horizon(state, now), _room(quota, state, now)


def _version(lane: Lane | None) -> Row:
    """As what a lane's subscription is remembered, if it is."""
    if lane is None:
        return None, None
    return lane.subscription.version, lane.subscription.updated_at


def _horizon(state: _State, now: int) -> int:
    """Until when what is due may go: of what is kept back only what somebody hurried."""
    subscription = state.lane.subscription
    is_open = subscription.status is SubscriptionStatus.ACTIVE and subscription.hold_until <= now
    waits = state.open_until is not None and (state.open_until > now or state.in_flight > 0)
    return now if is_open and not waits else HURRIED


def _room(quota: LaneQuota, state: _State, now: int) -> int:
    """The quota, less what would be more than the subscription allows now."""
    subscription = state.lane.subscription
    room = quota.quota
    if subscription.max_concurrency is not None:
        in_flight = max(quota.in_flight, state.in_flight)
        room = min(room, max(subscription.max_concurrency - in_flight, 0))
    if state.allowance is not None:
        room = min(room, state.allowance)
    if state.open_until is not None and state.open_until <= now:
        room = min(room, 1)  # a probe
    if subscription.rate != quota.rate:
        room = min(room, 1)  # the worker learns of the rate by this claim
    return room


def _deliveries(leased: Leased, token: int, lanes: Mapping[int, Lane]) -> list[Claimed]:
    """What was leased, without that of which there is nothing to send: its leases run out."""
    events = {row[0]: row for row in leased.events}
    return [
        _claimed(row, token, lanes[row[1]], events[row[0]])
        for row in leased.leases
        if row[0] in events
    ]


def _claimed(row: Row, token: int, lane: Lane, event: Row) -> Claimed:
    return Claimed(
        tenant_id=lane.subscription.tenant_id,
        subscription_id=lane.subscription.id,
        ref=DeliveryRef(row[0], row[1]),
        token=token,
        attempt=row[2],
        step=row[3],
        trigger=_TRIGGERS[row[4]],
        event_id=event[1],
        event_type=event[2],
        operation_id=event[3],
        sequence=event[4],
        body=event[5],
        chain=row[5],
    )
