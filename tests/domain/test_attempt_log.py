"""What the attempt log keeps, and in which words it says why an attempt failed."""

import base64
import json
from typing import Any

import pytest

from service.domain.attempt_log import detail, error_of
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.request import OutboundRequest

REQUEST = OutboundRequest(
    "https://receiver.test/hook",
    (("webhook-id", "evt_1"), ("authorization", "Bearer s3cret")),
    b"{}",
    20.0,
)
QUICK = Timing(total=12.0)


def kept(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(detail(REQUEST, outcome, frozenset({"authorization"})))
    return found


def answered(body: bytes = b"ok", *, cut: bool = False, status: int = 200) -> Responded:
    headers = (("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"))
    return Responded(status, headers, body, cut, QUICK)


def test_own_headers_are_masked_and_the_rest_is_kept() -> None:
    assert kept(answered())["request"]["headers"] == {
        "webhook-id": "evt_1",
        "authorization": "****",
    }


def test_response_headers_are_lower_case_and_repeated_ones_joined() -> None:
    assert kept(answered())["response"] == {
        "headers": {"content-type": "text/plain", "set-cookie": "a=1, b=2"},
        "body": "ok",
        "bodyTruncated": False,
    }


def test_a_cut_inside_a_character_leaves_that_character_out() -> None:
    response = kept(answered("grün€".encode()[:-1], cut=True))["response"]
    assert (response["body"], response["bodyTruncated"]) == ("grün", True)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", "€".encode()[:-1]])
def test_what_is_not_text_is_base64(body: bytes) -> None:
    response = kept(answered(body))["response"]
    assert response["bodyEncoding"] == "base64"


@pytest.mark.parametrize(
    "body", [b"\0" * 16_384, b"\x1b" * 16_384, b'"' * 16_384, (b"\x01" + b'"' * 15) * 1024]
)
def test_however_much_is_to_be_escaped_it_takes_little_more_room(body: bytes) -> None:
    stored = detail(REQUEST, answered(body), frozenset())
    assert len(stored) < 2.4 * len(body)
    response = json.loads(stored)["response"]
    is_text = "bodyEncoding" not in response
    text = response["body"]
    assert (text.encode() if is_text else base64.b64decode(text)) == body


def test_text_may_have_a_few_control_characters() -> None:
    coloured = b"\x1b[31mno such order\x1b[0m, said the receiver"
    assert kept(answered(coloured))["response"]["body"] == coloured.decode()


def test_control_characters_of_headers_are_not_kept() -> None:
    outcome = Responded(200, (("x-odd", "\x01\0a\tb"),), b"", body_cut=False, timing=QUICK)
    assert kept(outcome)["response"]["headers"] == {"x-odd": "??a\tb"}


def test_header_bytes_that_no_encoding_knows_do_not_stop_the_log() -> None:
    outcome = Responded(200, (("x-odd", "\udc80é"),), b"", body_cut=False, timing=QUICK)
    assert kept(outcome)["response"]["headers"] == {"x-odd": "?é"}


def test_a_request_that_could_not_be_written_does_not_stop_the_log() -> None:
    request = OutboundRequest("https://receiver.test/hook", (("x-odd", "\udc80\0é"),), b"", 20.0)
    outcome = Failed(ErrorClass.UNKNOWN, "It could not be written.", QUICK)
    assert json.loads(detail(request, outcome, frozenset()))["request"]["headers"] == {
        "x-odd": "??é"
    }


def test_timing_parts_are_given_where_known() -> None:
    outcome = Failed(ErrorClass.TLS, "expired certificate", Timing(9.0, resolve=1.23456, tls=7.0))
    assert kept(outcome) == {
        "url": "https://receiver.test/hook",
        "request": {"headers": {"webhook-id": "evt_1", "authorization": "****"}},
        "timings": {"resolveMs": 1.235, "tlsMs": 7.0},
    }


def test_errors_in_words() -> None:
    assert error_of(answered()) == (200, None, None)
    status, error, message = error_of(answered(status=503))
    assert (status, error) == (503, "http_status")
    assert message == "The receiver answered 503 (Service Unavailable), which is not a 2xx."
    assert error_of(answered(status=599))[2] == "The receiver answered 599, which is not a 2xx."
    assert error_of(Failed(ErrorClass.DNS, "no such host", QUICK)) == (None, "dns", "no such host")
    assert error_of(Failed(ErrorClass.DNS, "no\0such", QUICK)) == (None, "dns", "no?such")
