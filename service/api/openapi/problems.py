"""Problem documents: a schema for each kind, and which an action may answer with."""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from service.api.openapi.describing import Answered, Content, Described, SchemaDict
from service.api.openapi.examples import BASE
from service.api.routing import Action
from service.domain.errors import RefusalKind
from service.web import problems
from service.web.problems import TABLE


class Fault(msgspec.Struct):
    """One fault of a request."""

    pointer: str
    detail: str


class Problem(msgspec.Struct):
    """Why a request was not done (RFC 9457); some kinds have members of their own besides."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] | UnsetType = UNSET


#: Headers that come with a kind, each with whether it always does.
_HEADERS: Final[dict[str, dict[str, bool]]] = {
    RefusalKind.UNAUTHENTICATED: {"WWW-Authenticate": True},
    RefusalKind.CONFLICT: {"Retry-After": False},
    RefusalKind.TOO_MANY_REQUESTS: {"Retry-After": False},
    RefusalKind.UNAVAILABLE: {"Retry-After": True},
    problems.METHOD_NOT_ALLOWED: {"Allow": True},
}
_WITH_KEY: Final = (
    RefusalKind.UNAUTHENTICATED,
    RefusalKind.FORBIDDEN,
    RefusalKind.NOT_FOUND,  # the tenant that an administrator acts for
    RefusalKind.TOO_MANY_REQUESTS,
    RefusalKind.UNAVAILABLE,
)
_WITH_BODY: Final = (
    RefusalKind.MALFORMED,
    RefusalKind.REQUEST_TIMEOUT,
    RefusalKind.TOO_LARGE,
    RefusalKind.UNSUPPORTED_MEDIA_TYPE,
    RefusalKind.INVALID,
)
_ONCE: Final = (
    RefusalKind.MALFORMED,
    RefusalKind.CONFLICT,
    RefusalKind.IDEMPOTENCY_KEY_REUSED,
)


def schema_name(kind: str) -> str:
    """What the schema of a kind is called."""
    return "".join(word.capitalize() for word in kind.split("-")) + "Problem"


def schemas() -> dict[str, SchemaDict]:
    """The schema of each kind; references stand as classes."""
    return {
        schema_name(kind): {
            "description": f"{row.title}. {row.advice}",
            "allOf": [Problem],
            "properties": {
                "type": {"const": f"{BASE}/problems/{kind}"},
                "title": {"const": row.title},
                "status": {"const": row.status},
            },
        }
        for kind, row in TABLE.items()
    }


def answers(action: Action, described: Described) -> dict[int, Answered]:
    """The problems that an action may answer with, by status."""
    by_status: dict[int, list[str]] = {}
    for kind in _kinds(action, described):
        by_status.setdefault(TABLE[kind].status, []).append(kind)
    return {status: _answered(kinds, described) for status, kinds in sorted(by_status.items())}


def _words(kind: str, described: Described) -> Iterable[str]:
    """When an action answers with a problem of this kind."""
    if kind in described.problems:
        yield described.problems[kind]
    if kind == RefusalKind.CONFLICT and described.idempotent:
        yield "A request with the same `Idempotency-Key` is still running."
    elif kind == RefusalKind.TOO_MANY_REQUESTS:
        yield "The key is over its rate limit, or keys that are none came from this address."
    elif kind not in described.problems:
        yield f"{TABLE[kind].title}."


def _kinds(action: Action, described: Described) -> Iterable[str]:
    kinds: list[str] = [problems.INTERNAL, *described.problems]
    if action.scope is not None:
        kinds += _WITH_KEY
    if "{" in action.path:
        kinds.append(RefusalKind.NOT_FOUND)
    if described.body:
        kinds += _WITH_BODY
    if described.query:
        kinds.append(RefusalKind.INVALID)
    if described.idempotent:
        kinds += _ONCE
    return dict.fromkeys(map(str, kinds))


def _answered(kinds: list[str], described: Described) -> Answered:
    said = " Or: ".join(words for kind in kinds for words in _words(kind, described))
    refs: list[SchemaDict] = [
        {"$ref": f"#/components/schemas/{schema_name(kind)}"} for kind in kinds
    ]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    headers = {name: always for kind in kinds for name, always in _HEADERS.get(kind, {}).items()}
    return Answered(said, (Content(schema, None, problems.MEDIA_TYPE),), headers)
