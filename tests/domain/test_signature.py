"""The two signatures: published examples, an independent library both ways, and tampering."""

import base64
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.domain.signature import (
    TOLERANCE,
    SignatureFault,
    key_bytes,
    new_secret,
    secret_fault,
    sign_body,
    sign_standard,
    verify_body,
    verify_standard,
)

NOW = 1_735_689_600
KEY = bytes(range(32))
OTHER = bytes(range(1, 33))

keys = st.binary(min_size=24, max_size=64)
message_ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
timestamps = st.integers(0, 4_000_000_000)
bodies = st.binary(max_size=300)


def received(
    *signing: bytes, body: bytes = b'{"n":1.10}', message_id: str = "evt_1", at: int = NOW
) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign_standard(signing, message_id, at, body),
    }


def test_a_key_is_begun_with_once_though_ten_thousand_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []

    def new(key: bytes, digestmod: Any) -> hmac.HMAC:  # noqa: ANN401  as it is
        begun.append(key)
        return begin(key, digestmod=digestmod)

    begin = hmac.new
    monkeypatch.setattr("service.domain.signature.hmac.new", new)
    ten_thousand = [b"%024d" % number for number in range(10_000)]
    for key in (*ten_thousand, *ten_thousand):
        sign_body(key, b"")

    assert begun == ten_thousand


def test_the_example_of_the_standard() -> None:
    key = key_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = sign_standard((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_githubs_example_of_a_body_signature() -> None:
    key = key_bytes("It's a Secret to Everybody")
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign_body(key, b"Hello, World!") == expected
    assert verify_body(key, expected, b"Hello, World!") is None


@given(st.lists(keys, min_size=1, max_size=3), message_ids, timestamps, bodies)
def test_what_any_of_the_keys_signed_verifies(
    signing: list[bytes], message_id: str, at: int, body: bytes
) -> None:
    headers = received(*signing, body=body, message_id=message_id, at=at)
    for key in signing:
        assert verify_standard((key,), headers, body, at) is None


@settings(deadline=None)  # freezing time for the first time looks at every module
@given(keys, message_ids, timestamps, st.text(max_size=200))
def test_the_reference_library_accepts_our_signature(
    key: bytes, message_id: str, at: int, body: str
) -> None:
    headers = received(OTHER, key, body=body.encode(), message_id=message_id, at=at)
    with freeze_time(datetime.fromtimestamp(at, UTC)):
        Webhook(new_secret(key)).verify(body, headers, json_parse=False)


@given(keys, message_ids, timestamps, st.text(max_size=200))
def test_we_accept_the_reference_librarys_signature(
    key: bytes, message_id: str, at: int, body: str
) -> None:
    signed = Webhook(new_secret(key)).sign(message_id, datetime.fromtimestamp(at, UTC), body)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signed,
    }
    assert verify_standard((key,), headers, body.encode(), at) is None
    assert signed == sign_standard((key,), message_id, at, body.encode())


@pytest.mark.parametrize("skew", [-TOLERANCE - 1, -TOLERANCE, 0, TOLERANCE, TOLERANCE + 1])
def test_the_tolerance_is_the_reference_librarys(skew: int) -> None:
    headers = received(KEY)
    with freeze_time(datetime.fromtimestamp(NOW + skew, UTC)):
        try:
            Webhook(KEY).verify(b'{"n":1.10}', headers)
            theirs = True
        except WebhookVerificationError:
            theirs = False
        now = int(datetime.now(UTC).timestamp())
    fault = verify_standard((KEY,), headers, b'{"n":1.10}', now)
    assert (fault is None) == theirs == (abs(skew) <= TOLERANCE)
    if fault is not None:
        assert fault is (SignatureFault.TOO_OLD if skew > 0 else SignatureFault.TOO_NEW)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_of_the_body_fails_both_ways(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    headers = received(KEY, body=body)
    assert verify_standard((KEY,), headers, bytes(changed), NOW) is SignatureFault.NO_MATCH
    assert verify_body(KEY, sign_body(KEY, body), bytes(changed)) is SignatureFault.NO_MATCH


@given(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.data())
def test_a_changed_character_of_a_header_fails(name: str, data: st.DataObject) -> None:
    headers = received(KEY)
    text = headers[name]
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(exclude_characters=text[at]))
    headers[name] = text[:at] + other + text[at + 1 :]
    assert verify_standard((KEY,), headers, b'{"n":1.10}', NOW) is not None


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("webhook-timestamp", "", SignatureFault.MALFORMED_TIMESTAMP),
        ("webhook-timestamp", "1e9", SignatureFault.MALFORMED_TIMESTAMP),
        ("webhook-timestamp", "-1", SignatureFault.MALFORMED_TIMESTAMP),
        ("webhook-timestamp", "9" * 5000, SignatureFault.MALFORMED_TIMESTAMP),
        ("webhook-timestamp", "１７３５６８９６００", SignatureFault.MALFORMED_TIMESTAMP),  # noqa: RUF001 - digits that only look like digits
        ("webhook-timestamp", f"0{NOW}", SignatureFault.NO_MATCH),
        ("webhook-signature", "", SignatureFault.MALFORMED_SIGNATURE),
        ("webhook-signature", "v1", SignatureFault.NO_MATCH),
        ("webhook-signature", "v1a,xyz v2,abc", SignatureFault.MALFORMED_SIGNATURE),
        ("webhook-signature", "v1,é\ud800", SignatureFault.NO_MATCH),
        ("webhook-id", "", SignatureFault.NO_MATCH),
    ],
)
def test_hostile_headers_get_an_answer(name: str, value: str, fault: SignatureFault) -> None:
    headers = received(KEY) | {name: value}
    assert verify_standard((KEY,), headers, b'{"n":1.10}', NOW) is fault


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named_as_such(name: str) -> None:
    headers = received(KEY)
    del headers[name]
    assert verify_standard((KEY,), headers, b"", NOW) is SignatureFault.MISSING_HEADER


def test_signatures_of_other_kinds_are_passed_over() -> None:
    headers = received(KEY)
    headers["webhook-signature"] = f"v1a,abc junk {headers['webhook-signature']}"
    assert verify_standard((OTHER, KEY), headers, b'{"n":1.10}', NOW) is None
    assert verify_standard((OTHER,), headers, b'{"n":1.10}', NOW) is SignatureFault.NO_MATCH
    assert verify_standard((), headers, b'{"n":1.10}', NOW) is SignatureFault.NO_MATCH


def test_a_body_signature_that_is_missing_or_of_another_kind() -> None:
    assert verify_body(KEY, None, b"") is SignatureFault.MISSING_HEADER
    assert verify_body(KEY, "sha1=00", b"") is SignatureFault.MALFORMED_SIGNATURE
    assert verify_body(KEY, "sha256=é", b"") is SignatureFault.NO_MATCH
    assert verify_body(OTHER, sign_body(KEY, b""), b"") is SignatureFault.NO_MATCH


@given(keys)
def test_new_secrets_are_sound_and_hold_their_bytes(key: bytes) -> None:
    secret = new_secret(key)
    assert secret_fault(secret) is None
    assert key_bytes(secret) == key
    assert key_bytes(secret.rstrip("=")) == key


@pytest.mark.parametrize("size", [0, 23, 65])
def test_a_new_secret_of_another_size_is_a_bug(size: int) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        new_secret(bytes(size))


def test_a_secret_without_the_prefix_is_its_bytes() -> None:
    assert key_bytes("geheimnis-ß") == "geheimnis-ß".encode()
    assert secret_fault("geheimnis-ß") is None


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "has 0"),
        ("short", "has 5"),
        ("x" * 257, "has 257"),
        (" whsec_" + "A" * 40, "white space"),
        ("long-enough\n", "white space"),
        ("long-enough\ud800", "UTF-8"),
        ("whsec_", "holds 0"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "holds 23"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65"),
        ("whsec_" + "-_" * 20, "not base64"),
        ("whsec_" + "A" * 41, "not base64"),
        ("whsec_é" + "A" * 40, "not base64"),
    ],
)
def test_a_bad_secret_is_refused_without_repeating_it(secret: str, says: str) -> None:
    fault = secret_fault(secret)
    assert fault is not None
    assert says in fault
    assert secret.removeprefix("whsec_") not in fault or secret in {"", "whsec_"}


def test_an_unreadable_secret_never_becomes_a_key() -> None:
    with pytest.raises(ValueError, match="not base64"):
        key_bytes("whsec_*")


@given(st.text(max_size=80) | st.text(max_size=80).map("whsec_".__add__))
def test_every_secret_that_passes_has_a_key(secret: str) -> None:
    if secret_fault(secret) is None:
        assert len(key_bytes(secret)) >= 8
