"""The OpenAPI document: every action of the application, the webhook, and what they refer to."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from service import __version__
from service.api.openapi import agreeing, parameters, problems, schemas, webhook
from service.api.openapi.describing import (
    TAG_WORDS,
    Answered,
    Content,
    Described,
    SchemaDict,
    Table,
)
from service.api.openapi.examples import BASE, SOCKET_BASE
from service.api.openapi.glossary import HEADER_WORDS
from service.api.routing import Action

_KEY: Final = "key"
_TICKET: Final = "ticket"
_ABOUT: Final = (
    "Producers post the events of their long operations; consumers poll them, follow them, or have "
    "them POSTed to a URL, signed and retried; operators replay what could not be delivered.\n\n"
    "JSON in UTF-8, times in RFC 3339 UTC. Unknown members and parameters are refused; an empty "
    "parameter is as good as none. Every error is a problem document (RFC 9457) with all faults at "
    "once."
)
_SCHEMES: Final = {
    _KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. Each operation names the scope that the key needs; `admin` "
        "covers every scope.",
    },
    _TICKET: {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A stream ticket, for browsers: they cannot set headers there.",
    },
}
_HEADER_SCHEMAS: Final[Mapping[str, SchemaDict]] = {
    "Location": {"type": "string", "format": "uri"},
    "Retry-After": {"type": "integer", "minimum": 0},
}
#: What answers to a key tell where keys have a limit.
_LIMITS: Final = ("RateLimit", "RateLimit-Policy")
_TEXT: Final[SchemaDict] = {"type": "string"}


def document(actions: Iterable[Action], table: Table, public_url: str) -> bytes:
    """The document as JSON; ``table`` describes every action, and nothing else."""
    by_key = {(action.method, action.path): action for action in actions}
    stray = sorted(by_key.keys() ^ table.keys())
    if stray:
        raise LookupError(f"Not both answered and described: {stray}")
    paths: dict[str, SchemaDict] = {}
    for key, described in table.items():
        method, path = key
        paths.setdefault(path, {})[method.lower()] = _operation(by_key[key], described)
    plain = msgspec.json.encode(_whole(paths))
    sockets = public_url.replace("http", "ws", 1)
    return plain.replace(BASE.encode(), public_url.encode()).replace(
        SOCKET_BASE.encode(), sockets.encode()
    )


def _whole(paths: dict[str, SchemaDict]) -> SchemaDict:
    hooks = {**webhook.description(), **agreeing.description()}
    kinds = problems.schemas()
    components = schemas.components([paths, hooks, kinds])
    whole: SchemaDict = schemas.referring(
        {
            "openapi": "3.1.0",
            "info": {"title": "Ringback", "version": __version__, "description": _ABOUT},
            "servers": [{"url": BASE}],
            "tags": [{"name": tag, "description": words} for tag, words in TAG_WORDS.items()],
            "paths": paths,
            "webhooks": hooks,
            "components": {
                "schemas": {**components, **kinds},
                "securitySchemes": _schemes(paths),
            },
        }
    )
    return whole


def _operation(action: Action, described: Described) -> SchemaDict:
    told: SchemaDict = {
        "operationId": described.id,
        "tags": [described.tag],
        "summary": described.summary,
        "description": described.text,
        "security": _security(action),
        "parameters": parameters.of(action, described),
        "responses": _responses(action, described),
    }
    if described.body:
        told["requestBody"] = {
            "required": not described.body_optional,
            "content": _content(described.body),
        }
    return {key: value for key, value in told.items() if value != ""}


def _schemes(paths: dict[str, SchemaDict]) -> SchemaDict:
    """The ways to authenticate that are used."""
    used = {
        name
        for item in paths.values()
        for operation in item.values()
        for needed in operation["security"]
        for name in needed
    }
    return {name: scheme for name, scheme in _SCHEMES.items() if name in used}


def _security(action: Action) -> list[dict[str, list[str]]]:
    if action.scope is None:
        return []
    by_key: dict[str, list[str]] = {_KEY: [action.scope]}
    return [by_key, {_TICKET: []}] if action.by_ticket else [by_key]


def _responses(action: Action, described: Described) -> SchemaDict:
    limits = {} if action.scope is None else dict.fromkeys(_LIMITS, False)
    replayed = {**limits, **({"Idempotency-Replayed": False} if described.idempotent else {})}
    told = {
        str(status): _response(answered, replayed) for status, answered in described.answers.items()
    }
    refused = problems.answers(action, described)
    return told | {str(status): _response(answered, limits) for status, answered in refused.items()}


def _response(answered: Answered, more: Mapping[str, bool] | None = None) -> SchemaDict:
    headers = {**answered.headers, **(more or {})}
    told: SchemaDict = {"description": answered.said}
    if headers:
        told["headers"] = {name: _header(name, always=headers[name]) for name in headers}
    if answered.content:
        told["content"] = _content(answered.content)
    return told


def _content(contents: tuple[Content, ...]) -> SchemaDict:
    told: SchemaDict = {}
    for each in contents:
        told[each.media_type] = {"schema": each.schema}
        if each.example is not None:
            told[each.media_type]["example"] = each.example
    return told


def _header(name: str, *, always: bool) -> SchemaDict:
    return {
        "description": HEADER_WORDS[name],
        "required": always,
        "schema": _HEADER_SCHEMAS.get(name, _TEXT),
    }
