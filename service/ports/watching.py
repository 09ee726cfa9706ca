"""What following asks of the outside: notes between processes, and tickets for streams."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.errors import Refusal
from service.ports.accepting import Once, Replayed
from service.ports.managing import Principal

#: (tenant id, operation id): the operation has new events, and so has the tenant's feed; the id is
#: empty where only the feed has.
Moved = tuple[str, str]


class Backplane(Protocol):
    """Tells every process that something moved. Lossy by design: whoever hears re-reads the log."""

    def publish(self, notes: Sequence[Moved]) -> None:
        """Return at once; who listens may or may not hear of it."""

    def listen(self, heard: Callable[[Sequence[Moved]], None]) -> None:
        """Call ``heard`` with the notes of every process, this one included."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What opens a stream in place of a key. Times are ms."""

    principal: Principal
    #: The one operation it opens; ``None``: the tenant's feed.
    operation_id: str | None
    created_at: int


class TicketStore(Protocol):
    """Keeps stream tickets by their hash, and knows whether the keys behind them are in force."""

    async def issue(
        self, digest: bytes, ticket: Ticket, once: Once | None = None
    ) -> Ticket | Refusal | Replayed:
        """Write a ticket down."""

    async def in_force(self, key_ids: Collection[str]) -> frozenset[str]:
        """Those of these keys that are neither revoked nor expired; of portal links, that last."""

    async def redeem(self, digest: bytes) -> Ticket | None:
        """The ticket, if its key is in force and it is neither used too late nor too old.

        Its principal has no scopes: what a ticket allows is its door's to say.
        """
