"""What a receiver checks of a delivery, one by one, so that people see which check failed."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from service.domain.signature import (
    TOLERANCE,
    IsSigned,
    SignatureFault,
    key_bytes,
    verify_body,
    verify_standard,
)

_STANDARD: Final = "webhook-signature"
_BODY: Final = "x-webhook-signature"
_NEEDED: Final = ("webhook-id", "webhook-timestamp", _STANDARD)
_ASYMMETRIC: Final = f"{_STANDARD} v1a"
_ADDED: Final = "matches without the line end behind the body: whatever saved it has added one"

Headers = Mapping[str, str]
Checks = Sequence[IsSigned]


class Check(NamedTuple):
    """One check: ``ok``, ``fault``, or ``absent`` where there is nothing to check."""

    check: str
    verdict: str
    found: str

    @property
    def has_line_end(self) -> bool:
        """Whether nothing but a line end behind the body is wrong."""
        return self.found == _ADDED


def fault_of(
    secrets: Sequence[str], headers: Headers, body: bytes, now: int, by_key: Checks = ()
) -> SignatureFault | None:
    """Why a delivery is not genuine; ``None`` when it is. ``now`` is in unix seconds.

    ``by_key`` check ``v1a`` signatures, each by a public key.

    Either signature is enough. The one over the body alone counts where there is no other: while
    a secret is rotated it is of the old one.
    """
    keys = [key_bytes(secret) for secret in secrets]
    if _STANDARD in headers or _BODY not in headers or not keys:
        return verify_standard(keys, headers, body, now, by_key)
    faults = [verify_body(key, headers[_BODY], body) for key in keys]
    return None if None in faults else faults[0]


def checks(
    secrets: Sequence[str], headers: Headers, body: bytes, now: int, by_key: Checks = ()
) -> list[Check]:
    """Every check a receiver makes, in its order."""
    keys = [key_bytes(secret) for secret in secrets]
    found = [_headers(headers), _time(headers, now)]
    if keys:
        found.append(_standard(keys, headers, body))
    if by_key:
        found.append(_asymmetric(by_key, headers, body))
    if keys:
        found.append(_body(keys, headers, body))
    return found


def _headers(headers: Headers) -> Check:
    missing = [name for name in _NEEDED if name not in headers]
    if not missing:
        return Check("headers", "ok", "all there")
    if _BODY in headers:
        return Check("headers", "absent", f"no {', '.join(missing)}; {_BODY} is there")
    return Check("headers", "fault", f"missing: {', '.join(missing)}")


def _time(headers: Headers, now: int) -> Check:
    text = headers.get("webhook-timestamp")
    if text is None:
        return Check("timestamp", "absent", "no webhook-timestamp")
    signed = {"webhook-id": "", "webhook-timestamp": text, _STANDARD: ""}
    fault = verify_standard([], signed, b"", now)
    if fault is SignatureFault.MALFORMED_TIMESTAMP:
        return Check("timestamp", "fault", "it is no number of seconds")
    age = now - int(text)
    found = f"{age} s old" if age >= 0 else f"{-age} s ahead of the clock"
    if fault in (SignatureFault.TOO_OLD, SignatureFault.TOO_NEW):
        return Check("timestamp", "fault", f"{found}; at most {TOLERANCE} s either way are let in")
    return Check("timestamp", "ok", found)


def _standard(keys: Sequence[bytes], headers: Headers, body: bytes) -> Check:
    return _signed(keys, (), headers, body)


def _asymmetric(by_key: Checks, headers: Headers, body: bytes) -> Check:
    return _signed((), by_key, headers, body)


def _signed(keys: Sequence[bytes], by_key: Checks, headers: Headers, body: bytes) -> Check:
    """The check of ``webhook-signature`` by one kind of key."""
    name, version, secret = (
        (_ASYMMETRIC, "v1a", "public key") if by_key else (_STANDARD, "v1", "secret")
    )
    if _STANDARD not in headers:
        return Check(name, "absent", "not there")
    text = headers.get("webhook-timestamp", "")
    if _time(headers, 0).found.startswith("it is no") or "webhook-id" not in headers or not text:
        return Check(name, "fault", "cannot be checked without id and timestamp")

    def verify(sent: bytes) -> SignatureFault | None:
        return verify_standard(keys, headers, sent, int(text), by_key)

    fault = verify(body)
    if fault is SignatureFault.MALFORMED_SIGNATURE:
        return Check(name, "fault", f"holds no '{version},<base64>'")
    if fault is None:
        return Check(name, "ok", f"made with this {secret}, of this id, timestamp and body")
    return Check(name, "fault", _why(verify(body.rstrip(b"\r\n")) is None))


def _body(keys: Sequence[bytes], headers: Headers, body: bytes) -> Check:
    given = headers.get(_BODY)
    if given is None:
        return Check(_BODY, "absent", "not there")
    faults = [verify_body(key, given, body) for key in keys]
    if None in faults:
        return Check(_BODY, "ok", "made with this secret, of this body")
    if faults[0] is SignatureFault.MALFORMED_SIGNATURE:
        return Check(_BODY, "fault", "does not begin with 'sha256='")
    stripped = body.rstrip(b"\r\n")
    without_line_end = any(verify_body(key, given, stripped) is None for key in keys)
    return Check(_BODY, "fault", _why(without_line_end, "secret"))


def _why(without_line_end: bool, what: str = "secret, key, id or timestamp") -> str:  # noqa: FBT001  what was found out
    if without_line_end:
        return _ADDED
    return f"another {what}, or not the bytes that were sent (re-encoded?)"
