"""A request as it goes over the wire."""

from dataclasses import dataclass
from typing import NamedTuple

from service.domain.request import OutboundRequest
from service.domain.targets import Target

#: What frames a message or belongs to one connection is the sender's to say, never the request's.
_OURS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "expect", "te", "upgrade")
)
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
    names = set("\n".join([name for name, _ in headers]).lower().split("\n"))
    if not _OURS.isdisjoint(names):
        headers = tuple(each for each in headers if each[0].lower() not in _OURS)
    lines = [f"{method} {address.path} HTTP/1.1", address.authority]
    lines += map(": ".join, headers)
    lines += [f"{name}: {value}" for name, value in defaults if name not in names]
    if body or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body)}")
    return Message(_block(lines), body, bodiless=method == "HEAD")


def _block(lines: list[str]) -> bytes:
    text = "".join(lines)
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a header holds a line break or a null character")
    return "\r\n".join([*lines, "", ""]).encode()
