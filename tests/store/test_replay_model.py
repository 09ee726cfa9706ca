"""Bulk replays over events against a plain model: whatever lies between them, however one looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.ids import DeliveryRef
from service.domain.subscription import Subscription
from service.ports import ReplayPlan, ReplayRun
from service.store import bulk_replay, schema
from tests.support.world import World, event

pytestmark = pytest.mark.anyio

FINISHED = ("delivered", "cancelled")
#: What an event is to the subscription that is sent to again.
KINDS = ("missing", *FINISHED, "pending", "leased", "of another type", "of others")
NUMBERS = count()


@dataclass(frozen=True)
class Sent:
    """An event, and how many ms after the one before it it is posted."""

    kind: str
    after: int


@dataclass(frozen=True)
class Looks:
    """How far one goes, and what comes in between."""

    looked: int
    chunk: int
    limit: int
    arrivals: tuple[str, ...]

    @contextmanager
    def kept_to(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk_replay, "LOOKED", self.looked)
            patch.setattr(bulk_replay, "CHUNK", self.chunk)
            patch.setattr(bulk_replay, "MOST_LOOKS", 1_000)
            yield


@dataclass
class Model:
    """What was posted to a subscription: when, and what it is to that."""

    world: World
    lane: Subscription
    others: str
    kinds: dict[int, tuple[str, int]] = field(default_factory=dict)

    async def post(self, kind: str) -> None:
        name = f"e{next(NUMBERS)}"
        type_ = "other" if kind == "of another type" else "note"
        tenant = self.others if kind == "of others" else self.lane.tenant_id
        await self.world.posted(event(f"op-{name}", type_, id=name), tenant=tenant)
        (row,) = await self.world.rows(schema.event_ids, id=name)
        self.kinds[row["event_key"]] = kind, self.world.clock.now()
        await self._bring_about(kind, DeliveryRef(row["event_key"], self.lane.no))

    async def _bring_about(self, kind: str, ref: DeliveryRef) -> None:
        if kind == "missing":
            await self.world.sql("DELETE FROM delivery_queue WHERE event_key = ?", ref.event_key)
        elif kind == "cancelled":
            await self.world.replay.cancel_delivery(self.lane.tenant_id, ref, "key_test")
        elif kind in {"delivered", "leased"}:
            claimed = await self.world.claim(self.lane.no)
            own = [each for each in claimed if each.ref == ref]
            await self.world.deliver.release([each for each in claimed if each.ref != ref])
            await self.world.settle(own if kind == "delivered" else [])

    def wanted(self, plan: ReplayPlan) -> set[int]:
        kinds = {"missing", *(FINISHED if plan.only == "all" else ())}
        return {
            key
            for key, (kind, at) in self.kinds.items()
            if kind in kinds and plan.since <= at < plan.until
        }

    async def queued(self) -> dict[int, str]:
        """What is in the queue for it, and what put it there."""
        rows = await self.world.rows(schema.delivery_queue, subscription_no=self.lane.no)
        return {row["event_key"]: row["trigger"] for row in rows}


SENT = st.lists(st.builds(Sent, st.sampled_from(KINDS), st.sampled_from((0, 0, 1, 5))), max_size=9)
LOOKS = st.builds(
    Looks,
    looked=st.integers(1, 5),
    chunk=st.integers(1, 4),
    limit=st.integers(1, 4),
    arrivals=st.lists(st.sampled_from(("pending", "of others")), max_size=3).map(tuple),
)


async def model_of(world: World, sent: list[Sent]) -> Model:
    """A tenant with a subscription, another one beside him, and what was posted of both."""
    tenant, others = (f"tenant-{next(NUMBERS)}" for _ in range(2))
    await world.tenant(tenant)
    await world.tenant(others)
    lane = await world.subscribe(f"sub-{tenant}", tenant, event_types=("note",))
    model = Model(world, lane, others)
    for each in sent:
        world.clock.advance(each.after)
        await model.post(each.kind)
    return model


async def carried_through(model: Model, plan: ReplayPlan, looks: Looks) -> ReplayRun:
    """The replay once it is through, each step of which begins with what the store knows of it."""
    replays, arrivals = model.world.replay, list(looks.arrivals)
    operation = model.world.replay_operation(f"r{next(NUMBERS)}", model.lane.tenant_id)
    run = await replays.start_replay(operation, plan, "key_test")
    assert isinstance(run, ReplayRun)
    before = 0
    for _ in range(200):
        step = await replays.step_replay(run, looks.limit)
        assert step.run.replayed - before <= looks.limit
        if step.finished:
            return step.run
        before = step.run.replayed
        if arrivals:
            await model.post(arrivals.pop())
    raise AssertionError("a replay without end")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sent=SENT,
    looks=LOOKS,
    only=st.sampled_from(("missing", "all")),
    bounds=st.tuples(st.integers(-1, 8), st.integers(0, 20)),
    dry_run=st.booleans(),
)
async def test_everything_that_is_wanted_is_sent_once_and_nothing_else(
    world: World,
    sent: list[Sent],
    looks: Looks,
    only: str,
    bounds: tuple[int, int],
    *,
    dry_run: bool,
) -> None:
    begun = world.clock.now()
    model = await model_of(world, sent)
    since = begun + bounds[0]
    plan = world.plan(
        only=only,
        subscription_no=model.lane.no,
        since=since,
        until=since + bounds[1],
        dry_run=dry_run,
    )
    wanted, before = model.wanted(plan), await model.queued()

    with looks.kept_to():
        counted = await world.replay.count_replay(model.lane.tenant_id, plan)
        run = await carried_through(model, plan, looks)

    assert (counted, run.replayed) == (len(wanted), len(wanted))
    sent_again = dict.fromkeys(() if dry_run else wanted, "replay")
    after = await model.queued()
    arrived = {key: "schedule" for key in after if key not in before and key not in wanted}
    assert after == before | sent_again | arrived
    assert len(arrived) <= looks.arrivals.count("pending")
