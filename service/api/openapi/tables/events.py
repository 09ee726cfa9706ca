"""Events: posted by producers, one or many."""

from typing import Any, Final

from service.api.event_parsing import MAX_EVENTS
from service.api.events import NDJSON
from service.api.openapi import examples
from service.api.openapi.describing import (
    Content,
    Described,
    SchemaDict,
    Shape,
    Table,
    Tag,
    data_of,
    json,
)
from service.api.openapi.problems import Problem
from service.domain.acceptance import Accepted
from service.domain.errors import RefusalKind
from service.domain.event import EventIn, EventOut

_ANYWHERE: Final[SchemaDict] = {
    "$ref": EventIn,
    "required": ["operationId"],
    "properties": {"operationId": {"type": "string"}},
}
_BELOW: Final[SchemaDict] = {"$ref": EventIn, "properties": {"operationId": {"type": "null"}}}

_REFUSED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["index", "problem"],
    "properties": {
        "id": {"type": "string", "description": "The event's id, where it came with one."},
        "index": {"type": "integer", "minimum": 0, "description": "Its place, from 0."},
        "problem": {"$ref": Problem},
    },
}

_ANSWERS: Final = {
    202: json(
        "All are committed, and a delivery for every matching subscription with them.",
        data_of(Accepted),
        {"data": [examples.ACCEPTED]},
    ),
    207: json(
        "Some of a batch are refused, the others committed. `data` is in the order sent.",
        data_of({"anyOf": [Accepted, _REFUSED]}),
        {"data": [examples.ACCEPTED, {"index": 1, "problem": examples.CONFLICT}]},
    ),
}
_PROBLEMS: Final[dict[str, str]] = {
    RefusalKind.CONFLICT: "The operation has ended, or its status does not allow the event, or "
    "the event's id belongs to another one.",
    RefusalKind.GONE: "The operation has ended, and was readable until `expiredAt`.",
    RefusalKind.UNAVAILABLE: "Nothing was kept: the store cannot write, or too much is waiting. Or "
    "the store did not say whether it was kept: then `detail` says so.",
}


def _bodies(schema: Shape, example: object) -> tuple[Content, ...]:
    batch = {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": schema}
    return (
        Content({"anyOf": [schema, batch]}, example),
        Content({"type": "string"}, examples.NEW_EVENT_LINES, NDJSON),
    )


TABLE: Final[Table] = {
    ("POST", "/v1/events"): Described(
        id="postEvents",
        tag=Tag.PRODUCERS,
        summary="Post events of any operations",
        text="One event, an array of up to 1,000, or one event a line. An operation that is not "
        "known yet is created by its first event.\n\n"
        "In a batch each event is judged by itself. Posting the same `id` again for the same "
        "operation and type changes nothing and answers `duplicate: true`. With any answer but a "
        "2xx, and with none, nothing is promised: send it again.",
        body=_bodies(_ANYWHERE, examples.NEW_EVENT),
        idempotent=True,
        answers=_ANSWERS,
        problems=_PROBLEMS,
    ),
    ("POST", "/v1/operations/{id}/events"): Described(
        id="postOperationEvents",
        tag=Tag.PRODUCERS,
        summary="Post events of one operation",
        text="As `POST /v1/events`; the events leave their operation out.",
        body=_bodies(_BELOW, examples.NEW_EVENT_BELOW),
        idempotent=True,
        answers=_ANSWERS,
        problems=_PROBLEMS,
    ),
    ("GET", "/v1/events/{id}"): Described(
        id="getEvent",
        tag=Tag.CONSUMERS,
        summary="Get an event",
        answers={200: json("The event.", EventOut, examples.EVENT)},
    ),
}
