"""Parameters: what the readers of query parameters take, and the headers that are read."""

from collections.abc import Mapping
from typing import Any, Final

from service.api.openapi.describing import Described, SchemaDict
from service.api.openapi.glossary import PARAMETER_WORDS, WORDS
from service.api.routing import Action
from service.web import holding, queries
from service.web.paging import Listing
from service.web.queries import OneOf, Reader

ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
#: By which an administrator acts for another tenant.
TENANT_HEADER: Final = "Ringback-Tenant"
_PLACEHOLDER: Final = "{id}"

#: Of each reader, what it takes.
_READERS: Final[Mapping[Reader, SchemaDict]] = {
    queries.text: {"type": "string", "pattern": f"^{queries.TEXT}$"},
    queries.moment: {"type": "string", "format": "date-time"},
    queries.flag: {"type": "boolean"},
    queries.patterns: {"type": "string", "pattern": f"^{queries.PATTERNS}$"},
    holding.wait: {"type": "integer", "minimum": 0, "maximum": holding.LONGEST},
    queries.number: {"type": "integer", "minimum": 0, "maximum": queries.LARGEST},
    queries.limit: {
        "type": "integer",
        "minimum": 1,
        "maximum": queries.MAX_LIMIT,
        "default": queries.DEFAULT_LIMIT,
    },
}
CURSOR: Final[SchemaDict] = {"type": "string", "pattern": "^[A-Za-z0-9_-]+={0,2}$"}

#: What stands for the placeholder where it is no id, by what stands before it.
_PATH_PATTERNS: Final[Mapping[str, str]] = {"docs": r"^[a-z.-]{1,64}$"}

#: Request headers that mean something here.
_HEADERS: Final[Mapping[str, SchemaDict]] = {
    "Idempotency-Key": {
        "type": "string",
        "pattern": r'^(?:[!#-~]{1,255}|"[ !#-\[\]-~]{1,255}")$',
    },
    TENANT_HEADER: {"type": "string", "pattern": ID_PATTERN},
    "If-None-Match": {"type": "string"},
    "Prefer": {"type": "string"},
    "Last-Event-ID": {"type": "string"},
}


def of_list(listing: Listing[Any]) -> dict[str, Reader | SchemaDict]:
    """The query parameters of a list."""
    return {**listing.filters, **listing.others, "limit": queries.limit, "cursor": CURSOR}


def of(action: Action, described: Described) -> list[SchemaDict]:
    """The parameters of an action, those of the path first."""
    found = []
    if _PLACEHOLDER in action.path:
        found.append(_path_parameter(action.path))
    for name, reader in described.query.items():
        schema = reader if isinstance(reader, dict) else _schema_of(reader)
        found.append(_parameter(name, "query", schema, described.words.get(name)))
    headers = (
        *described.headers,
        *(("Idempotency-Key",) if described.idempotent else ()),
        *((TENANT_HEADER,) if action.scope is not None else ()),
    )
    found += [_parameter(name, "header", _HEADERS[name]) for name in headers]
    return found


def _schema_of(reader: Reader) -> SchemaDict:
    if isinstance(reader, OneOf):
        return {"type": "string", "enum": list(reader.choices)}
    return _READERS[reader]


def _path_parameter(path: str) -> SchemaDict:
    kind = path.split(_PLACEHOLDER, maxsplit=1)[0].strip("/").rpartition("/")[2]
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": PARAMETER_WORDS[kind],
        "schema": {"type": "string", "pattern": _PATH_PATTERNS.get(kind, ID_PATTERN)},
    }


def _parameter(name: str, place: str, schema: SchemaDict, words: str | None = None) -> SchemaDict:
    told = words or PARAMETER_WORDS.get(name) or WORDS[name]
    return {"name": name, "in": place, "description": told, "schema": schema}
