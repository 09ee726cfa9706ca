"""What deliveries are counted by, for who watches the service: by kind only, never by whose."""

from collections import Counter
from typing import Final

from service.domain import ids
from service.domain.delivery import Trigger
from service.domain.histogram import BATCHES, DURATIONS, WAITS, Histogram
from service.domain.outcome import ErrorClass, Failed, Outcome
from service.domain.retry import Dead, Delivered, RetryAfter, Verdict
from service.ports import Claimed

#: What an attempt came to, in the words of the metrics.
RESULTS: Final = {Delivered: "delivered", RetryAfter: "failed", Dead: "dead"}


class Measures:
    """The numbers of one process's deliveries."""

    def __init__(self) -> None:
        #: Attempts by the name of their verdict.
        self.attempts: Counter[str] = Counter()
        #: Attempts that failed, by error class.
        self.errors: Counter[str] = Counter()
        #: Results that came after their lease was lost.
        self.late = 0
        #: ms of an attempt.
        self.attempt = Histogram(DURATIONS)
        #: ms from the acceptance of an event to the start of its first attempt.
        self.lag = Histogram(WAITS)
        #: ms from the acceptance of an event to its delivery.
        self.delivery = Histogram(WAITS)
        #: Results in one settle.
        self.settled = Histogram(BATCHES)

    def attempted(
        self, claimed: Claimed, outcome: Outcome, verdict: Verdict, span: tuple[int, int]
    ) -> None:
        """Count an attempt; ``span`` is when it began and when it was judged."""
        self.attempts[RESULTS[type(verdict)]] += 1
        self.attempt.observe(outcome.timing.total)
        is_delivered = isinstance(verdict, Delivered)
        if not is_delivered:
            error = outcome.error if isinstance(outcome, Failed) else ErrorClass.HTTP_STATUS
            self.errors[error.value] += 1
        if claimed.trigger is not Trigger.SCHEDULE:
            return  # how long ago its event was says nothing of how the service does
        accepted_at = ids.key_time(claimed.ref.event_key)
        if claimed.attempt == 1:
            self.lag.observe(max(span[0] - accepted_at, 0))
        if is_delivered:
            self.delivery.observe(max(span[1] - accepted_at, 0))
