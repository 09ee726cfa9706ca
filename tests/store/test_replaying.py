"""Replay: the same delivery again, one or many; cancel and discard."""

from itertools import pairwise
from typing import Any

import pytest

from service.domain.delivery import DeliveryStatus, Trigger
from service.domain.errors import RefusalKind
from service.domain.event import own_event
from service.domain.ids import DeliveryRef, delivery_id
from service.domain.operation import REPLAY_TYPE
from service.domain.subscription import Subscription
from service.ports import Replayed, ReplayPlan, ReplayRun, ReplayStep
from service.store import bulk_replay, schema
from tests.support.world import SCHEDULE, World, event, fault, kept, ref_of, refused

pytestmark = pytest.mark.anyio


async def replay_one(
    world: World, ref: DeliveryRef, trigger: Trigger = Trigger.REPLAY, tenant: str = "default"
) -> object:
    return await world.replay.replay_one(tenant, ref, trigger, "key_test")


async def dead(world: World, count: int = 1, name: str = "sub") -> list[DeliveryRef]:
    """Dead letters of a subscription, oldest event first."""
    lane = await world.subscribe(name)
    refs = await world.queued(lane, count)
    await world.exhaust()
    return refs


async def letter(world: World, ref: DeliveryRef) -> dict[str, Any]:
    found = await world.letter(ref)
    assert found is not None
    return found


async def audited(world: World) -> list[tuple[str, str]]:
    rows = await world.rows(schema.audit_log)
    return [(row["action"], row["target"]) for row in rows if row["target"] != "sub"]


# --- one


async def test_a_replay_reopens_the_same_delivery(world: World) -> None:
    (ref,) = await dead(world)

    assert await replay_one(world, ref) == ref

    (row,) = await world.rows(schema.delivery_queue)
    assert (ref_of(row), row["attempts"], row["step"]) == (ref, 3, 0)
    assert (row["due_at"], row["trigger"]) == (world.clock.now(), "replay")
    assert await world.rows(schema.deliveries) == []
    assert (await letter(world, ref))["state"] == "replaying"
    assert (await letter(world, ref))["replays"] == 1
    assert await audited(world) == [("delivery.replayed", delivery_id(ref))]


async def test_a_second_replay_under_way_makes_no_second_delivery(world: World) -> None:
    (ref,) = await dead(world)
    await replay_one(world, ref)

    for _ in range(2):
        again = refused(await replay_one(world, ref))
        assert again.kind is RefusalKind.CONFLICT
        assert again.extra == {"deliveryId": delivery_id(ref)}
        await world.claim()

    assert len(await world.rows(schema.delivery_queue)) == 1
    assert (await letter(world, ref))["replays"] == 1


async def test_a_resolved_dead_letter_is_not_replayed(world: World) -> None:
    (ref,) = await dead(world)
    await replay_one(world, ref)
    await world.deliver_due()

    again = refused(await replay_one(world, ref))

    assert again.kind is RefusalKind.CONFLICT
    assert "resolved" in again.detail
    assert await world.status(ref) == "delivered"


async def test_only_what_has_a_dead_letter_is_replayed(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)

    for unknown in (ref, DeliveryRef(ref.event_key, 99), DeliveryRef(1, lane.no)):
        assert refused(await replay_one(world, unknown)).kind is RefusalKind.NOT_FOUND
    await world.deliver_due()
    assert refused(await replay_one(world, ref)).kind is RefusalKind.NOT_FOUND


async def test_another_tenants_deliveries_are_not_there(world: World) -> None:
    (ref,) = await dead(world)
    await world.tenant("other")
    (open_,) = await world.queued(await world.subscribe("open"), 1)

    for each in (ref, open_):
        for trigger in (Trigger.REPLAY, Trigger.MANUAL):
            found = await replay_one(world, each, trigger, tenant="other")
            assert refused(found).kind is RefusalKind.NOT_FOUND
        cancelled = await world.replay.cancel_delivery("other", each, "key_test")
        assert refused(cancelled).kind is RefusalKind.NOT_FOUND
        discarded = await world.replay.discard("other", each, "key_test")
        assert refused(discarded).kind is RefusalKind.NOT_FOUND

    assert await world.status(ref) == "dead"
    assert await world.status(open_) == "pending"


@pytest.mark.parametrize("closing", ["disabled", "deleted"])
async def test_nothing_is_replayed_to_a_closed_subscription(world: World, closing: str) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.exhaust()
    if closing == "disabled":
        await world.set_status(lane, "disabled")
    else:
        await world.delete(lane)

    for trigger in (Trigger.REPLAY, Trigger.MANUAL):
        assert refused(await replay_one(world, ref, trigger)).kind is RefusalKind.CONFLICT

    assert (await letter(world, ref))["state"] == "open"
    assert await world.status(ref) == "dead"


async def test_a_replay_is_done_once_for_its_idempotency_key(world: World) -> None:
    (ref,) = await dead(world)

    async def ask(fingerprint: bytes) -> object:
        return await world.replay.replay_one(
            "default", ref, Trigger.REPLAY, "key_test", kept(fingerprint=fingerprint)
        )

    assert await ask(b"f") == ref
    assert await ask(b"f") == Replayed(b"answer")
    assert refused(await ask(b"g")).kind is RefusalKind.IDEMPOTENCY_KEY_REUSED


async def test_a_manual_retry_hurries_what_is_pending(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.deliver_due(500)
    assert await world.claim(lane.no) == []

    assert await replay_one(world, ref, Trigger.MANUAL) == ref

    (claimed,) = await world.claim(lane.no)
    assert (claimed.attempt, claimed.step, claimed.trigger) == (2, 2, "manual")
    await world.settle([claimed], 500)
    (row,) = await world.rows(schema.delivery_queue)
    assert (row["trigger"], row["due_at"]) == ("schedule", world.clock.now() + 300_000)
    assert [each["trigger"] for each in await world.attempts(ref)] == ["schedule", "manual"]


async def test_a_manual_retry_leaves_what_is_being_sent_alone(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)
    (before,) = await world.rows(schema.delivery_queue)

    assert refused(await replay_one(world, ref, Trigger.MANUAL)).kind is RefusalKind.CONFLICT

    assert await world.rows(schema.delivery_queue) == [before]
    assert (await world.settle([claimed])).late == 0


@pytest.mark.parametrize("status", [200, 500])
async def test_what_is_finished_is_sent_again_by_hand(world: World, status: int) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.exhaust(status)
    had = len(await world.attempts(ref))

    assert await replay_one(world, ref, Trigger.MANUAL) == ref
    (claimed,) = await world.claim(lane.no)

    assert (claimed.attempt, claimed.step, claimed.trigger) == (had + 1, 1, "manual")
    await world.settle([claimed])
    assert await world.status(ref) == "delivered"
    if status == 500:
        assert (await letter(world, ref))["state"] == "resolved"


# --- cancel


async def test_a_cancelled_delivery_leaves_the_queue(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)

    done = await world.replay.cancel_delivery("default", ref, "key_test")

    assert done is DeliveryStatus.CANCELLED
    assert await world.status(ref) == "cancelled"
    assert await world.claim(lane.no) == []
    assert await world.attempts(ref) == []
    assert await world.letter(ref) is None
    assert await audited(world) == [("delivery.cancelled", delivery_id(ref))]
    again = refused(await world.replay.cancel_delivery("default", ref, "key_test"))
    assert (again.kind, again.extra) == (RefusalKind.CONFLICT, {"currentStatus": "cancelled"})


async def test_the_result_of_what_was_cancelled_under_way_only_enters_the_log(
    world: World,
) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)
    await world.replay.cancel_delivery("default", ref, "key_test")
    (unknown,) = await world.attempts(ref)

    settled = await world.settle([claimed])

    assert (unknown["number"], unknown["error_class"]) == (1, "unknown")
    assert unknown["started_at"] == world.clock.now()
    assert settled.late == 1
    assert await world.status(ref) == "cancelled"
    (known,) = await world.attempts(ref)
    assert (known["status_code"], known["error_class"], known["message"]) == (200, None, None)


async def test_a_delivery_cancelled_under_way_leaves_no_gap_in_its_attempts(world: World) -> None:
    # the worker dies with it: no result ever comes
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.claim(lane.no)
    await world.replay.cancel_delivery("default", ref, "key_test")
    await world.crash()

    await replay_one(world, ref, Trigger.MANUAL)
    await world.deliver_due()

    assert [each["number"] for each in await world.attempts(ref)] == [1, 2]


async def test_a_cancelled_replay_leaves_its_dead_letter_open(world: World) -> None:
    (ref,) = await dead(world)
    await replay_one(world, ref)

    await world.replay.cancel_delivery("default", ref, "key_test")

    assert (await letter(world, ref))["state"] == "open"
    assert await replay_one(world, ref) == ref


async def test_cancelling_a_retry_does_not_open_a_resolved_dead_letter(world: World) -> None:
    (ref,) = await dead(world)
    await replay_one(world, ref)
    await world.deliver_due()
    resolved = await letter(world, ref)
    await replay_one(world, ref, Trigger.MANUAL)

    await world.replay.cancel_delivery("default", ref, "key_test")

    assert await letter(world, ref) == resolved


# --- discard


async def test_a_discarded_dead_letter_is_kept_in_the_audit_log_only(world: World) -> None:
    (ref,) = await dead(world)

    assert await world.replay.discard("default", ref, "key_test") is None

    assert await world.letter(ref) is None
    assert await world.status(ref) == "dead"
    (note,) = (await world.rows(schema.audit_log))[1:]
    assert note["action"] == "dead_letter.discarded"
    assert '"reason": "attempts_exhausted"' in note["detail"]
    again = refused(await world.replay.discard("default", ref, "key_test"))
    assert again.kind is RefusalKind.NOT_FOUND


@pytest.mark.parametrize("leased", [False, True])
async def test_a_dead_letter_under_way_is_not_discarded(world: World, *, leased: bool) -> None:
    (ref,) = await dead(world)
    await replay_one(world, ref)
    if leased:
        await world.claim()

    again = refused(await world.replay.discard("default", ref, "key_test"))

    assert again.extra == {"deliveryId": delivery_id(ref)}
    assert (await letter(world, ref))["state"] == "replaying"


async def test_a_resolved_dead_letter_whose_delivery_is_retried_is_not_discarded(
    world: World,
) -> None:
    # when its event is gone, the delivery lives on the dead letter's copy alone
    (ref,) = await dead(world)
    await replay_one(world, ref)
    await world.deliver_due()
    await replay_one(world, ref, Trigger.MANUAL)

    assert refused(await world.replay.discard("default", ref, "key_test")).kind is (
        RefusalKind.CONFLICT
    )
    await world.deliver_due()
    assert await world.replay.discard("default", ref, "key_test") is None


async def test_a_discarded_delivery_that_fails_again_has_a_dead_letter_again(world: World) -> None:
    (ref,) = await dead(world)
    await world.replay.discard("default", ref, "key_test")
    await replay_one(world, ref, Trigger.MANUAL)
    await world.exhaust(fault())

    again = await letter(world, ref)
    assert (again["state"], again["replays"], again["attempts"]) == ("open", 0, 6)


# --- many: dead letters


async def start(world: World, plan: ReplayPlan, name: str = "replay") -> ReplayRun:
    run = await world.replay.start_replay(world.replay_operation(name), plan, "key_test")
    assert isinstance(run, ReplayRun)
    return run


async def finish(world: World, run: ReplayRun, limit: int = 100) -> ReplayRun:
    """Step until nothing is left."""
    for _ in range(100):
        step = await world.replay.step_replay(run, limit)
        run = step.run
        if step.finished:
            return run
    raise AssertionError("a replay without end")


async def reopened(world: World) -> list[DeliveryRef]:
    return [ref_of(row) for row in await world.rows(schema.delivery_queue)]


async def test_a_bulk_replay_reopens_every_open_dead_letter(world: World) -> None:
    refs = await dead(world, 5)

    run = await start(world, world.plan())
    step = await world.replay.step_replay(run, 100)

    assert run.matched == 5
    assert (step.finished, step.run.replayed, step.run.skipped) == (True, 5, 0)
    assert step.lanes == {refs[0].subscription_no}
    assert await reopened(world) == refs
    assert len(await world.claim()) == 5
    assert {row["state"] for row in await world.rows(schema.dead_letters)} == {"replaying"}
    (operation,) = await world.rows(schema.operations, id="replay")
    assert (operation["type"], operation["status"]) == (REPLAY_TYPE, "PENDING")


async def test_a_step_reopens_no_more_than_its_limit(world: World) -> None:
    refs = await dead(world, 5)
    run = await start(world, world.plan())

    seen = []
    for _ in range(3):
        step = await world.replay.step_replay(run, 2)
        seen.append((len(await reopened(world)), step.run.replayed, step.finished))

    assert seen == [(2, 2, False), (4, 4, False), (5, 5, True)]
    assert await reopened(world) == refs


async def test_a_step_goes_on_where_the_store_says_not_where_the_caller_was(world: World) -> None:
    refs = await dead(world, 4)
    stale = await start(world, world.plan())
    await world.replay.step_replay(stale, 2)
    await world.crash()
    (present,) = await world.replay.running_replays()

    assert (present.replayed, present.cursor) == (2, refs[1])
    assert present.plan == stale.plan
    assert await finish(world, stale, 1) == await finish(world, present, 1)
    assert await reopened(world) == refs
    assert (await letter(world, refs[0]))["replays"] == 1


async def test_what_fails_again_meanwhile_is_not_taken_twice(world: World) -> None:
    refs = await dead(world, 3)
    run = await start(world, world.plan())
    await world.replay.step_replay(run, 2)
    await world.exhaust()
    await finish(world, run, 2)

    assert await reopened(world) == refs[2:]
    assert [(await letter(world, ref))["replays"] for ref in refs] == [1, 1, 1]


async def test_a_dry_run_counts_and_changes_nothing(world: World) -> None:
    await dead(world, 3)
    before = await world.rows(schema.dead_letters)

    run = await finish(world, await start(world, world.plan(dry_run=True)), 2)
    step = await world.replay.step_replay(run, 2)

    assert (run.replayed, step.lanes) == (3, frozenset())
    assert await world.rows(schema.dead_letters) == before
    assert await reopened(world) == []


async def test_a_plan_narrows_what_is_replayed(world: World) -> None:
    first, second = await world.subscribe("a"), await world.subscribe("b")
    await world.posted(event("op", "x.1"), event("op", "y.1"))
    await world.exhaust()
    (third,) = await dead(world, 1, "c")
    await world.sql("UPDATE dead_letters SET reason = 'gone' WHERE subscription_no = ?", second.no)
    at = (await letter(world, third))["dead_at"]

    async def matched(**members: object) -> set[tuple[int, str]]:
        name = f"dry{len(await world.rows(schema.replays))}"
        plan = world.plan(**members)
        counted = await world.replay.count_replay("default", plan)
        assert await world.replay.count_replay("other", plan) in (0, None)
        run = await start(world, plan, name)
        assert run.matched == counted
        if run.matched is not None:
            dry = await world.replay.step_replay(run, 100)
            assert dry.run.replayed == run.matched
        else:
            await world.replay.step_replay(run, 100)
        found = {
            (row["subscription_no"], (await world.letter(ref_of(row)) or {})["event_type"])
            for row in await world.rows(schema.delivery_queue)
        }
        for each in await reopened(world):
            await world.replay.cancel_delivery("default", each, "key_test")
        return found

    assert await matched(reason="gone") == {
        (second.no, "x.1"),
        (second.no, "y.1"),
        (second.no, "note"),
    }
    assert await matched(event_types=("x.*",)) == {(first.no, "x.1"), (second.no, "x.1")}
    assert await world.replay.count_replay("default", world.plan(event_types=("x.*",))) is None
    assert await matched(event_types=("x.1", "none")) == {(first.no, "x.1"), (second.no, "x.1")}
    assert await world.replay.count_replay("default", world.plan(event_types=("x.1",))) == 2
    assert await matched(subscription_no=first.no) == {
        (first.no, "x.1"), (first.no, "y.1"), (first.no, "note"),
    }  # fmt: skip
    assert {no for no, _ in await matched(since=at)} == {first.no, second.no, third.subscription_no}
    assert {kind for _, kind in await matched(since=at)} == {"note"}
    assert {kind for _, kind in await matched(until=at)} == {"x.1", "y.1"}


async def test_dead_letters_of_closed_subscriptions_are_skipped(world: World) -> None:
    names = ("open", "disabled", "deleted")
    lanes = {name: await world.subscribe(name) for name in names}
    await world.posted(event())
    await world.exhaust()
    await world.set_status(lanes["disabled"], "disabled")
    await world.delete(lanes["deleted"])

    run = await finish(world, await start(world, world.plan()), 1)

    assert (run.matched, run.replayed, run.skipped) == (3, 1, 2)
    assert [ref.subscription_no for ref in await reopened(world)] == [lanes["open"].no]


async def test_another_tenants_dead_letters_are_not_replayed(world: World) -> None:
    await dead(world)
    await world.tenant("other")
    operation = world.replay_operation(tenant="other")
    run = await world.replay.start_replay(operation, world.plan(), "key_test")
    assert isinstance(run, ReplayRun)

    run = await finish(world, run)

    assert (run.matched, run.replayed) == (0, 0)
    assert await reopened(world) == []


async def cancel(world: World, name: str = "replay") -> None:
    await world.posted(own_event("CANCELLED", name, operation_type=REPLAY_TYPE))


async def test_cancelling_its_operation_ends_a_bulk_replay(world: World) -> None:
    refs = await dead(world, 3)
    run = await start(world, world.plan())
    await world.replay.step_replay(run, 1)
    await cancel(world)

    step = await world.replay.step_replay(run, 100)

    assert (step.finished, step.lanes, step.run.replayed) == (True, frozenset(), 1)
    assert await reopened(world) == refs[:1]


async def test_a_finished_replay_runs_no_more(world: World) -> None:
    first, second = await start(world, world.plan()), await start(world, world.plan(), "second")

    await world.replay.finish_replay(first)

    assert [each.operation.id for each in await world.replay.running_replays()] == ["second"]
    assert second.operation.id == "second"


async def test_a_bulk_replay_is_started_once_for_its_idempotency_key(world: World) -> None:
    async def ask(name: str) -> object:
        return await world.replay.start_replay(
            world.replay_operation(name), world.plan(), "key_test", kept()
        )

    assert isinstance(await ask("first"), ReplayRun)
    assert await ask("second") == Replayed(b"answer")
    assert len(await world.rows(schema.replays)) == 1
    assert len(await world.rows(schema.operations)) == 1


# --- many: events of a subscription


async def history(world: World) -> Subscription:
    """Events before and after a subscription came: missing, delivered, dead, pending, cancelled."""
    await world.posted(event("before", id="missing"))
    lane = await world.subscribe()
    await world.posted(event("op", id="delivered"))
    await world.deliver_due(200)
    await world.posted(event("op", id="dead"))
    await world.exhaust()
    await world.posted(event("op", id="cancelled"))
    (ref,) = await reopened(world)
    await world.replay.cancel_delivery("default", ref, "key_test")
    await world.posted(event("op", id="pending"))
    return lane


async def names(world: World) -> dict[str, tuple[int, str]]:
    """Attempts and trigger of what is in the queue, by event id."""
    by_key = {key: name for name, key in (await world.event_keys()).items()}
    return {
        by_key[row["event_key"]]: (row["attempts"], row["trigger"])
        for row in await world.rows(schema.delivery_queue)
    }


async def test_missing_creates_only_what_never_existed(world: World) -> None:
    lane = await history(world)

    run = await finish(
        world, await start(world, world.plan(subscription_no=lane.no, only="missing"))
    )

    assert (run.matched, run.replayed, run.skipped) == (None, 1, 0)
    assert await names(world) == {"missing": (0, "replay"), "pending": (0, "schedule")}


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_a_tenant_who_has_few_among_many_is_looked_for_bit_by_bit(
    world: World, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    monkeypatch.setattr(bulk_replay, "LOOKED", 3)
    await world.tenant("other")
    for n in range(7):
        await world.posted(*(event(f"o{n}") for _ in range(n)), tenant="other")
        await world.posted(event(f"own{n}"))
    lane = await world.subscribe("late")
    plan = world.plan(subscription_no=lane.no, only=only)

    counted = await world.replay.count_replay("default", plan)
    run = await start(world, plan)
    looks: list[ReplayStep] = []
    while not looks or not looks[-1].finished:
        looks.append(await world.replay.step_replay(looks[-1].run if looks else run, 2))

    assert counted == 7
    assert len(await world.rows(schema.delivery_queue)) == 7
    assert looks[-1].run.replayed == 7
    assert len(looks) >= 28 // 3  # of three events of anybody at most
    cursors = [each.run.cursor for each in looks]
    assert cursors == sorted(cursors)


async def test_all_reopens_what_is_finished_and_leaves_the_rest(world: World) -> None:
    lane = await history(world)

    run = await finish(world, await start(world, world.plan(subscription_no=lane.no, only="all")))

    assert run.replayed == 4
    assert await names(world) == {
        "missing": (0, "replay"),
        "delivered": (1, "replay"),
        "dead": (3, "replay"),
        "cancelled": (0, "replay"),
        "pending": (0, "schedule"),
    }
    assert await world.rows(schema.deliveries) == []
    (letter,) = await world.rows(schema.dead_letters)
    assert (letter["state"], letter["replays"]) == ("replaying", 1)


async def test_dead_of_a_subscription_reopens_its_dead_letters_alone(world: World) -> None:
    lane = await history(world)

    run = await finish(world, await start(world, world.plan(subscription_no=lane.no)))

    assert (run.matched, run.replayed) == (1, 1)
    assert await names(world) == {"dead": (3, "replay"), "pending": (0, "schedule")}


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_a_dry_run_over_events_changes_nothing(world: World, only: str) -> None:
    lane = await history(world)
    before = await names(world)

    run = await finish(
        world, await start(world, world.plan(subscription_no=lane.no, only=only, dry_run=True)), 1
    )

    assert run.replayed == {"missing": 1, "all": 4}[only]
    assert await names(world) == before
    assert len(await world.rows(schema.deliveries)) == 3


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_steps_over_events_keep_to_their_limit_and_miss_nothing(
    world: World, limit: int
) -> None:
    await world.posted(*(event("op", "x" if n % 3 else "y", id=f"e{n}") for n in range(30)))
    lane = await world.subscribe(event_types=("x",))
    run = await start(world, world.plan(subscription_no=lane.no, only="missing"))
    counts = [0]
    step = ReplayStep(run, frozenset(), finished=False)
    while not step.finished:
        step = await world.replay.step_replay(run, limit)
        counts.append(len(await reopened(world)))
        if len(counts) % 2:
            await world.crash()

    assert all(after - before <= limit for before, after in pairwise(counts))
    assert counts[-1] == 20
    assert step.run.replayed == 20


async def test_steps_that_reopen_keep_to_their_limit(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 5)
    await world.deliver_due()
    run = await start(world, world.plan(subscription_no=lane.no, only="all"))

    steps = [await world.replay.step_replay(run, 2) for _ in range(3)]

    assert [step.run.replayed for step in steps] == [2, 4, 5]
    assert [step.finished for step in steps] == [False, False, True]


async def test_only_events_that_match_within_the_bounds_are_replayed(world: World) -> None:
    await world.posted(event("op", "a.early"))
    world.clock.advance(10)
    since = world.clock.now()
    await world.posted(event("op", "a.in"), event("op", "a.other"), event("op", "b.in"))
    world.clock.advance(10)
    until = world.clock.now()
    await world.posted(event("op", "a.late"))
    lane = await world.subscribe(event_types=("a.*",))
    plan = world.plan(
        subscription_no=lane.no, only="missing", since=since, until=until, event_types=("*.in",)
    )

    run = await finish(world, await start(world, plan))

    assert run.replayed == 1
    (claimed,) = await world.claim()
    assert (claimed.event_type, claimed.trigger) == ("a.in", "replay")


async def test_a_replays_own_events_are_never_replayed(world: World) -> None:
    lane = await world.subscribe(operation_types=(REPLAY_TYPE, "report"))
    await start(world, world.plan(), "running")
    await world.posted(own_event("STARTED", "running", operation_type=REPLAY_TYPE))
    await world.posted(event("op", operation_type="report", id="mine"))
    assert len(await world.deliver_due()) == 2

    run = await finish(world, await start(world, world.plan(subscription_no=lane.no, only="all")))

    assert run.replayed == 1
    assert list(await names(world)) == ["mine"]


@pytest.mark.parametrize("closing", ["disabled", "deleted"])
async def test_nothing_is_made_for_a_subscription_that_was_closed_meanwhile(
    world: World, closing: str
) -> None:
    await world.posted(*(event("op") for _ in range(3)))
    lane = await world.subscribe()
    run = await start(world, world.plan(subscription_no=lane.no, only="missing"))
    await world.replay.step_replay(run, 1)
    if closing == "disabled":
        await world.set_status(lane, "disabled")
    else:
        await world.delete(lane)

    step = await world.replay.step_replay(run, 100)

    assert step.finished
    assert len(await reopened(world)) == 1


async def test_another_tenants_events_are_not_replayed(world: World) -> None:
    await world.tenant("other")
    await world.posted(event("theirs"), tenant="other")
    await world.posted(event("ours"))
    lane = await world.subscribe()

    run = await finish(
        world, await start(world, world.plan(subscription_no=lane.no, only="missing"))
    )

    assert run.replayed == 1


async def test_a_replayed_delivery_goes_through_its_schedule_anew(world: World) -> None:
    (ref,) = await dead(world)
    await finish(world, await start(world, world.plan()))

    for number, _ in enumerate(SCHEDULE, 4):
        (claimed,) = await world.claim()
        assert (claimed.attempt, claimed.step) == (number, number - 3)
        await world.settle([claimed], 500)
        world.clock.advance(10**6)

    assert await world.status(ref) == "dead"
    assert (await letter(world, ref))["replays"] == 1


async def test_a_bulk_replay_counts_on_from_a_replay_that_was_cancelled(world: World) -> None:
    """Its letter knew fewer attempts than the delivery: an attempt's number came twice."""
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.set_status(lane, "disabled")
    await world.sweep.retire()
    await world.set_status(lane, "active")
    assert await world.replay.replay_one("default", ref, Trigger.MANUAL, "key") == ref
    (claimed,) = await world.claim()
    assert claimed.attempt == 1
    await world.replay.cancel_delivery("default", ref, "key")

    run = await world.replay.start_replay(world.replay_operation(), world.plan(), "key")
    assert isinstance(run, ReplayRun)
    await world.replay.step_replay(run, 10)
    (again,) = await world.claim()
    assert again.attempt == 2


async def test_a_delivery_of_which_nothing_is_left_to_send_is_not_sent_again(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.deliver_due()
    await world.sql("DELETE FROM events WHERE key = ?", ref.event_key)

    refusal = refused(await world.replay.replay_one("default", ref, Trigger.MANUAL, "key_test"))

    assert refusal.kind is RefusalKind.NOT_FOUND
    assert await world.rows(schema.delivery_queue) == []


@pytest.mark.parametrize("only", ["missing", "all"])
async def test_what_a_subscription_would_be_sent_is_counted_up_to_a_bound(
    world: World, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    await world.posted(event("op-1"), event("op-2"))
    lane = await world.subscribe("late")
    await world.posted(event("op-3"))
    plan = world.plan(kind="subscription", only=only, subscription_no=lane.no)

    assert await world.replay.count_replay("default", plan) == 2
    assert await world.replay.count_replay("other", plan) == 0
    monkeypatch.setattr(bulk_replay, "CHUNK", 1)
    assert await world.replay.count_replay("default", plan) == 2
    monkeypatch.setattr(bulk_replay, "MOST_LOOKS", 2)
    assert await world.replay.count_replay("default", plan) is None
    await world.set_status(lane, "disabled")
    assert await world.replay.count_replay("default", plan) == 0
