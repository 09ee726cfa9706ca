"""Public keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""

import base64
import hashlib
from typing import Literal

import msgspec

from service.domain.signature import PUBLIC_KEY_PREFIX


class Jwk(msgspec.Struct, frozen=True):
    """One Ed25519 public key."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class KeySet(msgspec.Struct, frozen=True):
    """A set of keys."""

    keys: list[Jwk]


def jwk_of(public_key: str) -> Jwk:
    """A key written as Standard Webhooks does. Its ``kid`` is its thumbprint (RFC 7638)."""
    x = _text(base64.b64decode(public_key.removeprefix(PUBLIC_KEY_PREFIX)))
    kid = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return Jwk(kty="OKP", crv="Ed25519", x=x, kid=_text(kid), use="sig", alg="EdDSA")


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
