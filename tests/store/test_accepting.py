"""Accept: many requests in one commit, each event with its own verdict."""

import asyncio
import json
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import Refusal, RefusalKind
from service.domain.event import EventIn, EventOut
from service.domain.operation import Status
from service.ports import (
    AcceptRequest,
    AcceptResult,
    GroupTooWideError,
    Replayed,
    StoreUnavailableError,
)
from service.store import accepting, schema
from service.store.once import LIFETIME
from service.store.sqlite.tx import WritingTx
from tests.support.clock import FakeClock
from tests.support.databases import ONLY_SQLITE
from tests.support.world import (
    World,
    accepted,
    event,
    kept,
    migrated_file,
    opened_world,
    refused,
)

pytestmark = pytest.mark.anyio

TABLES = (
    schema.operations,
    schema.events,
    schema.event_ids,
    schema.delivery_queue,
    schema.idempotency_keys,
)


async def everything(world: World) -> list[list[dict[str, Any]]]:
    return [await world.rows(table) for table in TABLES]


def request(*events: EventIn | Refusal, tenant: str = "default", **members: Any) -> AcceptRequest:  # noqa: ANN401  a request's own
    return AcceptRequest(tenant, events, **members)


# --- a group


async def test_a_group_of_requests_is_committed_together(world: World) -> None:
    lane = await world.subscribe()
    results = await world.accept.accept(
        [
            request(event("a", "STARTED"), event("b")),
            request(event("a", "STATUS_UPDATE", progress=b"40")),
            request(event("b"), event("a", "COMPLETED")),
        ]
    )

    told = [[accepted(each) for each in result.answer] for result in results]  # type: ignore[union-attr]  # lists, as asserted below
    assert [[(v.operation_id, v.sequence, v.status) for v in verdicts] for verdicts in told] == [
        [("a", 1, "PROCESSING"), ("b", 1, "PENDING")],
        [("a", 2, "PROCESSING")],
        [("b", 2, "PENDING"), ("a", 3, "COMPLETED")],
    ]
    assert {result.lanes for result in results} == {frozenset({lane.no})}
    events = await world.rows(schema.events)
    assert [row["feed_position"] for row in events] == [1, 2, 3, 4, 5]
    assert [row["id"] for row in events] == [v.id for verdicts in told for v in verdicts]
    assert len(await world.rows(schema.event_ids)) == 5
    queue = await world.rows(schema.delivery_queue)
    assert [row["event_key"] for row in queue] == [row["key"] for row in events]
    assert {(row["due_at"], row["attempts"], row["trigger"]) for row in queue} == {
        (world.clock.now(), 0, "schedule")
    }
    a, b = await world.rows(schema.operations)
    assert (a["id"], a["status"], a["sequence"], a["progress"]) == ("a", "COMPLETED", 3, b"40")
    assert a["started_at"] == a["ended_at"] == world.clock.now()
    assert (b["status"], b["sequence"], b["started_at"], b["ended_at"]) == (
        "PENDING",
        2,
        None,
        None,
    )


async def test_numbers_have_no_gaps_whatever_is_refused_and_whoever_posts_at_once(
    world: World,
) -> None:
    async def producer(number: int) -> None:
        for turn in range(10):
            await world.post(
                event(f"op{number % 3}", id=f"{number}-{turn}"),
                event(f"op{number % 3}", id=f"{number}-{turn}"),
                event(None),
                event(f"op{turn}", status=Status.PROCESSING, operation_type="report"),
                event(f"op{turn}", operation_type="other"),
            )

    await asyncio.gather(*map(producer, range(8)))

    events = await world.rows(schema.events)
    assert [row["feed_position"] for row in events] == list(range(1, len(events) + 1))
    for operation in await world.rows(schema.operations):
        own = [row["sequence"] for row in events if row["operation_key"] == operation["key"]]
        assert own == list(range(1, operation["sequence"] + 1))
    (tenant,) = await world.rows(schema.tenants)
    assert tenant["feed_position"] == len(events) == 160


async def test_numbers_go_on_after_a_restart(world: World) -> None:
    await world.posted(event("op"), event("op"))
    world.clock.advance(-5_000)  # and the clock was set back
    await world.crash()

    (third,) = await world.posted(event("op"))

    assert third.sequence == 3
    events = await world.rows(schema.events)
    assert sorted(row["feed_position"] for row in events) == [1, 2, 3]


async def test_tenants_share_nothing_but_the_commit(world: World) -> None:
    await world.tenant("other")
    ours = await world.subscribe("ours")
    theirs = await world.subscribe("theirs", tenant="other")
    results = await world.accept.accept(
        [
            request(event("op", "STARTED", id="e"), event("op", "FAILED", id="f")),
            request(event("op", id="e"), event("op", id="g"), tenant="other"),
        ]
    )

    told = [[accepted(each).sequence for each in result.answer] for result in results]  # type: ignore[union-attr]  # lists
    assert told == [[1, 2], [1, 2]]
    operations = await world.rows(schema.operations)
    assert [(o["tenant_id"], o["status"]) for o in operations] == [
        ("default", "FAILED"),
        ("other", "PENDING"),
    ]
    events = await world.rows(schema.events)
    assert [(e["tenant_id"], e["feed_position"]) for e in events] == [
        ("default", 1), ("default", 2), ("other", 1), ("other", 2),
    ]  # fmt: skip
    owner = {e["key"]: e["tenant_id"] for e in events}
    queue = await world.rows(schema.delivery_queue)
    assert [(owner[row["event_key"]], row["subscription_no"]) for row in queue] == [
        ("default", ours.no), ("default", ours.no), ("other", theirs.no), ("other", theirs.no),
    ]  # fmt: skip


async def test_the_same_ids_of_another_tenant_are_other_operations_and_events(
    world: World,
) -> None:
    await world.tenant("other")
    await world.posted(event("op", "A", id="e"), event("op", "COMPLETED", id="f"))

    theirs = await world.posted(event("op", "B", id="e"), event("op", "A", id="g"), tenant="other")
    ours = await world.posted(event("op", "A", id="e"))

    assert [(each.sequence, each.duplicate) for each in theirs] == [(1, False), (2, False)]
    assert [(each.sequence, each.duplicate) for each in ours] == [(1, True)]


# --- who gets it


async def lanes_of(world: World, *events: EventIn) -> list[list[int]]:
    """The lanes that each event gets a delivery for."""
    verdicts = await world.posted(*events)
    keys = await world.event_keys()
    queue = await world.rows(schema.delivery_queue)
    return [
        [row["subscription_no"] for row in queue if row["event_key"] == keys[verdict.id]]
        for verdict in verdicts
    ]


async def test_only_matching_subscriptions_get_a_delivery(world: World) -> None:
    every = (await world.subscribe("every")).no
    ends = (await world.subscribe("ends", event_types=("COMPLETED", "FAILED"))).no
    payments = (await world.subscribe("payments", event_types=("payment.*",))).no
    reports = (await world.subscribe("reports", operation_types=("report.*",))).no
    single = (await world.subscribe("single", operation_id="mine")).no

    assert await lanes_of(
        world,
        event("op", "COMPLETED"),
        event("other", "payment.fraud_check.started"),
        event("third", operation_type="report.sales"),
        event("third", "FAILED"),
        event("mine", "payments"),
    ) == [
        [every, ends],
        [every, payments],
        [every, reports],
        [every, ends, reports],
        [every, single],
    ]


async def test_disabled_and_deleted_subscriptions_get_none_and_paused_ones_do(
    world: World,
) -> None:
    lanes = [await world.subscribe(name) for name in ("on", "paused", "disabled", "deleted")]
    assert await lanes_of(world, event()) == [[lane.no for lane in lanes]]

    await world.set_status(lanes[1], "paused")
    await world.set_status(lanes[2], "disabled")
    await world.delete(lanes[3])

    assert await lanes_of(world, event()) == [[lanes[0].no, lanes[1].no]]
    await world.set_status(lanes[2], "active")
    assert await lanes_of(world, event()) == [[lane.no for lane in lanes[:3]]]


async def test_lanes_are_told_of_before_the_commit_where_there_is_one_writer(world: World) -> None:
    lane = {(await world.subscribe(event_types=("note",))).no}
    told: list[frozenset[int]] = []

    (result,) = await world.accept.accept([request(event())], foretell=told.append)
    await world.accept.accept([request(event("op", "unwanted"))], foretell=told.append)

    assert told == ([] if world.database.is_shared else [lane])
    assert result.lanes == (lane if world.database.is_shared else set())


@ONLY_SQLITE
async def test_a_subscription_made_in_the_same_commit_is_matched(world: World) -> None:
    await world.posted(event())  # so that the subscriptions are known, and known to be none
    order: list[str] = []

    async def subscribe() -> None:
        await world.subscribe()
        order.append("subscribed")

    async def post() -> None:
        await world.posted(event("op", id="just after"))
        order.append("posted")

    await asyncio.gather(subscribe(), post())

    assert order == ["subscribed", "posted"]
    (row,) = await world.rows(schema.delivery_queue)
    assert row["event_key"] == (await world.event_keys())["just after"]


@ONLY_SQLITE
async def test_a_change_that_failed_with_its_commit_is_not_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await world.subscribe()

    async def full(_: WritingTx) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(WritingTx, "commit", full)
        lost = await asyncio.gather(
            world.set_status(lane, "disabled"), world.posted(event()), return_exceptions=True
        )
    assert [type(each) for each in lost] == [StoreUnavailableError] * 2
    await world.change(lane, description="another change, of the same place in the row")

    assert await lanes_of(world, event()) == [[lane.no]]


async def test_the_first_attempt_waits_as_the_schedule_says(world: World) -> None:
    now = await world.subscribe("now")
    later = await world.subscribe("later", retry_schedule=(60.0, 5.0))

    (result,) = await world.accept.accept([request(event())])

    assert result.lanes == {now.no}
    (first, second) = await world.rows(schema.delivery_queue)
    assert first["due_at"] == world.clock.now()
    assert second["subscription_no"] == later.no
    assert 48_000 <= second["due_at"] - world.clock.now() <= 72_000


# --- the same event again


async def test_an_event_posted_again_changes_nothing(world: World) -> None:
    await world.subscribe()
    (first,) = await world.posted(event("op", "STARTED", id="e", data=b"1"))
    before = await everything(world)

    for _ in range(2):
        world.clock.advance(1_000)
        (again,) = await world.posted(event("op", "STARTED", id="e", data=b"2"))
        assert again.duplicate
        assert (again.id, again.sequence, again.status) == (first.id, 1, "PROCESSING")

    assert await everything(world) == before


async def test_an_event_posted_again_is_known_after_its_operation_ended(world: World) -> None:
    await world.posted(event("op", "STARTED", id="e"), event("op", "COMPLETED", id="f"))

    started, completed = await world.posted(
        event("op", "STARTED", id="e"), event("op", "COMPLETED", id="f")
    )

    assert (started.sequence, started.status, started.duplicate) == (1, "PROCESSING", True)
    assert (completed.sequence, completed.status, completed.duplicate) == (2, "COMPLETED", True)


@pytest.mark.parametrize("other", [event("other", "A", id="e"), event("op", "B", id="e")])
async def test_an_id_used_for_something_else_is_refused(world: World, other: EventIn) -> None:
    await world.posted(event("op", "A", id="e"))
    before = await everything(world)

    (verdict,) = await world.post(other)

    assert refused(verdict).kind is RefusalKind.CONFLICT
    assert "'op'" in refused(verdict).detail
    assert await everything(world) == before


async def test_an_id_twice_in_one_group_is_one_event(world: World) -> None:
    results = await world.accept.accept(
        [
            request(event("op", "A", id="e"), event("op", "A", id="e"), event("op", "B", id="e")),
            request(event("op", "A", id="e"), event("new", "A", id="e")),
        ]
    )

    first, second = (result.answer for result in results)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [accepted(each).duplicate for each in first[:2]] == [False, True]
    assert accepted(second[0]).duplicate
    assert {accepted(each).sequence for each in (*first[:2], second[0])} == {1}
    assert refused(first[2]).kind is refused(second[1]).kind is RefusalKind.CONFLICT
    assert len(await world.rows(schema.events)) == 1
    assert [row["id"] for row in await world.rows(schema.operations)] == ["op"]


async def test_a_refused_event_leaves_no_id_behind(world: World) -> None:
    await world.posted(event("done", "COMPLETED"))
    refusals = await world.post(
        event("done", id="late"), event(None, id="nowhere"), event("done", "FAILED", id="again")
    )
    assert [refused(each).kind for each in refusals] == [
        RefusalKind.CONFLICT,
        RefusalKind.INVALID,
        RefusalKind.CONFLICT,
    ]

    verdicts = await world.posted(*(event("op", id=name) for name in ("late", "nowhere", "again")))

    assert [each.duplicate for each in verdicts] == [False] * 3
    assert [row["id"] for row in await world.rows(schema.operations)] == ["done", "op"]


# --- the moves of an operation


async def test_after_its_end_every_event_is_refused_also_within_the_batch(world: World) -> None:
    verdicts = await world.post(
        event("op", "STARTED"),
        event("op", "COMPLETED", result=b'{"url":"x"}'),
        event("op", "note"),
        event("op", "FAILED", error=b'{"title":"late"}'),
        event("other", "STARTED"),
    )

    assert [isinstance(each, Refusal) for each in verdicts] == [False, False, True, True, False]
    late = refused(verdicts[3])
    assert late.extra == {"currentStatus": "COMPLETED", "requestedStatus": "FAILED"}
    assert [row["type"] for row in await world.rows(schema.events, operation_id="op")] == [
        "STARTED",
        "COMPLETED",
    ]
    before = await everything(world)

    (again,) = await world.post(event("op", "note"))

    assert refused(again).kind is RefusalKind.CONFLICT
    assert await everything(world) == before
    (operation,) = await world.rows(schema.operations, id="op")
    assert (operation["sequence"], operation["result"]) == (2, b'{"url":"x"}')
    assert operation["error"] is None


async def test_an_operations_type_is_given_once(world: World) -> None:
    verdicts = await world.post(
        event("op"),
        event("op", operation_type="report"),
        event("op", operation_type="other"),
        event("op", operation_type="report"),
    )

    assert [isinstance(each, Refusal) for each in verdicts] == [False, False, True, False]
    bodies = [json.loads(row["body"]) for row in await world.rows(schema.events)]
    assert [body.get("operationType") for body in bodies] == [None, "report", "report"]


async def test_what_was_refused_before_it_came_here_keeps_its_place(world: World) -> None:
    mine = Refusal(RefusalKind.TOO_LARGE, "too large")

    verdicts = await world.post(event("a"), mine, event("b"))

    assert verdicts[1] is mine
    assert [accepted(verdicts[n]).operation_id for n in (0, 2)] == ["a", "b"]


# --- idempotency keys


async def test_the_answer_to_a_key_is_given_again_and_nothing_is_done(world: World) -> None:
    await world.subscribe()
    await world.post(event(), once=kept())
    before = await everything(world)

    again, other = await world.accept.accept(
        [request(event(), once=kept()), request(event(), once=kept(fingerprint=b"g"))]
    )

    assert again == AcceptResult(Replayed(b"answer"))
    assert refused(other.answer).kind is RefusalKind.IDEMPOTENCY_KEY_REUSED
    assert await everything(world) == before


async def test_a_key_twice_in_one_group_is_done_once(world: World) -> None:
    first, again, other = await world.accept.accept(
        [
            request(event(), once=kept()),
            request(event(), once=kept()),
            request(event(), once=kept(fingerprint=b"g")),
        ]
    )

    assert isinstance(first.answer, list)
    assert again.answer == Replayed(b"answer")
    assert refused(other.answer).kind is RefusalKind.IDEMPOTENCY_KEY_REUSED
    assert len(await world.rows(schema.events)) == 1


async def test_keys_are_a_tenants_own_and_last_a_day(world: World) -> None:
    await world.tenant("other")
    await world.post(event(), once=kept())
    await world.post(event(), tenant="other", once=kept(fingerprint=b"g"))
    world.clock.advance(LIFETIME)

    await world.post(event(), once=kept(fingerprint=b"h"))

    rows = await world.rows(schema.idempotency_keys)
    assert [(row["tenant_id"], row["fingerprint"]) for row in rows] == [
        ("default", b"h"),
        ("other", b"g"),
    ]


async def test_an_answer_that_is_not_to_be_kept_is_not(world: World) -> None:
    await world.post(event(None), once=kept(said=None))

    verdicts = await world.post(event("op"), once=kept())

    assert accepted(verdicts[0]).sequence == 1


# --- wide groups


async def test_a_group_that_is_too_wide_is_refused_as_a_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MAX_DELIVERIES", 5)
    for n in range(3):
        await world.subscribe(f"sub{n}")
    group = [request(event("a", id="1")), request(event("b", id="2"))]
    before = await everything(world)

    with pytest.raises(GroupTooWideError):
        await world.accept.accept(group)
    assert await everything(world) == before

    results = await world.accept.accept(group, bounded=False)
    assert [accepted(result.answer[0]).sequence for result in results] == [1, 1]  # type: ignore[index]  # lists
    assert len(await world.rows(schema.delivery_queue)) == 6


async def test_one_events_fan_out_is_never_split(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MAX_DELIVERIES", 1)
    for n in range(3):
        await world.subscribe(f"sub{n}")

    assert len(await lanes_of(world, event())) == 1
    assert len(await world.rows(schema.delivery_queue)) == 3


async def test_what_is_pending_is_counted(world: World) -> None:
    await world.subscribe()
    await world.posted(event(), event())
    await world.claim(quota=1)

    assert await world.accept.pending() == 2


# --- bytes


MEMBERS = [field.encode_name for field in msgspec.structs.fields(EventOut)]


@pytest.mark.parametrize(
    "text",
    [
        b"1.10",
        b"1e400",
        b"-0",
        b"12345678901234567890.1234567",
        b'{"b":1,"a":{"b":1.0},"b":2}',
        '"ä\\u00e4 €𝄞"'.encode(),
        b'[ 1 ,\t2 ,\n {  "a" :\r null } ]',
        b"null",
        b'"\\ud83d\\ude00 \\/"',
    ],
)
async def test_json_is_kept_to_the_byte(world: World, text: bytes) -> None:
    posted = msgspec.json.decode(
        b'{"operationId":"op","type":"note","data": ' + text + b' ,"result":' + text + b"}",
        type=EventIn,
    )

    await world.posted(posted)

    (row,) = await world.rows(schema.events)
    assert b'"data":' + text + b"}" in row["body"]
    assert b'"result":' + text + b',"data"' in row["body"]
    (operation,) = await world.rows(schema.operations)
    assert operation["result"] == text


async def test_progress_gets_its_percentage_and_keeps_the_rest(world: World) -> None:
    await world.posted(event("op", "STATUS_UPDATE", progress=b'{"current": 1.0,"total":3}'))

    (row,) = await world.rows(schema.events)
    assert b'"progress":{"current":1.0,"total":3,"percentage":33.33}' in row["body"]


numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(json.dumps)
raw_strings = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=20
).map('"{}"'.format)
space = st.text(" \t\r\n", max_size=2)


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.tuples(space, values, space).map("".join)
    pairs = st.tuples(space, strings, space, st.just(":"), spaced).map("".join)
    arrays = st.lists(spaced, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
    return arrays | st.lists(pairs, max_size=3).map(lambda parts: f"{{{','.join(parts)}}}")


scalars = numbers | strings | raw_strings | st.sampled_from(["true", "false", "null"])
texts = st.recursive(scalars, containers, max_leaves=8)


async def body_of(members: dict[str, Any]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ringback.db"
        path.write_bytes(migrated_file())
        async with opened_world(path, FakeClock()) as world:
            await world.posted(event("op", "note", **members))
            (row,) = await world.rows(schema.events)
            return bytes(row["body"])


@settings(max_examples=40, deadline=None)
@given(data=texts, result=texts, message=st.none() | st.text(st.characters(codec="utf-8")))
def test_a_body_is_json_with_its_members_in_order_and_their_bytes(
    data: str, result: str, message: str | None
) -> None:
    given_: dict[str, Any] = {"data": data.encode(), "result": result.encode()}
    if message is not None:
        given_["message"] = message

    body = asyncio.run(body_of(given_))

    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    json.loads(body)
    assert bytes(members["data"]) == given_["data"]
    assert bytes(members["result"]) == given_["result"]
    assert ("message" in members) == (message is not None)
    if message is not None:
        assert json.loads(bytes(members["message"])) == message
    assert [name for name in MEMBERS if name in members] == list(members)
    absent = {"operationType", "progress", "error", "warnings"}
    assert not absent & set(members)


async def test_ids_are_made_where_none_were_given(world: World) -> None:
    verdicts = await world.posted(*(event() for _ in range(20)))

    assert len({each.id for each in verdicts}) == 20
    assert all(each.id.startswith("evt_") for each in verdicts)
    assert sorted(each.id for each in verdicts) == [each.id for each in verdicts]
