"""Schemas of members that their classes cannot say: bytes that travel untouched, domain rules."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from service.api.openapi.describing import SchemaDict
from service.domain.attempt_log import RequestDetail, ResponseDetail, Timings
from service.domain.certificates import MAX_CERTIFICATE_TEXT, MAX_KEY_TEXT
from service.domain.delivery import DeadLetterState, DeliveryStatus, Trigger
from service.domain.event import ErrorObject, EventOut, Progress
from service.domain.health import Circuit
from service.domain.operation import Status
from service.domain.outcome import ErrorClass
from service.domain.request import MAX_HEADER_NAME, MAX_HEADER_VALUE, MAX_HEADERS
from service.domain.retry import DeadReason
from service.domain.subscription import Signing, SubscriptionStatus, Verification
from service.domain.targets import MAX_URL_LENGTH


def _one_of(choices: type[StrEnum], *others: str | None) -> SchemaDict:
    return {"enum": [*map(str, choices), *others]}


def _members(components: Iterable[str], shapes: dict[str, SchemaDict]) -> dict[str, SchemaDict]:
    return {f"{name}.{member}": shape for name in components for member, shape in shapes.items()}


_NULL: Final[SchemaDict] = {"type": "null"}
_PERCENTAGE: Final[SchemaDict] = {"type": "number", "minimum": 0, "maximum": 100}
_MOMENT: Final[SchemaDict] = {"type": "string", "format": "date-time"}
_URI: Final[SchemaDict] = {"type": "string", "format": "uri"}
_TARGET: Final[SchemaDict] = {**_URI, "maxLength": MAX_URL_LENGTH}
_EVENT: Final[SchemaDict] = {"$ref": EventOut}

#: JSON of the producer's own that is checked, then kept to the byte.
_KEPT: Final[dict[str, SchemaDict]] = {
    "progress": {"anyOf": [_PERCENTAGE, Progress]},
    "error": {"anyOf": [ErrorObject, _NULL]},
    "warnings": {"type": ["array", "null"], "items": {}},
}
_EVENT_OUT: Final = {
    **_KEPT,
    "status": _one_of(Status),
    "timestamp": _MOMENT,
}
_OPERATION: Final = {
    **_KEPT,
    "status": _one_of(Status),
    "metadata": {"type": "object"},
    "statusUrl": _URI,
    "estimatedCompletion": _MOMENT,
}
_ATTEMPT: Final = {
    "trigger": _one_of(Trigger),
    "errorClass": _one_of(ErrorClass),
    "url": {"type": "string"},
    "request": {"$ref": RequestDetail},
    "response": {"$ref": ResponseDetail},
    "timings": {"$ref": Timings},
}
_HEADERS: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "maxProperties": MAX_HEADERS,
    "propertyNames": {"pattern": rf"^[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_HEADER_NAME}}}$"},
    "additionalProperties": {
        "type": "string",
        "maxLength": MAX_HEADER_VALUE,
        "pattern": r"^(?:[!-~](?:[\t -~]*[!-~])?)?$",
    },
}
#: Four characters of base64, and what may end it: 24 to 63 bytes in all.
_GROUP: Final = "(?:[A-Za-z0-9+/]{4})"
_PADDED: Final = "(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_SECRET: Final[SchemaDict] = {
    "anyOf": [
        {"type": "string", "pattern": rf"^whsec_(?:{_GROUP}{{8,20}}{_PADDED}|{_GROUP}{{21}})$"},
        {"type": "string", "pattern": r"^(?!whsec_|whsk_|whpk_)[!-~][ -~]{6,254}[!-~]$"},
        _NULL,
    ]
}

#: A public key: 32 bytes in base64.
_PUBLIC_KEY: Final[SchemaDict] = {
    "type": "string",
    "pattern": r"^whpk_[A-Za-z0-9+/]{43}=$",
}
_KEY_TEXT: Final[SchemaDict] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
_CERTIFICATES: Final[SchemaDict] = {
    "type": ["string", "null"],
    "maxLength": MAX_CERTIFICATE_TEXT,
}
_OF_TLS: Final = {
    "clientCertificate": _CERTIFICATES,
    "clientKey": {"type": ["string", "null"], "maxLength": MAX_KEY_TEXT},
    "caCertificate": _CERTIFICATES,
}

#: By component and member, in place of what the class says.
SHAPES: Final[dict[str, SchemaDict]] = {
    **_members(("EventIn",), _KEPT),
    "EventIn.progress": {"anyOf": [_PERCENTAGE, Progress, _NULL]},
    "EventIn.status": {"enum": [Status.PROCESSING.value, None]},
    "EventIn.timestamp": {"type": ["string", "null"], "format": "date-time"},
    **_members(("Event", "ThinEvent"), _EVENT_OUT),
    "Accepted.status": _one_of(Status, None),
    "OperationCreated.status": _one_of(Status),
    "OperationCreated.statusUrl": _URI,
    "OperationCreated.estimatedCompletion": _MOMENT,
    **_members(("Operation", "Replay"), _OPERATION),
    **_members(("NewSubscriptionBody", "SubscriptionPatch"), {"headers": _HEADERS, **_OF_TLS}),
    **_members(("NewSubscriptionBody", "WebhookBody"), {"url": _TARGET, "secret": _SECRET}),
    "SubscriptionPatch.url": _TARGET,
    "SubscriptionPatch.secret": {"not": {}},
    "Subscription.status": _one_of(SubscriptionStatus),
    "Subscription.payload": {"enum": ["full", "thin"]},
    "Subscription.metadata": {"type": "object"},
    "Subscription.signing": _one_of(Signing),
    **_members(("Subscription", "Secret"), {"publicKey": _PUBLIC_KEY}),
    "CertificateFacts.notAfter": _MOMENT,
    **_members(("Jwk",), {"x": _KEY_TEXT, "kid": _KEY_TEXT}),
    "PortalLink.url": _URI,
    **_members(("Subscription", "Tenant"), {"verification": _one_of(Verification)}),
    "Delivery.status": _one_of(DeliveryStatus),
    **_members(("Attempt", "Trial"), _ATTEMPT),
    "Trial.event": _EVENT,
    "LastOutcome.errorClass": _one_of(ErrorClass),
    "DeadLetter.reason": _one_of(DeadReason),
    "DeadLetter.state": _one_of(DeadLetterState),
    "DeadLetter.event": _EVENT,
    "Count.reason": _one_of(DeadReason),
    "Count.errorClass": _one_of(ErrorClass),
    "SubscriptionStats.status": _one_of(SubscriptionStatus),
    "Circuit.state": _one_of(Circuit),
    "Undelivered.event": _EVENT,
    "Undelivered.status": _one_of(DeliveryStatus, "missing"),
}
