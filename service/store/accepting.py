"""Accept: a whole group of requests in one transaction (the journey's first).

The order of work is also the order of locks: idempotency keys, operations, event ids, tenant row;
then inserts. The tenant row's config version comes back with the feed position, so that a
subscription made a millisecond ago, by whichever process, is matched.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, select

from service.domain.acceptance import (
    Making,
    NewEvent,
)
from service.domain.errors import Refusal
from service.domain.ids import KeyMaker, drawn
from service.ports import (
    AcceptRequest,
    AcceptResult,
    Answer,
    Dice,
    Foretell,
    GroupTooWideError,
)
from service.store import (
    auditing,
    confirming,
    feeding,
    moving,
    once,
    ordering,
    planning,
    tallying,
)
from service.store.counting import WaitingCounts
from service.store.database import Database, Tx, UnexpectedError, Use
from service.store.feeding import Feeds, Luck
from service.store.judging import Work, judge_all
from service.store.schema import delivery_queue, event_ids
from service.store.statements import Change, Row, Statement

if TYPE_CHECKING:
    from service.domain.operation import Operation

#: Delivery rows in one transaction, so that nobody waits long behind a wide fan-out.
MAX_DELIVERIES: Final = 5_000
#: Random bytes of an event's id.
_SALT: Final = 4

_EVENT_KEY: Final = Statement(
    select(event_ids.c.event_key).where(
        event_ids.c.tenant_id == bindparam("tenant"), event_ids.c.id == bindparam("name")
    )
)
_PENDING: Final = Statement(select(func.count()).select_from(delivery_queue))


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a group.

    Answers, lanes to wake, its events, how many deliveries it made, operations that changed.
    """

    answers: list[Answer]
    lanes: frozenset[int]
    events: list[NewEvent]
    made: int
    operations: list["Operation"]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a group is judged that is written by one statement."""

    known: Callable[[Tx, Sequence[AcceptRequest]], Awaitable[planning.Known]]
    #: Whether what it refuses is so.
    is_sure: bool
    luck: Luck = field(default_factory=Luck)


class AcceptStore:
    """See :class:`service.ports.AcceptStore`.

    ``schedule`` (s) is for subscriptions, ``ttl`` (ms) for operations that have none of their own.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyMaker,
        counts: WaitingCounts,
        dice: Dice,
        schedule: Sequence[float],
        ttl: int,
    ) -> None:
        self._database = database
        self._keys = keys
        self._counts = counts
        self._dice = dice
        self._ttl = ttl
        self._feeds = Feeds(dice, schedule)
        #: Operations as they were written last.
        self.recalled = planning.Recalled()
        self._ways = (
            _Way(self.recalled.recall, is_sure=False),
            _Way(planning.see, is_sure=True),
        )
        #: Deliveries made by this process: what a count of the open ones does not know yet.
        self.made = 0

    async def pending(self) -> int:
        """How many deliveries are open."""
        return int((await self._database.look(_PENDING))[0][0])

    async def accept(
        self,
        group: Sequence[AcceptRequest],
        *,
        bounded: bool = True,
        foretell: Foretell | None = None,
    ) -> list[AcceptResult]:
        """Commit the group.

        Raises:
            GroupTooWideError: ``bounded``, and it makes more than 5,000 deliveries; nothing was
            kept.
            StoreUnavailableError: nothing was kept.
        """
        dead: set[bytes] = set()

        async def job(tx: Tx) -> _Done:
            done = await self._accept(tx, group, dead, bounded=bounded)
            if foretell is None or tx.is_shared or not done.lanes:
                return done
            foretell(done.lanes)
            tx.stay_open()
            return replace(done, lanes=frozenset())

        async def work() -> _Done:
            if (done := await self._at_once(group, dead, bounded=bounded)) is not None:
                return done
            return await self._database.write(job, Use.ACCEPT, _is_logged)

        done = await moving.judged_again(work)
        if self._database.is_shared:
            self.recalled.note(done.operations)
        self.made += done.made
        for event in done.events[:1]:
            tenants = (each.tenant_id for each in done.events)
            self._counts.add(tallying.accepted(tenants, event.created_at))
        return [AcceptResult(answer, done.lanes) for answer in done.answers]

    def _is_plain(self, group: Sequence[AcceptRequest]) -> bool:
        """Whether it is only about events, of tenants whose subscriptions are known."""
        if any(each.once or each.retry or each.note for each in group):
            return False
        return self._feeds.is_plain({each.tenant_id for each in group})

    async def _at_once(
        self, group: Sequence[AcceptRequest], dead: set[bytes], *, bounded: bool
    ) -> _Done | None:
        """Accept a group by one statement; ``None`` where that cannot be done."""
        ways = self._ways if self._database.is_shared and self._is_plain(group) else ()
        for way in ways:
            if not way.luck.is_tried():
                continue
            job = partial(self._accept_ahead, way, group, dead, bounded=bounded)
            try:
                done = await self._database.write(job, Use.ACCEPT, _is_logged)
            except UnexpectedError:
                way.luck.failed()
            else:
                way.luck.held()
                return done
        return None

    async def _accept_ahead(
        self,
        way: "_Way",
        group: Sequence[AcceptRequest],
        dead: set[bytes],
        tx: Tx,
        *,
        bounded: bool,
    ) -> _Done:
        """Judge by what nobody is kept from changing, and write it if nobody did.

        Raises:
            UnexpectedError: somebody did.
        """
        known = await way.known(tx, group)
        work = Work(known.planner(self._making(tx)), set())
        await judge_all(tx, work, group, dead, {})
        # what is refused leaves nothing by which it would be seen that the reason is gone
        if not way.is_sure and len(work.planner.events) < _size(group):
            raise UnexpectedError
        if not self._is_plain(group):  # others learnt of more while this waited for its turn
            raise UnexpectedError
        made = work.planner.events
        deliveries = self._feeds.foresee(made, tx.now)
        _bound(bounded, made, deliveries)
        moves = work.moves()
        done = _done(tx, work, moves, deliveries)
        asked = confirming.look(group, dead, tx.now)
        new = (made, deliveries, self._feeds.versions(made))

        async def trace(tx: Tx) -> bool:  # what made no event left none, and is asked once more
            return bool(made) and await _is_logged(tx, done)

        await feeding.write(tx, moves, new, asked, trace)
        return done

    async def _accept(
        self, tx: Tx, group: Sequence[AcceptRequest], dead: set[bytes], *, bounded: bool
    ) -> _Done:
        keyed = [(request.tenant_id, request.once.key) for request in group if request.once]
        running = await once.hold(tx, keyed)
        answers = await once.find_answers(tx, keyed)
        known = await planning.hold(tx, group)
        work = Work(known.planner(self._making(tx)), running)
        await judge_all(tx, work, group, dead, answers)
        made = work.planner.events
        deliveries = await self._feeds.number(tx, made)
        _bound(bounded, made, deliveries)
        deliveries = await ordering.park(tx, deliveries, self._keys)
        moves, asked = work.moves(), confirming.look(group, dead, tx.now)
        written = await _write(tx, made, moves, deliveries, asked)
        await confirming.judge(tx, asked, written, dead)
        await self._note(tx, work.noted)
        await once.keep_answers(tx, work.kept)
        return _done(tx, work, moves, deliveries)

    async def announce(self, tx: Tx, new: list[NewEvent]) -> frozenset[int]:
        """Write events that have no operation, with what tells of them; the lanes they are for."""
        deliveries = await self._feeds.number(tx, new)
        await tx.together(*feeding.inserts(new, deliveries))
        self.made += len(deliveries)
        return frozenset(row[1] for row in deliveries)

    def _making(self, tx: Tx) -> Making:
        return Making(self._keys, tx.now, drawn(self._dice.bytes, _SALT).__next__, self._ttl)

    async def _note(self, tx: Tx, requests: Iterable[AcceptRequest]) -> None:
        for request in requests:
            note = request.note
            if note is not None:
                who = (request.tenant_id, note.actor)
                await auditing.note(tx, self._keys, who, note.action, note.target, note.detail)


async def _is_logged(tx: Tx, done: _Done) -> bool:
    """Whether the group is there: all of it, if its first event is."""
    for event in done.events[:1]:
        rows = await tx.fetch(_EVENT_KEY, tenant=event.tenant_id, name=event.id)
        return rows == [(event.key,)]
    return True


def _size(group: Iterable[AcceptRequest]) -> int:
    """How many events it is about, those left out in which a fault was found."""
    return sum(not isinstance(event, Refusal) for each in group for event in each.events)


def _bound(bounded: bool, made: Sequence[NewEvent], deliveries: list[Row]) -> None:  # noqa: FBT001  as it was asked
    if bounded and len(deliveries) > MAX_DELIVERIES and len(made) > 1:
        raise GroupTooWideError


async def _write(
    tx: Tx,
    new: list[NewEvent],
    moves: list[moving.Move],
    deliveries: list[Row],
    beside: Change,
) -> int:
    """Write it; how many rows that gives which is done beside it."""
    if not new:
        return (await tx.together(beside))[0]
    return (await moving.write(tx, moves, (*feeding.inserts(new, deliveries), beside)))[-1]


def _done(tx: Tx, work: Work, moves: list[moving.Move], deliveries: list[Row]) -> _Done:
    lanes = frozenset(row[1] for row in deliveries if row[2] <= tx.now)
    changed = [after for _, after in moves]
    return _Done(work.answers, lanes, work.planner.events, len(deliveries), changed)
