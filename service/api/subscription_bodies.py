"""What the owner of a subscription may say of it."""

from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator

from service.api.fields import (
    WHOLE,
    EventPatterns,
    Id,
    Metadata,
    NoteText,
    TypePatterns,
    VerificationChoice,
    choice,
)
from service.api.reading import Body
from service.domain.subscription import Signing
from service.usecases.manage_subscriptions import SubscriptionInput

_MONTH: Final = 31 * 86_400
_MAX_OVERLAP: Final = 30 * 86_400
_DAY: Final = 86_400

#: Fields that the storage has under the same names.
_PLAIN: Final = (
    "url",
    "operation_id",
    "description",
    "payload",
    "timeout_seconds",
    "max_concurrency",
    "rate_limit_per_second",
    "ordering",
    "signing",
    "verification",
)
#: Certificates, by what an identity calls them.
_TLS: Final = {
    "client_certificate": "certificate",
    "client_key": "key",
    "ca_certificate": "authorities",
}
_TUPLES: Final = ("event_types", "operation_types", "retry_schedule")


class SubscriptionFields(Body):
    """The members that can be given at first and changed later; ``null`` means the default."""

    event_types: EventPatterns | None = None
    operation_types: TypePatterns | None = None
    operation_id: Id | None = None
    description: NoteText | None = None
    headers: dict[str, str] | None = None
    payload: Annotated[str | None, choice("full", "thin")] = None
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] | None = None
    retry_schedule: (
        Annotated[
            list[Annotated[float, Field(ge=0, le=_MONTH)]], Field(min_length=1, max_length=50)
        ]
        | None
    ) = None
    max_concurrency: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = None
    rate_limit_per_second: Annotated[float, Field(ge=0.1, le=10_000)] | None = None
    metadata: Metadata = None
    ordering: Annotated[str | None, choice("none", "operation")] = None
    signing: Annotated[Signing | None, choice(*Signing)] = None
    client_certificate: str | None = None
    client_key: str | None = None
    ca_certificate: str | None = None
    verification: VerificationChoice = None

    def given(self, secret: str | None = None) -> SubscriptionInput:
        """The members that were given, in the domain's terms."""
        names = self.model_fields_set
        members: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN if name in names}
        for name in _TUPLES:
            if name in names:
                value = getattr(self, name)
                members[name] = None if value is None else tuple(value)
        if "metadata" in names:
            members["metadata"] = None if self.metadata is None else bytes(self.metadata)
        headers = (self.headers or {}) if "headers" in names else None
        tls = {text: getattr(self, name) for name, text in _TLS.items() if name in names}
        return SubscriptionInput(members, headers, secret, tls)


def url_text(value: object) -> str:
    """A URL as it was given; whether it may be called is judged elsewhere."""
    if not isinstance(value, str):
        raise ValueError("must be a text: the URL to send to")  # noqa: TRY004 (pydantic's way)
    return value


def _no_secret(_: object) -> None:
    raise ValueError("cannot be set here; POST .../rotate-secret makes a new one, with an overlap")


class NewSubscriptionBody(SubscriptionFields):
    """A new subscription."""

    url: Annotated[str, PlainValidator(url_text)]
    secret: str | None = None


class SubscriptionPatch(SubscriptionFields):
    """Changes of a subscription; what is not given stays as it is."""

    url: Annotated[str | None, PlainValidator(url_text)] = None
    secret: Annotated[None, PlainValidator(_no_secret)] = None


class RotateBody(Body):
    """How long the present secret goes on signing."""

    overlap_seconds: Annotated[float, Field(ge=0, le=_MAX_OVERLAP)] = _DAY
