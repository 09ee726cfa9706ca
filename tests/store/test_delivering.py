"""Claim, release and settle: who gets what, and whose result counts."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.domain.delivery import Trigger
from service.domain.outcome import ErrorClass
from service.domain.retry import DeadReason
from service.ports import (
    Claimed,
    LaneQuota,
    ReplayRun,
    Rotation,
)
from service.store import schema, sweeping
from service.store.database import Tx
from service.store.sqlite import compiling
from service.store.sqlite.tx import SqliteTx
from tests.support.databases import ONLY_SQLITE
from tests.support.world import LEASE, SCHEDULE, World, answer, event, fault, ref_of

pytestmark = pytest.mark.anyio

RESOLVED = "resolved"


async def queue_row(world: World, claimed: Claimed) -> dict[str, object]:
    (row,) = await world.rows(schema.delivery_queue, **claimed.ref._asdict())
    return row


# --- claim


async def test_each_lane_gives_up_to_its_quota(world: World) -> None:
    first, second = await world.subscribe("a"), await world.subscribe("b")
    await world.queued(first, 5)

    claim = await world.deliver.claim([LaneQuota(first.no, 3), LaneQuota(second.no, 10)], LEASE)

    lanes = Counter(each.ref.subscription_no for each in claim.deliveries)
    assert lanes == {first.no: 3, second.no: 5}
    assert {no: lane.subscription for no, lane in claim.lanes.items()} == {
        first.no: first,
        second.no: second,
    }
    assert [each.sealed for each in claim.lanes[first.no].secrets] == [b"sealed"]


async def test_a_backlog_of_one_lane_does_not_push_out_another(world: World) -> None:
    full, other = await world.subscribe("full"), await world.subscribe("other", event_types=("x",))
    await world.queued(full, 1_000)
    world.clock.advance(1_000)
    await world.posted(event("late", "x"))

    claimed = await world.claim(full.no, other.no, quota=50)

    lanes = Counter(each.ref.subscription_no for each in claimed)
    assert lanes == {full.no: 50, other.no: 1}


async def test_the_oldest_due_comes_first(world: World) -> None:
    lane = await world.subscribe()
    first = await world.queued(lane, 2)
    world.clock.advance(1)
    second = await world.queued(lane, 2)
    (early,) = await world.claim(lane.no, quota=1)
    await world.settle([early], 500)
    world.clock.advance(10_000)  # its retry is due now, but became so after all others

    order = [(await world.claim(lane.no, quota=1))[0].ref for _ in range(4)]

    assert early.ref in first
    assert order == [*(ref for ref in first if ref != early.ref), *second, early.ref]


async def test_a_claim_tells_all_that_a_request_needs(world: World) -> None:
    lane = await world.subscribe()
    await world.posted(event("op", "STARTED", id="evt", data=b"1.10"))

    (claimed,) = await world.claim()

    assert (claimed.tenant_id, claimed.event_id, claimed.event_type) == (
        "default",
        "evt",
        "STARTED",
    )
    assert (claimed.operation_id, claimed.sequence) == ("op", 1)
    assert (claimed.attempt, claimed.step, claimed.trigger) == (1, 1, "schedule")
    (stored,) = await world.rows(schema.events)
    assert claimed.body == stored["body"]
    assert claimed.ref == (stored["key"], lane.no)


async def test_nothing_is_claimed_before_it_is_due(world: World) -> None:
    lane = await world.subscribe(retry_schedule=(60.0, 5.0))
    await world.posted(event())
    (row,) = await world.rows(schema.delivery_queue)
    world.clock.at = row["due_at"] - 1

    assert await world.claim(lane.no) == []
    assert await world.sweep.due_lanes() == []
    world.clock.advance(1)
    assert await world.sweep.due_lanes() == [lane.no]
    assert len(await world.claim(lane.no)) == 1


async def test_closed_and_held_lanes_give_nothing(world: World) -> None:
    names = ("paused", "disabled", "held", "deleted")
    lanes = {name: await world.subscribe(name) for name in names}
    await world.posted(event())
    await world.set_status(lanes["paused"], "paused")
    await world.set_status(lanes["disabled"], "disabled")
    await world.change(lanes["held"], hold_until=world.clock.now() + 1)
    await world.delete(lanes["deleted"])

    claim = await world.claim_all(*(lane.no for lane in lanes.values()))

    assert not claim.deliveries
    assert await world.sweep.due_lanes() == []


async def test_what_somebody_retries_by_hand_goes_past_a_hold_and_a_pause(world: World) -> None:
    held, paused = await world.subscribe("held"), await world.subscribe("paused")
    refs = {lane.no: await world.queued(lane, 2) for lane in (held, paused)}
    await world.change(held, hold_until=world.clock.now() + 60_000)
    await world.set_status(paused, "paused")

    for lane in (held, paused):
        ref = refs[lane.no][1]
        assert await world.replay.replay_one("default", ref, Trigger.MANUAL, "key") == ref
        assert await world.sweep.due_lanes() == [lane.no]
        (claimed,) = await world.claim()
        assert (claimed.ref, claimed.trigger) == (ref, Trigger.MANUAL)
        await world.settle([claimed], 500)
        assert await world.sweep.due_lanes() == []
    assert (await world.sweep.backlog()).oldest_due_age == 0


async def test_a_hold_that_ends_leaves_the_schedule_as_it_was(world: World) -> None:
    """Resuming ends a hold for the delivery that caused it, too."""
    lane = await world.subscribe()
    await world.queued(lane, 1)
    claimed = await world.claim()
    await world.settle(claimed, answer(429, {"retry-after": "600"}))
    (row,) = await world.rows(schema.attempts)
    assert row["next_attempt_at"] == world.clock.now() + 600_000
    view = await world.read.delivery("default", claimed[0].ref)
    assert view is not None
    assert view.due_at == world.clock.now() + 600_000
    world.clock.advance(5_000)
    assert await world.claim() == []
    await world.set_status(lane, "active")
    assert len(await world.claim()) == 1


async def test_a_lane_gives_again_when_its_hold_ends_or_it_is_resumed(world: World) -> None:
    held, paused = await world.subscribe("held"), await world.subscribe("paused")
    await world.posted(event())
    await world.change(held, hold_until=world.clock.now() + 1)
    await world.set_status(paused, "paused")

    assert await world.claim(held.no, paused.no) == []
    world.clock.advance(1)
    assert [each.ref.subscription_no for each in await world.claim(held.no, paused.no)] == [held.no]
    await world.set_status(paused, "active")
    assert len(await world.claim(held.no, paused.no)) == 1


async def test_a_lease_hides_its_delivery(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)

    world.clock.advance(LEASE * 2)  # long over, but only the sweep may give it to another

    assert await world.claim(lane.no) == []
    assert await world.sweep.due_lanes() == []
    row = await queue_row(world, claimed)
    assert (row["token"], row["attempts"], row["step"]) == (claimed.token, 1, 1)


async def test_a_claim_keeps_to_the_limit_the_subscription_has_now(world: World) -> None:
    lane = await world.subscribe(max_concurrency=3)
    await world.queued(lane, 10)

    first = await world.deliver.claim([LaneQuota(lane.no, 8, in_flight=1)], LEASE)
    beyond = await world.deliver.claim([LaneQuota(lane.no, 8, in_flight=4)], LEASE)

    assert len(first.deliveries) == 2
    assert beyond.deliveries == []


async def test_secrets_that_no_longer_sign_are_not_handed_out(world: World) -> None:
    lane = await world.subscribe()
    await world.manage.rotate_secret(
        "default", "sub", Rotation(lambda _: b"second", 1_000), "key_test"
    )
    await world.queued(lane, 1)

    both = (await world.claim_all(lane.no)).lanes[lane.no].secrets
    world.clock.advance(1_000)
    newest = (await world.claim_all(lane.no)).lanes[lane.no].secrets

    assert [each.sealed for each in both] == [b"second", b"sealed"]
    assert [each.sealed for each in newest] == [b"second"]


# --- release


async def test_a_release_gives_the_attempt_back(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)

    await world.deliver.release([claimed])

    row = await queue_row(world, claimed)
    assert (row["attempts"], row["step"], row["token"]) == (0, 0, None)
    assert row["due_at"] == world.clock.now()
    (again,) = await world.claim(lane.no)
    assert (again.attempt, again.step) == (1, 1)
    assert await world.attempts(claimed.ref) == []


async def test_a_release_that_comes_too_late_changes_nothing(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (lost,) = await world.claim(lane.no)
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    (claimed,) = await world.claim(lane.no)

    await world.deliver.release([lost])

    row = await queue_row(world, claimed)
    assert (row["token"], row["attempts"]) == (claimed.token, 2)


# --- settle


async def test_what_was_delivered_leaves_the_queue(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)
    world.clock.advance(70)

    settled = await world.settle([claimed], 204)

    assert settled.late == 0
    assert settled.retries == {}
    assert await world.rows(schema.delivery_queue) == []
    (row,) = await world.rows(schema.deliveries)
    assert (ref_of(row), row["status"], row["attempts"]) == (ref, "delivered", 1)
    assert row["finished_at"] == world.clock.now()
    assert await world.letter(ref) is None
    (attempt,) = await world.attempts(ref)
    assert (attempt["number"], attempt["status_code"], attempt["error_class"]) == (1, 204, None)
    assert attempt["next_attempt_at"] is None


async def test_what_failed_waits_for_the_next_entry_of_its_schedule(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (claimed,) = await world.claim(lane.no)

    settled = await world.settle([claimed], 500)

    due = world.clock.now() + 5_000
    row = await queue_row(world, claimed)
    assert (row["due_at"], row["token"], row["attempts"]) == (due, None, 1)
    assert settled.retries == {lane.no: due}
    (attempt,) = await world.attempts(claimed.ref)
    assert (attempt["status_code"], attempt["error_class"]) == (500, "http_status")
    assert attempt["next_attempt_at"] == due


@pytest.mark.parametrize("outcome", [200, 410, 500])
async def test_a_result_that_is_told_twice_is_one(world: World, outcome: int) -> None:
    hook = await world.subscribe()
    refs = await world.queued(hook, 2)
    claimed = await world.claim()

    settled = await world.settle([*claimed, claimed[0]], outcome)

    assert settled.late == 1
    assert [len(await world.attempts(ref)) for ref in refs] == [1, 1]
    expected = {200: "delivered", 410: "dead", 500: "pending"}[outcome]
    assert [await world.status(ref) for ref in refs] == [expected] * 2


async def test_the_earliest_retry_of_a_lane_is_told(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 2)
    (early,) = await world.claim(lane.no, quota=1)
    await world.settle([early], 500)
    world.clock.advance(6_000)
    second, first = await world.claim(lane.no)

    settled = await world.settle([second, first], fault())

    assert {second.step, first.step} == {1, 2}
    assert settled.retries == {lane.no: world.clock.now() + 5_000}


async def test_after_the_last_attempt_a_dead_letter_keeps_the_event(world: World) -> None:
    lane = await world.subscribe()
    await world.posted(event("op", "STARTED", id="evt", data=b"1.10"))
    await world.exhaust(fault(ErrorClass.DNS))

    (letter,) = await world.rows(schema.dead_letters)
    (stored,) = await world.log()
    assert ref_of(letter) == (stored["key"], lane.no)
    assert await world.status(ref_of(letter)) == "dead"
    assert letter["reason"] == DeadReason.ATTEMPTS_EXHAUSTED
    assert (letter["state"], letter["attempts"], letter["replays"]) == ("open", 3, 0)
    assert (letter["error_class"], letter["message"]) == ("dns", "no answer")
    copied = ("tenant_id", "operation_id", "sequence", "body")
    assert [letter[name] for name in copied] == [stored[name] for name in copied]
    assert (letter["event_id"], letter["event_type"]) == ("evt", "STARTED")
    numbers = [each["number"] for each in await world.attempts(ref_of(letter))]
    assert numbers == [1, 2, 3]


async def test_a_blocked_target_is_dead_at_once(world: World) -> None:
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)

    await world.deliver_due(fault(ErrorClass.BLOCKED))

    letter = await world.letter(ref)
    assert letter is not None
    assert (letter["reason"], letter["attempts"]) == ("blocked_target", 1)


async def test_a_result_without_its_lease_changes_only_the_attempt_log(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    (lost,) = await world.claim(lane.no)
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    (claimed,) = await world.claim(lane.no)
    before = await queue_row(world, claimed)

    for late in (answer(200), answer(503, {"retry-after": "60"}), answer(410)):
        settled = await world.settle([lost], late)
        assert settled.late == 1
        assert settled.retries == {}

    assert await queue_row(world, claimed) == before
    assert await world.rows(schema.deliveries) == []
    assert await world.rows(schema.dead_letters) == []
    (subscription,) = await world.rows(schema.subscriptions)
    assert (subscription["status"], subscription["hold_until"]) == ("active", 0)
    (attempt,) = await world.attempts(lost.ref)
    assert (attempt["number"], attempt["status_code"]) == (1, 410)  # no longer unknown
    assert (await world.settle([claimed])).late == 0
    assert await world.status(claimed.ref) == "delivered"


@pytest.mark.parametrize("first", [200, 500, 410])
@pytest.mark.parametrize("second", [200, 500])
async def test_a_late_and_a_current_result_settled_together_do_not_clash(
    world: World, first: int, second: int
) -> None:
    # a machine that slept wakes up: the leases are over, and both sends end at once
    lane = await world.subscribe()
    await world.queued(lane, 2)
    lost, other = await world.claim(lane.no)
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    current = next(each for each in await world.claim(lane.no) if each.ref == lost.ref)

    settled = await world.deliver.settle(
        [world.settlement(lost, first), world.settlement(current, second)]
    )

    assert settled.late == 1
    assert await world.status(current.ref) == ("delivered" if second == 200 else "pending")
    assert [each["status_code"] for each in await world.attempts(lost.ref)] == [first, second]
    (subscription,) = await world.rows(schema.subscriptions)
    assert subscription["status"] == "active"
    assert await world.status(other.ref) == "delivering"


async def test_results_of_many_claims_are_settled_together(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 60)
    claimed = [(await world.claim(lane.no, quota=1))[0] for _ in range(60)]
    statuses = {each.ref: (200, 500, 410)[n % 3] for n, each in enumerate(claimed)}

    settled = await world.deliver.settle(
        [world.settlement(each, statuses[each.ref]) for each in claimed]
    )

    assert settled.late == 0
    wanted = {200: "delivered", 500: "pending", 410: "dead"}
    for ref, status in statuses.items():
        assert await world.status(ref) == wanted[status]
    assert len(await world.rows(schema.attempts)) == 60


# --- settle: replays


async def dead(world: World, outcome: int = 500) -> Claimed:
    lane = await world.subscribe()
    await world.queued(lane, 1)
    claimed = await world.claim()
    await world.deliver.release(claimed)
    await world.exhaust(outcome)
    return claimed[0]


async def replay(world: World, claimed: Claimed) -> None:
    done = await world.replay.replay_one("default", claimed.ref, Trigger.REPLAY, "key_test")
    assert done == claimed.ref


async def test_a_dead_letter_is_resolved_by_its_delivery(world: World) -> None:
    lost = await dead(world)
    await replay(world, lost)
    (claimed,) = await world.claim()

    assert (claimed.attempt, claimed.step, claimed.trigger) == (4, 1, "replay")
    await world.settle([claimed])

    letter = await world.letter(lost.ref)
    assert letter is not None
    assert (letter["state"], letter["resolved_at"]) == (RESOLVED, world.clock.now())
    assert await world.status(lost.ref) == "delivered"
    assert [each["trigger"] for each in await world.attempts(lost.ref)] == [
        "schedule", "schedule", "schedule", "replay",
    ]  # fmt: skip


async def test_a_dead_letter_is_resolved_by_a_later_attempt_of_its_replay(world: World) -> None:
    lost = await dead(world)
    await replay(world, lost)
    await world.deliver_due(500)
    world.clock.advance(10_000)

    (claimed,) = await world.claim()
    assert (claimed.attempt, claimed.step, claimed.trigger) == (5, 2, "schedule")
    await world.settle([claimed])

    letter = await world.letter(lost.ref)
    assert letter is not None
    assert letter["state"] == RESOLVED


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_dead_letter_without_any_attempt_is_resolved_by_its_delivery(
    world: World, failures: int
) -> None:
    # its subscription was disabled before anything was sent: attempt and step count alike
    lane = await world.subscribe()
    (ref,) = await world.queued(lane, 1)
    await world.set_status(lane, "disabled")
    assert await world.sweep.retire() == 1
    await world.set_status(lane, "active")
    await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test")
    for _ in range(failures):
        await world.deliver_due(500)
        world.clock.advance(10_000)

    await world.deliver_due(200)

    letter = await world.letter(ref)
    assert letter is not None
    assert letter["state"] == RESOLVED


async def test_a_replay_that_fails_opens_its_dead_letter_again(world: World) -> None:
    lost = await dead(world)
    before = await world.letter(lost.ref)
    await replay(world, lost)

    await world.exhaust(fault())

    letter = await world.letter(lost.ref)
    assert before is not None
    assert letter is not None
    assert (letter["state"], letter["replays"], letter["attempts"]) == ("open", 1, 6)
    assert (letter["error_class"], letter["status_code"]) == ("connect", None)
    assert letter["dead_at"] > before["dead_at"]
    assert letter["body"] == before["body"]
    assert await world.status(lost.ref) == "dead"


# --- settle: the whole lane


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_holds_the_whole_lane_back(world: World, status: int) -> None:
    lane, other = await world.subscribe("a"), await world.subscribe("b")
    await world.queued(lane, 3)
    first = await world.claim(lane.no, quota=1)

    settled = await world.settle(first, answer(status, {"Retry-After": "60"}))

    until = world.clock.now() + 60_000
    row, untouched = await world.rows(schema.subscriptions)
    assert (row["hold_until"], untouched["hold_until"]) == (until, 0)
    assert settled.retries == {lane.no: until}
    assert await world.claim(lane.no) == []
    assert len(await world.claim(other.no)) == 3
    world.clock.at = until - 1
    assert await world.claim(lane.no) == []
    world.clock.at = until
    assert len(await world.claim(lane.no)) == 3


async def test_a_shorter_hold_does_not_end_a_longer_one(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 2)
    first, second = await world.claim(lane.no)

    await world.settle([first], answer(429, {"retry-after": "600"}))
    await world.settle([second], answer(429, {"retry-after": "5"}))

    (row,) = await world.rows(schema.subscriptions)
    assert row["hold_until"] == world.clock.now() + 600_000


async def test_the_last_attempt_holds_the_lane_as_well(world: World) -> None:
    lane = await world.subscribe(retry_schedule=(0.0,))
    world.schedule = (0.0,)
    (ref,) = await world.queued(lane, 1)

    await world.deliver_due(answer(503, {"retry-after": "60"}))

    assert await world.status(ref) == "dead"
    (row,) = await world.rows(schema.subscriptions)
    assert row["hold_until"] == world.clock.now() + 60_000


async def test_a_receiver_that_is_gone_disables_its_subscription(world: World) -> None:
    lane, other = await world.subscribe("a"), await world.subscribe("b")
    refs = await world.queued(lane, 3)
    (claimed,) = await world.claim(lane.no, quota=1)

    await world.settle([claimed], 410)

    row, untouched = await world.rows(schema.subscriptions)
    assert (row["status"], row["disabled_reason"]) == ("disabled", "gone")
    assert untouched["status"] == "active"
    letter = await world.letter(claimed.ref)
    assert letter is not None
    assert (letter["reason"], letter["status_code"]) == ("gone", 410)
    await world.posted(event("later"))
    queued = await world.rows(schema.delivery_queue, subscription_no=lane.no)
    assert len(queued) == 2  # nothing new is made for it

    assert await world.sweep.retire() == 2

    waiting = [ref for ref in refs if ref != claimed.ref]
    letters = [await world.letter(ref) for ref in waiting]
    reasons = [letter and letter["reason"] for letter in letters]
    assert reasons == ["subscription_disabled"] * 2
    assert len(await world.rows(schema.delivery_queue, subscription_no=other.no)) == 4


# --- how the statements find their rows


async def live(world: World) -> None:
    """Let everything happen that moves deliveries."""
    gone, deaf = await world.subscribe("gone"), await world.subscribe("deaf")
    refs = await world.queued(deaf, 3)
    await world.deliver.release(await world.claim())
    (claimed,) = await world.claim(gone.no, quota=1)
    await world.settle([claimed], 410)
    await world.exhaust(500)
    await world.sweep.retire()
    for ref in refs[:2]:
        await world.replay.replay_one("default", ref, Trigger.REPLAY, "key_test")
    await world.replay.cancel_delivery("default", refs[0], "key_test")
    await world.deliver_due(200)
    for only in ("dead", "all"):
        plan = world.plan(subscription_no=deaf.no, only=only)
        run = await world.replay.start_replay(world.replay_operation(only), plan, "key_test")
        assert isinstance(run, ReplayRun)
        await world.replay.step_replay(run, 100)
    await world.claim()
    world.clock.advance(LEASE)
    await world.sweep.reclaim(SCHEDULE)
    world.clock.advance(10**6)
    while await world.sweep.forget(1):
        pass


@ONLY_SQLITE
async def test_no_change_reads_a_whole_table_of_deliveries_or_events(world: World) -> None:
    texts: list[str] = []

    async def listen(tx: Tx) -> None:
        assert isinstance(tx, SqliteTx)
        connection = await tx.connection.get_raw_connection()
        driver: Any = connection.driver_connection
        await driver.set_trace_callback(texts.append)

    await world.database.write(listen)
    await live(world)
    await world.close()

    explained = explain(Path(world.place), [text for text in texts if text.startswith(CHANGES)])
    await world.open()
    assert len(explained) > 30
    assert {text: steps for text, steps in explained.items() if reads_all(steps)} == {}


@pytest.mark.parametrize(
    "text",
    [
        compiling.lease_text(200),
        compiling.compiled(sweeping._DUE_LANES).text,  # noqa: SLF001  the plan of these very statements
        compiling.compiled(sweeping._LEASE_RAN_OUT).text,  # noqa: SLF001  as above
    ],
)
def test_no_look_reads_a_whole_table_of_deliveries_or_events(path: Path, text: str) -> None:
    ((_, steps),) = explain(path, [text]).items()

    assert any(step.startswith("SEARCH") for step in steps)
    assert not reads_all(steps)


CHANGES = ("SELECT", "UPDATE", "DELETE", "INSERT")
LARGE = {"delivery_queue", "deliveries", "events", "event_ids", "attempts", "dead_letters"}


def explain(path: Path, texts: Iterable[str]) -> dict[str, list[str]]:
    """SQLite's plan for each statement."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            text: [
                row[3]
                for row in connection.execute(
                    f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?")
                )
            ]
            for text in texts
        }


def reads_all(steps: Iterable[str]) -> bool:
    return any(step.startswith("SCAN") and step.split()[1] in LARGE for step in steps)


@ONLY_SQLITE
async def test_a_claim_costs_the_same_however_long_the_backlog_is(world: World) -> None:
    lane = await world.subscribe()
    await world.queued(lane, 3)
    await world.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO delivery_queue SELECT i, 999, 0, 0, 0, 'schedule', NULL, NULL FROM n"
    )
    await world.close()

    taken = instructions(world, lane.no)

    await world.open()
    assert taken < 5_000


def instructions(world: World, lane: int) -> int:
    """Instructions of SQLite's machine that a claim of three takes."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    with closing(sqlite3.connect(world.place)) as connection:
        connection.set_progress_handler(count, 1)
        text = compiling.lease_text(1)
        rows = connection.execute(text, (1, 1, lane, world.clock.now(), 10)).fetchall()
        connection.set_progress_handler(None, 0)
    assert len(rows) == 3
    return taken


async def test_a_delivery_whose_event_is_gone_holds_up_no_other(world: World) -> None:
    lane, other = await world.subscribe("one"), await world.subscribe("other")
    await world.posted(event("op1"), event("op2"))

    async def lose(tx: Tx) -> None:
        await tx.sql("DELETE FROM events WHERE key = (SELECT min(key) FROM events)")

    await world.database.write(lose)

    claimed = await world.claim(lane.no, other.no)

    assert sorted(each.ref.subscription_no for each in claimed) == sorted((lane.no, other.no))
