"""Problem documents (RFC 9457): the one table from what went wrong to status, type and title."""

from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from service.domain.errors import Fault, Refusal, RefusalKind
from service.domain.operation import TIMEOUT_PROBLEM
from service.web.answers import Answer, Headers, encode

MEDIA_TYPE: Final = "application/problem+json"

#: What HTTP itself refuses, or what is our own fault: no rule of the domain says these.
METHOD_NOT_ALLOWED: Final = "method-not-allowed"
INTERNAL: Final = "internal-error"

#: Faults listed at most: a body of nothing but unknown fields would be answered by one as large.
_MOST_FAULTS: Final = 100
#: Seconds, where nothing better is known.
_RETRY_AFTER: Final = 1


class Kind(NamedTuple):
    """How one kind of failure shows, and what to do about it."""

    status: int
    title: str
    advice: str


TABLE: Final[dict[str, Kind]] = {
    RefusalKind.MALFORMED: Kind(
        400, "The request cannot be read", "Send JSON in UTF-8; the detail says where it breaks."
    ),
    RefusalKind.UNAUTHENTICATED: Kind(
        401, "An API key is needed", "Send 'Authorization: Bearer <key>' with a key that is valid."
    ),
    RefusalKind.FORBIDDEN: Kind(
        403, "The API key may not do this", "Use a key with the scope that missingScope names."
    ),
    RefusalKind.NOT_FOUND: Kind(
        404, "Not found", "Check the address and the id, and that the key is of the right tenant."
    ),
    METHOD_NOT_ALLOWED: Kind(
        405, "This address does not know the method", "Use one that the Allow header names."
    ),
    RefusalKind.REQUEST_TIMEOUT: Kind(
        408, "The request took too long to come", "Send it again, and all of it at once."
    ),
    RefusalKind.CONFLICT: Kind(
        409, "The present state does not allow this", "Read what is there now, then decide."
    ),
    RefusalKind.GONE: Kind(
        410, "No longer kept", "Its time is over; what is listed or kept elsewhere is still there."
    ),
    RefusalKind.TOO_LARGE: Kind(
        413, "The request is too large", "Send less at once, or a link instead of the content."
    ),
    RefusalKind.UNSUPPORTED_MEDIA_TYPE: Kind(
        415, "The content type is not supported", "Send one that the detail names, not compressed."
    ),
    RefusalKind.INVALID: Kind(
        422, "The request has faults", "Mend every fault that errors lists, then send it again."
    ),
    RefusalKind.IDEMPOTENCY_KEY_REUSED: Kind(
        422,
        "The Idempotency-Key belongs to another request",
        "Take a new key for a new request, or repeat the first one unchanged.",
    ),
    RefusalKind.UPGRADE_REQUIRED: Kind(
        426, "A WebSocket is spoken here", "Connect with a WebSocket client, or use the stream."
    ),
    RefusalKind.TOO_MANY_REQUESTS: Kind(
        429, "Too many at once", "Repeat it after Retry-After seconds, with fewer at a time."
    ),
    RefusalKind.HEAD_TOO_LARGE: Kind(
        431, "The headers are too large", "Send fewer or shorter headers, or a shorter address."
    ),
    INTERNAL: Kind(
        500, "Something went wrong here", "Repeat it once; if it fails again, tell the operator."
    ),
    RefusalKind.UNAVAILABLE: Kind(
        503,
        "Not possible at the moment",
        "Repeat it after Retry-After seconds, with the same Idempotency-Key or ids. Nothing was "
        "kept, unless the detail says that it may have been.",
    ),
    # the error of an operation, not of a request: no answer has this status because of it
    TIMEOUT_PROBLEM: Kind(
        504,
        "The operation was silent for too long",
        "See to its producer, then retry it; a longer timeoutSeconds is for the next one.",
    ),
}


class Problems:
    """Writes problem documents whose types are addresses under the public URL."""

    def __init__(self, public_url: str) -> None:
        self._types = {kind: f"{public_url}/problems/{kind}" for kind in TABLE}

    def document(self, refusal: Refusal, instance: str) -> msgspec.Raw:
        """The document about a refusal of the request for ``instance``."""
        return msgspec.Raw(self._encoded(refusal.kind, refusal.detail, instance, refusal))

    def answer(self, refusal: Refusal, instance: str) -> Answer:
        """The answer to a refused request."""
        body = self._encoded(refusal.kind, refusal.detail, instance, refusal)
        return Answer(TABLE[refusal.kind].status, body, _headers(refusal), MEDIA_TYPE)

    def plain(self, kind: str, detail: str, instance: str, headers: Headers = ()) -> Answer:
        """The answer to what no rule of the domain refused."""
        body = self._encoded(kind, detail, instance, None)
        return Answer(TABLE[kind].status, body, headers, MEDIA_TYPE)

    def meaning(self, kind: str) -> dict[str, object] | None:
        """What a kind of problem is about; ``None`` for what is none."""
        if kind not in TABLE:
            return None
        return {"type": self._types[kind], **TABLE[kind]._asdict()}

    def _encoded(self, kind: str, detail: str, instance: str, refusal: Refusal | None) -> bytes:
        document: dict[str, object] = {
            "type": self._types[kind],
            "title": TABLE[kind].title,
            "status": TABLE[kind].status,
            "detail": detail,
            "instance": instance,
        }
        if refusal is not None:
            extra = ((k, v) for k, v in refusal.extra.items() if v is not None)
            document |= {name: value for name, value in extra if name not in document}
            if refusal.faults:
                document["errors"] = _errors(refusal.faults)
        return encode(document)


def instance_of(scope: Scope) -> str:
    """The path asked for, as it was written: safe in a header and in JSON."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.partition(b"?")[0].decode("latin-1")


def _errors(faults: tuple[Fault, ...]) -> list[dict[str, str]]:
    errors = [{"pointer": f.pointer, "detail": f.detail} for f in faults[:_MOST_FAULTS]]
    left = len(faults) - len(errors)
    if left:
        errors.append({"pointer": "", "detail": f"{left} more faults are not listed."})
    return errors


def _headers(refusal: Refusal) -> Headers:
    if refusal.kind is RefusalKind.UNAUTHENTICATED:
        return (("www-authenticate", 'Bearer realm="Ringback"'),)
    if refusal.kind is RefusalKind.UPGRADE_REQUIRED:
        return (("upgrade", "websocket"),)
    if refusal.kind is RefusalKind.REQUEST_TIMEOUT:
        return (("connection", "close"),)  # the rest of it may still be on its way
    wait = refusal.retry_after
    if wait is None and refusal.kind is RefusalKind.UNAVAILABLE:
        wait = _RETRY_AFTER
    return () if wait is None else (("retry-after", str(wait)),)
