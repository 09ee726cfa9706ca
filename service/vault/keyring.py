"""Sealing of stored secrets with AES-256-GCM and keys that can be rotated.

A sealed value is ``v1:<kid>:``, a 12-byte nonce and the ciphertext with its tag. The version, the
key's name and the ``context`` (which row and column the value belongs to) are authenticated with
it, so a ciphertext moved to another row does not open. Nonces are random, which is safe for 2**32
values per key (NIST SP 800-38D, 8.3): rotate long before.
"""

import base64
import os
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.domain.certificates import CheckedIdentity, TlsIdentity
from service.domain.errors import Fault
from service.domain.signature import Sign, public_key_text
from service.ports import SealedKey, SealError
from service.vault import certificates, ed25519

_VERSION = b"v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SEALED = re.compile(rb"v1:([A-Za-z0-9_-]{1,32}):(.*)", re.DOTALL)

_HOW_TO = (
    "Write 'kid:key', newest first, separated by commas; a kid is 1 to 32 letters, digits, '_' or "
    "'-', a key is 32 random bytes in base64. Make one with: "
    'echo "k1:$(head -c 32 /dev/urandom | base64)"'
)


class KeyRingError(ValueError):
    """A key ring's text cannot be used; says every fault and how to make a good one."""


class KeyRing:
    """Keys by name: the first seals, all open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # The cipher objects are kept: making one costs more than a whole sealing.
        self._ciphers = {kid: AESGCM(key) for kid, key in keys.items()}
        self._current = next(iter(self._ciphers))
        self._head = _head(self._current)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt for one row: ``context`` has to be the same when it is opened."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound(self._current, context)
        return self._head + nonce + self._ciphers[self._current].encrypt(nonce, plaintext, bound)

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt; :class:`SealError` for another row's, another key's or a damaged value."""
        kid, box = _split(sealed)
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise SealError(
                f"The value was sealed with the encryption key {kid!r}, which is not on the key "
                "ring; add it behind the present one."
            )
        try:
            return cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], _bound(kid, context))
        except InvalidTag:
            raise SealError(
                f"The value does not open with the encryption key {kid!r}: it was damaged or "
                "belongs to another row, or the key of that name is no longer the same."
            ) from None

    def new_key(self, seed: bytes, context: str) -> SealedKey:
        """An Ed25519 key made of 32 random bytes, sealed, and its public key."""
        return SealedKey(self.seal(seed, context), public_key_text(ed25519.public_key(seed)))

    def signer(self, sealed: bytes, context: str) -> Sign:
        """What signs with a sealed private key; :class:`SealError` as for :meth:`open`."""
        return ed25519.signer(self.open(sealed, context))

    def read_identity(self, given: TlsIdentity, now: int) -> CheckedIdentity | list[Fault]:
        """What TLS connections are to go by, checked at the moment ``now`` (ms); or all faults."""
        return certificates.read(given, now)

    def is_current(self, sealed: bytes) -> bool:
        """Whether a value was sealed with the first key; if not, :meth:`reseal` it."""
        return sealed.startswith(self._head)

    def reseal(self, sealed: bytes, context: str) -> bytes:
        """The same value, sealed with the first key."""
        return self.seal(self.open(sealed, context), context)


def parse_key_ring(text: str) -> KeyRing:
    """Read ``kid2:base64,kid1:base64``; :class:`KeyRingError` names every fault, never a key."""
    keys: dict[str, bytes] = {}
    faults: list[str] = []
    for number, entry in enumerate(text.split(","), start=1):
        parsed = _parse_entry(entry.strip(), keys)
        if isinstance(parsed, str):
            faults.append(f"Key {number} {parsed}.")
        else:
            keys[parsed[0]] = parsed[1]
    if faults:
        raise KeyRingError(" ".join([*faults, _HOW_TO]))
    return KeyRing(keys)


def generate() -> str:
    """The text of a new key ring with one key, ``k1``."""
    return f"k1:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"


def _parse_entry(entry: str, taken: Mapping[str, bytes]) -> tuple[str, bytes] | str:
    """One name and key, or what is wrong with the entry."""
    if not entry:
        return "is empty"
    kid, colon, encoded = entry.partition(":")
    if not colon:
        return "has no name in front of it"
    if _KID.fullmatch(kid) is None:  # not quoted: it may be a key in the wrong place
        return "has a bad name"
    if kid in taken:
        return f"has the name {kid!r} a second time"
    key = _decoded(encoded)
    if key is None or len(key) != _KEY_BYTES:
        found = "is not base64" if key is None else f"has {len(key)} bytes, not {_KEY_BYTES}"
        return f"({kid!r}) {found}"
    return kid, key


def _decoded(encoded: str) -> bytes | None:
    standard = encoded.strip().replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except ValueError:
        return None


def _split(sealed: bytes) -> tuple[str, bytes]:
    match = _SEALED.fullmatch(sealed)
    if match is None or len(match[2]) < _NONCE_BYTES + _TAG_BYTES:
        raise SealError("The value was not sealed by this service, or is cut short.")
    return match[1].decode(), match[2]


def _head(kid: str) -> bytes:
    return b"%b:%b:" % (_VERSION, kid.encode())


def _bound(kid: str, context: str) -> bytes:
    return b"%b|%b|%b" % (_VERSION, kid.encode(), context.encode())
