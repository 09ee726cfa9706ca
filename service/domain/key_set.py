"""Public keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""

import base64
import hashlib
from typing import Literal

import msgspec

from service.domain.signature import PUBLIC_KEY_PREFIX, public_key_text


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


def public_keys(text: bytes) -> list[str]:
    """The Ed25519 keys of a key set, written as Standard Webhooks does; other keys are left out.

    Raises ``ValueError``: it is no key set.
    """
    try:
        found = [each.x for each in _any_set.decode(text).keys if each.is_ed25519]
        return [public_key_text(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))) for x in found]
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"It is no JSON Web Key Set: {error}") from None


class _AnyJwk(msgspec.Struct, frozen=True):
    """Any key of any set."""

    kty: str
    crv: str = ""
    x: str = ""

    @property
    def is_ed25519(self) -> bool:
        return (self.kty, self.crv) == ("OKP", "Ed25519")


class _AnySet(msgspec.Struct, frozen=True):
    keys: list[_AnyJwk]


_any_set = msgspec.json.Decoder(_AnySet)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
