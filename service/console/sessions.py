"""Sessions: kept by the browser alone, sealed.

1. The cookie holds the hash of the API key, or of the portal link's secret, never these, and opens
   with the service's own key ring only. Scripts cannot read it.
2. A session ends after its time, or as soon as its key or link does: each request looks it up.
3. Every form carries the session's token, and a form without it is refused.
4. The console's cookie is sent by no other site. The portal's may be, since a page elsewhere may
   embed the portal: browsers keep it apart for each site that does (``Partitioned``), and what a
   form needs besides, its token and where it came from, is not the cookie's.
"""

import base64
import hmac
from dataclasses import dataclass
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
#: What begins the name of a cookie that a browser takes over TLS only, for this host alone and all
#: of it.
_SECURE: Final = "__Host-"

_TOKEN_BYTES: Final = 16
#: No cookie of ours is as long; browsers stop at as much.
_LONGEST: Final = 4096

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cookies:
    """Which cookies a site sets, and how."""

    #: Of which site the session's is.
    name: str
    #: Whether the service is asked over TLS.
    secure: bool
    #: Whether pages elsewhere may embed what it is for.
    embedded: bool = False

    @property
    def full_name(self) -> str:
        """What the session's is called."""
        return f"{_SECURE if self.secure else ''}ringback-{self.name}"

    def header(self, name: str, value: str, max_age: int) -> Header:
        """A ``Set-Cookie`` header that no script reads; seconds."""
        jar: SimpleCookie = SimpleCookie({name: value})
        morsel: Morsel[str] = jar[name]
        morsel |= {"path": "/", "max-age": max_age, "httponly": True}
        morsel["samesite"] = "None" if self.embedded else "Strict"
        if self.secure or self.embedded:
            morsel["secure"] = True
        # http.cookies knows this attribute from Python 3.14 on
        apart = "; Partitioned" if self.embedded else ""
        return "set-cookie", morsel.OutputString() + apart


class Session(msgspec.Struct, frozen=True, array_like=True):
    """Who is signed in. ``ends_at`` is ms."""

    #: The hash of the key, or of the portal link's secret, by which it is looked up.
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
    """Makes sessions, and reads them."""

    def __init__(self, vault: Vault, clock: Clock, dice: Dice, cookies: Cookies) -> None:
        self._vault = vault
        self._clock = clock
        self._dice = dice
        self._context = f"{cookies.name}/session"
        self.cookies = cookies

    def begin(self, key: str) -> Session:
        """A session for who showed this key."""
        return self.named(hash_key(key), self._clock.now() + LIFETIME)

    def named(self, digest: bytes, ends_at: int) -> Session:
        """A session that is looked up by this hash, until ``ends_at`` (ms) at the latest."""
        return Session(digest, ends_at, self._dice.bytes(_TOKEN_BYTES).hex())

    def of(self, request: Request) -> Session | None:
        """The session of a request; ``None``: there is none, or it is over."""
        text = request.cookies.get(self.cookies.full_name, "")
        if not text or len(text) > _LONGEST:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            session = _decoder.decode(self._vault.open(sealed, self._context))
        except (ValueError, SealError, msgspec.DecodeError):
            return None
        return session if session.ends_at > self._clock.now() else None

    def kept(self, session: Session) -> Header:
        """The header by which the browser keeps it."""
        sealed = self._vault.seal(_encode(session), self._context)
        left = ceil(max(session.ends_at - self._clock.now(), 0) / 1000)
        text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        return self.cookies.header(self.cookies.full_name, text, left)

    def ended(self) -> Header:
        """The header by which the browser forgets it."""
        return self.cookies.header(self.cookies.full_name, "", 0)


def is_from_here(request: Request) -> bool:
    """Whether a page of ours sent the request: the browser says so, and nobody else can.

    Browsers name the relation of the two sites where the connection is to be trusted, and the
    origin in any case; who says neither is none.
    """
    relation = request.headers.get("sec-fetch-site")
    if relation is not None:
        return relation == "same-origin"
    host = request.headers.get("host")
    origin = request.headers.get("origin", "")
    return bool(host) and urlsplit(origin).netloc == host
