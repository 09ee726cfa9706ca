"""The request a receiver gets (contract, section 5)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from service.domain.certificates import TlsIdentity
from service.domain.errors import Fault
from service.domain.signature import Sign, sign_body, sign_standard
from service.domain.values import Value

Headers = tuple[tuple[str, str], ...]

#: Limits on the headers of a subscription: how many, and characters of a name and of a value.
MAX_HEADERS = 20
MAX_HEADER_NAME = 100
MAX_HEADER_VALUE = 4096

#: Framing, routing and what Ringback says itself: a subscription's own headers never touch these.
_RESERVED = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)
_RESERVED_PREFIXES = ("proxy-", "webhook-", "x-webhook-", "x-operation-", "ce-")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\t -~]*")  # RFC 9110, 5.5, without obs-text

#: Names the sender to receivers that agreed to take its requests (CloudEvents' abuse protection).
ORIGIN_HEADER = "webhook-request-origin"

#: What a thin payload leaves out; it is fetched from the event's ``url`` instead.
LEFT_OUT_OF_THIN = frozenset(("data", "result", "error", "message"))
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class OutboundRequest(Value, frozen=True):
    """One request, ready to leave: the body of a POST is exactly the bytes that were signed."""

    url: str
    headers: Headers
    body: bytes
    #: Seconds for the whole attempt: resolve, connect, TLS, send, headers and body.
    timeout: float
    method: str = "POST"
    tls: TlsIdentity | None = None


class Envelope(Value, frozen=True):
    """What one attempt carries, and the names it goes by."""

    event_id: str
    event_type: str
    #: ``None``, like ``sequence``, for events without an operation.
    operation_id: str | None
    sequence: int | None
    body: bytes
    delivery_id: str
    #: Counted from 1 over the delivery's whole life, replays included.
    attempt: int


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of a subscription at one moment."""

    #: All that sign ``webhook-signature``, newest first; two while a rotation overlaps.
    current: tuple[bytes, ...]
    #: The one for ``x-webhook-signature``: the old one until the overlap ends.
    single: bytes | None
    #: Private keys that sign ``webhook-signature`` too, newest first.
    signers: tuple[Sign, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a subscription's deliveries go."""

    url: str
    #: The subscription's own headers, in its order.
    headers: Headers
    #: Seconds for one whole attempt.
    timeout: float
    tls: TlsIdentity | None = None
    #: Whose requests the receiver agreed to take (CloudEvents' abuse protection).
    origin: str | None = None


def build(
    envelope: Envelope,
    keys: SigningKeys,
    target: Target,
    *,
    timestamp: int,
    user_agent: str,
    traceparent: str | None,
) -> OutboundRequest:
    """Sign and address one attempt made at ``timestamp`` (unix seconds).

    All names are lower case. ``content-length`` is the sender's to add; the subscription's own
    headers come last and never replace a reserved one.
    """
    message, body = envelope.event_id, envelope.body
    signature = sign_standard(keys.current, message, timestamp, body, keys.signers)
    headers = [
        ("content-type", "application/json"),
        ("user-agent", user_agent),
        ("webhook-id", message),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", signature),
        *_body_signature(keys.single, body),
        ("x-webhook-event", envelope.event_type),
        *_operation_headers(envelope),
        ("x-webhook-delivery", envelope.delivery_id),
        ("x-webhook-attempt", str(envelope.attempt)),
    ]
    if target.origin is not None:
        headers.append((ORIGIN_HEADER, target.origin))
    if traceparent is not None:
        headers.append(("traceparent", traceparent))
    headers += [("accept-encoding", "identity"), *own_headers(target)]
    return OutboundRequest(target.url, tuple(headers), body, target.timeout, tls=target.tls)


def own_headers(target: Target) -> Headers:
    """The subscription's own headers, as they leave."""
    if not target.headers:
        return ()
    return tuple((name.lower(), text) for name, text in target.headers if not is_reserved(name))


def thin(body: bytes, url: str | None) -> bytes:
    """The thin payload of an event: without what may be large or secret, with where to fetch it.

    What stays keeps its bytes. ``body`` is an event as it was rendered; anything else raises
    ``msgspec.DecodeError``.
    """
    kept: dict[str, object] = {
        name: value for name, value in _members.decode(body).items() if name not in LEFT_OUT_OF_THIN
    }
    if url is not None:
        kept["url"] = url
    return msgspec.json.encode(kept)


def is_reserved(name: str) -> bool:
    """Whether only Ringback or HTTP itself sets the header of that name."""
    lower = name.lower()
    return lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES)


def header_faults(headers: Mapping[str, str]) -> list[Fault]:
    """All faults of the headers that someone wants to register with a subscription.

    Pointers start at ``/headers``. No fault repeats a value: values are often credentials.
    """
    faults = []
    if len(headers) > MAX_HEADERS:
        detail = f"At most {MAX_HEADERS} headers are possible, these are {len(headers)}."
        faults.append(Fault("/headers", detail))
    seen: set[str] = set()
    for name, value in headers.items():
        details = (_name_fault(name, seen), _value_fault(value))
        faults += [Fault(_pointer(name), detail) for detail in details if detail is not None]
        seen.add(name.lower())
    return faults


def _body_signature(key: bytes | None, body: bytes) -> Headers:
    return () if key is None else (("x-webhook-signature", sign_body(key, body)),)


def _operation_headers(envelope: Envelope) -> Headers:
    if envelope.operation_id is None:
        return ()
    operation = ("x-operation-id", envelope.operation_id)
    if envelope.sequence is None:
        return (operation,)
    return (operation, ("x-operation-sequence", str(envelope.sequence)))


def _name_fault(name: str, seen: set[str]) -> str | None:
    if len(name) > MAX_HEADER_NAME:
        return f"A header name has at most {MAX_HEADER_NAME} characters."
    if _TOKEN.fullmatch(name) is None:
        return "A header name is made of letters, digits and !#$%&'*+-.^_`|~ only."
    if is_reserved(name):
        return "This header is set by Ringback or by HTTP itself; choose another name."
    if name.lower() in seen:
        return "This header is given twice; header names do not tell upper from lower case."
    return None


def _value_fault(value: str) -> str | None:
    if len(value) > MAX_HEADER_VALUE:
        return f"A header value has at most {MAX_HEADER_VALUE} characters."
    if _VALUE.fullmatch(value) is None:
        return "A header value holds printable ASCII, spaces and tabs only: no line breaks."
    if value != value.strip():
        return "A header value neither begins nor ends with white space: receivers drop it."
    return None


def _pointer(name: str) -> str:
    return "/headers/" + name.replace("~", "~0").replace("/", "~1")
