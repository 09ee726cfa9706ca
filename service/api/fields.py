"""Kinds of fields that several request bodies have."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from msgspec import Raw
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from service.domain import times
from service.domain.portal import MOST_ORIGINS, ORIGIN_PATTERN, origin_fault
from service.domain.subscription import Verification

_MAX_METADATA: Final = 16 * 1024
_IN_A_LINE: Final = "none a control character"
#: Times a second: one in a little more than a day, or as many as this service could ever send.
_SLOWEST: Final = 0.00001
_FASTEST: Final = 100_000


def _metadata(value: object) -> Raw | None:
    if value is None:
        return None
    if not isinstance(value, Raw) or bytes(value)[:1] != b"{":
        raise ValueError("must be a JSON object")
    if len(bytes(value)) > _MAX_METADATA:
        raise ValueError(f"has more than {_MAX_METADATA} bytes; keep less here, and a link to more")
    return value


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(text: str) -> str:
    if times.parse(text) is None:
        raise ValueError("must be an RFC 3339 time such as 2025-01-31T12:00:00Z")
    return text


def _origin(text: str) -> str:
    fault = origin_fault(text)
    if fault is not None:
        raise ValueError(fault)
    return text


@dataclass(frozen=True, slots=True)
class Matching:
    """Text of a form, which who gives another is told in words: a pattern says little to people."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, kind: Any, inner: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401  pydantic's
        return core_schema.no_info_after_validator_function(self._checked, inner(kind))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, inner: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**inner(schema), "pattern": self.pattern}

    def _checked(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(f"must be {self.words}")
        return text


def choice(*known: str) -> PlainValidator:
    """One of these words, or members of an enumeration; ``null`` means the default."""
    words = {str(each): each for each in known}

    def check(value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be {' or '.join(map(repr, words))}")
        return words[value]

    return PlainValidator(check, Annotated[Any, WithJsonSchema({"enum": [*words, None]})])


#: An object of the owner's own, whose bytes are kept.
Metadata = Annotated[
    Raw | None, PlainValidator(_metadata), WithJsonSchema({"type": ["object", "null"]})
]
#: What people call something.
Name = Annotated[str, Matching(r"^[^\x00-\x1f\x7f]{1,256}$", f"1 to 256 characters, {_IN_A_LINE}")]
#: Of an operation, a subscription or a tenant.
Id = Annotated[str, Matching(r"^[A-Za-z0-9_-]{1,64}$", "1 to 64 letters, digits, '_' or '-'")]
#: Text for people; control characters would end up in terminals and logs.
NoteText = Annotated[
    str, Matching(r"^[^\x00-\x1f\x7f]{0,1024}$", f"at most 1024 characters, {_IN_A_LINE}")
]
#: A time; it stays text, and :func:`service.domain.times.parse` reads it.
MomentText = Annotated[
    str, AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
#: Of a page that may embed the portal.
Origin = Annotated[
    str,
    AfterValidator(_origin),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{ORIGIN_PATTERN})$"}),
]
Origins = Annotated[list[Origin], Field(max_length=MOST_ORIGINS)]
VerificationChoice = Annotated[Verification | None, choice(*Verification)]
#: Takes a number that is whole in the sense of JSON, where 5.0 is 5.
WHOLE: Final = BeforeValidator(_whole)
#: Deliveries per second.
Rate = Annotated[float, Field(ge=_SLOWEST, le=_FASTEST)]
EventPattern = Annotated[
    str, Matching(r"^[A-Za-z0-9_.*-]{1,128}$", "1 to 128 letters, digits, '_', '.', '-' or '*'")
]
TypePattern = Annotated[
    str,
    Matching(
        r"^[A-Za-z0-9_.:/*-]{1,128}$", "1 to 128 letters, digits, '_', '.', ':', '/', '-' or '*'"
    ),
]
EventPatterns = Annotated[list[EventPattern], Field(min_length=1, max_length=100)]
TypePatterns = Annotated[list[TypePattern], Field(min_length=1, max_length=100)]
