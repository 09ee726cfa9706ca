"""What a receiver is asked before anything is sent to it: two webhooks that are no events."""

from typing import Final

import msgspec

from service.api.openapi import examples
from service.api.openapi.describing import SchemaDict
from service.domain.request import ORIGIN_HEADER
from service.domain.verification import CHALLENGE_TYPE, RATE_HEADER, origin_of
from service.web.answers import JSON

_ORIGIN: Final = origin_of(examples.BASE)
_RATE: Final = "600"
_CHALLENGE: Final = "4f1c5d0e8a7b42c09d6e3f2a1b5c8d7e0f9a6b3c2d1e4f5a8b7c6d9e0f1a2b3c"

_CHALLENGE_TEXT: Final = (
    "A subscription with the verification `challenge` is about to be made, or to get another URL. "
    "The request has the headers and signatures of an event, and `x-webhook-event: "
    f"{CHALLENGE_TYPE}`. Send the challenge back, alone as plain text or as the only member of a "
    "JSON object; what only repeats the request agrees to nothing."
)
_PERMISSION_TEXT: Final = (
    "A subscription with the verification `cloudevents` is about to be made, or to get another "
    'URL: the handshake of CloudEvents\' "HTTP 1.1 Web Hooks" (section 4). Headers of the answer '
    "agree, not its status, and deliveries keep to the rate. Permission by callback "
    "(`WebHook-Request-Callback`) is not offered."
)


class ChallengeOut(msgspec.Struct, frozen=True):
    """What is to be sent back, in an event that is no operation's."""

    id: str
    type: str
    timestamp: str
    challenge: str


class EchoOut(msgspec.Struct, frozen=True):
    """The challenge, sent back."""

    challenge: str


def description() -> SchemaDict:
    """Both, for the document's ``webhooks``."""
    return {"challenge": {"post": _challenge()}, "permission": {"options": _permission()}}


def _challenge() -> SchemaDict:
    event = {
        "id": examples.TRIAL["event"]["id"],
        "type": CHALLENGE_TYPE,
        "timestamp": examples.TRIAL["event"]["timestamp"],
        "challenge": _CHALLENGE,
    }
    agreed = {
        JSON: {"schema": EchoOut, "example": {"challenge": _CHALLENGE}},
        "text/plain": {"schema": {"type": "string"}, "example": _CHALLENGE},
    }
    return {
        "operationId": "receiveChallenge",
        "summary": "A challenge, before anything is sent",
        "description": _CHALLENGE_TEXT,
        "security": [],
        "parameters": [],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ChallengeOut, "example": event}},
        },
        "responses": {
            "2XX": {"description": "Agreed.", "content": agreed},
            "default": {"description": "Not agreed: nothing is stored or changed."},
        },
    }


def _permission() -> SchemaDict:
    return {
        "operationId": "receivePermissionRequest",
        "summary": "A request for permission, before anything is sent",
        "description": _PERMISSION_TEXT,
        "security": [],
        "parameters": [
            {
                "name": ORIGIN_HEADER,
                "in": "header",
                **_header("Who asks: the host of `RINGBACK_PUBLIC_URL`.", _ORIGIN, always=True),
            },
            {
                "name": RATE_HEADER,
                "in": "header",
                **_header("Requests a minute, where the subscription limits them.", _RATE),
            },
        ],
        "responses": {
            "default": {
                "description": "Agreed where both headers say so; any 3xx is not.",
                "headers": {
                    "WebHook-Allowed-Origin": _header("The origin that asked, or `*`.", _ORIGIN),
                    "WebHook-Allowed-Rate": _header(
                        "Requests a minute, a whole number above 0, or `*`. It may be left out "
                        "where no rate was asked for.",
                        _RATE,
                    ),
                },
            },
        },
    }


def _header(said: str, example: str, *, always: bool = False) -> SchemaDict:
    schema = {"type": "string"}
    return {"required": always, "description": said, "schema": schema, "example": example}
