"""API keys: ``rb_<8 hex, public>_<43 base64url, secret>``. Only a hash of it all is stored."""

import base64
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: The bootstrap key, which ``RINGBACK_ADMIN_KEY`` or the file ``admin.key`` rules.
ADMIN_KEY_ID: Final = "key_admin"

_PUBLIC_BYTES = 4
_SECRET_BYTES = 32
#: Random bytes that :func:`new_key` wants.
KEY_BYTES = _PUBLIC_BYTES + _SECRET_BYTES

_KEY = re.compile(r"rb_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


class Scope(StrEnum):
    """What a key may do (contract, section 4.5). Writing does not include reading."""

    EVENTS_WRITE = "events:write"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"
    SUBSCRIPTIONS_READ = "subscriptions:read"
    SUBSCRIPTIONS_WRITE = "subscriptions:write"
    DELIVERIES_READ = "deliveries:read"
    DELIVERIES_REPLAY = "deliveries:replay"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its text. Times are ms."""

    #: Its place in lists; it grows from key to key.
    no: int
    id: str
    tenant_id: str
    name: str
    scopes: frozenset[str]
    created_at: int
    #: See :func:`public_part`; unknown of a key that somebody made up.
    public: str | None = None
    expires_at: int | None = None
    revoked_at: int | None = None
    #: To the minute.
    last_used_at: int | None = None
    #: Until when the text from before the last rotation is good too.
    previous_until: int | None = None


def new_key(random: bytes) -> str:
    """A key made of 36 random bytes; shown once, never stored."""
    if len(random) != KEY_BYTES:
        raise ValueError(f"A key is made of {KEY_BYTES} random bytes.")
    secret = base64.urlsafe_b64encode(random[_PUBLIC_BYTES:]).rstrip(b"=").decode()
    return f"rb_{random[:_PUBLIC_BYTES].hex()}_{secret}"


def public_part(text: str) -> str | None:
    """The 8 hex digits by which logs and lists may name a key; ``None`` for any other text."""
    match = _KEY.fullmatch(text)
    return None if match is None else match[1]


def hash_key(text: str) -> bytes:
    """The 32 bytes that are stored and looked up.

    Plain SHA-256: a key holds 256 random bits, which no slow hash could make harder to guess.
    """
    return hashlib.sha256(text.encode()).digest()


def covers(scopes: Collection[str], needed: Scope) -> bool:
    """Whether a key with these scopes may do what needs ``needed``; ``admin`` covers everything."""
    return needed in scopes or Scope.ADMIN in scopes
