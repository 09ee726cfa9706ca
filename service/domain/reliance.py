"""Whether who is sent to can be relied on to give send slots back soon.

1. An answer that comes within a second, and shows no distress, speaks for it; at first one is
   enough.
2. A sign of distress outweighs four such answers: who hangs every other time is never relied on,
   who fails once in a hundred times soon is again.
3. A slower answer makes up for distress, and for no more: it holds a slot for long as well.
"""

from typing import Final

from service.domain.concurrency import is_distress
from service.domain.outcome import Outcome

#: Of whom nothing is known.
NEUTRAL: Final = 0

_PROMPT_MS: Final = 1_000.0
_BEST: Final = 1
_WORST: Final = -8
_DISTRESS: Final = 4


def is_relied_on(score: int) -> bool:
    """Whether slots that others must not take are for it as well."""
    return score > NEUTRAL


def judged(score: int, outcome: Outcome) -> int:
    """The score after one more outcome; between -8 and 1."""
    if is_distress(outcome):
        return max(min(score, NEUTRAL) - _DISTRESS, _WORST)
    best = _BEST if outcome.timing.total <= _PROMPT_MS else NEUTRAL
    return min(score + 1, best)
