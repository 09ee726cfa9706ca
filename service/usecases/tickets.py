"""Stream tickets: what opens a stream for clients that cannot send headers, such as browsers."""

from dataclasses import dataclass, field

from service.domain.api_keys import hash_key
from service.domain.errors import Refusal
from service.domain.tickets import FIRST_USE, LIFETIME, TICKET_BYTES, new_ticket
from service.ports import Clock, Dice, Once, Principal, Replayed, Ticket, TicketStore


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
        text = new_ticket(self._dice.bytes(TICKET_BYTES))
        issued = Issued(text, now + FIRST_USE, now + LIFETIME)
        ticket = Ticket(who, operation_id, now)
        made = await self._store.issue(hash_key(text), ticket, _shown(once, issued))
        return issued if isinstance(made, Ticket) else made

    async def redeem(self, text: str) -> Ticket | None:
        """What a ticket opens; ``None`` when it is none, or not any more."""
        return await self._store.redeem(hash_key(text))


def _shown(once: Once | None, issued: Issued) -> Once | None:
    """The answer to be kept holds the ticket, which the store itself never sees."""
    if once is None:
        return None
    return Once(once.key, once.fingerprint, lambda _: once.render(issued))
