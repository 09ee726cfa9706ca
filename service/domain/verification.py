"""Whether a URL wants to be sent to: what it is asked before anything is, and what answers mean.

1. ``challenge``: a signed POST holds a random text, and a 2xx brings it back: alone, or as the only
   member of a JSON object. Who repeats whatever he is sent has agreed to nothing.
2. ``cloudevents``: ``OPTIONS``, after section 4 of CloudEvents' "HTTP 1.1 Web Hooks". Headers
   agree, whatever the status; only a redirect is no answer of the URL that was asked.
3. What was agreed to holds for that URL and that way of asking, and for no other.
"""

import hmac
import re
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Final
from urllib.parse import urlsplit

import msgspec

from service.domain.attempt_log import phrase
from service.domain.errors import Refusal, conflict
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded
from service.domain.request import ORIGIN_HEADER, OutboundRequest, Target, own_headers
from service.domain.subscription import Subscription, Verification, changed

CHALLENGE_TYPE: Final = "webhook.challenge"
#: Bytes of chance in a challenge.
CHALLENGE_BYTES: Final = 32
RATE_HEADER: Final = "webhook-request-rate"
ALLOWED_ORIGIN: Final = "webhook-allowed-origin"
ALLOWED_RATE: Final = "webhook-allowed-rate"

#: Requests per minute beyond which a rate limits nobody.
MAX_PER_MINUTE: Final = 2**31 - 1
_ANY: Final = "*"
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_REDIRECTS: Final = range(300, 400)
#: Characters of an answer that are told.
_MOST_TOLD: Final = 60

_ECHO_WANTED: Final = (
    "It must answer the signed POST, whose x-webhook-event is webhook.challenge, with a 2xx and "
    'the challenge of its body: as plain text, or as {"challenge": "..."} and nothing else.'
)
_AGAIN: Final = "Let the receiver do so, then send this request again."


class _Echo(msgspec.Struct, forbid_unknown_fields=True):
    challenge: str


_echo: Final = msgspec.json.Decoder(_Echo)


@dataclass(frozen=True, slots=True)
class Consent:
    """A receiver agreed to be sent to."""

    #: Requests per minute, where it said how many.
    per_minute: int | None = None


# --- what is asked


def origin_of(public_url: str) -> str:
    """The DNS name by which receivers may know the sender that is reached at ``public_url``."""
    host = urlsplit(public_url).hostname or ""
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # no name that DNS could have
        return host


def wanted_rate(subscription: Subscription) -> int | None:
    """Requests per minute to ask for: as many as the subscription itself allows."""
    rate = subscription.rate_limit_per_second
    return None if rate is None else ceil(rate * 60)


def permission_request(target: Target, user_agent: str, per_minute: int | None) -> OutboundRequest:
    """Ask for permission to send to the target, at a rate where there is one to name."""
    headers = [("user-agent", user_agent), (ORIGIN_HEADER, target.origin or "")]
    if per_minute is not None:
        headers.append((RATE_HEADER, str(per_minute)))
    headers += [("accept-encoding", "identity"), *own_headers(target)]
    url, timeout = target.url, target.timeout
    return OutboundRequest(url, tuple(headers), b"", timeout, method="OPTIONS", tls=target.tls)


# --- what was answered


def judge_challenge(outcome: Outcome, challenge: str) -> Consent | str:
    """The consent; or, in words, what came instead and what to do."""
    if isinstance(outcome, Failed):
        return _unanswered(outcome, _ECHO_WANTED)
    if not outcome.succeeded:
        return _answered(outcome, "", _ECHO_WANTED)
    if _brings_back(outcome.body, challenge):
        return Consent()
    told = f" with {_quoted(outcome.body)} in place of the challenge"
    return _answered(outcome, told, _ECHO_WANTED)


def judge_permission(outcome: Outcome, origin: str, wanted: int | None) -> Consent | str:
    """The consent; or, in words, what came instead and what to do.

    ``wanted`` is the rate that was asked for: then the answer has to name one.
    """
    must = _permission_wanted(origin)
    if isinstance(outcome, Failed):
        return _unanswered(outcome, must)
    if outcome.status in _REDIRECTS:
        return _answered(outcome, "; redirects are not followed", must)
    allowed = outcome.header(ALLOWED_ORIGIN)
    if allowed is None or allowed.strip().lower() not in (origin.lower(), _ANY):
        return _answered(outcome, f" with {_header('WebHook-Allowed-Origin', allowed)}", must)
    rate = outcome.header(ALLOWED_RATE)
    if rate is None and wanted is None:
        return (
            Consent()
        )  # it should be there, the standard says, and must be where it was asked for
    consent = _rate(rate)
    return consent or _answered(outcome, f" with {_header('WebHook-Allowed-Rate', rate)}", must)


# --- what follows


def is_due(now: Subscription, wanted: Subscription, *, named: bool) -> bool:
    """Whether to ask before ``now`` becomes ``wanted``; ``named``: somebody asks to ask."""
    if wanted.verification is Verification.NONE:
        return False
    return named or not _is_same(now, wanted)


def settled(
    now: Subscription, wanted: Subscription, asked: Subscription | None
) -> Subscription | Refusal:
    """What ``now`` becomes, by what was agreed to for ``asked``; it may have changed since then."""
    if wanted.verification is Verification.NONE:
        return changed(wanted, verified_at=None, allowed_per_minute=None)
    if asked is not None and _is_same(asked, wanted):
        verified_at, allowed = asked.verified_at, asked.allowed_per_minute
        return changed(wanted, verified_at=verified_at, allowed_per_minute=allowed)
    if _is_same(now, wanted):
        return wanted
    return conflict(
        f"Subscription {now.id!r} was changed by another request while its receiver was asked. "
        "Nothing was changed by this one; read what is there now, then send it again."
    )


def _is_same(one: Subscription, other: Subscription) -> bool:
    return (one.url, one.verification) == (other.url, other.verification)


def _brings_back(body: bytes, challenge: str) -> bool:
    given = [body.strip()]
    with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        given.append(_echo.decode(body).challenge.encode())
    return any(hmac.compare_digest(each, challenge.encode()) for each in given)


def _rate(text: str | None) -> Consent | None:
    """The consent with a rate; nothing where the text is none."""
    plain = "" if text is None else text.strip()
    if plain == _ANY:
        return Consent()
    if _WHOLE.fullmatch(plain) is None or not int(plain):
        return None
    return Consent(min(int(plain), MAX_PER_MINUTE))


def _permission_wanted(origin: str) -> str:
    return (
        f"It must answer OPTIONS with WebHook-Allowed-Origin: {origin} (or *) and "
        "WebHook-Allowed-Rate: requests per minute, a whole number above 0 (or *)."
    )


def _unanswered(outcome: Failed, must: str) -> str:
    said = f"{outcome.error}: {outcome.message}"
    # about who is not to be called there is nothing else to say
    return said if outcome.error is ErrorClass.BLOCKED else f"{said} {must} {_AGAIN}"


def _answered(outcome: Responded, how: str, must: str) -> str:
    status = f"{outcome.status}{phrase(outcome.status)}"
    return f"The receiver answered {status}{how}. {must} {_AGAIN}"


def _header(name: str, text: str | None) -> str:
    return f"no {name}" if text is None else f"{name} {_quoted(text.encode(errors='replace'))}"


def _quoted(told: bytes) -> str:
    """The beginning of what a receiver said, as text that harms no log and no terminal."""
    if not told:
        return "nothing"
    text = told.decode(errors="replace")
    return repr(text[:_MOST_TOLD]) + ("..." if len(text) > _MOST_TOLD else "")
