"""Lanes as they were looked up a moment ago, of which there is nothing to reckon with.

What is leased of one is leased by a statement that leaves it out where its subscription is of
another version by now, waits, or is in trouble. So nothing depends on what is remembered here; it
spares the look before each claim.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import Lane

#: Milliseconds for which a lane is remembered: its secrets may be sealed anew, which makes no
#: version of it, and the process that knows both keys opens either.
_FRESH: Final = 60_000
#: Bytes that are remembered, about: 16,384 lanes without anything large. Lanes that have something
#: due in turn are all to be here, or none is when its turn comes.
_MOST: Final = 32 * 1024 * 1024
#: Bytes of a lane without what is large of some.
_PLAIN: Final = 2_048


@dataclass(frozen=True, slots=True)
class _Known:
    lane: Lane
    #: The moment (ms) from which on it is looked up again.
    until: int
    weight: int


class OpenLanes:
    """Lanes that are active, without limits for all workers together, their circuits closed."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._weight = 0

    def known(self, numbers: Iterable[int], now: int) -> dict[int, Lane]:
        """Those of them that are remembered."""
        found = ((no, self._known.get(no)) for no in numbers)
        return {no: each.lane for no, each in found if each is not None and now < each.until}

    def note(self, lane: Lane, now: int) -> None:
        """Remember a lane that was just looked up, if it is such a one."""
        subscription = lane.subscription
        self._drop(subscription.no)
        if subscription.status is not SubscriptionStatus.ACTIVE or subscription.hold_until > now:
            return
        ends = (each.expires_at for each in lane.secrets if each.expires_at is not None)
        known = _Known(lane, min((now + _FRESH, *ends)), _weight(subscription))
        self._known[subscription.no] = known
        self._weight += known.weight
        while self._weight > _MOST:
            self._drop(next(iter(self._known)))

    def forget(self, numbers: Iterable[int]) -> None:
        """Look these up the next time."""
        for no in numbers:
            self._drop(no)

    def _drop(self, no: int) -> None:
        known = self._known.pop(no, None)
        if known is not None:
            self._weight -= known.weight


def _weight(subscription: Subscription) -> int:
    """Bytes of a lane, about."""
    large = (subscription.headers, subscription.metadata, subscription.tls, subscription.tls_facts)
    return _PLAIN + sum(len(each) for each in large if each is not None)
