"""Stream tickets: what opens a stream for clients that cannot send headers, such as browsers."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Final

from service.domain.errors import Refusal
from service.ports import Clock, Dice, Once, Principal, Replayed, Ticket, TicketStore

#: Milliseconds in which a ticket must be used first, and for which it is good for reconnects.
FIRST_USE: Final = 30_000
LIFETIME: Final = 3_600_000

_PREFIX: Final = "tk_"
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Issued:
    """A ticket that was just made. Times are ms."""

    text: str = field(repr=False)
    first_use_until: int
    good_until: int


class Tickets:
    """Makes tickets and takes them."""

    def __init__(self, store: TicketStore, clock: Clock, dice: Dice) -> None:
        self._store = store
        self._clock = clock
        self._dice = dice

    async def issue(
        self, who: Principal, operation_id: str | None, once: Once | None
    ) -> Issued | Refusal | Replayed:
        """A ticket for one operation, or for the tenant's feed, on behalf of a key."""
        now = self._clock.now()
        secret = base64.urlsafe_b64encode(self._dice.bytes(_BYTES)).rstrip(b"=").decode()
        text = _PREFIX + secret
        issued = Issued(text, now + FIRST_USE, now + LIFETIME)
        ticket = Ticket(who, operation_id, now)
        made = await self._store.issue(_digest(text), ticket, _shown(once, issued))
        return issued if isinstance(made, Ticket) else made

    async def redeem(self, text: str) -> Ticket | None:
        """What a ticket opens; ``None`` when it is none, or not any more."""
        return await self._store.redeem(_digest(text), FIRST_USE, LIFETIME)


def _shown(once: Once | None, issued: Issued) -> Once | None:
    """The answer to be kept holds the ticket, which the store itself never sees."""
    if once is None:
        return None
    return Once(once.key, once.fingerprint, lambda _: once.render(issued))


def _digest(text: str) -> bytes:
    # plain SHA-256: a ticket holds 256 random bits
    return hashlib.sha256(text.encode()).digest()
