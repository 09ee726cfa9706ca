"""Request bodies: how much is read, and which content types and encodings are understood.

How slow a body may be is the server's matter (:mod:`service.runtime.protocol`).
"""

from collections.abc import Sequence
from typing import Final

from starlette.requests import ClientDisconnect, Request

from service.domain.errors import Refusal, RefusalKind
from service.web import headers

#: A whole body at most (contract, section 3).
MAX_BODY: Final = 16 * 1024 * 1024

#: No server lets a number of so many digits through, unless it begins with zeros.
_DIGITS: Final = 20
JSON_TYPES: Final = ("application/json",)
_UTF8: Final = ("utf-8", "utf8", "us-ascii")


async def read(request: Request, limit: int = MAX_BODY) -> bytes | Refusal:
    """The whole body; refused, as early as can be known, when it is too large."""
    announced = headers.first(request.scope, b"content-length")
    is_number = len(announced) < _DIGITS and announced.isascii() and announced.isdigit()
    if is_number and int(announced) > limit:
        return too_large("The body", int(announced), limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return too_large("The body", None, limit)
        parts.append(part)
        if not message.get("more_body", False):
            return part if len(parts) == 1 else b"".join(parts)


def too_large(what: str, size: int | None, limit: int) -> Refusal:
    """A refusal that names the limit, and the size where it is known."""
    is_so = "is larger" if size is None else f"has {size} bytes, more"
    return Refusal(
        RefusalKind.TOO_LARGE,
        f"{what} {is_so} than the {limit} bytes that are possible. Send less, or a link to it.",
        extra={"maximumBytes": limit},
    )


def media_type(request: Request, known: Sequence[str] = JSON_TYPES) -> str | Refusal:
    """The content type without its parameters, when it is one of ``known`` and in UTF-8."""
    encoding = headers.first(request.scope, b"content-encoding")
    if encoding and encoding.strip().lower() != "identity":
        return _unsupported(f"The content-encoding {encoding!r} is not supported; send it plain.")
    given = headers.first(request.scope, b"content-type")
    if given in known:
        return given  # as nearly everybody writes it
    name, *parameters = [part.strip() for part in given.split(";")]
    wanted = " or ".join(known)
    if not name:
        return _unsupported(f"The body has no Content-Type. Send 'Content-Type: {wanted}'.")
    if name.lower() not in known:
        return _unsupported(f"The Content-Type {name!r} is not supported here; send {wanted}.")
    for parameter in parameters:
        attribute, _, value = parameter.partition("=")
        charset = value.strip(' "').lower()
        if attribute.strip().lower() == "charset" and charset not in _UTF8:
            return _unsupported(f"JSON is UTF-8; the charset {charset!r} is not supported.")
    return name.lower()


def _unsupported(detail: str) -> Refusal:
    return Refusal(RefusalKind.UNSUPPORTED_MEDIA_TYPE, detail)
