"""Operations and their logs as they were before they could be followed."""

from typing import Final

from service.api import events
from service.api.openapi import examples
from service.api.openapi.describing import Answered, Content, Described, Table, Tag, json, page
from service.api.openapi.parameters import of_list
from service.api.operation_shape import OperationCreated, OperationOut
from service.api.operations import OperationBody
from service.domain.errors import RefusalKind
from service.domain.event import EventOut

TABLE: Final[Table] = {
    ("POST", "/v1/operations"): Described(
        id="createOperation",
        tag=Tag.PRODUCERS,
        summary="Create an operation",
        text="Before its first event. That is not needed: the first event of an unknown operation "
        "creates it as well. The answer can be handed to the producer's own client as it is.",
        body=(Content(OperationBody, examples.NEW_OPERATION),),
        idempotent=True,
        answers={
            202: json(
                "It is written down.",
                OperationCreated,
                examples.CREATED_OPERATION,
                Location=True,
                Retry_After=True,
            )
        },
        problems={RefusalKind.CONFLICT: "There is an operation of this id already."},
    ),
    ("GET", "/v1/operations/{id}"): Described(
        id="getOperation",
        tag=Tag.CONSUMERS,
        summary="Get an operation",
        headers=("If-None-Match",),
        answers={
            200: json("The operation.", OperationOut, examples.OPERATION, ETag=True),
            304: Answered("Unchanged.", (), {"ETag": True, "Retry-After": False}),
        },
        problems={RefusalKind.INVALID: "It takes no query parameters."},
    ),
    ("GET", "/v1/operations/{id}/events"): Described(
        id="listOperationEvents",
        tag=Tag.CONSUMERS,
        summary="List the events of an operation",
        text="Oldest event first. `after` a sequence shows what came since.",
        query=of_list(events.LOG),
        answers={200: page("A page of events.", EventOut, examples.EVENT)},
    ),
}
