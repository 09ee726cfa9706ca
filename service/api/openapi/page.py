"""The page for people: the document, laid out. All that it says stands in the document."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from service.api.openapi import rendering
from service.api.openapi.describing import SchemaDict
from service.api.openapi.rendering import Row
from service.web import templates

_PROBLEM: Final = "Problem"
_PROBLEM_TYPE: Final = "application/problem+json"


class Body(NamedTuple):
    """A body of one media type, and the members of the object that it is."""

    media_type: str
    schema: SchemaDict
    rows: list[Row]
    #: What each example shows, and its text.
    examples: list[tuple[str, str]]


class Reply(NamedTuple):
    """What comes with one status."""

    status: str
    words: str
    headers: list[Row]
    bodies: list[Body]


class Operation(NamedTuple):
    """One method at a path."""

    id: str
    method: str
    path: str
    summary: str
    words: str
    #: Scopes, or other ways to authenticate: any one of them.
    needs: list[str]
    #: By place: path, query, header.
    parameters: dict[str, list[Row]]
    bodies: list[Body]
    replies: list[Reply]
    #: Statuses of problems, with the names of the kinds.
    refusals: list[Reply]


class Group(NamedTuple):
    """The operations of one tag."""

    name: str
    words: str
    operations: list[Operation]


def page(text: bytes) -> bytes:
    """The page for a document."""
    document = json.loads(text)
    environment = templates.environment("service.api")
    environment.filters |= {
        "anchor": rendering.anchor,
        "kind": rendering.kind,
        "prose": rendering.prose,
        "words": rendering.words,
    }
    shown = environment.get_template("reference.html").render(
        root="",
        info=document["info"],
        server=document["servers"][0]["url"],
        groups=list(_groups(document)),
        webhooks=list(_webhooks(document)),
        schemes=document["components"]["securitySchemes"],
        schemas=list(_schemas(document)),
        problems=list(_problems(document)),
    )
    return shown.encode()


def _groups(document: dict[str, Any]) -> Iterator[Group]:
    found = [
        (operation["tags"][0], _operation(method, path, operation, document))
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    for tag in document["tags"]:
        own = [operation for name, operation in found if name == tag["name"]]
        yield Group(tag["name"], tag["description"], own)


def _webhooks(document: dict[str, Any]) -> Iterator[Operation]:
    for item in document["webhooks"].values():
        for method, operation in item.items():
            yield _operation(method, "your URL", operation, document)


def _schemas(document: dict[str, Any]) -> Iterator[tuple[str, str, list[Row]]]:
    """Name, words and members of all that has a name but kinds of problems."""
    for name, schema in document["components"]["schemas"].items():
        if not _is_kind(name):
            yield name, schema.get("description", ""), rendering.rows(schema)


def _problems(document: dict[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Name, address, status and words of each kind of problem."""
    for name, schema in document["components"]["schemas"].items():
        if _is_kind(name):
            told = schema["properties"]
            yield name, told["type"]["const"], told["status"]["const"], schema["description"]


def _is_kind(name: str) -> bool:
    return name.endswith(_PROBLEM) and name != _PROBLEM


def _operation(
    method: str, path: str, operation: dict[str, Any], document: dict[str, Any]
) -> Operation:
    replies = [_reply(status, told) for status, told in operation["responses"].items()]
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        words=operation.get("description", ""),
        needs=[each for needed in operation["security"] for each in _needs(needed)],
        parameters=_parameters(operation["parameters"]),
        bodies=_bodies(operation.get("requestBody", {}), document),
        replies=[reply for reply in replies if not _is_refusal(reply)],
        refusals=[reply for reply in replies if _is_refusal(reply)],
    )


def _needs(security: dict[str, list[str]]) -> Iterator[str]:
    for name, scopes in security.items():
        yield from scopes or (name,)


def _parameters(told: list[SchemaDict]) -> dict[str, list[Row]]:
    by_place: dict[str, list[Row]] = {}
    for each in told:
        kind = rendering.kind(each["schema"])
        if "example" in each:
            kind += Markup(" such as <code>{}</code>").format(each["example"])
        row = Row(each["name"], kind, each.get("required", False), each["description"])
        by_place.setdefault(each["in"], []).append(row)
    return by_place


def _reply(status: str, told: SchemaDict) -> Reply:
    headers = [
        Row(name, rendering.kind(header["schema"]), header["required"], header["description"])
        for name, header in told.get("headers", {}).items()
    ]
    return Reply(status, told["description"], headers, _bodies(told))


def _is_refusal(reply: Reply) -> bool:
    return any(body.media_type == _PROBLEM_TYPE for body in reply.bodies)


def _bodies(told: SchemaDict, document: dict[str, Any] | None = None) -> list[Body]:
    """The bodies, the members of those with a name too where the document is given."""
    return [
        Body(
            media_type,
            body["schema"],
            rendering.rows(body["schema"] if document is None else _open(body["schema"], document)),
            _examples(body),
        )
        for media_type, body in told.get("content", {}).items()
    ]


def _open(schema: SchemaDict, document: dict[str, Any]) -> SchemaDict:
    """The component that a schema refers to, or the first of its alternatives."""
    first = schema.get("anyOf", [schema])[0]
    if "$ref" not in first:
        return schema
    found: SchemaDict = document["components"]["schemas"][rendering.name_of(first)]
    return {**found, "required": [*found.get("required", []), *first.get("required", [])]}


def _examples(body: SchemaDict) -> list[tuple[str, str]]:
    found = [(each["summary"], each["value"]) for each in body.get("examples", {}).values()]
    if "example" in body:
        found.append(("Example", body["example"]))
    return [(said, _text(value)) for said, value in found]


def _text(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
