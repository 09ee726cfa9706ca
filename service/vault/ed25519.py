"""Ed25519 keys. Private ones are their 32-byte seeds."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from service.domain.signature import IsSigned, Sign


def public_key(seed: bytes) -> bytes:
    """The 32 bytes by which others verify."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signer(seed: bytes) -> Sign:
    """What signs with the private key."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign


def checker(public_key: bytes) -> IsSigned:
    """What checks signatures against a public key of 32 bytes."""
    key = Ed25519PublicKey.from_public_bytes(public_key)

    def is_signed(signature: bytes, content: bytes) -> bool:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return is_signed
