"""The consumer portal: links ``pl_<43 base64url>``, sessions, origins that may embed it."""

import base64
import re
from typing import Final

from service.domain.api_keys import Scope

#: Milliseconds in which a link must be opened, where nothing is said of it, and at most.
LINK_LIFETIME: Final = 5 * 60_000
LONGEST_LINK: Final = 24 * 3_600_000
#: Milliseconds that a session lasts which a link opened, likewise.
SESSION_LIFETIME: Final = 3_600_000
LONGEST_SESSION: Final = 12 * 3_600_000
#: Random bytes that :func:`new_link` wants.
LINK_BYTES: Final = 32
#: Origins that may embed the portal of one tenant.
MOST_ORIGINS: Final = 20

#: What a link may allow: what a consumer does, and never what producers and administrators do.
CONSUMER_SCOPES: Final = (
    Scope.OPERATIONS_READ,
    Scope.OPERATIONS_WRITE,
    Scope.SUBSCRIPTIONS_READ,
    Scope.SUBSCRIPTIONS_WRITE,
    Scope.DELIVERIES_READ,
    Scope.DELIVERIES_REPLAY,
)
#: What it allows where nothing is said: to cancel and retry operations has to be asked for.
DEFAULT_SCOPES: Final = frozenset(set(CONSUMER_SCOPES) - {Scope.OPERATIONS_WRITE})

_HOST: Final = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_PORT: Final = r"(?::[1-9][0-9]{0,4})?"
#: An origin that may embed the portal. Policies know no IPv6 addresses: browsers pass them over.
ORIGIN_PATTERN: Final = rf"https://{_HOST}{_PORT}|http://(?:localhost|127\.0\.0\.1){_PORT}"
_ORIGIN: Final = re.compile(ORIGIN_PATTERN)
_IPV6: Final = re.compile(r"https?://\[", re.IGNORECASE)


def new_link(random: bytes) -> str:
    """The secret of a link, made of 32 random bytes; shown once, never stored."""
    if len(random) != LINK_BYTES:
        raise ValueError(f"A link is made of {LINK_BYTES} random bytes.")
    return f"pl_{base64.urlsafe_b64encode(random).rstrip(b'=').decode()}"


def origin_fault(text: str) -> str | None:
    """Why this is no origin that may embed the portal; ``None`` when it is one.

    It goes into a header as it is, so nothing is let through that could be more than one word.
    """
    if _ORIGIN.fullmatch(text):
        return None
    if _IPV6.match(text):
        return (
            "must not have an IPv6 address, since browsers know none here; give a host name and "
            "open the page by it, such as http://localhost:3000 on this machine"
        )
    return (
        "must be an origin such as https://app.example.com, in lower case and without a path; "
        "http:// is for localhost only"
    )
