"""Circuits and receivers that are given up, as rules."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import health as rules
from service.domain.health import (
    FIRST_WAIT,
    LONGEST_WAIT,
    MIN_STREAK,
    PATIENCE,
    WINDOW,
    Attempted,
    Circuit,
    Health,
    Sort,
)
from service.domain.outcome import ErrorClass, Failed, Responded, Timing

NOW = 1_750_000_000_000
sorts = st.sampled_from(list(Sort))


def after(health: Health, sorts: Sequence[Sort], now: int = NOW, claimed_at: int = NOW) -> Health:
    for sort in sorts:
        health = rules.after(health, Attempted(sort, claimed_at), now)
    return health


def opened(trips: int = 1) -> Health:
    """A health whose circuit has opened so often in a row, the last time at ``NOW``."""
    health = after(Health(), [Sort.FAILED] * 10)
    return replace(health, trips=trips)


# --- opening


@given(st.lists(sorts.filter(lambda sort: sort is not Sort.BLOCKED), max_size=30))
def test_a_circuit_opens_at_ten_attempts_of_which_seventy_percent_failed(done: list[Sort]) -> None:
    health = Health()
    for number, sort in enumerate(done, 1):
        health = after(health, [sort])
        failed = done[:number].count(Sort.FAILED)
        if health.trips:
            assert sort is Sort.FAILED
            assert number >= 10
            assert failed / number >= 0.7
            assert rules.circuit(health, NOW) is Circuit.OPEN
            assert health.open_until == NOW + 30_000
            return
        assert number < 10 or failed / number < 0.7 or sort is Sort.SUCCEEDED


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_only_what_was_within_five_minutes_counts(moments: list[int]) -> None:
    health = Health()
    for at in sorted(moments):
        health = after(health, [Sort.FAILED], NOW + at, NOW + at)
        if health.trips:
            within = [each for each in moments if at - WINDOW < each <= at]
            assert len(within) >= 10
            return
        assert len(health.recent) <= WINDOW // rules.SLICE + 1


def test_a_blocked_target_leaves_the_circuit_alone_and_counts_for_being_given_up() -> None:
    health = after(Health(), [Sort.BLOCKED] * 50)

    assert rules.circuit(health, NOW) is Circuit.CLOSED
    assert health.streak == 50


def test_without_a_breaker_nothing_opens_and_what_is_open_closes() -> None:
    failed = Attempted(Sort.FAILED, NOW, count=100)

    assert rules.after(Health(), failed, NOW, breaker=False).trips == 0
    closed = rules.after(opened(), failed, NOW + 1, breaker=False)
    assert rules.circuit(closed, NOW + 1) is Circuit.CLOSED
    assert closed.streak == 110


# --- open and half open


@given(st.integers(1, 60))
def test_it_waits_twice_as_long_each_time_and_fifteen_minutes_at_most(trips: int) -> None:
    health = opened(trips)
    probe = health.open_until

    again = after(health, [Sort.FAILED], probe, probe)

    wait = again.open_until - probe
    assert wait == min(FIRST_WAIT * 2**trips, LONGEST_WAIT)
    assert again.trips == trips + 1


def test_after_the_wait_it_is_half_open_and_a_success_closes_it() -> None:
    health = opened(3)
    until = health.open_until
    assert rules.circuit(health, until - 1) is Circuit.OPEN
    assert rules.circuit(health, until) is Circuit.HALF_OPEN

    closed = after(health, [Sort.SUCCEEDED], until, until)

    assert rules.circuit(closed, until) is Circuit.CLOSED
    assert (closed.trips, closed.recent, closed.told) == (0, (), False)
    # and it is sound again: one failure does not open it
    assert after(closed, [Sort.FAILED], until, until).trips == 0


@given(st.lists(sorts, max_size=30), st.integers(0, 10 * FIRST_WAIT))
def test_what_was_sent_before_it_opened_neither_closes_nor_opens_it(
    done: list[Sort], later: int
) -> None:
    health = opened()

    seen = after(health, done, NOW + later, health.opened_at)

    assert (seen.trips, seen.open_until) == (health.trips, health.open_until)


def test_what_a_person_hurries_closes_it_early_and_does_not_prolong_it() -> None:
    health = opened()
    during = NOW + 1

    assert after(health, [Sort.SUCCEEDED], during, during).trips == 0
    failed = after(health, [Sort.FAILED], during, during)
    assert (failed.trips, failed.open_until) == (health.trips, health.open_until)


# --- what is told


def test_what_carries_an_operational_event_tells_nobody() -> None:
    silent = Attempted(Sort.FAILED, NOW, count=10, silent=True)
    health = rules.after(Health(), silent, NOW)

    assert health.trips == 1
    assert not health.told
    until = health.open_until
    assert rules.after(health, Attempted(Sort.FAILED, until), until).told
    assert opened().told


# --- giving up


@given(st.integers(1, 40), st.integers(PATIENCE - 5, PATIENCE + 5))
def test_who_failed_for_five_days_and_twenty_attempts_is_given_up(count: int, span: int) -> None:
    health = after(Health(), [Sort.FAILED] * count)

    assert rules.is_hopeless(health, NOW + span) == (count >= MIN_STREAK and span >= PATIENCE)


@given(st.lists(st.tuples(sorts, st.integers(0, PATIENCE)), max_size=40))
def test_any_success_begins_the_count_anew(steps: list[tuple[Sort, int]]) -> None:
    health, at, streak, since = Health(), NOW, 0, None
    for sort, wait in steps:
        at += wait
        health = after(health, [sort], at, at)
        if sort is Sort.SUCCEEDED:
            streak, since = 0, None
        else:
            streak, since = streak + 1, at if since is None else since
        assert (health.streak, health.failing_since) == (streak, since)


@given(st.lists(sorts, max_size=20), st.integers(1, 20))
def test_several_successes_together_are_as_good_as_one_by_one(done: list[Sort], count: int) -> None:
    health = after(Health(), done)
    one = Attempted(Sort.SUCCEEDED, NOW + 1)
    together = rules.after(health, replace(one, count=count), NOW + 1)

    assert together == after(health, [Sort.SUCCEEDED] * count, NOW + 1, NOW + 1) or health.trips
    assert rules.together(one, replace(one, claimed_at=NOW)) == replace(one, count=2)


# --- outcomes


@pytest.mark.parametrize(
    ("outcome", "sort"),
    [
        (Responded(204, (), b"", body_cut=False, timing=Timing(1)), Sort.SUCCEEDED),
        (Responded(302, (), b"", body_cut=False, timing=Timing(1)), Sort.FAILED),
        (Failed(ErrorClass.TIMEOUT, "", Timing(1)), Sort.FAILED),
        (Failed(ErrorClass.BLOCKED, "", Timing(1)), Sort.BLOCKED),
        (Failed(ErrorClass.UNKNOWN, "", Timing(1)), None),
    ],
)
def test_what_an_outcome_says(outcome: Responded | Failed, sort: Sort | None) -> None:
    assert rules.sort_of(outcome) == sort
