"""Operations: their history, and their end by hand."""

from typing import Final

from service.api.openapi import examples
from service.api.openapi.describing import Content, Described, Table, Tag, json, page
from service.api.openapi.parameters import of_list
from service.api.operation_bodies import CancelBody
from service.api.operation_shape import OperationOut
from service.domain.errors import RefusalKind
from service.web.listings import OPERATIONS

TABLE: Final[Table] = {
    ("GET", "/v1/operations"): Described(
        id="listOperations",
        tag=Tag.CONSUMERS,
        summary="List operations",
        text="Newest first, each with how long it took.",
        query=of_list(OPERATIONS),
        answers={200: page("A page of operations.", OperationOut, examples.COMPLETED_OPERATION)},
    ),
    ("POST", "/v1/operations/{id}/cancel"): Described(
        id="cancelOperation",
        tag=Tag.CONSUMERS,
        summary="Cancel an operation",
        text="Asking again gives the same answer. The producer learns of it from the `CANCELLED` "
        "event, and its next event for the operation is answered 409.",
        body=(Content(CancelBody, {"reason": "not needed any more"}),),
        body_optional=True,
        answers={200: json("It is cancelled.", OperationOut, examples.CANCELLED_OPERATION)},
        problems={
            RefusalKind.CONFLICT: "It had ended otherwise; `currentStatus` says how.",
            RefusalKind.GONE: "It was readable until `expiredAt`.",
        },
    ),
}
