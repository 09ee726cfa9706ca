"""The health of a subscription's receiver (contract, section 6). Pure: moments (ms) are arguments.

1. Ten attempts within five minutes, 70 % of which fail, open its circuit: for 30 s nothing is sent
   but what a person hurries. Waiting costs no attempts.
2. After that the circuit is half open: one probe at a time. One that fails opens it again, for
   twice as long each time and 15 min at most; one that succeeds closes it.
3. What was sent before the circuit opened tells nothing new: it neither closes nor opens it.
4. A blocked target is our word, not the receiver's: it leaves the circuit alone. An attempt that
   failed for a fault of ours counts for nothing.
5. A receiver that let every attempt fail for five days, 20 of them at least, is given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from service.domain.outcome import ErrorClass, Outcome, Responded

#: Milliseconds in which attempts are counted, in slices of so many.
WINDOW: Final = 300_000
SLICE: Final = 30_000
#: The circuit opens with so many attempts in the window, so much of which failed.
MIN_ATTEMPTS: Final = 10
FAILING_SHARE: Final = 0.7
#: Milliseconds that it is open the first time, and at most.
FIRST_WAIT: Final = 30_000
LONGEST_WAIT: Final = 900_000
#: Milliseconds and attempts without any success after which a receiver is given up.
PATIENCE: Final = 5 * 86_400_000
MIN_STREAK: Final = 20


class Circuit(StrEnum):
    """Whether a receiver is sent to: ``HALF_OPEN`` is one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class DisabledReason(StrEnum):
    """Why a subscription was disabled."""

    GONE = "gone"
    FAILING = "failing"


class Sort(StrEnum):
    """What an attempt says of its receiver."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"


class Slice(NamedTuple):
    """What was counted in the ``SLICE`` ms that begin at a moment."""

    begin: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt, or several that went alike."""

    sort: Sort
    #: When it was claimed; the latest of several.
    claimed_at: int
    count: int = 1
    #: Whether it carried an operational event: such never cause further ones.
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """All that is remembered of a receiver."""

    #: Attempts that failed since the last one that succeeded, and since when.
    streak: int = 0
    failing_since: int | None = None
    #: How often the circuit opened since it was closed last; 0 while it is closed.
    trips: int = 0
    opened_at: int = 0
    open_until: int = 0
    #: What was counted while the circuit was closed, oldest slice first.
    recent: tuple[Slice, ...] = ()
    #: Whether it was told that the receiver is failing.
    told: bool = False
    last_success_at: int | None = None
    last_failure_at: int | None = None

    @property
    def is_clean(self) -> bool:
        """Whether a success would change no more than counts."""
        return not (self.streak or self.trips or self.told)


def sort_of(outcome: Outcome) -> Sort | None:
    """What an outcome says of the receiver; ``None``: nothing."""
    if isinstance(outcome, Responded):
        return Sort.SUCCEEDED if outcome.succeeded else Sort.FAILED
    if outcome.error is ErrorClass.UNKNOWN:
        return None
    return Sort.BLOCKED if outcome.error is ErrorClass.BLOCKED else Sort.FAILED


def together(first: Attempted, second: Attempted) -> Attempted:
    """Two that went alike, as one."""
    latest = max(first.claimed_at, second.claimed_at)
    return Attempted(first.sort, latest, first.count + second.count, silent=first.silent)


def circuit(health: Health, now: int) -> Circuit:
    """How the circuit stands."""
    if not health.trips:
        return Circuit.CLOSED
    return Circuit.OPEN if now < health.open_until else Circuit.HALF_OPEN


def without_circuit(health: Health) -> Health:
    """The same where circuits do not count: its own is closed, and nothing is counted for it."""
    return replace(health, trips=0, opened_at=0, open_until=0, recent=())


def after(health: Health, done: Attempted, now: int, *, breaker: bool = True) -> Health:
    """The health after an attempt that is over ``now``; without a ``breaker`` nothing opens."""
    if done.sort is Sort.SUCCEEDED:
        health = replace(health, streak=0, failing_since=None, last_success_at=now)
    else:
        since = now if health.failing_since is None else health.failing_since
        streak = health.streak + done.count
        health = replace(health, streak=streak, failing_since=since, last_failure_at=now)
    if not breaker:
        told = health.told and done.sort is not Sort.SUCCEEDED
        return replace(without_circuit(health), told=told)
    if done.sort is Sort.BLOCKED:
        return health
    return _probed(health, done, now) if health.trips else _counted(health, done, now)


def is_hopeless(health: Health, now: int) -> bool:
    """Whether every attempt failed for so long that the subscription is to be disabled."""
    since = health.failing_since
    return health.streak >= MIN_STREAK and since is not None and now - since >= PATIENCE


def _counted(health: Health, done: Attempted, now: int) -> Health:
    """In a closed circuit, which enough failures open."""
    health = replace(health, recent=_with(health.recent, done, now))
    failed = sum(each.failed for each in health.recent)
    attempts = failed + sum(each.succeeded for each in health.recent)
    is_failing = attempts >= MIN_ATTEMPTS and failed >= FAILING_SHARE * attempts
    return _opened(health, done, now) if is_failing and done.sort is Sort.FAILED else health


def _probed(health: Health, done: Attempted, now: int) -> Health:
    """In a circuit that is open or half open."""
    if done.claimed_at <= health.opened_at:
        return health
    if done.sort is Sort.SUCCEEDED:
        return replace(without_circuit(health), told=False)
    return _opened(health, done, now) if now >= health.open_until else health


def _opened(health: Health, done: Attempted, now: int) -> Health:
    wait = min(FIRST_WAIT << min(health.trips, LONGEST_WAIT.bit_length()), LONGEST_WAIT)
    return replace(
        health,
        trips=health.trips + 1,
        opened_at=now,
        open_until=now + wait,
        recent=(),
        told=health.told or not done.silent,
    )


def _with(recent: Sequence[Slice], done: Attempted, now: int) -> tuple[Slice, ...]:
    """The slices of the window with one attempt more."""
    begin = now - now % SLICE
    kept = [each for each in recent if now - WINDOW < each.begin < begin]
    own = [each for each in recent if each.begin >= begin]
    succeeded = sum(each.succeeded for each in own)
    failed = sum(each.failed for each in own)
    if done.sort is Sort.SUCCEEDED:
        succeeded += done.count
    else:
        failed += done.count
    return (*kept, Slice(begin, succeeded, failed))
