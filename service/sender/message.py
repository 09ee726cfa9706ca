"""A request as it goes over the wire."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from service.domain.request import OutboundRequest
from service.domain.targets import Target

#: What frames a message or belongs to one connection is the sender's to say, never the request's.
_OURS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade")
)
#: Lists of names that are remembered: a subscription's own headers make one.
_REMEMBERED = 4096
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

Headers = tuple[tuple[str, str], ...]


class Message(NamedTuple):
    """A request's bytes, and what they mean for the answer."""

    head: bytes
    body: bytes
    #: The answer has no body, whatever its headers say.
    bodiless: bool


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL leads, and how the request says so."""

    host: str
    port: int
    secure: bool
    #: ``Host: ...``
    authority: str
    #: The path leaves exactly as it was registered.
    path: str

    @classmethod
    def of(cls, target: Target) -> "Address":
        """The address of a target."""
        start = target.url.removesuffix(target.path_and_query)
        authority = start.removeprefix(f"{target.scheme}://")
        secure = target.scheme == "https"
        path = target.path_and_query
        return cls(target.host, target.port, secure, f"Host: {authority}", path)


def compose(request: OutboundRequest, address: Address, defaults: Headers) -> Message:
    """The request as it is, ``defaults`` for headers it lacks.

    Raises:
        ValueError: a header would begin another one, or end them all.
    """
    method, headers, body = request.method, request.headers, request.body
    has_ours, lacking = _named(tuple([name for name, _ in headers]), defaults)
    if has_ours:
        headers = tuple(each for each in headers if each[0].lower() not in _OURS)
    lines = [f"{method} {address.path} HTTP/1.1", address.authority]
    lines += map(": ".join, headers)
    lines += lacking
    if body or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body)}")
    return Message(_block(lines), body, bodiless=method == "HEAD")


@lru_cache(_REMEMBERED)
def _named(names: tuple[str, ...], defaults: Headers) -> tuple[bool, list[str]]:
    """Whether some of these headers are ours to say, and the lines of defaults they lack.

    The same names go out again and again.
    """
    known = {name.lower() for name in names}
    lacking = [f"{name}: {value}" for name, value in defaults if name not in known]
    return not _OURS.isdisjoint(known), lacking


def _block(lines: list[str]) -> bytes:
    text = "".join(lines)
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a header holds a line break or a null character")
    return "\r\n".join([*lines, "", ""]).encode()
