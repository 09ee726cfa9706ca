"""Keys that only grow, ids that name a pair, times on the wire."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain import times
from service.domain.ids import (
    MAX_KEY,
    DeliveryRef,
    KeyMaker,
    attempt_id,
    dead_letter_id,
    delivery_id,
    key_floor,
    key_node,
    key_time,
    keyed,
    parse_ref,
)

NOW = 1_735_689_600_123
LATEST = 253_402_300_799_999

moments = st.integers(0, LATEST)
refs = st.builds(DeliveryRef, st.integers(0, MAX_KEY), st.integers(0, 2**32 - 1))


@given(st.lists(st.integers(NOW - 10_000, NOW + 10_000), min_size=2, max_size=50))
def test_keys_grow_whatever_the_clock_does(clock: list[int]) -> None:
    maker = KeyMaker()
    keys = [maker.next(now) for now in clock]
    assert all(one < other for one, other in pairwise(keys))
    assert all(key_time(key) >= now for key, now in zip(keys, clock, strict=True))


def test_more_keys_than_fit_into_a_millisecond_borrow_the_next() -> None:
    maker = KeyMaker(255)
    keys = [maker.next(NOW) for _ in range(10_000)]
    assert keys == sorted(set(keys))
    assert key_time(keys[8191]) == NOW
    assert key_time(keys[8192]) == NOW + 1


@given(st.integers(0, 255), moments)
def test_a_key_tells_who_made_it(node: int, now: int) -> None:
    maker = KeyMaker(node)
    assert {key_node(maker.next(now)) for _ in range(3)} == {node}


@given(moments, moments, moments)
def test_keys_go_on_from_any_that_is_larger(first: int, passed: int, now: int) -> None:
    maker = KeyMaker()
    before = maker.next(first)
    theirs = KeyMaker(255).next(passed)
    maker.go_past(theirs)
    assert maker.next(now) > max(before, theirs)


def test_a_clock_before_the_epoch_still_gives_usable_keys() -> None:
    maker = KeyMaker()
    keys = [maker.next(0) for _ in range(10_000)]
    assert keys == sorted(set(keys))
    assert min(keys) >= 0


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(NOW, NOW + 3)), max_size=50))
def test_two_nodes_never_make_the_same_key(turns: list[tuple[int, int]]) -> None:
    makers = {node: KeyMaker(node) for node, _ in turns}
    keys = [makers[node].next(now) for node, now in turns]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("node", [-1, 256])
def test_a_node_that_would_spill_into_the_time_is_a_bug(node: int) -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        KeyMaker(node)


@given(st.integers(1_577_836_800_000, 1_577_836_800_000 + 2**42 - 1), st.integers(0, 255))
def test_the_floor_of_a_time_is_under_every_key_of_it(now: int, node: int) -> None:
    key = KeyMaker(node).next(now)
    assert key_time(key) == now
    assert key_floor(now) <= key < key_floor(now + 1) or key_floor(now + 1) == MAX_KEY
    assert 0 <= key <= MAX_KEY


def test_floors_of_times_outside_stay_inside() -> None:
    assert key_floor(0) == 0
    assert key_floor(times.NEVER) == MAX_KEY


@given(refs, refs)
def test_delivery_ids_name_the_pair_and_sort_like_it(one: DeliveryRef, other: DeliveryRef) -> None:
    assert parse_ref("dlv", delivery_id(one)) == one
    assert parse_ref("dl", dead_letter_id(one)) == one
    assert (delivery_id(one) < delivery_id(other)) == (one < other)


def test_ids_as_they_look() -> None:
    ref = DeliveryRef(0x0102, 3)
    assert delivery_id(ref) == "dlv_000000000000010200000003"
    assert dead_letter_id(ref) == "dl_000000000000010200000003"
    assert attempt_id(ref, 10) == "att_000000000000010200000003000a"
    assert keyed("evt", 0x0102, b"\xab\xcd\xef\x01") == "evt_0000000000000102abcdef01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dlv_",
        "dlv_00000000000001020000003",
        "dlv_0000000000000102000000030",
        "dlv_00000000000001020000000G",
        "dlv_00000000000001020000000A",
        "dlv_0000000000_0010200000003",
        "dlv_\u066000000000000010200000003",
        "dlv_f00000000000010200000003",
        "dl_000000000000010200000003",
        "DLV_000000000000010200000003",
    ],
)
def test_texts_that_are_no_delivery_id(text: str) -> None:
    assert parse_ref("dlv", text) is None


@given(moments)
@example(0)
@example(LATEST)
def test_what_is_rendered_reads_back(at: int) -> None:
    text = times.render(at)
    assert times.parse(text) == at
    assert len(text) == 24


@given(moments, st.integers(-23 * 60, 23 * 60))
def test_any_offset_names_the_same_moment(at: int, minutes: int) -> None:
    base = datetime.fromtimestamp(at // 1000, UTC)
    try:
        moment = base.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:  # a local year 10000
        return
    assert times.parse(moment.isoformat()) == at // 1000 * 1000


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-01-01T00:00:00Z", 1_735_689_600_000),
        ("2025-01-01t00:00:00z", 1_735_689_600_000),
        ("2025-01-01 00:00:00Z", 1_735_689_600_000),
        ("2025-01-01T02:00:00.5+02:00", 1_735_689_600_500),
        ("2025-01-01T00:00:00.1239999999Z", NOW),
        ("1970-01-01T00:00:00+00:00", 0),
    ],
)
def test_forms_of_rfc_3339(text: str, at: int) -> None:
    assert times.parse(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-01-01",
        "2025-01-01T00:00:00",
        "2025-01-01T00:00:00.000",
        "2025-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2025-01-01T23:59:60Z",
        "2025-01-01T00:00:00+25:00",
        "2025-01-01T00:00:00+0000",
        "2025-01-01T00:00:00+00:00:30",
        "2025-01-01T00:00:00,5Z",
        "2025-01-01x00:00:00Z",
        "2025-W01-1T00:00:00Z",
        "20250101T000000.123Z",
        "2025-01-01T00:00:00Z\n",
        "٢٠٢٥-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_texts_that_name_no_time_of_ours(text: str) -> None:
    assert times.parse(text) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    times.parse(text)
    parse_ref("dlv", text)


def test_seconds_become_whole_milliseconds() -> None:
    assert times.seconds(1.5) == 1500
    assert times.seconds(0.0004) == 0
