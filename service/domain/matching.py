"""Which subscriptions an event goes to.

``*`` in a pattern matches any characters, dots included. Events of the type ``ringback.replay``
operation reach only subscriptions that name that operation type, so that a replay never feeds
itself. Operational events reach those that name their type: a bare ``*`` does not.
"""

from collections.abc import Iterable

from service.domain.operation import REPLAY_TYPE
from service.domain.operational import is_operational, naming
from service.domain.subscription import Subscription, SubscriptionStatus


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text.

    Parts between stars are looked for from left to right, which is linear: a regular expression
    with many stars would be a way to keep a processor busy.
    """
    head, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, tail = rest
    if len(head) + len(tail) > len(text) or not (text.startswith(head) and text.endswith(tail)):
        return False
    position, end = len(head), len(text) - len(tail)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def is_literal(pattern: str) -> bool:
    """Whether the pattern matches itself and nothing else."""
    return "*" not in pattern


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether any of the patterns matches the whole text."""
    return any(matches(each, text) for each in patterns)


def wants(
    subscription: Subscription,
    event_type: str,
    operation_type: str | None,
    operation_id: str | None,
) -> bool:
    """Whether an event goes to the subscription, its status left aside."""
    if subscription.operation_id is not None and subscription.operation_id != operation_id:
        return False
    if operation_type == REPLAY_TYPE and REPLAY_TYPE not in subscription.operation_types:
        return False
    if subscription.operation_types and not (
        operation_type is not None and matches_any(subscription.operation_types, operation_type)
    ):
        return False
    patterns = subscription.event_types
    if is_operational(event_type, operation_id):
        return matches_any(naming(patterns), event_type)
    return matches_any(patterns, event_type)


class Index:
    """The subscriptions of one tenant that take deliveries, ready to be matched.

    The answer for a pair of types is remembered, since producers repeat few types many times. Where
    it is not, only those subscriptions are asked that name the event's type, or have a star: there
    may be thousands that each name another one.
    """

    _REMEMBERED = 10_000

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        taking = [s for s in subscriptions if s.status is not SubscriptionStatus.DISABLED]
        self._general = [s for s in taking if s.operation_id is None]
        #: Places in that list: of those that name a type, and of those with a star.
        self._naming: dict[str, list[int]] = {}
        self._starred: list[int] = []
        for place, general in enumerate(self._general):
            if all(map(is_literal, general.event_types)):
                for name in set(general.event_types):
                    self._naming.setdefault(name, []).append(place)
            else:
                self._starred.append(place)
        self._by_operation: dict[str, list[Subscription]] = {}
        for each in taking:
            if each.operation_id is not None:
                self._by_operation.setdefault(each.operation_id, []).append(each)
        self._known: dict[tuple[str, str | None, bool], list[Subscription]] = {}

    def match(
        self, event_type: str, operation_type: str | None, operation_id: str | None
    ) -> list[Subscription]:
        """The subscriptions an event goes to, by subscription number."""
        known = (event_type, operation_type, operation_id is None)
        found = self._known.get(known)
        if found is None:
            asked = self._asked(event_type)
            found = [s for s in asked if wants(s, event_type, operation_type, operation_id)]
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
            self._known[known] = found
        if operation_id is None or operation_id not in self._by_operation:
            return found
        special = self._by_operation[operation_id]
        return found + [s for s in special if wants(s, event_type, operation_type, operation_id)]

    def _asked(self, event_type: str) -> list[Subscription]:
        """Those that may want events of a type, in their order."""
        places = sorted((*self._naming.get(event_type, ()), *self._starred))
        return [self._general[place] for place in places]
