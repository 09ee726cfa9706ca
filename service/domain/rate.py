"""How much is too much: the rate limit of a key, and the patience with who guesses keys.

1. A limit is a leaky bucket, told by one number (GCRA): the time at which the bucket will be empty.
   Who keeps to the rate is never refused; who was silent may make up to ``burst`` requests at once.
2. After so many failed authentications within a window, an address is shut out for a while. What
   it tries meanwhile does not count: it can neither lengthen that while nor shorten it.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple

#: Failed authentications of one address within a window after which it is shut out.
MAX_FAILURES: Final = 100
#: Seconds of that window, and for which an address is shut out.
WINDOW: Final = 60.0
LOCKOUT: Final = 60.0
#: How far apart the same times may come out of floating point, in requests.
_ROUNDING: Final = 1e-6


class Standing(NamedTuple):
    """Where a key stands after a request."""

    allowed: bool
    #: When the bucket will be empty (s): what the next request is judged by.
    empty_at: float
    #: Requests that would be allowed at once.
    remaining: int
    #: Seconds until one more would be allowed; 0 when one is now.
    wait: float


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests per second, a fraction for less than one."""

    rate: float

    @property
    def burst(self) -> int:
        """Requests at once after a silence: what a second allows, at least one."""
        return max(int(self.rate), 1)

    @property
    def window(self) -> int:
        """Whole seconds in which ``burst`` requests are always allowed."""
        return max(ceil(1 / self.rate), 1)

    def judge(self, empty_at: float, now: float) -> Standing:
        """Whether a request at ``now`` (s) is allowed, ``empty_at`` being what the last one left.

        A refused request takes nothing.
        """
        level = max(empty_at - now, 0.0) * self.rate
        allowed = self.burst - level >= 1 - _ROUNDING
        if allowed:
            level += 1
        room = max(self.burst - level, 0.0)
        wait = 0.0 if room >= 1 - _ROUNDING else (1 - room) / self.rate
        return Standing(allowed, now + level / self.rate, int(room + _ROUNDING), wait)


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed authentications of one address. Times are seconds."""

    since: float
    count: int
    shut_until: float = 0.0


def failed(before: Failures | None, now: float) -> Failures:
    """What is known of an address that failed once more."""
    if before is None or (now >= before.since + WINDOW and now >= before.shut_until):
        return Failures(now, 1)
    if now < before.shut_until:
        return before
    count = before.count + 1
    shut_until = now + LOCKOUT if count >= MAX_FAILURES else 0.0
    return Failures(before.since, count, shut_until)


def shut_out(known: Failures | None, now: float) -> float:
    """For how many seconds the address is shut out; 0 when it is not."""
    return 0.0 if known is None else max(known.shut_until - now, 0.0)
