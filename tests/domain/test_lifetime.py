"""The times of an operation: its likely end, its patience, its expiry."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.domain import times
from service.domain.errors import RefusalKind
from service.domain.lifetime import refined, refuse_unless_silent, timed, timeout_event
from service.domain.operation import Operation, Status, refuse_expired

NOW = 1_750_000_000_000
TTL = 1_000

moments = st.integers(0, 10**13)
percentages = st.floats(0, 100)


def operation(**members: object) -> Operation:
    plain: dict[str, object] = {"key": 1, "tenant_id": "t", "id": "op", "created_at": NOW}
    return Operation(**{**plain, "updated_at": NOW, **members})  # type: ignore[arg-type]  # members of many types


# --- the likely end


@given(begun=moments, elapsed=st.integers(1, 10**12), percentage=percentages)
def test_an_estimate_goes_on_at_the_pace_so_far(
    begun: int, elapsed: int, percentage: float
) -> None:
    assume(percentage > 0.001)
    end = refined(None, begun, begun + elapsed, percentage)

    assert end is not None
    assert end >= begun + elapsed
    expected = min(begun + elapsed * 100 / percentage, times.LATEST)
    assert end == pytest.approx(expected, abs=2, rel=1e-9)


@given(begun=moments, elapsed=st.integers(1, 10**12), one=percentages, other=percentages)
def test_who_is_further_is_there_no_later(
    begun: int, elapsed: int, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    assume(less > 0)
    now = begun + elapsed

    sooner, later = refined(None, begun, now, more), refined(None, begun, now, less)

    assert sooner is not None
    assert later is not None
    assert sooner <= later <= times.LATEST


@given(begun=moments, elapsed=st.integers(1, 10**12))
def test_who_is_all_the_way_there_is_there_now(begun: int, elapsed: int) -> None:
    assert refined(None, begun, begun + elapsed, 100) == begun + elapsed


@pytest.mark.parametrize(
    ("now", "percentage"), [(NOW, 50.0), (NOW - 1, 50.0), (NOW + 1, 0.0), (NOW + 1, None)]
)
def test_what_tells_nothing_leaves_the_estimate(now: int, percentage: float | None) -> None:
    assert refined(7, NOW, now, percentage) == 7
    assert refined(None, NOW, now, percentage) is None


def test_the_smallest_progress_is_estimated_too() -> None:
    assert refined(None, NOW, NOW + 1, 5e-324) == times.LATEST


def test_an_estimate_begins_as_it_was_said_and_is_refined() -> None:
    made = timed(operation(expected_ms=60_000), NOW, TTL)
    assert made.estimated_at == NOW + 60_000

    started = timed(operation(expected_ms=60_000, started_at=NOW + 5), NOW + 5, TTL, 10)
    assert started.estimated_at == NOW + 60_000
    halfway = timed(operation(started_at=NOW, estimated_at=9), NOW + 10_000, TTL, 50)
    assert halfway.estimated_at == NOW + 20_000
    assert timed(halfway, NOW + 11_000, TTL).estimated_at == NOW + 20_000


# --- patience and expiry


def test_every_event_renews_patience() -> None:
    assert timed(operation(timeout_ms=500), NOW + 3, TTL).silent_at == NOW + 503
    assert timed(operation(), NOW, TTL).silent_at is None


@pytest.mark.parametrize(("own", "readable"), [(None, TTL), (0, 0), (5, 5)])
def test_an_end_stops_the_clocks_and_starts_the_last_one(own: int | None, readable: int) -> None:
    ended = operation(
        status=Status.FAILED, ended_at=NOW, ttl_ms=own, timeout_ms=5, silent_at=5, estimated_at=5
    )

    after = timed(ended, NOW + 10, TTL)

    assert (after.silent_at, after.estimated_at) == (None, None)
    assert after.expires_at == NOW + readable


def test_what_has_no_times_stays_as_it_is() -> None:
    plain = operation(started_at=NOW)

    assert timed(plain, NOW + 5, TTL) is plain


def test_an_operation_is_gone_from_its_expiry_on() -> None:
    ended = operation(status=Status.COMPLETED, ended_at=NOW, expires_at=NOW + TTL)

    assert refuse_expired(ended, NOW + TTL - 1) is None
    assert refuse_expired(operation(), NOW + TTL) is None
    refusal = refuse_expired(ended, NOW + TTL)
    assert refusal is not None
    assert refusal.kind is RefusalKind.GONE
    assert refusal.extra == {"expiredAt": times.render(NOW + TTL)}


# --- time-outs


@pytest.mark.parametrize(("silent_at", "over"), [(None, False), (NOW + 1, False), (NOW, True)])
def test_a_time_out_is_judged_once_more(silent_at: int | None, *, over: bool) -> None:
    assert (refuse_unless_silent(operation(silent_at=silent_at), NOW) is None) is over


@pytest.mark.parametrize(
    ("timeout", "said"), [(1_500, "1.5 seconds"), (86_400_000_000, "86400000 seconds")]
)
def test_a_time_out_says_what_it_was(timeout: int, said: str) -> None:
    event = timeout_event("op", "report", timeout, "https://r.test/problems/operation-timeout")

    assert (event.type, event.operation_id, event.operation_type) == ("FAILED", "op", "report")
    error = json.loads(bytes(event.error))
    assert error["type"] == "https://r.test/problems/operation-timeout"
    assert said in error["detail"]
    assert error["retryable"] is True
