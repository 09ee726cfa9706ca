"""Operational events: which they are, who gets them, and what they say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import operational
from service.domain.health import DisabledReason
from service.domain.matching import Index, wants
from service.domain.subscription import Subscription, changed

PLAIN = Subscription(no=1, id="sub", tenant_id="t", url="", created_at=0, updated_at=0)


def wanting(*patterns: str, **members: object) -> Subscription:
    return changed(PLAIN, event_types=patterns, **members)


@pytest.mark.parametrize(
    ("patterns", "event_type", "wanted"),
    [
        (("*",), operational.DISABLED, False),
        (("**",), operational.DISABLED, False),
        (("*", "subscription.disabled"), operational.DISABLED, True),
        (("subscription.*",), operational.DISABLED, True),
        (("subscription.*",), operational.DEAD_LETTERED, False),
        (("*.disabled",), operational.DISABLED, True),
        (("delivery.dead_lettered",), operational.DEAD_LETTERED, True),
        (("dead_letters.*",), operational.THRESHOLD, True),
    ],
)
def test_they_go_to_who_names_their_type(
    patterns: tuple[str, ...],
    event_type: str,
    wanted: bool,  # noqa: FBT001  a parameter of the table
) -> None:
    assert wants(wanting(*patterns), event_type, None, None) == wanted
    assert bool(Index([wanting(*patterns)]).match(event_type, None, None)) == wanted


def test_who_wants_one_operation_or_some_types_of_them_gets_none() -> None:
    named = "subscription.disabled"

    assert not wants(wanting(named, operation_id="op"), named, None, None)
    assert not wants(wanting(named, operation_types=("report",)), named, None, None)


def test_a_producers_event_of_the_same_name_is_like_any_other() -> None:
    index = Index([wanting("*")])
    for _ in range(2):  # whichever was asked for first
        assert index.match(operational.FAILING, None, "op") != []
        assert index.match(operational.FAILING, None, None) == []


@given(st.integers(0, 10**7), st.integers(0, 10**6))
def test_thresholds_are_the_powers_of_ten_on_the_way(before: int, more: int) -> None:
    crossed = operational.thresholds(before, before + more)

    assert crossed == [10**n for n in range(9) if before < 10**n <= before + more]


def test_an_event_says_what_happened_and_nothing_of_what_is_not_known() -> None:
    notice = operational.disabled("t", "sub_1", DisabledReason.GONE)

    shown = json.loads(operational.render(notice, "evt_1", 0))

    assert shown == {
        "id": "evt_1",
        "type": "subscription.disabled",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "message": "Subscription sub_1 was disabled: its receiver answered 410 Gone.",
        "data": {"subscriptionId": "sub_1", "reason": "gone"},
    }
    partly = operational.Notice("t", operational.FAILING, "", {"a": None, "b": 0})
    assert json.loads(operational.render(partly, "e", 0))["data"] == {"b": 0}
