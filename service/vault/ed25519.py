"""Ed25519 keys. Private ones are their 32-byte seeds."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.signature import Sign


def public_key(seed: bytes) -> bytes:
    """The 32 bytes by which others verify."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def signer(seed: bytes) -> Sign:
    """What signs with the private key."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign
