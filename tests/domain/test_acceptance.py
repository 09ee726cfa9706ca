"""The planner: what becomes of an operation, event by event."""

import itertools
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.acceptance import Accepted, KnownEvent, Making, Planner
from service.domain.errors import Refusal, RefusalKind
from service.domain.event import EventIn
from service.domain.ids import KeyMaker
from service.domain.operation import MOVES, REPLAY_TYPE, Operation, Status, implied_status, is_end
from tests.support.world import TTL, event

NOW = 1_750_000_000_000


def planner(
    operations: Mapping[tuple[str, str], Operation] | None = None,
    seen: Mapping[tuple[str, str], KnownEvent] | None = None,
    now: int = NOW,
) -> Planner:
    return Planner(operations or {}, seen or {}, Making(KeyMaker(), now, lambda: b"salt", TTL))


def known(status: str, **members: object) -> dict[tuple[str, str], Operation]:
    values: dict[str, object] = {"key": 1, "tenant_id": "t", "id": "op", "sequence": 7}
    values |= {"status": Status(status), "created_at": 1, "updated_at": 1, **members}
    return {("t", "op"): Operation(**values)}  # type: ignore[arg-type]  # members of many types


TYPES = ["STARTED", "STATUS_UPDATE", "note", *(s.value for s in Status if is_end(s))]


@pytest.mark.parametrize(("before", "type_"), list(itertools.product(Status, TYPES)))
def test_every_type_from_every_status(before: Status, type_: str) -> None:
    plan = planner(known(before.value))

    verdict = plan.take("t", event("op", type_))

    to = implied_status(type_, None)
    if is_end(before):
        assert isinstance(verdict, Refusal)
        assert verdict.kind is RefusalKind.CONFLICT
        assert plan.events == []
        assert plan.changed_operations() == []
        return
    after = to or before
    assert isinstance(verdict, Accepted)
    assert (verdict.sequence, verdict.status) == (8, after)
    (operation,) = plan.changed_operations()
    assert (operation.status, operation.sequence, operation.updated_at) == (after, 8, NOW)
    assert operation.ended_at == (NOW if not MOVES[Status(after)] else None)
    never_started = after in (Status.PENDING, Status.CANCELLED)
    assert operation.started_at == (None if never_started else NOW)


def test_an_operation_remembers_when_it_started_and_what_was_last_said() -> None:
    plan = planner(known("PROCESSING", started_at=5, progress=b"10", warnings=b"[1]"))

    plan.take("t", event("op", "STATUS_UPDATE", progress=b'{"current":1,"total":2}'))
    plan.take("t", event("op", "FAILED", error=b'{"title":"no"}'))

    (operation,) = plan.changed_operations()
    assert (operation.started_at, operation.ended_at) == (5, NOW)
    assert operation.progress == b'{"current":1,"total":2,"percentage":50.0}'
    assert (operation.error, operation.warnings) == (b'{"title":"no"}', b"[1]")


def test_only_ringback_posts_to_its_own_operations() -> None:
    plan = planner(known("PROCESSING", type=REPLAY_TYPE))

    theirs = plan.take("t", event("op", "COMPLETED"))
    ours = plan.take("t", event("op", "COMPLETED", operation_type=REPLAY_TYPE))

    assert isinstance(theirs, Refusal)
    assert isinstance(ours, Accepted)


def test_a_body_tells_what_the_event_and_its_operation_say() -> None:
    plan = planner(known("PROCESSING", type="report"))
    posted = event("op", id="e", timestamp="2025-01-31T12:00:00+01:00", message="hello")

    plan.take("t", posted)
    plan.take("t", event("op", id="f"))

    first, second = (json.loads(each.body) for each in plan.events)
    assert first == {
        "id": "e",
        "type": "note",
        "timestamp": "2025-01-31T11:00:00.000Z",
        "operationId": "op",
        "operationType": "report",
        "sequence": 8,
        "status": "PROCESSING",
        "message": "hello",
    }
    assert second["timestamp"] == "2025-06-15T15:06:40.000Z"


posts = st.builds(
    event,
    st.sampled_from([None, "a", "b"]),
    st.sampled_from(TYPES),
    id=st.sampled_from([None, "1", "2", "3"]),
    operation_type=st.sampled_from([None, None, "x", "y"]),
)


@given(st.lists(posts, max_size=25))
def test_whatever_is_posted_the_log_is_without_gaps_and_follows_the_table(
    posted: list[EventIn],
) -> None:
    plan = planner()

    verdicts = [plan.take("t", each) for each in posted]

    fresh = [each for each in verdicts if isinstance(each, Accepted) and not each.duplicate]
    assert [each.id for each in fresh] == [each.id for each in plan.events]
    assert len({each.id for each in plan.events}) == len(plan.events)
    assert [each.key for each in plan.events] == sorted(each.key for each in plan.events)
    for operation in plan.changed_operations():
        own = [each for each in plan.events if each.operation_id == operation.id]
        assert [each.sequence for each in own] == list(range(1, operation.sequence + 1))
        path = [Status.PENDING, *(Status(str(each.status)) for each in own)]
        for before, after in itertools.pairwise(path):
            assert (after == before and not is_end(before)) or after in MOVES[before]
        assert path[-1] is operation.status
    names = {each.operation_id for each in plan.events}
    assert names == {operation.id for operation in plan.changed_operations()}


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.integers(-50, 50)), min_size=1, max_size=9))
def test_the_times_of_an_operation_follow_its_sequence_whatever_two_processes_think(
    posted: list[tuple[str, int]],
) -> None:
    operations: dict[tuple[str, str], Operation] = {}
    updated = 0
    for type_, off in posted:
        plan = planner(operations, now=NOW + off)
        plan.take("t", event("op", type_))
        for operation in plan.changed_operations():
            operations["t", "op"] = operation
            assert operation.updated_at >= max(updated, NOW + off)
            updated = operation.updated_at
    operation = operations["t", "op"]
    moments = (operation.created_at, operation.started_at, operation.ended_at)
    told = [each for each in moments if each is not None]
    assert told == sorted(told)
    assert operation.ended_at in (None, operation.updated_at)
