"""URLs as they are told: what may be secret in them is not, and what people know them by is."""

import base64
import string
from hashlib import sha256
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.urls import told

LETTERS: Final = string.ascii_letters
_HIDDEN: Final = "https://a.example/in/…"
ID: Final = "550e8400-e29b-41d4-a716-446655440000"
DIGEST: Final = "d3b07384d113edec49eaa6238ad5ff00"
#: Words of a path: written in one of the usual ways, with a version or a year at most.
_word: Final = st.text(string.ascii_lowercase, min_size=1, max_size=12)
_words: Final = st.builds(
    lambda words, parted, end: parted.join([*words, *end]),
    st.lists(_word, min_size=1, max_size=5),
    st.sampled_from("-_."),
    st.lists(st.sampled_from(["v2", "2026", "10"]), max_size=1),
)
#: What alternates between letters and digits, as no words do.
_tokens: Final = st.lists(
    st.tuples(
        st.text(LETTERS, min_size=1, max_size=4), st.text(string.digits, min_size=1, max_size=4)
    ),
    min_size=8,
    max_size=20,
).map(lambda pairs: "".join(letters + digits for letters, digits in pairs))
_segments: Final = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/?#"), max_size=40
)


def secrets(number: int) -> dict[str, str]:
    """Tokens of the usual kinds, as good as random, and the same each time."""
    raw = sha256(str(number).encode()).digest()
    bare = base64.b64encode(raw).decode().translate(str.maketrans("", "", "+/="))
    return {
        "letters and digits": bare[:24],
        "hexadecimal": raw.hex()[:32],
        "a UUID": str(UUID(bytes=raw[:16], version=4)),
        "base64url": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "base32": base64.b32encode(raw).decode().rstrip("="),
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "https://example.com"),
        ("https://me:pw@example.com:8443/hook", "https://example.com:8443/hook"),
        ("http://[::1]:9000/hook?token=x", "http://[::1]:9000/hook?…"),
        (
            "https://hooks.slack.com/services/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",
            "https://hooks.slack.com/services/T0123ABCD/B0123ABCD/…",
        ),
        (
            "https://discord.com/api/webhooks/1234567890123456789/a1B2c3D4-e5F6_g7H8i9J0",
            "https://discord.com/api/webhooks/1234567890123456789/…",
        ),
        (
            f"https://x.webhook.office.com/webhookb2/{ID}@{ID}/IncomingWebhook/{DIGEST}",
            "https://x.webhook.office.com/webhookb2/…/IncomingWebhook/…",
        ),
        ("https://example.com/a/aBcDeFgHiJkLmNoPqRs/b/", "https://example.com/a/…/b/"),
        (
            "https://example.com/payment-notifications/customer_subscription_events.v2",
            "https://example.com/payment-notifications/customer_subscription_events.v2",
        ),
        (
            "https://example.com/paymentNotificationWebhook",
            "https://example.com/paymentNotificationWebhook",
        ),
    ],
)
def test_what_may_be_secret_is_left_out(url: str, expected: str) -> None:
    assert told(url) == expected


def test_something_else_may_stand_in_its_place() -> None:
    url = f"https://example.com/{DIGEST}?a=b"
    assert told(url, "REDACTED") == "https://example.com/REDACTED?REDACTED"


@pytest.mark.parametrize("kind", secrets(0))
def test_of_a_thousand_tokens_of_the_usual_kinds_none_is_told(kind: str) -> None:
    tokens = [secrets(number)[kind] for number in range(1_000)]
    assert [each for each in tokens if told(f"https://a.example/in/{each}") != _HIDDEN] == []


@given(st.lists(_segments, max_size=4), _tokens)
def test_a_token_is_not_told_wherever_it_stands(around: list[str], token: str) -> None:
    for place in range(len(around) + 1):
        path = "/".join([*around[:place], token, *around[place:]])
        found = told(f"https://me:{token}@a.example/{path}?{token}={token}")
        assert token not in found
        assert found.removesuffix("?…").count("/") == path.count("/") + 3


@given(st.lists(_words, max_size=5))
def test_words_are_told_as_they_are(words: list[str]) -> None:
    url = f"https://a.example/{'/'.join(words)}"
    assert told(url) == url


@given(st.lists(st.one_of(_tokens, _words, _segments), max_size=4))
def test_what_is_told_is_told_once_more_as_it_is(segments: list[str]) -> None:
    once = told(f"https://a.example/{'/'.join(segments)}")
    assert told(once) == once
