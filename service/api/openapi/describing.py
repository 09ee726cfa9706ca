"""The words in which actions are described: what the code alone does not say of them.

A schema here is JSON Schema 2020-12 in which a Python class may stand wherever a schema may: it
becomes a reference to the component that :mod:`service.api.openapi.schemas` makes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from service.web.answers import JSON
from service.web.queries import Reader

SchemaDict = dict[str, Any]
Shape = type[msgspec.Struct] | type[BaseModel] | SchemaDict


class Tag(StrEnum):
    """Whom an action is for."""

    PRODUCERS = "Producers"
    CONSUMERS = "Consumers"
    OPERATORS = "Operators"
    SERVICE = "Service"


TAG_WORDS: Final = {
    Tag.PRODUCERS: "Services that run long jobs: they describe operations and post their events.",
    Tag.CONSUMERS: "Client systems: they read operations, follow events and register callback "
    "URLs.",
    Tag.OPERATORS: "Whoever keeps deliveries going: they look at attempts and replay dead letters.",
    Tag.SERVICE: "The service itself: whether it runs, its numbers, its description. No key is "
    "needed.",
}


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one media type."""

    schema: Shape
    #: What would come out of a JSON parser; for other media types the text itself.
    example: object = None
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Answered:
    """What comes with one status."""

    said: str
    content: tuple[Content, ...] = ()
    #: Names of headers, each with whether it is always there.
    headers: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One action."""

    #: The operationId, by which generated clients call it.
    id: str
    tag: Tag
    summary: str
    text: str = ""
    #: Query parameters: how each is read, or, where no reader says it all, its schema.
    query: Mapping[str, Reader | SchemaDict] = field(default_factory=dict)
    #: Request headers besides ``Authorization`` and ``Idempotency-Key``.
    headers: tuple[str, ...] = ()
    body: tuple[Content, ...] = ()
    #: Whether an empty object is meant where there is no body.
    body_optional: bool = False
    answers: Mapping[int, Answered]
    #: Kinds of problems besides those that any such request may meet, each with when.
    problems: Mapping[str, str] = field(default_factory=dict)
    #: What parameters mean here, where that is not what they mean elsewhere.
    words: Mapping[str, str] = field(default_factory=dict)
    #: Whether it takes an ``Idempotency-Key``.
    idempotent: bool = False


Table = Mapping[tuple[str, str], Described]


def json(said: str, schema: Shape, example: object, **headers: bool) -> Answered:
    """A JSON answer. Headers are named with ``_`` for ``-``, and say whether they always come."""
    named = {name.replace("_", "-"): always for name, always in headers.items()}
    return Answered(said, (Content(schema, example),), named)


def page(said: str, schema: Shape, example: object, *headers: str) -> Answered:
    """A page of a list; ``headers`` may be there too."""
    shown = {"data": [example], "pagination": {"nextCursor": None}}
    told = dict.fromkeys(("Link", *headers), False)
    return Answered(said, (Content(page_of(schema), shown),), told)


def endless(said: str, schema: Shape, example: object, cursor: str) -> Answered:
    """A page of what always goes on."""
    told = page_of(schema)
    told["properties"]["pagination"]["properties"]["nextCursor"] = {"type": "string"}
    shown = {"data": [example], "pagination": {"nextCursor": cursor}}
    return Answered(said, (Content(told, shown),), {"Link": True, "Preference-Applied": False})


_NEXT: Final = (
    "The `cursor` of the next page; null at the end. A page may hold fewer items than `limit`, "
    "even none, while it is not null: each looks at a bounded number for those asked for."
)


def page_of(schema: Shape) -> SchemaDict:
    """The schema of a page of a list."""
    return {
        "type": "object",
        "required": ["data", "pagination"],
        "properties": {
            "data": {"type": "array", "items": schema},
            "pagination": {
                "type": "object",
                "required": ["nextCursor"],
                "properties": {"nextCursor": {"type": ["string", "null"], "description": _NEXT}},
            },
        },
    }


def data_of(schema: Shape) -> SchemaDict:
    """The schema of a list that comes whole."""
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"type": "array", "items": schema}},
    }
