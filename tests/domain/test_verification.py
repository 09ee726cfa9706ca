"""What a receiver is asked before anything is sent to it, and what its answers mean."""

import json
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.errors import Refusal, RefusalKind
from service.domain.outcome import ErrorClass, Failed, Responded, Timing
from service.domain.request import Target
from service.domain.subscription import Subscription, Verification, changed
from service.domain.targets import NOT_ALLOWED
from service.domain.verification import (
    MAX_PER_MINUTE,
    Consent,
    is_due,
    judge_challenge,
    judge_permission,
    origin_of,
    permission_request,
    settled,
    wanted_rate,
)

CHALLENGE = "5f" * 32
ORIGIN = "hooks.example.com"
NONE, ASK, AGREE = Verification.NONE, Verification.CHALLENGE, Verification.CLOUDEVENTS

STATUSES = st.integers(100, 999)
#: What the header block of an answer may hold.
VALUES = st.text(st.characters(codec="latin-1"), max_size=40)


def responded(status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> Responded:
    return Responded(status, headers, body, body_cut=False, timing=Timing(1.0))


def allowing(origin: str | None = ORIGIN, rate: str | None = "*", status: int = 200) -> Responded:
    pairs = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate}
    told = [(name, text) for name, text in pairs.items() if text is not None]
    return responded(status, b"", *told)


def echo(challenge: object = CHALLENGE, **more: object) -> bytes:
    return json.dumps({"challenge": challenge, **more}).encode()


def told(said: Consent | str) -> str:
    """Why there was no consent: words that do no harm wherever they are shown."""
    assert isinstance(said, str)
    assert said.isprintable()
    assert said.encode()
    return said


# --- a challenge


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize(
    "body",
    [
        CHALLENGE.encode(),
        CHALLENGE.encode() + b"\r\n",
        b" " + CHALLENGE.encode(),
        echo(),
        b'\n{ "challenge" : "' + CHALLENGE.encode() + b'" }\n',
    ],
)
def test_who_brings_it_back_agrees(status: int, body: bytes) -> None:
    assert judge_challenge(responded(status, body), CHALLENGE) == Consent()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"{}",
        b"null",
        CHALLENGE[:-1].encode(),
        CHALLENGE.upper().encode(),
        CHALLENGE.encode() * 2,
        b'"' + CHALLENGE.encode() + b'"',
        b"[" + echo() + b"]",
        echo(CHALLENGE[:-1]),
        echo(None),
        echo([CHALLENGE]),
        b'{"Challenge":"' + CHALLENGE.encode() + b'"}',
        b'{"data":' + echo() + b"}",
        b"[" * 16_000,
        b'{"challenge":"\xff"}',
        b'{"challenge":"\\ud800"}',
        "ä".encode() * 8_000,
        b"\x1b[31m\x00",
    ],
)
def test_who_answers_something_else_does_not(body: bytes) -> None:
    assert "challenge" in told(judge_challenge(responded(200, body), CHALLENGE))


def test_to_repeat_the_request_is_not_to_agree() -> None:
    event = echo(id="evt_1", type="webhook.challenge", timestamp="2025-01-31T12:00:00.000Z")
    assert "nothing else" in told(judge_challenge(responded(200, event), CHALLENGE))


@given(STATUSES.filter(lambda status: not 200 <= status < 300))
def test_only_a_2xx_agrees(status: int) -> None:
    said = told(judge_challenge(responded(status, echo()), CHALLENGE))
    assert said.startswith(f"The receiver answered {status}")
    assert "with a 2xx" in said


@given(st.binary(max_size=200), STATUSES)
@example(b"", 200)
def test_no_other_body_agrees(body: bytes, status: int) -> None:
    told(judge_challenge(responded(status, body), CHALLENGE))


@pytest.mark.parametrize("verify", ["challenge", "permission"])
def test_what_kept_the_receiver_from_answering_is_said(verify: str) -> None:
    for error in ErrorClass:
        outcome = Failed(error, "It is away.", Timing(1.0))
        if verify == "challenge":
            said = told(judge_challenge(outcome, CHALLENGE))
        else:
            said = told(judge_permission(outcome, ORIGIN, None))
        assert said.startswith(f"{error.value}: It is away.")
        assert ("It must answer" in said) == (error is not ErrorClass.BLOCKED)


def test_of_blocked_targets_nothing_else_is_said() -> None:
    outcome = Failed(ErrorClass.BLOCKED, NOT_ALLOWED, Timing(1.0))
    assert judge_challenge(outcome, CHALLENGE) == f"blocked: {NOT_ALLOWED}"


# --- permission


@given(st.integers(1, 10**18 - 1), STATUSES.filter(lambda status: status // 100 != 3))
@example(MAX_PER_MINUTE + 1, 200)
def test_headers_agree_whatever_the_status(rate: int, status: int) -> None:
    consent = judge_permission(allowing(rate=str(rate), status=status), ORIGIN, None)
    assert consent == Consent(min(rate, MAX_PER_MINUTE))


@pytest.mark.parametrize("wanted", [None, 120])
@pytest.mark.parametrize("origin", [ORIGIN, ORIGIN.upper(), "*", f" {ORIGIN} "])
def test_any_rate_is_no_limit(origin: str, wanted: int | None) -> None:
    assert judge_permission(allowing(origin, " * "), ORIGIN, wanted) == Consent()


def test_a_rate_that_was_asked_for_must_be_answered() -> None:
    silent = allowing(rate=None)
    assert judge_permission(silent, ORIGIN, None) == Consent()
    assert "no WebHook-Allowed-Rate" in told(judge_permission(silent, ORIGIN, 120))


@pytest.mark.parametrize("status", range(300, 400, 7))
def test_a_redirect_agrees_to_nothing(status: int) -> None:
    assert "redirects" in told(judge_permission(allowing(status=status), ORIGIN, None))


@given(STATUSES)
def test_a_status_alone_is_no_consent(status: int) -> None:
    said = told(judge_permission(allowing(None, status=status), ORIGIN, None))
    assert said.startswith(f"The receiver answered {status}")
    assert f"WebHook-Allowed-Origin: {ORIGIN} (or *)" in said


@given(VALUES.filter(lambda text: text.strip().lower() not in (ORIGIN, "*")))
@example("")
@example("example.com")
@example(f"{ORIGIN}, *")
@example(f"https://{ORIGIN}")
@example(f"{ORIGIN}.")
def test_consent_for_another_is_none_for_us(origin: str) -> None:
    told(judge_permission(allowing(origin), ORIGIN, None))


@given(VALUES.filter(lambda text: not (text.strip().isdigit() or text.strip() == "*")))
@example("")
@example("0")
@example("000")
@example("-1")
@example("+1")
@example("1.5")
@example("1e3")
@example("1_000")
@example("²")
@example("9" * 400)
@example("120, 60")
def test_a_rate_that_is_none_agrees_to_nothing(rate: str) -> None:
    assert "WebHook-Allowed-Rate" in told(judge_permission(allowing(rate=rate), ORIGIN, None))


def test_permission_is_asked_for_by_name() -> None:
    own = (("Authorization", "Bearer abc"), ("WebHook-Request-Origin", "evil.example"))
    target = Target("https://example.com/hook", own, 2.5, origin=ORIGIN)
    request = permission_request(target, "Ringback/1.0", 120)
    assert (request.method, request.url, request.body) == ("OPTIONS", target.url, b"")
    assert request.timeout == 2.5
    assert request.headers == (
        ("user-agent", "Ringback/1.0"),
        ("webhook-request-origin", ORIGIN),
        ("webhook-request-rate", "120"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer abc"),
    )
    assert "webhook-request-rate" not in dict(permission_request(target, "x", None).headers)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hooks.example.com", ORIGIN),
        ("https://Hooks.Example.com:8443/ringback", ORIGIN),
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("http://[::1]:8080", "::1"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        (f"https://{'ä' * 64}.example", f"{'ä' * 64}.example"),
    ],
)
def test_our_origin_is_the_name_in_the_public_url(url: str, origin: str) -> None:
    assert origin_of(url) == origin


# --- what follows


def subscription(
    url: str = "https://a.example", verification: Verification = NONE, **members: object
) -> Subscription:
    plain = Subscription(no=1, id="sub", tenant_id="t", url=url, created_at=0, updated_at=0)
    return changed(plain, verification=verification, **members)


RATES = st.floats(0.1, 10_000)
ALLOWED = st.integers(1, MAX_PER_MINUTE)


@given(st.none() | RATES, st.none() | ALLOWED)
def test_the_lower_rate_holds(own: float | None, allowed: int | None) -> None:
    rate = subscription(rate_limit_per_second=own, allowed_per_minute=allowed).rate
    if own is None and allowed is None:
        assert rate is None
    else:
        assert rate is not None
        assert own is None or rate <= own
        assert allowed is None or rate * 60 <= allowed * (1 + 1e-9)
        assert rate == own or (allowed is not None and rate == allowed / 60)


@given(RATES)
def test_the_rate_asked_for_covers_what_is_sent(rate: float) -> None:
    wanted = wanted_rate(subscription(rate_limit_per_second=rate))
    assert wanted == ceil(rate * 60)
    assert wanted_rate(subscription()) is None


@pytest.mark.parametrize("way", [ASK, AGREE])
def test_who_is_asked(way: Verification) -> None:
    now, other = subscription(verification=way), "https://b.example"
    assert not is_due(now, changed(now, description="x"), named=False)
    assert is_due(now, changed(now, url=other), named=False)
    assert is_due(now, now, named=True)
    assert is_due(subscription(), now, named=True)
    assert is_due(now, changed(now, verification=AGREE if way is ASK else ASK), named=False)
    for named in (False, True):
        assert not is_due(now, changed(now, url=other, verification=NONE), named=named)
        assert not is_due(subscription(), subscription(other), named=named)


def test_what_was_agreed_to_is_kept() -> None:
    now = subscription(verification=ASK, verified_at=1)
    wanted = changed(now, url="https://b.example", verification=AGREE)
    asked = changed(wanted, verified_at=2, allowed_per_minute=60)
    after = settled(now, changed(wanted, description="x"), asked)
    assert after == changed(asked, description="x")
    assert settled(now, changed(now, description="x"), None) == changed(now, description="x")


def test_who_is_not_asked_any_more_has_agreed_to_nothing() -> None:
    now = subscription(verification=AGREE, verified_at=1, allowed_per_minute=60)
    after = settled(now, changed(now, verification=NONE), None)
    assert isinstance(after, Subscription)
    assert (after.verified_at, after.allowed_per_minute, after.rate) == (None, None, None)


WAYS = st.sampled_from(Verification)
URLS = st.sampled_from(("https://a.example", "https://b.example"))
SUBSCRIPTIONS = st.builds(subscription, URLS, WAYS)


@given(SUBSCRIPTIONS, SUBSCRIPTIONS, st.none() | SUBSCRIPTIONS)
def test_nothing_is_sent_where_nobody_agreed(
    now: Subscription, wanted: Subscription, asked: Subscription | None
) -> None:
    """Whatever happened while the receiver was asked."""
    after = settled(now, wanted, asked)
    agreed = [(each.url, each.verification) for each in (now, asked) if each is not None]
    if wanted.verification is NONE or (wanted.url, wanted.verification) in agreed:
        assert isinstance(after, Subscription)
        assert (after.url, after.verification) == (wanted.url, wanted.verification)
    else:
        assert isinstance(after, Refusal)
        assert after.kind is RefusalKind.CONFLICT
