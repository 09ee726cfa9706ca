"""Stream tickets: ``tk_<43 base64url>``. Only a hash of each is stored."""

import base64
from typing import Final

#: Milliseconds in which a ticket must be used for the first time (contract, section 4.2).
FIRST_USE: Final = 30_000
#: Milliseconds for which it is good, reconnects included.
LIFETIME: Final = 3_600_000
#: Random bytes that :func:`new_ticket` wants.
TICKET_BYTES: Final = 32


def new_ticket(random: bytes) -> str:
    """A ticket made of 32 random bytes."""
    if len(random) != TICKET_BYTES:
        raise ValueError(f"A ticket is made of {TICKET_BYTES} random bytes.")
    return f"tk_{base64.urlsafe_b64encode(random).rstrip(b'=').decode()}"
