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
    Accepted,
    KnownEvent,
    Making,
    NewEvent,
    Planner,
    TenantName,
    Verdict,
)
from service.domain.errors import Refusal, key_ended, still_running
from service.domain.ids import KeyMaker
from service.ports import (
    AcceptRequest,
    AcceptResult,
    Answer,
    Dice,
    Foretell,
    GroupTooWideError,
    Retried,
)
from service.store import (
    auditing,
    confirming,
    feeding,
    moving,
    once,
    ordering,
    retrying,
    tallying,
)
from service.store.counting import WaitingCounts
from service.store.database import Database, Tx, UnexpectedError, Use
from service.store.feeding import Feeds, Luck
from service.store.rows import OPERATION_COLUMNS, operation_of
from service.store.schema import delivery_queue, event_ids, events, operations
from service.store.statements import Change, Row, Statement, among, bytewise

if TYPE_CHECKING:
    from service.domain.operation import Operation

#: Delivery rows in one transaction, so that nobody waits long behind a wide fan-out.
MAX_DELIVERIES: Final = 5_000

_operations = (
    select(*(operations.c[name] for name in OPERATION_COLUMNS))
    .where(operations.c.tenant_id == bindparam("tenant"), among(operations.c.id, "names"))
    .order_by(bytewise(operations.c.id))
)
_SEE_OPERATIONS: Final = Statement(_operations)
_FIND_OPERATIONS: Final = Statement(_operations.with_for_update())
_FIND_IDS: Final = Statement(
    select(event_ids.c.event_key).where(
        event_ids.c.tenant_id == bindparam("tenant"), among(event_ids.c.id, "names")
    )
)
#: By keys that are given, so that only the parts are looked into that they are of.
_FIND_EVENTS: Final = Statement(
    select(
        events.c.id, events.c.type, events.c.operation_id, events.c.sequence, events.c.status
    ).where(among(events.c.key, "keys"))
)
_EVENT_KEY: Final = Statement(
    select(event_ids.c.event_key).where(
        event_ids.c.tenant_id == bindparam("tenant"), event_ids.c.id == bindparam("name")
    )
)
#: How a statement is read: in the transaction, or before it.
_Read = Callable[..., Awaitable[list[Row]]]
_PENDING: Final = Statement(select(func.count()).select_from(delivery_queue))


@dataclass(slots=True)
class _Work:
    """What one group comes to, before it is written."""

    planner: Planner
    #: Tenant and ``Idempotency-Key`` of requests that another process is about.
    running: set[once.TenantKey]
    answers: list[Answer] = field(default_factory=list)
    kept: list[once.KeptAnswer] = field(default_factory=list)
    #: The requests that changed something and want that in the audit log.
    noted: list[AcceptRequest] = field(default_factory=list)

    def moves(self) -> list[moving.Move]:
        """The operations that change."""
        return [(self.planner.before(each), each) for each in self.planner.changed_operations()]


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a group: answers, lanes to wake, its events, how many deliveries it made."""

    answers: list[Answer]
    lanes: frozenset[int]
    events: list[NewEvent]
    made: int


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
        self._luck = Luck()
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
            if self._database.is_shared and self._is_plain(group) and self._luck.is_tried():
                ahead = partial(self._accept_ahead, group=group, dead=dead, bounded=bounded)
                try:
                    done = await self._database.write(ahead, Use.ACCEPT, _is_logged)
                except UnexpectedError:
                    self._luck.failed()
                else:
                    self._luck.held()
                    return done
            return await self._database.write(job, Use.ACCEPT, _is_logged)

        done = await moving.judged_again(work)
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

    async def _accept_ahead(
        self, tx: Tx, group: Sequence[AcceptRequest], dead: set[bytes], *, bounded: bool
    ) -> _Done:
        """Judge by what nobody is kept from changing, and write it if nobody did.

        Raises:
            UnexpectedError: somebody did.
        """
        work = _Work(await self._planner(tx, tx.aside, _SEE_OPERATIONS, group), set())
        await _judge_all(tx, work, group, dead, {})
        if not self._is_plain(group):  # others learnt of more while this waited for its turn
            raise UnexpectedError
        made = work.planner.events
        deliveries = self._feeds.foresee(made, tx.now)
        _bound(bounded, made, deliveries)
        done = _done(tx, work, deliveries)
        asked = confirming.look(group, dead, tx.now)
        new = (made, deliveries, self._feeds.versions(made))

        async def trace(tx: Tx) -> bool:  # what made no event left none, and is asked once more
            return bool(made) and await _is_logged(tx, done)

        await feeding.write(tx, work.moves(), new, asked, trace)
        return done

    async def _accept(
        self, tx: Tx, group: Sequence[AcceptRequest], dead: set[bytes], *, bounded: bool
    ) -> _Done:
        keyed = [(request.tenant_id, request.once.key) for request in group if request.once]
        running = await once.hold(tx, keyed)
        answers = await once.find_answers(tx, keyed)
        work = _Work(await self._planner(tx, tx.fetch, _FIND_OPERATIONS, group), running)
        await _judge_all(tx, work, group, dead, answers)
        made = work.planner.events
        deliveries = await self._feeds.number(tx, made)
        _bound(bounded, made, deliveries)
        deliveries = await ordering.park(tx, deliveries, self._keys)
        asked = confirming.look(group, dead, tx.now)
        await confirming.judge(tx, asked, await _write(tx, work, deliveries, asked), dead)
        await self._note(tx, work.noted)
        await once.keep_answers(tx, work.kept)
        return _done(tx, work, deliveries)

    async def announce(self, tx: Tx, new: list[NewEvent]) -> frozenset[int]:
        """Write events that have no operation, with what tells of them; the lanes they are for."""
        deliveries = await self._feeds.number(tx, new)
        await tx.together(*feeding.inserts(new, deliveries))
        self.made += len(deliveries)
        return frozenset(row[1] for row in deliveries)

    async def _planner(
        self, tx: Tx, read: _Read, find: Statement, group: Sequence[AcceptRequest]
    ) -> Planner:
        known: dict[TenantName, Operation] = {}
        seen: dict[TenantName, KnownEvent] = {}
        for tenant, (wanted, ids) in sorted(_names(group).items()):
            for row in await read(find, tenant=tenant, names=sorted(wanted)):
                operation = operation_of(row)
                known[tenant, operation.id] = operation
            for row in await _known_events(read, tenant, sorted(ids)):
                seen[tenant, row[0]] = KnownEvent(*row[1:])
        making = Making(self._keys, tx.now, lambda: self._dice.bytes(4), self._ttl)
        return Planner(known, seen, making)

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


async def _known_events(read: _Read, tenant: str, names: list[str]) -> list[Row]:
    """Those of these events that there are: id, type, operation id, sequence and status."""
    found = await read(_FIND_IDS, tenant=tenant, names=names) if names else []
    return await read(_FIND_EVENTS, keys=[row[0] for row in found]) if found else []


def _names(group: Sequence[AcceptRequest]) -> dict[str, tuple[set[str], set[str]]]:
    """The operation ids and the event ids that a group names, by tenant."""
    names: dict[str, tuple[set[str], set[str]]] = {}
    for request in group:
        operation_ids, given_ids = names.setdefault(request.tenant_id, (set(), set()))
        sound = [event for event in request.events if not isinstance(event, Refusal)]
        operation_ids.update(event.operation_id for event in sound if event.operation_id)
        given_ids.update(event.id for event in sound if event.id)
        if request.retry is not None:
            operation_ids.add(request.retry.failed)
    return names


Answers = dict[tuple[str, str], tuple[bytes, bytes]]


async def _judge_all(
    tx: Tx, work: _Work, group: Iterable[AcceptRequest], dead: set[bytes], answers: Answers
) -> None:
    for request in group:
        is_dead = request.credential in dead
        work.answers.append(key_ended() if is_dead else await _judge(tx, work, request, answers))


async def _judge(tx: Tx, work: _Work, request: AcceptRequest, answers: Answers) -> Answer:
    only = request.once
    if only is not None:
        if (request.tenant_id, only.key) in work.running:
            return still_running(only.key)
        kept = answers.get((request.tenant_id, only.key))
        if kept is not None:
            return once.judge(only, *kept)
    result: list[Verdict] | Retried | Refusal
    if request.retry is None:
        result = _take(work.planner, request)
    else:
        result = await retrying.retry(tx, work.planner, request.tenant_id, request.retry)
    if request.note is not None and _is_new(result):
        work.noted.append(request)
    answer = None if only is None or isinstance(result, Refusal) else only.render(result)
    if only is not None and answer is not None:
        row = (request.tenant_id, only.key, only.fingerprint, answer, tx.now)
        work.kept.append(row)
        # the same request once more in this group is answered like one that comes later
        answers[request.tenant_id, only.key] = (only.fingerprint, answer)
    return result


def _take(planner: Planner, request: AcceptRequest) -> list[Verdict]:
    tenant, guard = request.tenant_id, request.guard
    return [
        each if isinstance(each, Refusal) else planner.take(tenant, each, guard)
        for each in request.events
    ]


def _is_new(result: list[Verdict] | Retried | Refusal) -> bool:
    """Whether the request changed something."""
    if isinstance(result, list):
        return any(isinstance(each, Accepted) and not each.duplicate for each in result)
    return isinstance(result, Retried) and result.made


def _bound(bounded: bool, made: Sequence[NewEvent], deliveries: list[Row]) -> None:  # noqa: FBT001  as it was asked
    if bounded and len(deliveries) > MAX_DELIVERIES and len(made) > 1:
        raise GroupTooWideError


async def _write(tx: Tx, work: _Work, deliveries: list[Row], beside: Change) -> int:
    """Write it; how many rows that gives which is done beside it."""
    new = work.planner.events
    if not new:
        return (await tx.together(beside))[0]
    return (await moving.write(tx, work.moves(), (*feeding.inserts(new, deliveries), beside)))[-1]


def _done(tx: Tx, work: _Work, deliveries: list[Row]) -> _Done:
    lanes = frozenset(row[1] for row in deliveries if row[2] <= tx.now)
    return _Done(work.answers, lanes, work.planner.events, len(deliveries))
