"""What a producer may say of an operation, and a client of its end."""

from typing import Annotated, Final

from pydantic import Field, PlainValidator

from service.api.fields import EventPatterns, Id, Matching, Metadata, NoteText
from service.api.reading import Body
from service.api.subscription_bodies import url_text
from service.domain import times
from service.usecases.manage_operations import NewOperation, WebhookInput

#: Ten years: longer is a mistake in the unit.
_LONGEST: Final = 315_576_000

_Type = Annotated[
    str,
    Matching(r"^[A-Za-z0-9_.:/-]{1,128}$", "1 to 128 letters, digits, '_', '.', ':', '/' or '-'"),
]
#: As a query parameter takes it, by which it is looked for.
_ClientJobId = Annotated[
    str,
    Matching(r"^[^\x00-\x1f\x7f-\x9f]{1,255}$", "1 to 255 characters, none a control character"),
]

_Seconds = Annotated[float, Field(ge=0.001, le=_LONGEST)]


class WebhookBody(Body):
    """The subscription of one operation."""

    url: Annotated[str, PlainValidator(url_text)]
    events: EventPatterns | None = None
    secret: str | None = None

    def given(self) -> WebhookInput:
        """The same in the use case's terms."""
        kinds = None if self.events is None else tuple(self.events)
        return WebhookInput(self.url, kinds, self.secret)


class OperationBody(Body):
    """A new operation."""

    type: _Type
    operation_id: Id | None = None
    client_job_id: _ClientJobId | None = None
    expected_duration_seconds: _Seconds | None = None
    ttl_seconds: _Seconds | None = None
    timeout_seconds: _Seconds | None = None
    metadata: Metadata = None
    webhook: WebhookBody | None = None

    def given(self) -> NewOperation:
        """The same in the use case's terms."""
        return NewOperation(
            type=self.type,
            id=self.operation_id,
            metadata=None if self.metadata is None else bytes(self.metadata),
            client_job_id=self.client_job_id,
            expected_ms=_ms(self.expected_duration_seconds),
            ttl_ms=_ms(self.ttl_seconds),
            timeout_ms=_ms(self.timeout_seconds),
            webhook=None if self.webhook is None else self.webhook.given(),
        )


class CancelBody(Body):
    """Why an operation is cancelled."""

    reason: NoteText | None = None


class RetryBody(Body):
    """Nothing needs to be said."""


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else times.seconds(seconds)
