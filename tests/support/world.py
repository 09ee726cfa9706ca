"""A real store in a temporary file, and short words for what tests do with it."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Raw
from sqlalchemy import Table, insert, select

from service.domain.acceptance import Accepted, Verdict
from service.domain.errors import Refusal
from service.domain.event import EventIn
from service.domain.ids import DeliveryRef, KeyMaker
from service.domain.operation import END_TYPES, REPLAY_TYPE, Operation
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.retry import judge
from service.domain.subscription import Subscription, SubscriptionStatus, changed
from service.ports import (
    AcceptRequest,
    Claim,
    Claimed,
    Described,
    LaneQuota,
    NewSubscription,
    Once,
    OperationPlan,
    Replayed,
    ReplayPlan,
    Settled,
    Settlement,
)
from service.store import schema
from service.store.accepting import AcceptStore
from service.store.announcing import Announcer
from service.store.counting import WaitingCounts
from service.store.database import Tx
from service.store.delivering import DeliverStore
from service.store.lifetimes import LifetimeStore
from service.store.managing import ManageStore
from service.store.newest import newest_key
from service.store.operating import OperationStore
from service.store.reading import ReadStore
from service.store.replaying import ReplayStore
from service.store.sqlite.migrating import migrate
from service.store.sweeping import SweepStore
from service.store.traffic import TrafficStore
from tests.support import templates
from tests.support.clock import FakeClock
from tests.support.databases import Place, database_at
from tests.support.dice import SeededDice

#: Three attempts: at once, after about 5 s, after about 5 min.
SCHEDULE = (0.0, 5.0, 300.0)
LEASE = 30_000
#: How long an operation that ended is readable, in ms.
TTL = 24 * 3600 * 1000
MIDDLE = 0.5  # of the dice: no jitter


class World:
    """The store, opened; :meth:`crash` opens it anew as after a crash."""

    def __init__(
        self,
        place: Place,
        clock: FakeClock,
        schedule: Sequence[float] = SCHEDULE,
        *,
        breaker: bool = False,
    ) -> None:
        self.place = place
        self.clock = clock
        self.schedule = tuple(schedule)
        #: Whether circuits open: most tests let more fail than they would wait for.
        self.breaker = breaker
        self.dice = SeededDice()

    async def open(self) -> None:
        self.database = database_at(self.place, self.clock)
        await self.database.open()
        self.keys = KeyMaker(self.database.node, await newest_key(self.database))
        self.counts = WaitingCounts(self.database)
        self.accept = AcceptStore(
            self.database, self.keys, self.counts, self.dice, self.schedule, TTL
        )
        announcer = Announcer(self.accept, self.keys, self.dice)
        self.deliver = DeliverStore(
            self.database, self.keys, announcer, self.counts, breaker=self.breaker
        )
        self.sweep = SweepStore(self.database, announcer, self.counts, breaker=self.breaker)
        self.replay = ReplayStore(self.database, self.keys)
        self.manage = ManageStore(self.database, self.keys)
        self.operations = OperationStore(self.database, self.keys, TTL, self.accept.recalled)
        self.lifetimes = LifetimeStore(self.database, TTL)
        self.read = ReadStore(self.database, breaker=self.breaker)
        self.traffic = TrafficStore(self.database)

    async def close(self) -> None:
        await self.database.close()

    async def crash(self) -> None:
        """Forget everything that is not in the database, and start as the service does."""
        await self.close()
        await self.open()
        if self.database.is_shared:  # then the leases of who is gone run out, all in their time
            await self.sql("UPDATE delivery_queue SET due_at = ? WHERE token IS NOT NULL", 0)
        while await self.sweep.reclaim(self.schedule, everything=True):
            pass

    # --- rows

    async def rows(self, table: Table, **which: object) -> list[dict[str, Any]]:
        """Rows of a table by primary key, those with these values only."""
        wanted = [table.c[name] == value for name, value in which.items()]
        async with self.database.read() as tx:
            return await tx.query(select(table).where(*wanted).order_by(*table.primary_key.columns))

    async def sql(self, text: str, *arguments: object) -> list[Any]:
        """Run one changing statement."""

        async def job(tx: Tx) -> list[Any]:
            return await tx.sql(text, arguments)

        return await self.database.write(job)

    async def tenant(self, name: str) -> None:
        """Make another tenant."""
        values = {"id": name, "name": name, "created_at": 0, "feed_position": 0}

        async def job(tx: Tx) -> None:
            await tx.change(insert(schema.tenants).values(config_version=1, **values))

        await self.database.write(job)

    # --- subscriptions

    async def subscribe(
        self, name: str = "sub", tenant: str = "default", **members: object
    ) -> Subscription:
        """Make a subscription the way the service does."""
        plain = Subscription(
            no=0, id=name, tenant_id=tenant, url="https://example.com", created_at=0, updated_at=0
        )
        made = await self.manage.create_subscription(
            NewSubscription(changed(plain, **members), b"sealed"), "key_test"
        )
        assert isinstance(made, Subscription)
        return made

    async def change(self, subscription: Subscription, **members: object) -> Subscription:
        """Change a subscription as it is now."""
        after = await self.manage.change_subscription(
            subscription.tenant_id,
            subscription.id,
            lambda now: changed(now, **members),
            "key_test",
            "subscription.changed",
        )
        assert isinstance(after, Subscription)
        return after

    async def set_status(self, subscription: Subscription, status: str) -> Subscription:
        """Pause, disable or resume."""
        return await self.change(subscription, status=SubscriptionStatus(status), hold_until=0)

    async def delete(self, subscription: Subscription) -> None:
        refused = await self.manage.delete_subscription(
            subscription.tenant_id, subscription.id, "key_test"
        )
        assert refused is None

    # --- operations

    async def describe(
        self,
        name: str = "op",
        *,
        webhook: Mapping[str, Any] | None = None,
        once: Once | None = None,
        named: bool = True,
        **members: object,
    ) -> Described | Refusal | Replayed:
        """Describe an operation the way the service does; ``webhook``: members of its own."""
        now = self.clock.now()
        values = {"type": "report", "described": True, "tenant_id": "default", **members}
        operation = Operation(
            key=self.keys.next(now),
            id=name,
            created_at=now,
            updated_at=now,
            **values,  # type: ignore[arg-type]  # members of many types
        )
        own = None
        if webhook is not None:
            plain = Subscription(
                no=0,
                id=f"sub_{name}",
                tenant_id=operation.tenant_id,
                url="https://example.com",
                event_types=END_TYPES,
                operation_id=name,
                created_at=0,
                updated_at=0,
            )
            own = NewSubscription(changed(plain, **webhook), b"sealed")
        plan = OperationPlan(operation, named, own)
        return await self.operations.create(plan, "key_test", once)

    async def described(self, name: str = "op", **members: Any) -> Described:  # noqa: ANN401  members of many types
        """Describe an operation to which there is no objection."""
        made = await self.describe(name, **members)
        assert isinstance(made, Described), made
        return made

    async def operation(self, name: str = "op", tenant: str = "default") -> Operation:
        """An operation that is there."""
        found = await self.read.operation(tenant, name)
        assert found is not None
        return found

    # --- events

    async def post(
        self, *events: EventIn | Refusal, tenant: str = "default", once: Once | None = None
    ) -> list[Verdict]:
        """Accept events as one request; their verdicts."""
        (result,) = await self.accept.accept([AcceptRequest(tenant, events, once)])
        assert isinstance(result.answer, list)
        return result.answer

    async def posted(self, *events: EventIn, tenant: str = "default") -> list[Accepted]:
        """Accept events none of which is refused."""
        return [accepted(each) for each in await self.post(*events, tenant=tenant)]

    async def kept(self) -> list[dict[str, Any]]:
        """The events that are not forgotten, oldest first."""
        ((floor,),) = await self.sql("SELECT forgotten_before FROM retention")
        return [row for row in await self.rows(schema.events) if row["key"] >= floor]

    async def log(self) -> list[dict[str, Any]]:
        """The events of operations, oldest first."""
        rows = await self.kept()
        return [row for row in rows if row["operation_id"] is not None]

    async def told(self) -> list[dict[str, Any]]:
        """The operational events, oldest first."""
        rows = await self.kept()
        return [row for row in rows if row["operation_id"] is None]

    async def event_keys(self) -> dict[str, int]:
        """The key of each event by its id."""
        return {row["id"]: row["event_key"] for row in await self.rows(schema.event_ids)}

    async def queued(self, subscription: Subscription, count: int) -> list[DeliveryRef]:
        """Post ``count`` events; the deliveries made for the subscription."""
        before = {row["event_key"] for row in await self.rows(schema.delivery_queue)}
        await self.posted(*(event(f"op{n}") for n in range(count)))
        rows = await self.rows(schema.delivery_queue, subscription_no=subscription.no)
        return [ref_of(row) for row in rows if row["event_key"] not in before]

    # --- deliveries

    async def claim(self, *lanes: int, quota: int = 100, lease: int = LEASE) -> list[Claimed]:
        """Claim from these lanes, or from every lane that has something due."""
        return list((await self.claim_all(*lanes, quota=quota, lease=lease)).deliveries)

    async def claim_all(self, *lanes: int, quota: int = 100, lease: int = LEASE) -> Claim:
        wanted = lanes or await self.sweep.due_lanes()
        return await self.deliver.claim([LaneQuota(each, quota) for each in wanted], lease)

    def settlement(self, claimed: Claimed, outcome: Outcome | int = 200) -> Settlement:
        """What came of a delivery: an outcome, or the status of an answer."""
        came = answer(outcome) if isinstance(outcome, int) else outcome
        verdict = judge(came, claimed.step, self.schedule, MIDDLE, self.clock.now())
        return Settlement(claimed, came, verdict, self.clock.now(), b"{}")

    async def settle(self, claimed: Iterable[Claimed], outcome: Outcome | int = 200) -> Settled:
        """Settle each with the same outcome."""
        return await self.deliver.settle([self.settlement(each, outcome) for each in claimed])

    async def deliver_due(self, outcome: Outcome | int = 200) -> list[Claimed]:
        """Claim everything due and settle it."""
        claimed = await self.claim()
        await self.settle(claimed, outcome)
        return claimed

    async def exhaust(self, outcome: Outcome | int = 500) -> None:
        """Let everything fail until nothing is due any more however long one waits."""
        for _ in self.schedule:
            await self.deliver_due(outcome)
            self.clock.advance(10**6)

    async def status(self, ref: DeliveryRef) -> str:
        """Where a delivery is: ``pending`` or ``delivering`` in the queue, or how it ended."""
        which = ref._asdict()
        queue = await self.rows(schema.delivery_queue, **which)
        ended = await self.rows(schema.deliveries, **which)
        assert len(queue) + len(ended) == 1, (queue, ended)
        if ended:
            return str(ended[0]["status"])
        return "pending" if queue[0]["token"] is None else "delivering"

    async def letter(self, ref: DeliveryRef) -> dict[str, Any] | None:
        """The dead letter of a delivery."""
        found = await self.rows(schema.dead_letters, **ref._asdict())
        return found[0] if found else None

    async def attempts(self, ref: DeliveryRef) -> list[dict[str, Any]]:
        """The attempts of a delivery, first one first."""
        return await self.rows(schema.attempts, **ref._asdict())

    # --- bulk replays

    def replay_operation(self, name: str = "replay", tenant: str = "default") -> Operation:
        now = self.clock.now()
        return Operation(
            key=self.keys.next(now),
            tenant_id=tenant,
            id=name,
            type=REPLAY_TYPE,
            created_at=now,
            updated_at=now,
            described=True,
        )

    def plan(self, **members: Any) -> ReplayPlan:  # noqa: ANN401  members of many types
        """A plan over everything until now: of one subscription when it is named."""
        kind = "subscription" if "subscription_no" in members else "dead_letters"
        plain = {"kind": kind, "only": "dead", "since": 0, "until": self.clock.now() + 1}
        return ReplayPlan(**{**plain, **members})


@asynccontextmanager
async def opened_world(
    place: Place, clock: FakeClock, schedule: Sequence[float] = SCHEDULE, *, breaker: bool = False
) -> AsyncIterator[World]:
    """A world over the migrated database at ``place``."""
    world = World(place, clock, schedule, breaker=breaker)
    await world.open()
    try:
        yield world
    finally:
        await world.close()


@cache
def migrated_file() -> bytes:
    """A database without rows: migrating for every test would be most of the tests' time."""
    given = os.environ.get(templates.SQLITE)
    if given:
        return Path(given).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ringback.db"
        migrate(path)
        return path.read_bytes()


def event(operation_id: str | None = "op", type_: str = "note", **members: Any) -> EventIn:  # noqa: ANN401  members of many types
    """An event as a producer posts it; JSON members are given as bytes."""
    raw: dict[str, Any] = {k: Raw(v) if isinstance(v, bytes) else v for k, v in members.items()}
    return EventIn(type=type_, operation_id=operation_id, **raw)


def accepted(verdict: Verdict) -> Accepted:
    assert isinstance(verdict, Accepted), verdict
    return verdict


def refused(verdict: object) -> Refusal:
    assert isinstance(verdict, Refusal), verdict
    return verdict


def answer(status: int, headers: Mapping[str, str] | None = None) -> Responded:
    """The answer of a receiver."""
    return Responded(status, tuple((headers or {}).items()), b"", body_cut=False, timing=Timing(1))


def fault(error: ErrorClass = ErrorClass.CONNECT) -> Failed:
    """An attempt that no answer came to."""
    return Failed(error, "no answer", Timing(1))


def ref_of(row: Mapping[str, Any]) -> DeliveryRef:
    return DeliveryRef(row["event_key"], row["subscription_no"])


def kept(key: str = "k", fingerprint: bytes = b"f", said: bytes | None = b"answer") -> Once:
    """An ``Idempotency-Key`` with the answer to keep under it."""
    return Once(key, fingerprint, lambda _: said)
