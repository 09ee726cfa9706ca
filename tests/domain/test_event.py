"""Events as they are posted: what is wrong with them, and the progress that is made of them."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from service.domain.event import EventIn, check, normal_progress, own_event
from service.domain.operation import Status

decode = msgspec.json.Decoder(EventIn).decode


def pointers(event: EventIn) -> list[str]:
    return [fault.pointer for fault in check(event)]


def test_every_fault_is_told() -> None:
    event = EventIn(
        type="COMPLETED",
        status=Status.FAILED,
        timestamp="yesterday",
        progress=Raw(b"101"),
        error=Raw(b'"broken"'),
        warnings=Raw(b"{}"),
    )

    assert pointers(event) == ["/status", "/timestamp", "/progress", "/error", "/warnings"]
    assert "FAILED" not in check(event)[0].detail or "COMPLETED" in check(event)[0].detail


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"A"}',
        b'{"type":"A","status":"PROCESSING","timestamp":"2025-01-31T12:00:00.5+01:00"}',
        b'{"type":"STATUS_UPDATE","progress":0}',
        b'{"type":"STATUS_UPDATE","progress":99.5}',
        b'{"type":"A","progress":null,"error":null,"warnings":null,"data":null,"result":null}',
        b'{"type":"A","progress":{"current":1,"total":2,"phase":"x","message":"y"}}',
        b'{"type":"A","progress":{"phases":[{"name":"a","status":"done","duration":1.5}]}}',
        b'{"type":"FAILED","error":{"title":"no","retryable":true,"retryAfter":30,"own":[1]}}',
        b'{"type":"A","warnings":[]}',
    ],
)
def test_what_is_fine_has_no_fault(text: bytes) -> None:
    assert check(decode(text)) == []


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("progress", b"-1"),
        ("progress", b"100.01"),
        ("progress", b"1e400"),
        ("progress", b'"50"'),
        ("progress", b"[]"),
        ("progress", b'{"current":-1}'),
        ("progress", b'{"percentage":101}'),
        ("progress", b'{"percentage":null}'),
        ("progress", b'{"done":1}'),
        ("progress", b'{"phases":[{"name":"a"}]}'),
        ("error", b"[]"),
        ("error", b"true"),
        ("error", b'{"retryable":"yes"}'),
        ("error", b'{"retryAfter":-1}'),
        ("error", b'{"status":"500"}'),
        ("warnings", b'"careful"'),
        ("warnings", b"{}"),
        ("warnings", b'{"a":' * 2_000 + b"1" + b"}" * 2_000),
    ],
)
def test_a_member_of_the_wrong_shape_is_one_fault(member: str, text: bytes) -> None:
    assert pointers(EventIn(type="A", **{member: Raw(text)})) == [f"/{member}"]  # type: ignore[arg-type]  # a raw member


@pytest.mark.parametrize(
    "fields",
    [
        b'"type":"a b"',
        b'"type":""',
        b'"type":"' + b"a" * 129 + b'"',
        b'"type":"A\\n"',
        b'"type":"A","id":"a.b"',
        b'"type":"A","id":"' + b"a" * 65 + b'"',
        b'"type":"A","operationId":""',
        b'"type":"A","status":"DONE"',
        b'"type":"A","colour":"red"',
        b'"type":"A","message":"' + b"a" * 8193 + b'"',
    ],
)
def test_a_field_of_the_wrong_type_does_not_decode(fields: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(b"{" + fields + b"}")


@pytest.mark.parametrize(
    ("posted", "derived"),
    [
        (b'{"current":1,"total":4}', b'{"current":1,"total":4,"percentage":25.0}'),
        (b'{"total":3,"current":2.0}', b'{"total":3,"current":2.0,"percentage":66.67}'),
        (b'{"current":9,"total":3}', b'{"current":9,"total":3,"percentage":100.0}'),
        (b'{"current":0,"total":3}', b'{"current":0,"total":3,"percentage":0.0}'),
    ],
)
def test_a_percentage_is_derived_and_the_rest_kept(posted: bytes, derived: bytes) -> None:
    assert bytes(normal_progress(Raw(posted))) == derived


@pytest.mark.parametrize(
    "posted",
    [
        b"41.50",
        b'{ "current": 1, "total": 0 }',
        b'{"current":1}',
        b'{"total":1}',
        b'{"current":1,"total":2,"percentage":10}',
        b'{"phase":"x","phases":[]}',
    ],
)
def test_progress_that_tells_all_it_can_stays_as_it_is(posted: bytes) -> None:
    assert bytes(normal_progress(Raw(posted))) == posted


@pytest.mark.parametrize("nothing", [b"", b"null"])
def test_no_progress_is_left_out(nothing: bytes) -> None:
    assert not normal_progress(Raw(nothing))


counts = st.one_of(st.integers(0, 2**63), st.floats(0, 2**63, allow_nan=False))


@given(current=counts, total=counts)
def test_a_derived_percentage_is_one(current: float, total: float) -> None:
    posted = json.dumps({"current": current, "total": total}).encode()
    assert pointers(EventIn(type="A", progress=Raw(posted))) == []

    derived = normal_progress(Raw(posted))

    assert pointers(EventIn(type="A", progress=derived)) == []
    told = json.loads(bytes(derived))
    assert told["current"] == current
    assert told["total"] == total
    assert ("percentage" in told) == (total > 0)
    assert 0 <= told.get("percentage", 0) <= 100


def test_an_event_of_our_own_has_no_fault() -> None:
    event = own_event("COMPLETED", "op", operation_type="x", progress={"current": 1}, result=[1])

    assert check(event) == []
    assert (bytes(event.progress), bytes(event.result)) == (b'{"current":1}', b"[1]")
    assert not own_event("STARTED", "op").progress
