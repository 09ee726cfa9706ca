"""Trace context: what is taken for one, and what goes on from it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import trace
from service.domain.event import EventIn, EventOut, encode

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (GIVEN, GIVEN),
        (f" {GIVEN} ", GIVEN),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", GIVEN),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_header_is_kept_or_as_if_it_were_not_there(header: str | None, kept: str | None) -> None:
    assert trace.of_header(header) == kept


@given(st.text())
def test_any_header_at_all_is_read(header: str) -> None:
    found = trace.of_header(header)

    assert found is None or trace.of_header(found) == found


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
def test_the_next_span_is_a_new_one_of_the_same_trace(random16: bytes, random8: bytes) -> None:
    follows, begins = (trace.next_traceparent(each, random16, random8) for each in (GIVEN, None))

    assert trace.of_header(follows) == follows
    assert trace.of_header(begins) == begins
    assert follows.split("-")[1] == TRACE
    assert follows.split("-")[2] == begins.split("-")[2]
    assert {follows[-2:], begins[-2:]} == {"01"}


def test_no_id_is_all_zeros() -> None:
    assert trace.next_traceparent(None, bytes(16), bytes(8)) == f"00-{'0' * 31}1-{'0' * 15}1-01"
    assert trace.next_traceparent(None, b"\1" * 16, b"\2" * 8) == f"00-{'01' * 16}-{'02' * 8}-01"


def test_whether_it_is_sampled_goes_on_and_nothing_else() -> None:
    def flags(given: str) -> str:
        return trace.next_traceparent(f"00-{TRACE}-{SPAN}-{given}", bytes(16), bytes(8))[-2:]

    assert [flags(each) for each in ("00", "01", "02", "03")] == ["00", "01", "00", "01"]


def test_only_the_event_itself_says_what_trace_it_is_of() -> None:
    inside = msgspec.Raw(json.dumps({"traceparent": GIVEN}, separators=(",", ":")).encode())
    said = f'"traceparent":"{GIVEN}"'
    bare = EventOut(id="evt_1", type="note", timestamp="2025", message=said, data=inside)

    assert trace.of_body(encode(bare)) is None
    assert trace.of_body(encode(msgspec.structs.replace(bare, traceparent=GIVEN))) == GIVEN
    assert trace.of_body(b"no JSON" + trace._MARK) is None  # noqa: SLF001  to get past the quick look


@pytest.mark.parametrize("given", ["", GIVEN.upper(), GIVEN + "-more", f"01{GIVEN[2:]}", 1])
def test_a_member_is_of_this_version_to_the_letter(given: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "note", "traceparent": given}, EventIn)
