"""What a worker knows of each lane: what is in flight, how much may be, and how fast."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from service.domain import concurrency, ids, pacing, reliance
from service.domain.concurrency import Allowance
from service.domain.outcome import Outcome, Responded
from service.domain.pacing import Pacing

if TYPE_CHECKING:
    from service.usecases.receivers import Receiver

#: Lanes that are remembered; an idle one that is forgotten begins anew.
_REMEMBERED: Final = 100_000
_UNPACED: Final = 2**31


class LaneState:
    """One lane. ``default`` is the limit of lanes that have none of their own."""

    __slots__ = (
        "_allowance",
        "_default",
        "_is_full",
        "_own",
        "_pacing",
        "_score",
        "in_flight",
        "is_known",
        "is_relied_on",
        "receiver",
    )

    def __init__(self, default: int) -> None:
        self._default = default
        self._own: int | None = None
        self._allowance = Allowance()
        #: Whether it had all in flight that it may, when it was claimed for last.
        self._is_full = False
        self._pacing: Pacing | None = None
        self._score = reliance.NEUTRAL
        self.in_flight = 0
        #: Whether any send of it has been judged.
        self.is_known = False
        #: Whether it gives its slots back soon, as far as is known of itself.
        self.is_relied_on = reliance.is_relied_on(self._score)
        #: Where it leads, once that was seen.
        self.receiver: Receiver | None = None

    @property
    def has_own_limit(self) -> bool:
        """Whether the subscription says what it allows at most."""
        return self._own is not None

    @property
    def most(self) -> int:
        """What the subscription, or the service, allows at most."""
        return self._default if self._own is None else self._own

    @property
    def allowed(self) -> int:
        """How much may be in flight now."""
        return min(self._allowance.limit, self.most)

    @property
    def is_at_best(self) -> bool:
        """Whether a prompt success changes nothing: not what it may have in flight either."""
        may_grow = self._is_full and self._allowance.limit < self.most
        return reliance.is_at_best(self._score) and not may_grow

    @property
    def is_guest(self) -> bool:
        """Whether neither it nor where it leads, which is known, is relied on."""
        receiver = self.receiver
        return not self.is_relied_on and receiver is not None and not receiver.is_relied_on

    @property
    def rate(self) -> float | None:
        """Sends per second, where that is limited."""
        return None if self._pacing is None else self._pacing.rate

    @property
    def is_idle(self) -> bool:
        """Whether it may be forgotten."""
        return not self.in_flight and self._pacing is None

    def limit(self, sends: int | None, rate: float | None) -> None:
        """Take the subscription's own limits."""
        self._own = sends
        if rate is None:
            self._pacing = None
        elif rate != self.rate:
            self._pacing = Pacing(rate)

    def paced_room(self, now: float) -> int:
        """How many may go by the rate."""
        return _UNPACED if self._pacing is None else pacing.room(self._pacing, now)

    def opens_at(self) -> float:
        """When more may go by the rate."""
        return 0.0 if self._pacing is None else pacing.opens_at(self._pacing)

    def took(self, count: int, before: int, now: float) -> None:
        """Note that it took so many, with ``before`` in flight when that was planned."""
        self._is_full = before + count >= self.allowed
        if self._pacing is not None and count:
            self._pacing = pacing.sent(self._pacing, count, now)

    def judge(self, token: int, outcome: Outcome, now: int) -> None:
        """Grow or shrink by how a send went."""
        self._score = reliance.judged(self._score, outcome)
        self.is_relied_on = reliance.is_relied_on(self._score)
        self.is_known = True
        if concurrency.is_distress(outcome):
            claimed_at = ids.key_time(token)
            self._allowance = concurrency.shrunk(self._allowance, claimed_at, now)
        elif isinstance(outcome, Responded) and outcome.succeeded and self._is_full:
            self._allowance = concurrency.grown(self._allowance, self.most)

    def restart(self, now: int) -> None:
        """Begin slowly."""
        self._allowance = concurrency.restarted(now)


class LaneStates:
    """The states of lanes; those idle for longest are forgotten where there are too many."""

    def __init__(self, default: int) -> None:
        self._default = default
        self._states: OrderedDict[int, LaneState] = OrderedDict()

    def __getitem__(self, lane: int) -> LaneState:
        state = self._states.get(lane)
        if state is None:
            state = self._states[lane] = LaneState(self._default)
            self._forget_one()
        self._states.move_to_end(lane)
        return state

    def _forget_one(self) -> None:
        if len(self._states) > _REMEMBERED:
            lane, state = next(iter(self._states.items()))
            if state.is_idle:
                del self._states[lane]
            else:
                self._states.move_to_end(lane)
