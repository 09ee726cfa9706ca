"""The request as a receiver gets it, the thin payload, and which own headers are possible."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.request import (
    MAX_HEADERS,
    Envelope,
    OutboundRequest,
    SigningKeys,
    Target,
    build,
    header_faults,
    is_reserved,
    thin,
)
from service.domain.signature import verify_body, verify_standard

BODY = b'{"id":"evt_1","type":"COMPLETED"}'
OLD, NEW = b"o" * 32, b"n" * 32
KEYS = SigningKeys((NEW, OLD), OLD)
NOW = 1_735_689_600
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def envelope(operation_id: str | None = "op_1", sequence: int | None = 7) -> Envelope:
    return Envelope("evt_1", "COMPLETED", operation_id, sequence, BODY, "dlv_1", 3)


def built(
    what: Envelope, *own: tuple[str, str], traceparent: str | None = TRACEPARENT
) -> OutboundRequest:
    target = Target("https://example.com/hook", own, 20.0)
    return build(
        what, KEYS, target, timestamp=NOW, user_agent="Ringback/1.0", traceparent=traceparent
    )


def test_all_headers_in_the_contracts_order() -> None:
    request = built(envelope(), ("Authorization", "Bearer abc"))
    signed = dict(request.headers)
    assert request.headers == (
        ("content-type", "application/json"),
        ("user-agent", "Ringback/1.0"),
        ("webhook-id", "evt_1"),
        ("webhook-timestamp", "1735689600"),
        ("webhook-signature", signed["webhook-signature"]),
        ("x-webhook-signature", signed["x-webhook-signature"]),
        ("x-webhook-event", "COMPLETED"),
        ("x-operation-id", "op_1"),
        ("x-operation-sequence", "7"),
        ("x-webhook-delivery", "dlv_1"),
        ("x-webhook-attempt", "3"),
        ("traceparent", TRACEPARENT),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer abc"),
    )
    assert (request.url, request.body, request.timeout) == ("https://example.com/hook", BODY, 20.0)


def test_during_a_rotation_both_sign_and_the_old_one_signs_alone() -> None:
    request = built(envelope())
    headers = dict(request.headers)
    assert verify_standard((OLD,), headers, request.body, NOW) is None
    assert verify_standard((NEW,), headers, request.body, NOW) is None
    assert verify_body(OLD, headers["x-webhook-signature"], request.body) is None


def test_who_agreed_to_an_origin_is_told_it() -> None:
    target = Target("https://example.com/hook", (), 20.0, origin="hooks.example.com")
    request = build(envelope(), KEYS, target, timestamp=NOW, user_agent="x", traceparent=None)
    assert dict(request.headers)["webhook-request-origin"] == "hooks.example.com"
    assert "webhook-request-origin" not in dict(built(envelope()).headers)


def test_an_event_without_an_operation_has_no_operation_headers() -> None:
    names = [name for name, _ in built(envelope(None, None), traceparent=None).headers]
    assert not [name for name in names if name.startswith(("x-operation", "traceparent"))]


@pytest.mark.parametrize(
    "name", ["Webhook-Signature", "X-WEBHOOK-ATTEMPT", "Host", "x-operation-x"]
)
def test_own_headers_never_replace_ours(name: str) -> None:
    assert built(envelope(), (name, "forged")).headers == built(envelope()).headers


def test_thin_leaves_out_what_is_large_and_says_where_it_is() -> None:
    body = (
        b'{"id":"evt_1","type":"COMPLETED","message":"m","progress":{"percentage":1.10},'
        b'"result":{"a":1},"error":{"b":2},"warnings":[1e400, "\\u00e9"],"data":[3]}'
    )
    assert thin(body, "https://r/v1/events/evt_1") == (
        b'{"id":"evt_1","type":"COMPLETED","progress":{"percentage":1.10},'
        b'"warnings":[1e400, "\\u00e9"],"url":"https://r/v1/events/evt_1"}'
    )
    assert thin(b'{"id":"evt_1","data":1}', None) == b'{"id":"evt_1"}'


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":}', b"\xff"])
def test_thin_of_what_is_no_event_is_a_bug(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        thin(body, None)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8) | st.just("data"), json_values, max_size=6))
def test_thin_is_json_and_keeps_every_other_member(event: dict[str, object]) -> None:
    left = json.loads(thin(json.dumps(event).encode(), None))
    dropped = ("data", "result", "error", "message")
    assert left == {name: value for name, value in event.items() if name not in dropped}


def test_sound_headers_have_no_faults() -> None:
    assert header_faults({}) == []
    assert header_faults({"Authorization": "Bearer a.b", "X-Team_1": "", "x-tab": "a\tb c"}) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("", "v", "made of"),
        ("a b", "v", "made of"),
        ("a:b", "v", "made of"),
        ("über", "v", "made of"),
        ("a\n", "v", "made of"),
        ("a" * 101, "v", "100"),
        ("x-a", "a\r\nX-Evil: 1", "printable"),
        ("x-a", "a\x00", "printable"),
        ("x-a", "\x7f", "printable"),
        ("x-a", "é", "printable"),
        ("x-a", "v\n", "printable"),
        ("x-a", "v" * 4097, "4096"),
        ("x-a", " v", "white space"),
        ("Host", "v", "set by"),
        ("Content-Length", "v", "set by"),
        ("transfer-encoding", "v", "set by"),
        ("User-Agent", "v", "set by"),
        ("proxy-authorization", "v", "set by"),
        ("Webhook-Id", "v", "set by"),
        ("X-Webhook-Custom", "v", "set by"),
        ("x-operation-id", "v", "set by"),
        ("traceparent", "v", "set by"),
        ("ce-type", "v", "set by"),
        ("WebHook-Request-Origin", "v", "set by"),
    ],
)
def test_a_header_that_is_refused_says_why(name: str, value: str, says: str) -> None:
    (fault,) = header_faults({name: value})
    assert says in fault.detail
    assert fault.pointer.startswith("/headers/")


def test_all_faults_are_found_at_once() -> None:
    own = {f"x-{number}": "v" for number in range(MAX_HEADERS - 1)}
    faults = header_faults(own | {"X-A": "\n", "x-a": "v", "a/b~c": "v"})
    assert [fault.pointer for fault in faults] == [
        "/headers",
        "/headers/X-A",
        "/headers/x-a",
        "/headers/a~1b~0c",
    ]


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
def test_what_passes_can_be_sent_by_any_client(headers: dict[str, str]) -> None:
    if not header_faults(headers):
        for name, value in headers.items():
            assert name.isascii()
            assert not is_reserved(name)
            assert value == value.strip()
            assert not set(value) & set("\r\n\0")
