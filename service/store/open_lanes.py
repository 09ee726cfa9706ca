"""Lanes as they were looked up a moment ago, of which there is nothing to reckon with.

What is leased of one is leased by a statement that leaves it out where its subscription is of
another version by now, waits, or is in trouble. So nothing depends on what is remembered here; it
spares the look before each claim.
"""

from collections.abc import Iterable
from typing import Final

from service.domain.subscription import SubscriptionStatus
from service.ports import Lane

#: Milliseconds for which a lane is remembered: its secrets may be sealed anew, which makes no
#: version of it.
_FRESH: Final = 5_000
#: Lanes that are remembered.
_MOST: Final = 2_048


class OpenLanes:
    """Lanes that are active, without limits for all workers together, their circuits closed."""

    def __init__(self) -> None:
        #: With the moments from which on they are looked up again.
        self._known: dict[int, tuple[Lane, int]] = {}

    def known(self, numbers: Iterable[int], now: int) -> dict[int, Lane]:
        """Those of them that are remembered."""
        found = ((no, self._known.get(no)) for no in numbers)
        return {no: each[0] for no, each in found if each is not None and now < each[1]}

    def note(self, lane: Lane, now: int) -> None:
        """Remember a lane that was just looked up, if it is such a one."""
        subscription = lane.subscription
        self._known.pop(subscription.no, None)
        if subscription.status is not SubscriptionStatus.ACTIVE or subscription.hold_until > now:
            return
        ends = (each.expires_at for each in lane.secrets if each.expires_at is not None)
        self._known[subscription.no] = lane, min((now + _FRESH, *ends))
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def forget(self, numbers: Iterable[int]) -> None:
        """Look these up the next time."""
        for no in numbers:
            self._known.pop(no, None)
