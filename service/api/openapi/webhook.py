"""The request a receiver gets (contract, section 5), described from the one that is built."""

from typing import Final

import msgspec

from service import __version__
from service.api.openapi import examples
from service.api.openapi.describing import SchemaDict
from service.domain.event import EventOut
from service.domain.request import (
    LEFT_OUT_OF_THIN,
    ORIGIN_HEADER,
    Envelope,
    SigningKeys,
    Target,
    build,
    thin,
)
from service.domain.signature import key_bytes
from service.domain.trace import next_traceparent
from service.domain.verification import origin_of

_BODY: Final = msgspec.json.encode(examples.EVENT)
_EVENT_URL: Final = f"{examples.BASE}/v1/events/{examples.EVENT['id']}"
_TIMESTAMP: Final = 1_738_324_841  # when the event of the example happened
#: Those that do not come with every request.
_NOT_ALWAYS: Final = (
    "x-operation-id",
    "x-operation-sequence",
    "x-webhook-signature",
    ORIGIN_HEADER,
)
#: Framing, not told as parameters: OpenAPI leaves it to the media type.
_FRAMING: Final = ("content-type", "accept-encoding")

_HEADER_WORDS: Final = {
    "user-agent": "`Ringback/` and its version.",
    "webhook-id": "The event's id, the same over retries and replays: dedupe on it.",
    "webhook-timestamp": "Unix seconds of this attempt. Refuse what is older than some minutes.",
    "webhook-signature": "Standard Webhooks 1.0: `v1,` and the base64 of the HMAC-SHA256 over "
    "`{webhook-id}.{webhook-timestamp}.{body}`. The key is what follows `whsec_`, base64-decoded. "
    "Or `v1a,` and the base64 of the Ed25519 signature over the same, which `publicKey` verifies. "
    "There may be several, separated by spaces, as while a rotation overlaps or with `signing` "
    "`both`: one that fits is enough.",
    "x-webhook-signature": "`sha256=` and the hex HMAC-SHA256 over the body, under the same key; "
    "the old one while a rotation overlaps. Absent with `signing` `ed25519`.",
    "x-webhook-event": "The event's type.",
    "x-operation-id": "The operation's id; absent for events without an operation.",
    "x-operation-sequence": "The event's place in its operation's log: 1, 2, 3, … without gaps.",
    "x-webhook-delivery": "The delivery's id.",
    "x-webhook-attempt": "Counted from 1 over the delivery's whole life, replays included.",
    "webhook-request-origin": "The host of `RINGBACK_PUBLIC_URL`, where the receiver agreed to it: "
    "for subscriptions with the verification `cloudevents`.",
    "traceparent": "W3C Trace Context: a span of its own in the trace of the event.",
}

_TEXT: Final = (
    "Ringback POSTs every event that matches a subscription to its URL, at least once. Verify a "
    "signature, answer 2xx at once, work afterwards, and dedupe on `webhook-id`; `sequence` puts "
    "an operation's events in order.\n\n"
    "The signatures of the example are those of the full body, as it is printed compactly, under "
    f"the secret `{examples.SECRET}`."
)

_ANSWERS: Final = {
    "2XX": "Delivered. The status line alone decides; of a body at most 16 KiB are read and kept.",
    "410": "The receiver is gone: the subscription is disabled, the delivery is a dead letter.",
    "429": "Too much. With `Retry-After` (seconds or a date, at most 24 h) the whole subscription "
    "is held back; the delivery is tried again.",
    "503": "Not now. `Retry-After` is heeded as with 429.",
    "default": "Not delivered: tried again by the schedule, then a dead letter. Redirects are "
    "never followed; no answer in time is the same.",
}


ThinEvent: Final = msgspec.defstruct(
    "ThinEvent",
    [
        *(
            (each.name, each.type) if each.required else (each.name, each.type, each.default)
            for each in msgspec.structs.fields(EventOut)
            if each.encode_name not in LEFT_OUT_OF_THIN
        ),
        ("url", str | None, None),
    ],
    rename="camel",
    omit_defaults=True,
    kw_only=True,
    namespace={"__doc__": "An event without what may be large or secret."},
)


def description() -> SchemaDict:
    """The document's ``webhooks``."""
    return {
        "event": {
            "post": {
                "operationId": "receiveEvent",
                "summary": "An event, as a receiver gets it",
                "description": _TEXT,
                "security": [],
                "parameters": [
                    _parameter(name, text)
                    for name, text in _example_headers()
                    if name not in _FRAMING
                ],
                "requestBody": {"required": True, "content": {"application/json": _body()}},
                "responses": {status: {"description": said} for status, said in _ANSWERS.items()},
            }
        }
    }


def _parameter(name: str, example: str) -> SchemaDict:
    return {
        "name": name,
        "in": "header",
        "required": name not in _NOT_ALWAYS,
        "description": _HEADER_WORDS[name],
        "schema": {"type": "string"},
        "example": example,
    }


def _body() -> SchemaDict:
    return {
        "schema": {"anyOf": [EventOut, ThinEvent]},
        "examples": {
            "full": {"summary": "The whole event", "value": examples.EVENT},
            "thin": {
                "summary": "For a subscription with the payload `thin`",
                "value": msgspec.json.decode(thin(_BODY, _EVENT_URL)),
            },
        },
    }


def _example_headers() -> tuple[tuple[str, str], ...]:
    """The headers of a request made and signed for the example."""
    key = key_bytes(examples.SECRET)
    request = build(
        Envelope(
            event_id=examples.EVENT["id"],
            event_type=examples.EVENT["type"],
            operation_id=examples.EVENT["operationId"],
            sequence=examples.EVENT["sequence"],
            body=_BODY,
            delivery_id=examples.REOPENED["deliveryId"],
            attempt=1,
        ),
        SigningKeys((key,), key),
        Target(examples.NEW_SUBSCRIPTION["url"], (), timeout=20, origin=origin_of(examples.BASE)),
        timestamp=_TIMESTAMP,
        user_agent=f"Ringback/{__version__}",
        traceparent=next_traceparent(None, bytes(range(16)), bytes(range(8))),
    )
    return request.headers
