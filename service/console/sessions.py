"""Sessions: kept by the browser alone, sealed; the service remembers none of them.

1. The cookie holds the hash of the API key, never the key, and opens with the service's own key
   ring only. Scripts cannot read it, other sites cannot send it.
2. A session ends after twelve hours, or as soon as its key does: each request looks the key up.
3. Every form carries the session's token, and a form without it is refused.
"""

import base64
import hmac
from http.cookies import Morsel, SimpleCookie
from math import ceil
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from service.domain.api_keys import hash_key
from service.ports import Clock, Dice, SealError, Vault

#: Milliseconds.
LIFETIME: Final = 12 * 3_600_000
#: Names of cookies; a browser takes the first over TLS only, for this host alone and all of it.
SECURE: Final = "__Host-ringback-console"
PLAIN: Final = "ringback-console"

_CONTEXT: Final = "console/session"
_TOKEN_BYTES: Final = 16
#: No cookie of ours is as long; browsers stop at as much.
_LONGEST: Final = 4096

Header = tuple[str, str]


class Session(msgspec.Struct, frozen=True, array_like=True):
    """Who is signed in. ``ends_at`` is ms."""

    #: The hash of the key, by which it is looked up.
    digest: bytes
    ends_at: int
    #: What every form of this session carries.
    token: str
    #: The tenant it acts for, where that is not the key's own.
    tenant: str | None = None

    def is_token(self, given: str) -> bool:
        """Whether a form is one of this session's."""
        return hmac.compare_digest(self.token.encode(), given.encode())


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Session)


class Sessions:
    """Makes cookies, and reads them."""

    def __init__(self, vault: Vault, clock: Clock, dice: Dice, *, secure: bool) -> None:
        self._vault = vault
        self._clock = clock
        self._dice = dice
        self._secure = secure
        self.cookie_name = SECURE if secure else PLAIN

    def begin(self, key: str) -> Session:
        """A session for who showed this key."""
        token = self._dice.bytes(_TOKEN_BYTES).hex()
        return Session(hash_key(key), self._clock.now() + LIFETIME, token)

    def of(self, request: Request) -> Session | None:
        """The session of a request; ``None``: there is none, or it is over."""
        text = request.cookies.get(self.cookie_name, "")
        if not text or len(text) > _LONGEST:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            session = _decoder.decode(self._vault.open(sealed, _CONTEXT))
        except (ValueError, SealError, msgspec.DecodeError):
            return None
        return session if session.ends_at > self._clock.now() else None

    def kept(self, session: Session) -> Header:
        """The header by which the browser keeps it."""
        sealed = self._vault.seal(_encode(session), _CONTEXT)
        left = ceil(max(session.ends_at - self._clock.now(), 0) / 1000)
        return self._header(base64.urlsafe_b64encode(sealed).rstrip(b"=").decode(), left)

    def ended(self) -> Header:
        """The header by which the browser forgets it."""
        return self._header("", 0)

    def _header(self, value: str, max_age: int) -> Header:
        return cookie(self.cookie_name, value, max_age, secure=self._secure)


def cookie(name: str, value: str, max_age: int, *, secure: bool) -> Header:
    """A ``Set-Cookie`` header that no script reads and no other site sends; seconds."""
    jar: SimpleCookie = SimpleCookie({name: value})
    morsel: Morsel[str] = jar[name]
    morsel |= {"path": "/", "max-age": max_age, "httponly": True, "samesite": "Strict"}
    if secure:
        morsel["secure"] = True
    return "set-cookie", morsel.OutputString()


def is_from_here(request: Request) -> bool:
    """Whether a page of this console sent the request: the browser says so, and nobody else can.

    Browsers name the relation of the two sites where the connection is to be trusted, and the
    origin in any case; who says neither is none.
    """
    relation = request.headers.get("sec-fetch-site")
    if relation is not None:
        return relation == "same-origin"
    host = request.headers.get("host")
    origin = request.headers.get("origin", "")
    return bool(host) and urlsplit(origin).netloc == host
