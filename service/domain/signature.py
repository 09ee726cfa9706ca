"""Signing and verifying deliveries (contract, section 5; Standard Webhooks 1.0).

Two headers carry a signature:

- ``webhook-signature``, over ``{id}.{timestamp}.{body}``: ``v1,<base64>`` for each secret
  (HMAC-SHA256), ``v1a,<base64>`` for each private key (Ed25519);
- ``x-webhook-signature``: ``sha256=<hex>``, the HMAC-SHA256 over the body alone, as GitHub does it.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

SECRET_PREFIX = "whsec_"  # noqa: S105 (the prefix of a secret, not one)
PUBLIC_KEY_PREFIX = "whpk_"
_PRIVATE_KEY_PREFIX = "whsk_"

#: Bytes of chance that an Ed25519 key is made of.
SEED_BYTES = 32
#: Bytes of an Ed25519 public key.
PUBLIC_KEY_BYTES = 32

#: Signs bytes with an Ed25519 key: 64 bytes.
Sign = Callable[[bytes], bytes]

#: Whether 64 bytes are the signature of these bytes by an Ed25519 key.
IsSigned = Callable[[bytes, bytes], bool]

#: Seconds that the timestamp may be off the receiver's clock, either way (Standard Webhooks).
TOLERANCE = 300

#: Bytes of a ``whsec_`` key (Standard Webhooks: between 24 and 64).
_KEY_BYTES = range(24, 65)
#: UTF-8 bytes of a secret without the prefix. They are for receivers that already have a secret, so
#: more is let in than for new ones; under eight bytes one captured delivery gives it away.
_PLAIN_BYTES = range(8, 257)

#: Keys that are kept begun with, a kilobyte each: as many as subscriptions may take turns.
_REMEMBERED = 16_384

#: What to do about a bad secret that is to be registered.
_LEAVE_OUT = "leave 'secret' out to be given a good one"

_BODY_PREFIX = "sha256="
_STANDARD_VERSION = "v1"
_ASYMMETRIC_VERSION = "v1a"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SignatureFault(StrEnum):
    """Why a delivery does not verify."""

    MISSING_HEADER = "missing-header"
    MALFORMED_TIMESTAMP = "malformed-timestamp"
    TOO_OLD = "too-old"
    TOO_NEW = "too-new"
    MALFORMED_SIGNATURE = "malformed-signature"
    NO_MATCH = "no-match"


def key_bytes(secret: str) -> bytes:
    """The HMAC key of a secret.

    ``whsec_<base64>`` is decoded (missing padding is forgiven); any other text is its UTF-8 bytes.
    Raises ``ValueError`` for what :func:`secret_fault` finds unreadable.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    key = _decoded(secret.removeprefix(SECRET_PREFIX))
    if key is None:
        raise ValueError("The part of the secret after 'whsec_' is not base64.")
    return key


def secret_fault(secret: str, instead: str = _LEAVE_OUT) -> str | None:
    """What is wrong with a secret someone wants to register and how to mend it, or ``None``.

    A ``whsec_`` secret has 24 to 64 key bytes, any other 8 to 256 UTF-8 bytes. The text never
    repeats the secret. ``instead`` is what to do where it cannot be mended.
    """
    if secret != secret.strip():
        return "The secret begins or ends with white space; give it without."
    if secret.startswith((PUBLIC_KEY_PREFIX, _PRIVATE_KEY_PREFIX)):
        return f"This is an Ed25519 key, and Ringback makes these itself; {instead}."
    if secret.startswith(SECRET_PREFIX):
        return _standard_fault(secret.removeprefix(SECRET_PREFIX), instead)
    return _plain_fault(secret, instead)


def new_secret(random: bytes) -> str:
    """A ``whsec_`` secret made of random bytes (32 of them; 24 to 64 are possible)."""
    if len(random) not in _KEY_BYTES:
        raise ValueError("A secret is made of 24 to 64 random bytes.")
    return SECRET_PREFIX + base64.b64encode(random).decode()


def signed_content(message_id: str, timestamp: int, body: bytes) -> bytes:
    """The bytes that Standard Webhooks signs: ``{id}.{unix seconds}.{body}``."""
    return b"%b.%d.%b" % (message_id.encode(), timestamp, body)


def public_key_text(public_key: bytes) -> str:
    """An Ed25519 public key (32 bytes) as Standard Webhooks writes it."""
    return PUBLIC_KEY_PREFIX + base64.b64encode(public_key).decode()


def public_key_bytes(text: str) -> bytes | None:
    """The 32 bytes of a ``whpk_`` key; ``None`` when it is none."""
    if not text.startswith(PUBLIC_KEY_PREFIX):
        return None
    key = _decoded(text.removeprefix(PUBLIC_KEY_PREFIX))
    return key if key is not None and len(key) == PUBLIC_KEY_BYTES else None


def sign_standard(
    keys: Sequence[bytes],
    message_id: str,
    timestamp: int,
    body: bytes,
    signers: Sequence[Sign] = (),
) -> str:
    """The value of ``webhook-signature``: a ``v1`` per key, then a ``v1a`` per signer."""
    content = signed_content(message_id, timestamp, body)
    entries = [f"{_STANDARD_VERSION},{_text(_digest(key, content))}" for key in keys]
    entries += [f"{_ASYMMETRIC_VERSION},{_text(sign(content))}" for sign in signers]
    return " ".join(entries)


def sign_body(key: bytes, body: bytes) -> str:
    """The value of ``x-webhook-signature``: ``sha256=`` and the hex HMAC of the body alone."""
    return _BODY_PREFIX + _digest(key, body).hex()


def verify_standard(
    keys: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    checks: Sequence[IsSigned] = (),
) -> SignatureFault | None:
    """Check a received delivery against the receiver's keys; ``None`` when one of them signed it.

    ``headers`` has lower-case names (or is a case-insensitive mapping), ``now`` is in unix seconds,
    ``checks`` are of public keys.
    """
    message_id = headers.get("webhook-id")
    timestamp = headers.get("webhook-timestamp")
    signature = headers.get("webhook-signature")
    if message_id is None or timestamp is None or signature is None:
        return SignatureFault.MISSING_HEADER
    late = _time_fault(timestamp, now)
    if late is not None:
        return late
    given = _entries(signature, _STANDARD_VERSION)
    signed = _entries(signature, _ASYMMETRIC_VERSION) if checks else []
    if not given and not signed:
        return SignatureFault.MALFORMED_SIGNATURE
    content = b"%b.%b.%b" % (_octets(message_id), _octets(timestamp), body)
    expected = [_text(_digest(key, content)).encode() for key in keys]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    matches += [is_signed(_signature(text), content) for is_signed in checks for text in signed]
    return None if any(matches) else SignatureFault.NO_MATCH


def verify_body(key: bytes, signature: str | None, body: bytes) -> SignatureFault | None:
    """Check a received ``x-webhook-signature`` value (``None``: the header was not there)."""
    if signature is None:
        return SignatureFault.MISSING_HEADER
    if not signature.startswith(_BODY_PREFIX):
        return SignatureFault.MALFORMED_SIGNATURE
    matches = hmac.compare_digest(sign_body(key, body).encode(), _octets(signature))
    return None if matches else SignatureFault.NO_MATCH


def _standard_fault(encoded: str, instead: str) -> str | None:
    key = _decoded(encoded)
    if key is None:
        return f"What follows 'whsec_' is not base64 (letters, digits, '+', '/', '='); {instead}."
    if len(key) not in _KEY_BYTES:
        return (
            f"A 'whsec_' secret holds 24 to 64 bytes in base64, this one holds {len(key)}; "
            f"{instead}."
        )
    return None


def _plain_fault(secret: str, instead: str) -> str | None:
    try:
        size = len(secret.encode())
    except UnicodeEncodeError:
        return "The secret cannot be written as UTF-8: it holds half of a surrogate pair."
    if size not in _PLAIN_BYTES:
        return f"A secret without 'whsec_' has 8 to 256 bytes, this one has {size}; {instead}."
    return None


def _decoded(encoded: str) -> bytes | None:
    # Strictly the standard alphabet: receivers' libraries drop '-' and '_' and get another key.
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return None


def _digest(key: bytes, content: bytes) -> bytes:
    mac = _keyed(key).copy()
    mac.update(content)
    return mac.digest()


@lru_cache(_REMEMBERED)
def _keyed(key: bytes) -> hmac.HMAC:
    """What is signed begins with the key: to copy that takes less than to work it out again."""
    return hmac.new(key, digestmod=hashlib.sha256)


def _text(signature: bytes) -> str:
    return binascii.b2a_base64(signature, newline=False).decode()


def _entries(header: str, wanted: str) -> list[bytes]:
    entries = (entry.partition(",") for entry in header.split())
    return [_octets(value) for version, _, value in entries if version == wanted]


def _signature(encoded: bytes) -> bytes:
    """The bytes of a signature; nothing, where that is no base64."""
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return b""


def _time_fault(timestamp: str, now: int) -> SignatureFault | None:
    if _TIMESTAMP.fullmatch(timestamp) is None:
        return SignatureFault.MALFORMED_TIMESTAMP
    age = now - int(timestamp)
    if age > TOLERANCE:
        return SignatureFault.TOO_OLD
    return SignatureFault.TOO_NEW if age < -TOLERANCE else None


def _octets(text: str) -> bytes:
    # Whatever a header held must compare, not raise; '?' is in no signature.
    return text.encode("utf-8", "replace")
