"""Matching: patterns, and which subscriptions an event goes to."""

import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain import matching
from service.domain.matching import Index, matches, matches_any, wants
from service.domain.operation import REPLAY_TYPE
from service.domain.subscription import Subscription, SubscriptionStatus

letters = st.text("ab*", max_size=8)


def reference(pattern: str, text: str) -> bool:
    expression = "".join(".*" if char == "*" else re.escape(char) for char in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(pattern=letters, text=letters)
@example("*", "")
@example("a*a", "a")
@example("*ab*ab*", "ab")
@example("*b*b", "ab")
@example("a*b*", "a\nb")
@example("", "")
def test_a_pattern_matches_as_an_expression_would(pattern: str, text: str) -> None:
    assert matches(pattern, text) == reference(pattern, text)


@given(pattern=st.text(max_size=8), text=st.text(max_size=8))
def test_any_pattern_meets_any_text(pattern: str, text: str) -> None:
    assert matches(pattern, text) == reference(pattern, text)


@given(text=st.text("ab.", max_size=8), cuts=st.lists(st.integers(0, 8), max_size=3))
def test_a_text_with_parts_starred_out_matches_itself(text: str, cuts: list[int]) -> None:
    pattern = text
    for cut in cuts:
        pattern = pattern[:cut] + "*" + pattern[cut + 1 :]

    assert matches(pattern, text)


@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "b", "*a*" * 40 + "*c", "a*" * 60 + "b" + "*a" * 4]
)
def test_a_hostile_pattern_costs_no_more_than_others(pattern: str) -> None:
    text = "a" * 128
    started = time.process_time()

    for _ in range(100):
        assert not matches(pattern, text)

    assert time.process_time() - started < 0.5


def test_any_of_several() -> None:
    assert matches_any(("x", "a.*"), "a.b")
    assert not matches_any(("x", "a.*"), "a")
    assert not matches_any((), "a")


def subscription(number: int = 1, **members: Any) -> Subscription:  # noqa: ANN401  members of many types
    plain: dict[str, Any] = {"no": number, "id": f"sub{number}", "tenant_id": "t", "url": "u"}
    return Subscription(**{**plain, "created_at": 0, "updated_at": 0, **members})


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, True),
        ({"event_types": ("x", "pay.*")}, True),
        ({"event_types": ("x",)}, False),
        ({"operation_types": ("report.*",)}, True),
        ({"operation_types": ("other",)}, False),
        ({"operation_id": "op"}, True),
        ({"operation_id": "other"}, False),
        ({"operation_id": "op", "event_types": ("x",)}, False),
    ],
)
def test_all_that_a_subscription_asks_for_must_hold(
    members: dict[str, Any], *, wanted: bool
) -> None:
    assert wants(subscription(**members), "pay.now", "report.sales", "op") is wanted


def test_an_event_without_operation_type_reaches_only_who_asks_for_none() -> None:
    assert wants(subscription(), "a", None, "op")
    assert not wants(subscription(operation_types=("*",)), "a", None, "op")


@pytest.mark.parametrize(
    ("types", "wanted"),
    [((), False), (("*",), False), (("ringback.*",), False), ((REPLAY_TYPE,), True)],
)
def test_a_replays_events_reach_only_who_names_their_type(
    types: tuple[str, ...], *, wanted: bool
) -> None:
    assert wants(subscription(operation_types=types), "STARTED", REPLAY_TYPE, "op") is wanted


some = st.builds(
    subscription,
    st.integers(1, 50),
    event_types=st.lists(st.sampled_from(["*", "a", "a.*", "*.b"]), min_size=1, max_size=2).map(
        tuple
    ),
    operation_types=st.lists(st.sampled_from(["r", "r*"]), max_size=1).map(tuple),
    operation_id=st.sampled_from([None, "one", "two"]),
    status=st.sampled_from(list(SubscriptionStatus)),
)
events = st.tuples(
    st.sampled_from(["a", "a.b", "c"]),
    st.sampled_from([None, "r", "rs", REPLAY_TYPE]),
    st.sampled_from([None, "one", "two", "three"]),
)


@given(
    subscriptions=st.lists(some, unique_by=lambda each: each.no, max_size=8),
    asked=st.lists(events, max_size=12),
)
def test_an_index_finds_whom_looking_at_each_would_find(
    subscriptions: list[Subscription], asked: list[tuple[str, str | None, str | None]]
) -> None:
    index = Index(subscriptions)

    for event in asked:
        taking = [s for s in subscriptions if s.status is not SubscriptionStatus.DISABLED]
        wanted = {s.no for s in taking if wants(s, *event)}
        found = [s.no for s in index.match(*event)]
        assert set(found) == wanted
        assert len(found) == len(wanted)


def test_an_index_does_not_remember_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "_REMEMBERED", 3)
    index = Index([subscription()])

    for number in range(10):
        assert len(index.match(f"type{number}", None, None)) == 1

    assert len(index._known) <= 3  # noqa: SLF001  what it keeps is the point


def test_of_thousands_that_name_other_types_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [subscription(no=n, event_types=(f"type{n}", f"type{n}")) for n in range(1, 1_000)]
    all_ = subscription(no=1_000, event_types=("*",))
    some = subscription(no=1_001, event_types=("type7", "kind.*"))
    index = Index([*own, all_, some])
    asked = []

    def noted(subscription: Subscription, *event: Any) -> bool:  # noqa: ANN401  as wants has them
        asked.append(subscription.no)
        return wants(subscription, *event)

    monkeypatch.setattr(matching, "wants", noted)

    assert [each.no for each in index.match("type7", None, "op")] == [7, 1_000, 1_001]
    assert asked == [7, 1_000, 1_001]
