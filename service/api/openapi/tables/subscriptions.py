"""Subscriptions: where events go, and what of them has not arrived."""

from typing import Final

from service.api import subscriptions
from service.api.delivery_shape import TrialOut, UndeliveredOut
from service.api.openapi import examples
from service.api.openapi.describing import Answered, Content, Described, Table, Tag, json, page
from service.api.openapi.parameters import of_list
from service.api.stats_shape import SubscriptionStatsOut
from service.api.subscription_bodies import NewSubscriptionBody, RotateBody, SubscriptionPatch
from service.api.subscription_shape import SecretsOut, SubscriptionOut
from service.api.subscriptions import NoBody
from service.domain.errors import RefusalKind
from service.web.listings import SUBSCRIPTIONS

_ALL: Final = "/v1/subscriptions"
_ONE: Final = f"{_ALL}/{{id}}"

_NOTHING: Final = (Content(NoBody, {}),)
_UNREADABLE: Final = "A secret was stored encrypted and does not open; the keys are not complete."
_ASKING: Final = "Too many receivers are being tested or asked already."
_PATCH: Final = {"eventTypes": ["*"], "timeoutSeconds": 5, "description": None}


def _subscription(said: str) -> dict[int, Answered]:
    return {200: json(said, SubscriptionOut, examples.SUBSCRIPTION)}


_MAKING: Final[Table] = {
    ("POST", _ALL): Described(
        id="createSubscription",
        tag=Tag.CONSUMERS,
        summary="Register a callback URL",
        text="The secret in the answer is shown this once; receivers verify signatures with it. "
        "With `signing` `ed25519` they verify them with `publicKey` instead, and the secret waits "
        "until it is to sign.\n\n"
        "With a `verification` the receiver is asked first, as the webhooks `challenge` and "
        "`permission` show, for as long as a delivery may take. Where it does not agree nothing is "
        "stored, and the fault at `/url` says what it answered.",
        body=(Content(NewSubscriptionBody, examples.NEW_SUBSCRIPTION),),
        idempotent=True,
        problems={RefusalKind.TOO_MANY_REQUESTS: _ASKING},
        answers={
            201: json("It is made.", SubscriptionOut, examples.WITH_SECRET, Location=True),
        },
    ),
    ("GET", _ALL): Described(
        id="listSubscriptions",
        tag=Tag.CONSUMERS,
        summary="List subscriptions",
        text="Newest first.",
        query=of_list(SUBSCRIPTIONS),
        answers={200: page("A page of them.", SubscriptionOut, examples.SUBSCRIPTION)},
    ),
    ("GET", _ONE): Described(
        id="getSubscription",
        tag=Tag.CONSUMERS,
        summary="Get a subscription",
        answers=_subscription("The subscription."),
    ),
    ("PATCH", _ONE): Described(
        id="changeSubscription",
        tag=Tag.CONSUMERS,
        summary="Change a subscription",
        text="What is not named stays as it is; `null` means the default. A subscription with a "
        "`verification` gets another URL only after the receiver there has agreed.",
        body=tuple(
            Content(SubscriptionPatch, _PATCH, media_type)
            for media_type in subscriptions.PATCH_TYPES
        ),
        body_optional=True,
        answers=_subscription("As it is now."),
        problems={
            RefusalKind.CONFLICT: f"{_UNREADABLE} Or: it was changed while its receiver was asked.",
            RefusalKind.TOO_MANY_REQUESTS: _ASKING,
        },
    ),
    ("DELETE", _ONE): Described(
        id="deleteSubscription",
        tag=Tag.CONSUMERS,
        summary="Delete a subscription",
        text="What waits for it becomes dead letters.",
        answers={204: Answered("It is gone.")},
    ),
}

_RUNNING: Final[Table] = {
    ("POST", f"{_ONE}/pause"): Described(
        id="pauseSubscription",
        tag=Tag.CONSUMERS,
        summary="Pause a subscription",
        text="Deliveries are made and wait until it is resumed.",
        body=_NOTHING,
        body_optional=True,
        answers=_subscription("It is paused."),
        problems={RefusalKind.CONFLICT: "It is disabled, and so takes no events."},
    ),
    ("POST", f"{_ONE}/resume"): Described(
        id="resumeSubscription",
        tag=Tag.CONSUMERS,
        summary="Resume a subscription",
        text="Ends a pause and a hold, closes its circuit, and enables what was disabled.",
        body=_NOTHING,
        body_optional=True,
        answers=_subscription("It is active."),
    ),
    ("POST", f"{_ONE}/test"): Described(
        id="testSubscription",
        tag=Tag.CONSUMERS,
        summary="Send a test event",
        text="A signed `webhook.test` event, sent once and without retries. A receiver that "
        "refuses it is an answer too: this one.",
        body=_NOTHING,
        body_optional=True,
        answers={200: json("What came of it.", TrialOut, examples.TRIAL)},
        problems={RefusalKind.CONFLICT: _UNREADABLE, RefusalKind.TOO_MANY_REQUESTS: _ASKING},
    ),
    ("POST", f"{_ONE}/rotate-secret"): Described(
        id="rotateSecret",
        tag=Tag.CONSUMERS,
        summary="Rotate the secret",
        text="Until the overlap ends both secrets sign `webhook-signature`; the single-valued "
        "`x-webhook-signature` keeps to the old one until then. Where a private key signs there is "
        "a new one too, and both sign until then.",
        body=(Content(RotateBody, {"overlapSeconds": 3600}),),
        body_optional=True,
        idempotent=True,
        answers={200: json("The new secret, once.", SubscriptionOut, examples.WITH_SECRET)},
        problems={RefusalKind.CONFLICT: "Too many secrets would sign beside the new one."},
    ),
    ("GET", f"{_ONE}/secret"): Described(
        id="revealSecret",
        tag=Tag.CONSUMERS,
        summary="Reveal the secrets that sign",
        text="With the public keys beside them; private keys never leave. The audit log keeps who "
        "saw them.",
        answers={200: json("In plain text.", SecretsOut, examples.SECRETS)},
        problems={RefusalKind.CONFLICT: _UNREADABLE},
    ),
    ("GET", f"{_ONE}/stats"): Described(
        id="getSubscriptionStats",
        tag=Tag.OPERATORS,
        summary="See how a subscription's deliveries go",
        answers={200: json("Its numbers.", SubscriptionStatsOut, examples.SUBSCRIPTION_STATS)},
    ),
    ("GET", f"{_ONE}/undelivered"): Described(
        id="listUndelivered",
        tag=Tag.OPERATORS,
        summary="List what was not delivered, and why",
        text="Events that match it and were not delivered, oldest first. `missing` never had a "
        "delivery: the subscription came later, or was disabled.",
        query=of_list(subscriptions.UNDELIVERED),
        answers={200: page("A page of events.", UndeliveredOut, examples.UNDELIVERED)},
    ),
}

TABLE: Final[Table] = {**_MAKING, **_RUNNING}
