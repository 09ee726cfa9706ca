"""What follows an attempt (contract, section 6). Pure: the moment and the dice are arguments.

1. Any 2xx is a delivery.
2. A 410 is the receiver's word that it is gone, a blocked target is ours: dead at once.
3. Everything else waits for the next entry of the schedule, never less than 80 % of it; on 429 and
   503 also never less than the receiver's ``Retry-After``, which holds the whole subscription.
4. A schedule of n entries allows n attempts; a crashed process has used one too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil

from service.domain import times
from service.domain.outcome import ErrorClass, Outcome, Responded

#: Seconds: no ``Retry-After`` holds a subscription back for longer (contract, section 5).
MAX_RETRY_AFTER = 86_400.0

#: Milliseconds per second of the schedule at the least, and what the dice may add: +-20 %.
_JITTER_FLOOR = 800
_JITTER_SPAN = 400

_GONE = 410
_ASKS_TO_WAIT = frozenset((429, 503))

#: Fractions are outside RFC 9110 but sent; ignoring them would be earlier than asked.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
#: RFC 9110, 5.6.7: IMF-fixdate and the two obsolete forms that every recipient still has to read.
_DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


class DeadReason(StrEnum):
    """Why a delivery went to the dead-letter table."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    GONE = "gone"
    SUBSCRIPTION_DISABLED = "subscription_disabled"
    SUBSCRIPTION_DELETED = "subscription_deleted"
    BLOCKED_TARGET = "blocked_target"
    CRASH_LOOP = "crash_loop"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again: ``delay_ms`` after now, and when the hold is over."""

    delay_ms: int
    #: Milliseconds for which the receiver wants nothing at all from this subscription.
    hold_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """No further attempt by itself: it becomes a dead letter."""

    reason: DeadReason
    #: As in :class:`RetryAfter`: the last attempt may also have been told to wait.
    hold_ms: int | None = None


Verdict = Delivered | RetryAfter | Dead


def judge(outcome: Outcome, step: int, schedule: Sequence[float], dice: float, now: int) -> Verdict:
    """Judge attempt number ``step`` (1..n) of the present run through a schedule of n entries.

    Entry i of ``schedule`` is the seconds to wait before attempt i. ``dice`` is in [0, 1), ``now``
    in milliseconds; the clock only matters for a ``Retry-After`` date without a ``Date``.
    """
    if isinstance(outcome, Responded):
        if outcome.succeeded:
            return Delivered()
        if outcome.status == _GONE:
            return Dead(DeadReason.GONE)
    elif outcome.error is ErrorClass.BLOCKED:
        return Dead(DeadReason.BLOCKED_TARGET)
    hold = _hold(outcome, now)
    if step >= len(schedule):
        return Dead(DeadReason.ATTEMPTS_EXHAUSTED, hold)
    return RetryAfter(_jittered(schedule[step], dice), hold)


def crashed(step: int, schedule: Sequence[float]) -> RetryAfter | Dead:
    """Judge an attempt whose process died with the outcome unknown: due again at once."""
    if step >= len(schedule):
        return Dead(DeadReason.CRASH_LOOP)
    return RetryAfter(0)


def first_due(now: int, schedule: Sequence[float], dice: float) -> int:
    """When (ms) attempt 1 is due for a delivery made, or replayed, at ``now`` (ms)."""
    return now + _jittered(schedule[0], dice)


def parse_retry_after(value: str, now: int) -> float | None:
    """Seconds that a ``Retry-After`` value asks for, 0 to 86,400; ``None`` for what is not one.

    ``now`` (ms) is what a date counts from: the response's own ``Date``, or else our clock.
    """
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text) is not None:
        return min(float(text), MAX_RETRY_AFTER)
    at = _http_date(text)
    return None if at is None else min(max((at - now) / 1000, 0.0), MAX_RETRY_AFTER)


def _jittered(wait: float, dice: float) -> int:
    return ceil(wait * (_JITTER_FLOOR + _JITTER_SPAN * dice))


def _hold(outcome: Outcome, now: int) -> int | None:
    if not isinstance(outcome, Responded) or outcome.status not in _ASKS_TO_WAIT:
        return None
    value = outcome.header("retry-after")
    if value is None:
        return None
    # The receiver's clock may be wrong; its Date is wrong by the same amount.
    date = _http_date(outcome.header("date") or "")
    wait = parse_retry_after(value, now if date is None else date)
    return ceil(wait * 1000) if wait else None


def _http_date(text: str) -> int | None:
    for form in _DATE_FORMS:
        try:
            return times.of(datetime.strptime(text, form).replace(tzinfo=UTC))
        except ValueError:
            continue
    return None
