"""Receivers: what the lanes that lead to the same URL have in common.

A URL that hangs may have hundreds of lanes, each new: an operation with a webhook of its own makes
one. What is known of the URL is known of them; and together they hold no more than a part of the
slots, until each has shown that it answers. Other URLs of a host are other receivers: at a host
that serves many, one says nothing about the next.
"""

from collections import OrderedDict
from typing import Final

from service.domain import reliance
from service.domain.outcome import Outcome
from service.domain.subscription import Subscription

#: Receivers that are remembered; an idle one that is forgotten begins anew.
_REMEMBERED: Final = 100_000


class Receiver:
    """One URL, as one tenant's lanes lead there."""

    __slots__ = ("_score", "guests", "is_known", "waiting")

    def __init__(self) -> None:
        self._score = reliance.NEUTRAL
        #: Whether any send to it has been judged.
        self.is_known = False
        #: Sends in flight of lanes that are not relied on themselves.
        self.guests = 0
        #: Lanes that wait until there is room for it, in their order.
        self.waiting: dict[int, None] = {}

    @property
    def is_relied_on(self) -> bool:
        """Whether a lane of which nothing is known may expect an answer soon."""
        return reliance.is_relied_on(self._score)

    @property
    def is_calm(self) -> bool:
        """Whether it was heard of, and not as one that hangs."""
        return self.is_known and not reliance.is_in_distress(self._score)

    @property
    def is_at_best(self) -> bool:
        """Whether a prompt success changes nothing."""
        return reliance.is_at_best(self._score)

    def judge(self, outcome: Outcome) -> None:
        """Note how a send to it went."""
        self._score = reliance.judged(self._score, outcome)
        self.is_known = True


class Receivers:
    """Receivers by whom they are known to; those idle for longest are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Receiver] = OrderedDict()

    def of(self, subscription: Subscription) -> Receiver:
        """The receiver a subscription leads to."""
        key = (subscription.tenant_id, subscription.url)
        receiver = self._known.get(key)
        if receiver is None:
            receiver = self._known[key] = Receiver()
            self._forget_one()
        self._known.move_to_end(key)
        return receiver

    def _forget_one(self) -> None:
        if len(self._known) > _REMEMBERED:
            key, receiver = next(iter(self._known.items()))
            if receiver.guests or receiver.waiting:
                self._known.move_to_end(key)
            else:
                del self._known[key]
