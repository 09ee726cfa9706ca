"""Entity tags: a client that has this version already gets no body."""

import hashlib
from typing import Final

from starlette.requests import Request

from service.web.answers import Answer, Headers

_HEX_DIGITS: Final = 32


def tag_of(body: bytes) -> str:
    """The tag of a body, quoted as headers have it."""
    return f'"{hashlib.sha256(body).hexdigest()[:_HEX_DIGITS]}"'


def conditional(request: Request, answer: Answer, *headers: tuple[str, str]) -> Answer:
    """The answer with its tag and ``headers``, or a 304 to who has it already."""
    tag = tag_of(answer.body)
    told: Headers = (*answer.headers, ("etag", tag), *headers)
    if has(request, tag):
        return Answer(304, headers=told)
    return Answer(answer.status, answer.body, told, answer.media_type)


def has_none(request: Request) -> bool:
    """Whether the client says of no version that it has it."""
    return "if-none-match" not in request.headers


def has(request: Request, tag: str) -> bool:
    """Whether the client has this version (RFC 9110, 13.1.2: weak comparison)."""
    condition = request.headers.get("if-none-match", "")
    known = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return tag in known or known == ["*"]
