"""What an open delivery waits for, as columns of a read: each is looked up row by row.

1. There is no moment for what is under way or hurried by somebody, for what is parked behind
   another, nor where the subscription is paused, disabled or deleted.
2. All else is due at its own time, and not before its subscription's hold is over.
3. Nor before its circuit lets it go, where circuits count: a process without a breaker tells of
   none, whatever another one wrote down.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, func, null, select

from service.domain.subscription import SubscriptionStatus
from service.domain.times import HURRIED, NEVER
from service.store.schema import delivery_queue, subscriptions
from service.store.schema_health import subscription_health

_own: Final = delivery_queue.c
_lane: Final = subscriptions.c.no == _own.subscription_no
#: Until when its subscription is held back; NULL where nothing goes by itself.
_hold: Final = (
    select(subscriptions.c.hold_until)
    .where(
        _lane,
        subscriptions.c.status == SubscriptionStatus.ACTIVE.value,
        subscriptions.c.deleted_at.is_(None),
    )
    .scalar_subquery()
)
_opens: Final = (
    select(subscription_health.c.open_until)
    .where(
        subscription_health.c.subscription_no == _own.subscription_no,
        subscription_health.c.trips > 0,
    )
    .scalar_subquery()
)

#: Whether somebody wants it sent now, whatever holds the rest back.
IS_HURRIED: Final = _own.due_at == HURRIED


def next_attempt(*, breaker: bool) -> ColumnElement[Any]:
    """The moment of its next attempt, where that is known."""
    last_is_hold, opens = _hold > _own.due_at, []
    if breaker:
        last_is_hold = and_(last_is_hold, _hold >= func.coalesce(_opens, 0))
        opens = [(_opens > _own.due_at, _opens)]
    moment = case((_hold.is_(None), null()), (last_is_hold, _hold), *opens, else_=_own.due_at)
    goes_by_time = and_(_own.token.is_(None), _own.due_at > HURRIED, _own.due_at < NEVER)
    return case((goes_by_time, moment), else_=null())


def _first_of_chain() -> ColumnElement[Any]:
    head = delivery_queue.alias("head")
    keeps_order = and_(
        subscriptions.c.ordering == "operation",
        subscriptions.c.status != SubscriptionStatus.DISABLED.value,
        subscriptions.c.deleted_at.is_(None),
    )
    is_ordered = select(keeps_order).where(_lane).scalar_subquery()
    first = select(func.min(head.c.event_key)).where(
        head.c.subscription_no == _own.subscription_no,
        head.c.operation_key == _own.operation_key,
        head.c.event_key < _own.event_key,
    )
    return case((and_(_own.due_at >= NEVER, is_ordered), first.scalar_subquery()), else_=null())


#: The first open event of its operation, for whose sake it is parked (one step along an index).
#: What is parked without need, which the next sweep lets go, has none, nor what
#: is about to be a dead letter since its subscription is disabled or deleted.
BEHIND: Final = _first_of_chain()
