"""How much a subscription may have in flight: it is earned by success and lost by distress.

As TCP does with what it has on the wire (RFC 5681). Pure: moments are arguments, in ms.

1. A lane begins with ``START``. While it uses all it may, every success allows one more: so the
   limit doubles with each round of sends.
2. A sign of distress (no answer in time, or none at all, 408, 429, 5xx) halves it, once a round.
   From then on a whole round of successes allows one more.
3. When a receiver has recovered it begins with 1, and doubles again.
4. What a receiver only refuses (other statuses) says nothing about how much it can take.
"""

from dataclasses import dataclass, replace
from typing import Final

from service.domain.outcome import ErrorClass, Outcome, Responded

#: Sends in flight for a lane of which nothing is known.
START: Final = 4

_NO_LIMIT: Final = 2**31
_SERVER_ERROR: Final = 500
_OVERLOADED: Final = frozenset((408, 429))
#: Faults that are not the receiver's.
_OURS: Final = frozenset((ErrorClass.BLOCKED, ErrorClass.UNKNOWN))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many sends one lane may have in flight."""

    limit: int = START
    #: Up to here it doubles each round, beyond it grows by one.
    threshold: int = _NO_LIMIT
    #: Successes since it last grew by one.
    credit: int = 0
    #: What was claimed by then belongs to a round that was judged already.
    judged_at: int = 0


def restarted(now: int) -> Allowance:
    """After a recovery: 1, 2, 4, ..."""
    return Allowance(limit=1, judged_at=now)


def is_distress(outcome: Outcome) -> bool:
    """Whether less should be in flight."""
    if isinstance(outcome, Responded):
        return outcome.status >= _SERVER_ERROR or outcome.status in _OVERLOADED
    return outcome.error not in _OURS


def grown(allowance: Allowance, most: int) -> Allowance:
    """After a success of a lane that uses all it may; ``most`` is never exceeded."""
    if allowance.limit >= most:
        return allowance
    credit = allowance.credit + 1
    if allowance.limit < allowance.threshold or credit >= allowance.limit:
        return replace(allowance, limit=allowance.limit + 1, credit=0)
    return replace(allowance, credit=credit)


def shrunk(allowance: Allowance, claimed_at: int, now: int) -> Allowance:
    """After a sign of distress from a send that was claimed at ``claimed_at``."""
    if claimed_at <= allowance.judged_at:
        return allowance
    half = max(allowance.limit // 2, 1)
    return Allowance(limit=half, threshold=half, judged_at=now)
