"""What prune asks of the store."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Past:
    """How much is past its time, over all tenants."""

    #: Older than retention, whatever still needs them.
    events: int
    #: Open ones of such events: they become dead letters first.
    open_deliveries: int
    #: Finished ones of such events and their attempts, without those of open dead letters.
    deliveries: int
    attempts: int
    dead_letters: int
    #: Past the time for which they are readable, and still whole.
    operations: int
    #: What is left of operations of which retention needs nothing more.
    tombstones: int

    @property
    def total(self) -> int:
        """All of it together."""
        return (
            self.events
            + self.open_deliveries
            + self.deliveries
            + self.attempts
            + self.dead_letters
            + self.operations
            + self.tombstones
        )


class PruneStore(Protocol):
    """Counts what is past its time."""

    async def past(self, retention: int) -> Past:
        """How much is older than ``retention`` ms."""
