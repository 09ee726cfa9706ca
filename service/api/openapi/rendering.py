"""Schemas as people read them: one line of type with its limits, and rows of members."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from markupsafe import Markup, escape

from service.api.openapi.describing import SchemaDict

_PREFIX: Final = "#/components/schemas/"
_OR: Final = Markup(" or ")
#: Patterns without control characters say no more to people.
_PRINTABLE: Final = r"^[^\x00-"
#: Nobody reads a longer pattern; words say what it means.
_LONGEST: Final = 48
#: How each limit is told; the schema's number or text takes the place of the braces.
_LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} members",
    "default": "default {}",
}


class Row(NamedTuple):
    """A member, a parameter or a header."""

    name: str
    type: Markup
    required: bool
    words: str


def words(text: str) -> Markup:
    """A line of text; what is in backquotes is code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in parts
    )


def prose(text: str) -> Markup:
    """Paragraphs of such lines."""
    each = (Markup("<p>{}</p>").format(words(part)) for part in text.split("\n\n") if part)
    return Markup("\n").join(each)


def name_of(reference: SchemaDict) -> str:
    """Which component a reference means."""
    return str(reference["$ref"]).removeprefix(_PREFIX)


def anchor(name: str) -> str:
    """Where on the page a component is."""
    return f"schema-{name}"


def rows(schema: SchemaDict) -> list[Row]:
    """The members of an object, the required ones first."""
    required = schema.get("required", [])
    found = [
        Row(name, kind(member), name in required, member.get("description", ""))
        for name, member in schema.get("properties", {}).items()
    ]
    return sorted(found, key=lambda row: not row.required)


def kind(schema: SchemaDict) -> Markup:
    """The type of a value with its limits."""
    limits = [text.format(schema[key]) for key, text in _LIMITS.items() if key in schema]
    told = _kind(schema)
    if schema.get("pattern", "").startswith(_PRINTABLE):
        told += Markup(", printable")
    elif len(schema.get("pattern", "")) in range(1, _LONGEST):
        told += Markup(" like <code>{}</code>").format(schema["pattern"])
    return Markup(", ").join([told, *limits])


def _kind(schema: SchemaDict) -> Markup:
    if "$ref" in schema:
        name = name_of(schema)
        return Markup('<a href="#{}">{}</a>').format(anchor(name), name)
    if "const" in schema:
        return _literals([schema["const"]])
    if "enum" in schema:
        return _literals(schema["enum"])
    if "anyOf" in schema:
        return _OR.join(kind(each) for each in schema["anyOf"])
    if "not" in schema:
        return Markup("never")
    return _plain(schema)


def _plain(schema: SchemaDict) -> Markup:
    names = schema.get("type", "any JSON")
    told = [_named(name, schema) for name in ([names] if isinstance(names, str) else names)]
    return _OR.join(told)


def _named(name: str, schema: SchemaDict) -> Markup:
    items = schema.get("items")
    if name == "array" and items:
        return Markup("array of {}").format(kind(items))
    if name == "string" and "format" in schema:
        return Markup("{} ({})").format(name, schema["format"])
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(kind(schema["additionalProperties"]))
    return escape(name)


def _literals(values: Iterable[Any]) -> Markup:
    told = ("null" if value is None else value for value in values)
    return _OR.join(Markup("<code>{}</code>").format(value) for value in told)
