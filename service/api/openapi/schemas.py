"""Components: JSON schemas made of the classes that requests are read into and answers made of.

Three things are told more exactly than the classes do: members that are left out where there is
nothing to say are never null in an answer, some members have shapes that no class can say, and
every member has words.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.openapi.describing import SchemaDict
from service.api.openapi.glossary import WORDS
from service.api.openapi.shapes import SHAPES
from service.domain.event import ErrorObject, EventIn, Phase, Progress

_PREFIX: Final = "#/components/schemas/"
#: What is read from requests: there, null is as good as nothing.
_READ: Final = frozenset(each.__name__ for each in (EventIn, Phase, Progress, ErrorObject))
_MODELS: Final = ("Body", "Patch")
_NULL: Final = {"type": "null"}


def components(tree: object) -> dict[str, SchemaDict]:
    """A component for every class in ``tree``, and for those that these refer to, by name."""
    made: dict[str, SchemaDict] = {}
    wanted = set(_classes(tree))
    while wanted:
        for name, schema in _schemas(wanted).items():
            made.setdefault(name, schema)
        refined = [made[name] for name in sorted(made)]
        wanted = {each for each in _classes(refined) if component_name(each) not in made}
    found = {name: referring(made[name]) for name in sorted(made)}
    used = set(_references([referring(tree), *found.values()]))
    return {name: schema for name, schema in found.items() if name in used}


def referring(tree: Any) -> Any:  # noqa: ANN401  (JSON, with classes in it)
    """``tree`` with references in place of classes."""
    if isinstance(tree, type):
        return {"$ref": _PREFIX + component_name(tree)}
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), type):
            return {**tree, **referring(tree["$ref"])}
        return {key: referring(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [referring(value) for value in tree]
    return tree


def component_name(of: type) -> str:
    """What a class is called in the document."""
    return of.__name__.removesuffix("Out")


def _classes(tree: object) -> Iterator[type]:
    if isinstance(tree, type):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _classes(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _classes(value)


def _references(tree: object) -> Iterator[str]:
    """The names of the components that ``tree`` refers to."""
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"].removeprefix(_PREFIX)
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from _references(value)


def _schemas(classes: Iterable[type]) -> dict[str, SchemaDict]:
    models = sorted((c for c in classes if issubclass(c, BaseModel)), key=component_name)
    structs = sorted((c for c in classes if issubclass(c, msgspec.Struct)), key=component_name)
    _, read = models_json_schema(
        [(model, "validation") for model in models], ref_template=_PREFIX + "{model}"
    )
    _, written = msgspec.json.schema_components(
        [_describable(each) for each in structs], ref_template=_PREFIX + "{name}"
    )
    found = {**read.get("$defs", {}), **written}
    return {_renamed(name): _refined(name, schema) for name, schema in found.items()}


def _describable(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The class itself, or one like it without defaults that are no JSON."""
    fields = msgspec.structs.fields(struct)
    if not any(isinstance(each.default, Raw) for each in fields):
        return struct
    told = [
        (each.encode_name, Raw | UnsetType, UNSET)
        if isinstance(each.default, Raw)
        else (each.encode_name, each.type, each.default)
        for each in fields
    ]
    like: type[msgspec.Struct] = msgspec.defstruct(
        struct.__name__,
        told,
        kw_only=True,
        forbid_unknown_fields=struct.__struct_config__.forbid_unknown_fields,
    )
    like.__doc__ = struct.__doc__
    return like


def _refined(name: str, schema: SchemaDict) -> SchemaDict:
    """The schema of a component, said more exactly than its class does."""
    clean: SchemaDict = _clean(schema)
    clean["description"] = _plain(clean.get("description", ""))
    members = clean.get("properties", {})
    own = _renamed(name)
    for member, told in members.items():
        where = f"{own}.{member}"
        shape = SHAPES.get(where) or _shape(told, is_read=own in _READ or own.endswith(_MODELS))
        if member.endswith("At") and shape.get("type") == "string":
            shape["format"] = "date-time"
        members[member] = {**shape, "description": WORDS.get(where) or WORDS[member]}
    return clean


def _shape(told: SchemaDict, *, is_read: bool) -> SchemaDict:
    """A member's schema; one whose default is null is told without it, as it is left out."""
    if told.get("default", "") is not None:
        return told
    shape = {key: value for key, value in told.items() if key != "default"}
    others = [each for each in shape.get("anyOf", []) if each != _NULL]
    return shape if is_read or len(others) != 1 else dict(others[0])


def _clean(tree: Any) -> Any:  # noqa: ANN401  (any JSON value)
    """References by our names, patterns as ECMA 262 knows them, no generated titles."""
    if isinstance(tree, list):
        return [_clean(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    clean = {key: _clean(value) for key, value in tree.items()}
    if isinstance(clean.get("title"), str):
        del clean["title"]
    if isinstance(clean.get("$ref"), str):
        clean["$ref"] = _PREFIX + _renamed(clean["$ref"].removeprefix(_PREFIX))
    if isinstance(clean.get("pattern"), str):
        clean["pattern"] = clean["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    return clean


def _renamed(name: str) -> str:
    return name.removesuffix("Out")


def _plain(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())
