"""Whether who is sent to can be relied on to give send slots back soon.

1. An answer that comes within a second, and shows no distress, speaks for it; at first one is
   enough.
2. A sign of distress outweighs two such answers: who hangs every other time is never relied on,
   who does so once in a hundred times soon is again.
3. A slower answer makes up for distress, and for no more: it holds a slot for long as well.
4. A quick answer that shows distress, such as a 503, says nothing: it held no slot for long.
"""

from typing import Final

from service.domain.concurrency import is_distress
from service.domain.outcome import Outcome, Responded

#: Of whom nothing is known.
NEUTRAL: Final = 0

_PROMPT_MS: Final = 1_000.0
_BEST: Final = 1
_WORST: Final = -6
_DISTRESS: Final = 2


def is_relied_on(score: int) -> bool:
    """Whether slots that others must not take are for it as well."""
    return score > NEUTRAL


def is_in_distress(score: int) -> bool:
    """Whether signs of distress outweigh what spoke for it since."""
    return score < NEUTRAL


def is_at_best(score: int) -> bool:
    """Whether a prompt success changes nothing."""
    return score == _BEST


def is_prompt_success(outcome: Outcome) -> bool:
    """Whether the receiver took it, and within a second."""
    taken = isinstance(outcome, Responded) and outcome.succeeded
    return taken and outcome.timing.total <= _PROMPT_MS


def judged(score: int, outcome: Outcome) -> int:
    """The score after one more outcome; between -6 and 1."""
    is_prompt = outcome.timing.total <= _PROMPT_MS
    if not is_distress(outcome):
        return min(score + 1, _BEST if is_prompt else NEUTRAL)
    if is_prompt and isinstance(outcome, Responded):
        return score
    return max(min(score, NEUTRAL) - _DISTRESS, _WORST)
