"""Operations, and the ways to follow them: polls, logs, streams, the feed of a tenant."""

from typing import Final

from service.api import events, feed, operations
from service.api.following import WHERE, TicketBody, TicketOut
from service.api.openapi import examples
from service.api.openapi.describing import (
    Answered,
    Content,
    Described,
    SchemaDict,
    Table,
    Tag,
    endless,
    json,
    page,
)
from service.api.openapi.parameters import CURSOR, of_list
from service.api.operation_bodies import OperationBody, RetryBody
from service.api.operation_shape import OperationCreated, OperationOut
from service.domain.errors import RefusalKind
from service.domain.event import EventOut

_ONE: Final = "/v1/operations/{id}"

_TEXT: Final[SchemaDict] = {"type": "string"}
_EXPIRED: Final = "It was readable until `expiredAt`."
_TOO_OLD: Final = "The cursor is older than what is kept; begin without one."
_TOO_MANY: Final = "Too many of this tenant are waiting or following already."
_FOLLOWED: Final[dict[str, str]] = {
    RefusalKind.GONE: _EXPIRED,
    RefusalKind.TOO_MANY_REQUESTS: _TOO_MANY,
}
_FED: Final[dict[str, str]] = {RefusalKind.GONE: _TOO_OLD, RefusalKind.TOO_MANY_REQUESTS: _TOO_MANY}
_FEED_WORDS: Final = {
    "after": "The `nextCursor` of the page before; without it, from the oldest.",
    "types": "Patterns parted by commas; `*` stands for any characters.",
    "operationType": "Patterns parted by commas; `*` stands for any characters.",
}

_FRAMES: Final = (
    "Each event is a message: `id` is where to resume, `data` the event, and `event` one of "
    "`status-update` (STARTED, STATUS_UPDATE), `completed` (also with errors), `failed`, "
    "`cancelled`, or `event` for other types. Comments keep the connection open."
)
_EXAMPLE: Final = (
    "id: 3\nevent: completed\n"
    'data: {"id":"evt_0194bc3b00620003c3d4e5f6","type":"COMPLETED","sequence":3}\n\n'
)


def _stream(said: str) -> Answered:
    return Answered(said, (Content(_TEXT, _EXAMPLE, "text/event-stream"),))


_STANDING: Final[Table] = {
    ("POST", "/v1/operations"): Described(
        id="createOperation",
        tag=Tag.PRODUCERS,
        summary="Create an operation",
        text="Before its first event. That is not needed: the first event of an unknown operation "
        "creates it as well. The answer can be handed to the producer's own client as it is.\n\n"
        "`webhook` registers a callback for this one operation. Posting a `clientJobId` again "
        "gives the same operation.",
        body=(Content(OperationBody, examples.NEW_OPERATION),),
        idempotent=True,
        answers={
            200: json(
                "The operation that has this `clientJobId` already.",
                OperationCreated,
                examples.CREATED_OPERATION,
                Location=True,
                Retry_After=False,
            ),
            202: json(
                "It is written down.",
                OperationCreated,
                examples.CREATED_OPERATION,
                Location=True,
                Retry_After=True,
            ),
        },
        problems={RefusalKind.CONFLICT: "There is an operation of this id already."},
    ),
    ("GET", _ONE): Described(
        id="getOperation",
        tag=Tag.CONSUMERS,
        summary="Get an operation",
        text="As it is now. `wait`, or the header `Prefer: wait=30`, holds the answer until "
        "something changes. One that is completed with a `result.url` is answered by 303.",
        query=operations.ONE,
        headers=("If-None-Match", "Prefer"),
        answers={
            200: json(
                "The operation.",
                OperationOut,
                examples.OPERATION,
                ETag=True,
                Retry_After=False,
                Preference_Applied=False,
            ),
            303: json(
                "It is completed; its result is at `Location`.",
                OperationOut,
                examples.COMPLETED_OPERATION,
                Location=True,
                Preference_Applied=False,
            ),
            304: Answered("Unchanged.", (), {"ETag": True, "Retry-After": False}),
        },
        problems=_FOLLOWED,
    ),
    ("POST", f"{_ONE}/retry"): Described(
        id="retryOperation",
        tag=Tag.CONSUMERS,
        summary="Retry a failed operation",
        text="Where its `error` is `retryable`. A new operation takes over its type, metadata and "
        "callback; its first event, `RETRY_REQUESTED`, tells the producer. Asking again gives the "
        "same new operation.",
        body=(Content(RetryBody, {}),),
        body_optional=True,
        idempotent=True,
        answers={
            202: json(
                "The new operation.",
                OperationCreated,
                examples.CREATED_OPERATION,
                Location=True,
                Retry_After=False,
            )
        },
        problems={
            RefusalKind.CONFLICT: "It has not failed, or may not be retried, or not yet: then "
            "`Retry-After` says when.",
            RefusalKind.GONE: _EXPIRED,
        },
    ),
}

_LOGS: Final[Table] = {
    ("GET", f"{_ONE}/events"): Described(
        id="listOperationEvents",
        tag=Tag.CONSUMERS,
        summary="List the events of an operation",
        text="Oldest event first. `after` a sequence shows what came since; with `wait` the answer "
        "waits for it.",
        query=of_list(events.LOG),
        headers=("Prefer",),
        answers={
            200: page("A page of events.", EventOut, examples.EVENT, "Preference-Applied"),
        },
        problems=_FOLLOWED,
    ),
    ("GET", "/v1/events"): Described(
        id="listEvents",
        tag=Tag.CONSUMERS,
        summary="Pull the events of all operations",
        text="For clients that no webhook can reach. Nothing ever appears behind a cursor that was "
        "handed out, and `nextCursor` is always there: keep it, and ask again with it.",
        query={**feed.PULL, "after": CURSOR, "cursor": CURSOR},
        headers=("Prefer",),
        words=_FEED_WORDS,
        answers={200: endless("A page of events.", EventOut, examples.EVENT, "ZmVlZC43")},
        problems=_FED,
    ),
}

_STREAMS: Final[Table] = {
    ("GET", f"{_ONE}/stream"): Described(
        id="streamOperation",
        tag=Tag.CONSUMERS,
        summary="Follow an operation by Server-Sent Events",
        text=f"{_FRAMES}\n\nBegins with the first event, or after `Last-Event-ID` or `after`, and "
        "ends after the terminal event.",
        query=WHERE,
        headers=("Last-Event-ID",),
        answers={
            200: _stream("Events until the operation has ended."),
            204: Answered("It has ended, and there is nothing after the event seen last."),
        },
        problems=_FOLLOWED,
    ),
    ("GET", f"{_ONE}/status"): Described(
        id="connectOperation",
        tag=Tag.CONSUMERS,
        summary="Follow an operation by WebSocket",
        text="One text message an event, as JSON. Begins with the first event, or after `after`. "
        "Closes with 1000 after the terminal event, with 1012 when the service stops.",
        query=WHERE,
        answers={101: Answered("Events follow as messages.")},
        problems={
            **_FOLLOWED,
            RefusalKind.UPGRADE_REQUIRED: "The request was none for a WebSocket.",
        },
    ),
    ("GET", "/v1/events/stream"): Described(
        id="streamEvents",
        tag=Tag.CONSUMERS,
        summary="Follow all operations by Server-Sent Events",
        text=f"{_FRAMES}\n\nBegins after `Last-Event-ID` or `after`.",
        query={**feed.FILTERS, "after": CURSOR},
        headers=("Last-Event-ID",),
        words=_FEED_WORDS,
        answers={200: _stream("Events, without an end.")},
        problems=_FED,
    ),
    ("POST", "/v1/stream-tickets"): Described(
        id="createStreamTicket",
        tag=Tag.CONSUMERS,
        summary="Get a ticket for a browser",
        text="Browsers cannot set headers on streams and WebSockets: a ticket takes the key's "
        "place. It holds for one operation, or for the feed, and until the key is revoked.",
        body=(Content(TicketBody, {"operationId": examples.OPERATION["operationId"]}),),
        body_optional=True,
        idempotent=True,
        answers={201: json("The ticket.", TicketOut, examples.TICKET)},
        problems={
            RefusalKind.NOT_FOUND: "There is no such operation.",
            RefusalKind.GONE: _EXPIRED,
        },
    ),
}

TABLE: Final[Table] = {**_STANDING, **_LOGS, **_STREAMS}
