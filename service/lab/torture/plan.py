"""What happens when: the same seed and the same amounts make the same plan."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Mode(StrEnum):
    """What is tortured."""

    EMBEDDED = "embedded"
    DISTRIBUTED = "distributed"


class Kind(StrEnum):
    """A kind of fault."""

    #: Of the one process, or of a worker.
    KILL = "kill"
    KILL_API = "kill_api"
    KILL_SWEEPER = "kill_sweeper"
    PAUSE = "pause"
    PAUSE_BEYOND_LEASE = "pause_beyond_lease"
    DISK_FULL = "disk_full"
    CLOCK = "clock"
    CUT_API = "cut_api"
    CUT_RECEIVERS = "cut_receivers"
    CUT_DATABASE = "cut_database"
    CUT_REDIS = "cut_redis"
    HANG_DATABASE = "hang_database"
    DELAY_API = "delay_api"
    DELAY_RECEIVERS = "delay_receivers"
    DELAY_DATABASE = "delay_database"
    DELAY_REDIS = "delay_redis"
    REDIS_FLUSH = "redis_flush"
    REDIS_RESTART = "redis_restart"
    REDIS_PAUSE = "redis_pause"
    REDIS_ABSENCE = "redis_absence"
    POSTGRES_RESTART = "postgres_restart"
    POSTGRES_TERMINATE = "postgres_terminate"
    POSTGRES_PAUSE = "postgres_pause"


class Span(NamedTuple):
    """Seconds that a fault lasts: the shortest and the longest."""

    shortest: float
    longest: float


class Habit(NamedTuple):
    """How often a kind of fault comes for each hundred kills, and how long one lasts."""

    per_hundred: float
    span: Span
    #: In a quick run.
    quick: Span


_AT_ONCE: Final = Span(0.0, 0.0)
_DOWN: Final = Span(0.0, 0.8)
_BREATH: Final = Span(0.5, 2.0)
_BLINK: Final = Span(0.2, 0.6)
#: Up to longer than the service waits for an answer of its database, which is 12 s.
_SILENCE: Final = Span(4.0, 16.0)
#: Longer than a lease, which is 40 s.
_LEASE: Final = Span(42.0, 50.0)

HABITS: Final[dict[Mode, dict[Kind, Habit]]] = {
    Mode.EMBEDDED: {
        Kind.KILL: Habit(100, _DOWN, _DOWN),
        Kind.PAUSE: Habit(5, Span(0.5, 4.0), _BLINK),
        Kind.PAUSE_BEYOND_LEASE: Habit(1, _LEASE, _BLINK),
        Kind.DISK_FULL: Habit(5, _BREATH, _BLINK),
        Kind.CLOCK: Habit(5, _BREATH, _BLINK),
        Kind.CUT_API: Habit(10, _BREATH, _BLINK),
        Kind.CUT_RECEIVERS: Habit(5, _BREATH, _BLINK),
        Kind.DELAY_API: Habit(2, _BREATH, _BLINK),
        Kind.DELAY_RECEIVERS: Habit(2, _BREATH, _BLINK),
    },
    Mode.DISTRIBUTED: {
        Kind.KILL: Habit(100, _DOWN, _DOWN),
        Kind.KILL_API: Habit(10, _DOWN, _DOWN),
        Kind.KILL_SWEEPER: Habit(10, _DOWN, _DOWN),
        Kind.PAUSE: Habit(5, Span(0.5, 4.0), _BLINK),
        Kind.PAUSE_BEYOND_LEASE: Habit(30, _LEASE, _BLINK),
        Kind.REDIS_FLUSH: Habit(20, _AT_ONCE, _AT_ONCE),
        Kind.REDIS_RESTART: Habit(20, _BREATH, _BLINK),
        Kind.REDIS_ABSENCE: Habit(1, Span(120.0, 120.0), Span(2.0, 2.0)),
        Kind.REDIS_PAUSE: Habit(3, Span(2.0, 5.0), _BLINK),
        Kind.POSTGRES_RESTART: Habit(20, _AT_ONCE, _AT_ONCE),
        Kind.POSTGRES_TERMINATE: Habit(10, _AT_ONCE, _AT_ONCE),
        Kind.POSTGRES_PAUSE: Habit(5, _SILENCE, _BREATH),
        Kind.CLOCK: Habit(2, _BREATH, _BLINK),
        Kind.CUT_API: Habit(5, _BREATH, _BLINK),
        Kind.CUT_RECEIVERS: Habit(3, _BREATH, _BLINK),
        Kind.CUT_DATABASE: Habit(5, _BREATH, _BLINK),
        Kind.CUT_REDIS: Habit(5, _BREATH, _BLINK),
        Kind.HANG_DATABASE: Habit(2, _AT_ONCE, _AT_ONCE),
        Kind.DELAY_RECEIVERS: Habit(2, _BREATH, _BLINK),
        Kind.DELAY_DATABASE: Habit(2, _BREATH, _BLINK),
        Kind.DELAY_REDIS: Habit(2, _BREATH, _BLINK),
    },
}


class Fault(NamedTuple):
    """One fault of the plan."""

    #: How many events have been posted when it comes.
    at: int
    kind: Kind
    seconds: float
    #: In [0, 1): decides whatever else there is to decide about it.
    pick: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    mode: Mode
    seed: int
    events: int
    kills: int
    #: Kinds to leave out.
    without: frozenset[Kind] = frozenset()
    quick: bool = False
    #: Seconds after which no fault begins and nothing more is posted.
    duration: float | None = None

    def amounts(self) -> Mapping[Kind, int]:
        """How many faults of each kind there are."""
        habits = HABITS[self.mode]
        return {
            kind: max(1, round(habit.per_hundred * self.kills / 100))
            for kind, habit in habits.items()
            if kind not in self.without and self.kills
        }

    def faults(self) -> list[Fault]:
        """What happens, in order."""
        dice = random.Random(f"{self.seed}/faults")  # noqa: S311  to be repeated, not to be safe
        made = [
            self._fault(kind, dice) for kind, count in self.amounts().items() for _ in range(count)
        ]
        return sorted(made)

    def _fault(self, kind: Kind, dice: random.Random) -> Fault:
        habit = HABITS[self.mode][kind]
        span = habit.quick if self.quick else habit.span
        # not before there is load, and not after it
        at = dice.randrange(self.events // 20, max(self.events * 19 // 20, 1))
        return Fault(at, kind, dice.uniform(*span), dice.random())
