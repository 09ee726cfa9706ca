"""Deliveries, dead letters and replays."""

from typing import Final

from service.api.deliveries import NoBody
from service.api.delivery_shape import CountOut, DeadLetterOut, DeliveryOut
from service.api.openapi import examples
from service.api.openapi.describing import (
    Answered,
    Content,
    Described,
    Table,
    Tag,
    data_of,
    json,
    page,
)
from service.api.openapi.parameters import of_list
from service.api.operation_shape import ReplayOut
from service.api.replays import DeadLettersReplayBody, SubscriptionReplayBody
from service.api.stats_shape import StatsOut
from service.domain.errors import RefusalKind
from service.web.listings import DEAD_LETTERS, DELIVERIES

_LETTERS: Final = "/v1/dead-letters"
_LETTER: Final = f"{_LETTERS}/{{id}}"
_ALL: Final = "/v1/deliveries"
_ONE: Final = f"{_ALL}/{{id}}"

_NOTHING: Final = (Content(NoBody, {}),)
_REOPENED: Final = json(
    "It is due at once.",
    {
        "type": "object",
        "required": ["deliveryId"],
        "properties": {"deliveryId": {"type": "string", "description": "The delivery's id."}},
    },
    examples.REOPENED,
    Location=True,
)
_STARTED: Final = json("It has begun.", ReplayOut, examples.REPLAY, Location=True)

_DELIVERIES: Final[Table] = {
    ("GET", _ALL): Described(
        id="listDeliveries",
        tag=Tag.OPERATORS,
        summary="List deliveries",
        text="One for every event and subscription that matched it, newest event first.",
        query=of_list(DELIVERIES),
        answers={200: page("A page of them.", DeliveryOut, examples.LISTED_DELIVERY)},
    ),
    ("GET", _ONE): Described(
        id="getDelivery",
        tag=Tag.OPERATORS,
        summary="Get a delivery with every attempt",
        answers={200: json("The delivery.", DeliveryOut, examples.DELIVERY)},
    ),
    ("POST", f"{_ONE}/retry"): Described(
        id="retryDelivery",
        tag=Tag.OPERATORS,
        summary="Retry a delivery now",
        text="Whatever the schedule says, and what was delivered once more.",
        body=_NOTHING,
        body_optional=True,
        idempotent=True,
        answers={202: _REOPENED},
        problems={
            RefusalKind.CONFLICT: "It is under way, or its subscription is disabled or deleted."
        },
    ),
    ("POST", f"{_ONE}/cancel"): Described(
        id="cancelDelivery",
        tag=Tag.OPERATORS,
        summary="Cancel a delivery",
        body=_NOTHING,
        body_optional=True,
        answers={200: json("It is cancelled.", DeliveryOut, examples.DELIVERY)},
        problems={RefusalKind.CONFLICT: "It is not in the queue any more."},
    ),
}

_DEAD: Final[Table] = {
    ("GET", _LETTERS): Described(
        id="listDeadLetters",
        tag=Tag.OPERATORS,
        summary="List dead letters",
        text="What could not be delivered, newest event first.",
        query=of_list(DEAD_LETTERS),
        answers={200: page("A page of them.", DeadLetterOut, examples.DEAD_LETTER)},
    ),
    ("GET", f"{_LETTERS}/summary"): Described(
        id="countDeadLetters",
        tag=Tag.OPERATORS,
        summary="Count dead letters",
        text="By subscription, reason and error.",
        query=DEAD_LETTERS.filters,
        answers={
            200: json("The largest first.", data_of(CountOut), {"data": [examples.COUNT]}),
        },
    ),
    ("GET", _LETTER): Described(
        id="getDeadLetter",
        tag=Tag.OPERATORS,
        summary="Get a dead letter",
        text="With its event as it was, even where the event itself is not kept any more.",
        answers={200: json("The dead letter.", DeadLetterOut, examples.DEAD_LETTER)},
    ),
    ("DELETE", _LETTER): Described(
        id="discardDeadLetter",
        tag=Tag.OPERATORS,
        summary="Discard a dead letter",
        text="The audit log keeps that it was there.",
        answers={204: Answered("It is gone.")},
        problems={RefusalKind.CONFLICT: "Its delivery is under way."},
    ),
}

_REPLAYS: Final[Table] = {
    ("POST", f"{_LETTER}/replay"): Described(
        id="replayDeadLetter",
        tag=Tag.OPERATORS,
        summary="Replay a dead letter",
        text="The same delivery, its schedule anew; `x-webhook-attempt` counts on.",
        body=_NOTHING,
        body_optional=True,
        idempotent=True,
        answers={202: _REOPENED},
        problems={
            RefusalKind.CONFLICT: "It is being replayed already, was delivered meanwhile, or its "
            "subscription is disabled or deleted.",
        },
    ),
    ("POST", f"{_LETTERS}/replay"): Described(
        id="replayDeadLetters",
        tag=Tag.OPERATORS,
        summary="Replay dead letters by filter",
        text="All that the filter selects, without a cap. The replay is an operation of type "
        "`ringback.replay` that shows how far it is, and can be cancelled.",
        body=(Content(DeadLettersReplayBody, examples.REPLAY_DEAD_LETTERS),),
        body_optional=True,
        idempotent=True,
        answers={202: _STARTED},
    ),
    ("POST", "/v1/subscriptions/{id}/replay"): Described(
        id="replaySubscription",
        tag=Tag.OPERATORS,
        summary="Replay for one subscription",
        text="The replay is an operation of type `ringback.replay` that shows how far it is, and "
        "can be cancelled.",
        body=(Content(SubscriptionReplayBody, examples.REPLAY_SUBSCRIPTION),),
        idempotent=True,
        answers={202: _STARTED},
    ),
}

_STATS: Final[Table] = {
    ("GET", "/v1/stats"): Described(
        id="getStats",
        tag=Tag.OPERATORS,
        summary="See how all deliveries go",
        text="Over all tenants. What is due and open is counted every two seconds at most.",
        answers={200: json("The numbers.", StatsOut, examples.STATS)},
    ),
}

TABLE: Final[Table] = {**_DELIVERIES, **_DEAD, **_REPLAYS, **_STATS}
