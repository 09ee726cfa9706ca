"""What operations ask of the store besides events: their description, and the end of their time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.domain.errors import Refusal
from service.domain.operation import Operation
from service.domain.subscription import Subscription
from service.ports.accepting import Once, Replayed
from service.ports.managing import NewSubscription


@dataclass(frozen=True, slots=True)
class OperationPlan:
    """An operation as it is described, before the store knows whether there is one."""

    operation: Operation
    #: Whether its id was chosen by who describes it.
    named: bool
    #: Its own subscription.
    webhook: NewSubscription | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """The operation as it is now, and its own subscription."""

    operation: Operation
    webhook: Subscription | None
    #: Whether it was described just now; not so when its client's id for it was known.
    made: bool
    #: Whether its subscription has deliveries already: of events that came before it.
    waiting: bool = False


class OperationStore(Protocol):
    """Describes operations."""

    async def create(
        self, plan: OperationPlan, actor: str, once: Once | None = None
    ) -> Described | Refusal | Replayed:
        """Write an operation down, or describe the one that an event created."""


@dataclass(frozen=True, slots=True)
class SilentOperation:
    """An operation whose time-out has come."""

    tenant_id: str
    id: str
    type: str | None
    timeout_ms: int


class LifetimeStore(Protocol):
    """Finds operations whose time has come."""

    async def silent(self) -> Sequence[SilentOperation]:
        """A batch of those that were silent for too long."""

    async def adopt(self, after: int) -> int | None:
        """Give the next ended operations behind the key ``after`` the expiry that they lack.

        Where it came to; ``None`` at the end.
        """

    async def strip(self) -> int:
        """Remove the bodies of a batch of expired operations, leaving tombstones; how many."""

    async def remove_tombstones(self, retention: int) -> int:
        """Delete a batch of tombstones of operations that ended ``retention`` ms ago; how many.

        Their own subscriptions go with them. A tombstone stays while an event of it is kept, or
        while its subscription has open deliveries or dead letters.
        """
