"""Lanes as they were looked up, and how long that holds.

What is leased of a lane is leased by a statement that leaves it out where its subscription is of
another version or of another time by now, waits, or is in trouble. What is remembered here spares
the look before most claims, and what is still the same is not read anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, Final

from service.domain.subscription import Subscription, SubscriptionStatus
from service.ports import Lane
from service.store.rows import SECRET_COLUMNS, SUBSCRIPTION_COLUMNS, secret_of, subscription_of
from service.store.statements import Row

#: The columns of a lane's rows; it has a row for each secret, the newest first.
WIDTH: Final = len(SUBSCRIPTION_COLUMNS) + len(SECRET_COLUMNS)
_OWN: Final = len(SUBSCRIPTION_COLUMNS)
#: Milliseconds for which an open lane is not looked up: its secrets may be sealed anew, which makes
#: no version of it, and the process that knows both keys opens either.
_FRESH: Final = 60_000
#: Bytes that are remembered, about, with what is opened of them: 16,000 lanes without anything
#: large. Lanes that have something due in turn are all to be here, or none is when its turn comes.
_MOST: Final = 48 * 1024 * 1024
#: Bytes of the objects that one of them comes to, apart from what they hold.
_PLAIN: Final = 1_024


@dataclass(slots=True)
class _Known:
    own: Row
    secrets: Sequence[Row]
    lane: Lane
    weight: int
    #: The moment (ms) from which on it is looked up again.
    until: int = 0


class LaneMemory:
    """Lanes that were looked up, as many as there is room for."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._weight = 0

    def read(self, rows: Sequence[Row]) -> Lane:
        """The lane whose rows these are, each of :data:`WIDTH` columns and perhaps more.

        It is the very same while they are.
        """
        own, secrets = rows[0][:_OWN], [row[_OWN:WIDTH] for row in rows]
        known = self._drop(own[0])
        if known is None or known.own != own or known.secrets != secrets:
            lane = Lane(subscription_of(own), tuple(map(secret_of, secrets)))
            known = _Known(own, secrets, lane, _weight(own, secrets, lane.subscription))
        self._known[own[0]] = known  # as the last to be dropped
        self._weight += known.weight
        while self._weight > _MOST:
            self._drop(next(iter(self._known)))
        return known.lane

    def trust(self, lane: Lane, now: int) -> None:
        """Go by a lane that was just read, if it is active and waits for nothing.

        The caller knows that it has no limits for all workers together and its circuit is closed.
        """
        known = self._known.get(lane.subscription.no)
        subscription = lane.subscription
        is_open = subscription.status is SubscriptionStatus.ACTIVE
        if known is None or not is_open or subscription.hold_until > now:
            return
        ends = (each.expires_at for each in lane.secrets if each.expires_at is not None)
        known.until = min((now + _FRESH, *ends))

    def trusted(self, numbers: Iterable[int], now: int) -> dict[int, Lane]:
        """Those of them that need no look."""
        found = ((no, self._known.get(no)) for no in numbers)
        return {no: each.lane for no, each in found if each is not None and now < each.until}

    def forget(self, numbers: Iterable[int]) -> None:
        """Look these up the next time."""
        for no in numbers:
            self._drop(no)

    def _drop(self, no: int) -> _Known | None:
        known = self._known.pop(no, None)
        if known is not None:
            self._weight -= known.weight
        return known


def _weight(own: Row, secrets: Sequence[Row], subscription: Subscription) -> int:
    """Bytes of a lane, about: its rows, and what is parsed or opened of them."""
    lists = (subscription.event_types, subscription.operation_types, subscription.header_names)
    made = (*lists, subscription.retry_schedule or ())
    opened = getsizeof(subscription.headers)
    return _PLAIN + opened + sum(map(_size, (own, *secrets, *made)))


def _size(values: tuple[Any, ...]) -> int:
    return getsizeof(values) + sum(map(getsizeof, values))
