"""The moves of an operation: every one that is allowed, and no other."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from service.domain.errors import RefusalKind
from service.domain.operation import (
    LIFECYCLE,
    MOVES,
    Operation,
    Status,
    implied_status,
    is_end,
    is_own,
    refuse_move,
)

ENDS = ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]
#: The contract's table, written down a second time.
ALLOWED = {
    "PENDING": {"PENDING", "PROCESSING", *ENDS},
    "PROCESSING": {"PROCESSING", *ENDS},
    **{end: set() for end in ENDS},
}
TYPES = {
    "STARTED": "PROCESSING",
    "STATUS_UPDATE": "PROCESSING",
    **{end: end for end in ENDS},
}


def pairs(first: Iterable[Any], second: Iterable[Any]) -> list[tuple[Any, Any]]:
    return list(itertools.product(first, second))


def operation(status: str) -> Operation:
    return Operation(
        key=1, tenant_id="t", id="op", status=Status(status), created_at=0, updated_at=0
    )


def test_the_table_knows_every_status() -> None:
    assert set(MOVES) == set(Status) == {Status(name) for name in ALLOWED}
    assert {status for status in Status if is_end(status)} == {Status(name) for name in ENDS}


@pytest.mark.parametrize(("before", "to"), pairs(ALLOWED, [*ALLOWED, None]))
def test_only_moves_of_the_table_are_made(before: str, to: str | None) -> None:
    refusal = refuse_move(operation(before), None if to is None else Status(to))

    if before not in ENDS and (to is None or to in ALLOWED[before] or to == before):
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.kind is RefusalKind.CONFLICT
        assert refusal.extra == {"currentStatus": before, "requestedStatus": to}
        assert before in refusal.detail
        assert to is None or to in refusal.detail


@pytest.mark.parametrize(("before", "type_"), pairs(ALLOWED, [*TYPES, "note"]))
def test_every_type_from_every_status(before: str, type_: str) -> None:
    to = implied_status(type_, None)
    assert to == TYPES.get(type_)

    refusal = refuse_move(operation(before), Status(to) if to else None)

    allowed = before not in ENDS and (to is None or to in ALLOWED[before])
    assert (refusal is None) == allowed


@pytest.mark.parametrize(("type_", "status"), pairs([*TYPES, "note"], [*ALLOWED, None]))
def test_a_status_may_repeat_its_type_and_otherwise_only_say_processing(
    type_: str, status: str | None
) -> None:
    implied = implied_status(type_, status)

    fine = status in (None, TYPES.get(type_, "PROCESSING"))
    assert (implied is None or isinstance(implied, Status)) == fine
    if fine:
        assert implied == TYPES.get(type_, status)
    else:
        assert implied is not None
        assert type_ in implied


def test_lifecycle_types_are_as_agreed() -> None:
    assert {name: status.value for name, status in LIFECYCLE.items()} == TYPES


@pytest.mark.parametrize(
    ("type_", "own"),
    [("ringback.replay", True), ("ringback.", True), ("ringback", False), ("report", False)],
)
def test_ringbacks_own_types(type_: str, *, own: bool) -> None:
    assert is_own(type_) is own
    assert is_own(None) is False
