"""Events made for one receiver alone: they are sent once and stand in no log."""

import json
from collections.abc import Mapping

from service.domain import times
from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef
from service.domain.subscription import Subscription
from service.ports import Claimed
from service.usecases.making import Maker


def lone_event(
    maker: Maker, subscription: Subscription, kind: str, members: Mapping[str, object]
) -> Claimed:
    """An event of this type with further members, as if it was claimed for its first attempt."""
    now, key, event_id = maker.name("evt")
    event = {"id": event_id, "type": kind, "timestamp": times.render(now), **members}
    return Claimed(
        ref=DeliveryRef(key, subscription.no),
        tenant_id=subscription.tenant_id,
        subscription_id=subscription.id,
        token=0,
        attempt=1,
        step=1,
        trigger=Trigger.MANUAL,
        event_id=event_id,
        event_type=kind,
        operation_id=None,
        sequence=None,
        body=json.dumps(event, separators=(",", ":")).encode(),
    )
