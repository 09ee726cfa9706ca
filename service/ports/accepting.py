"""What accept asks of the store, and answers kept for an ``Idempotency-Key``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.acceptance import Guard, Verdict
from service.domain.errors import Refusal
from service.domain.event import EventIn
from service.domain.operation import Operation
from service.domain.subscription import Subscription
from service.domain.values import Value


@dataclass(frozen=True, slots=True)
class Once:
    """Do it once: keep the answer under ``key``, in the same transaction as the change itself."""

    key: str
    fingerprint: bytes
    #: The answer to keep (sealed) for a result; ``None`` when the result is not to be kept.
    render: Callable[[Any], bytes | None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """It was done before: the answer kept then (sealed)."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """An entry for the audit log: who (an API key's id) did what to which object."""

    actor: str
    action: str
    target: str
    #: JSON text without secrets.
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """A wish to try a failed operation once more, as a new one."""

    #: The id of the one that failed.
    failed: str
    #: Key and id of the new one, and the id of its own subscription should the failed one have one.
    key: int
    id: str
    webhook_id: str
    #: A sealed value as it is sealed in another context: (sealed, its context, the other).
    reseal: Callable[[bytes, str, str], bytes]


@dataclass(frozen=True, slots=True)
class Retried:
    """The operation that retries another one, and its own subscription."""

    operation: Operation
    webhook: Subscription | None
    #: Whether it was made just now.
    made: bool


class AcceptRequest(Value, frozen=True):
    """Events posted in one request; what has faults of its own is a refusal already."""

    tenant_id: str
    events: Sequence[EventIn | Refusal]
    once: Once | None = None
    #: What else must hold of the operation, judged under its lock.
    guard: Guard | None = None
    #: Written in the same transaction, when the request changes something.
    note: Note | None = None
    #: Instead of events.
    retry: Retry | None = None
    #: The hash of an API key that has to be in force when this is committed.
    credential: bytes | None = None


Answer = list[Verdict] | Retried | Replayed | Refusal


class AcceptResult(Value, frozen=True):
    """One verdict an event, in order; or what came of a retry; or the answer given before."""

    answer: Answer
    #: The lanes that now have a delivery due, unless somebody was told of them before the commit.
    lanes: frozenset[int] = frozenset()


#: Told of the lanes that will have a delivery due once a transaction is committed.
Foretell = Callable[[frozenset[int]], None]


class AcceptStore(Protocol):
    """Takes events."""

    async def accept(
        self,
        group: Sequence[AcceptRequest],
        *,
        bounded: bool = True,
        foretell: Foretell | None = None,
    ) -> list[AcceptResult]:
        """Commit events, operations and deliveries of a whole group, all or nothing.

        A store with one writer calls ``foretell`` before the commit: a claim that is asked for at
        once is part of it, and finds what it is about. Others never call it.

        Raises :class:`GroupTooWideError` when ``bounded`` and several events make too many
        deliveries.
        """

    async def pending(self) -> int:
        """How many deliveries are open, over all tenants."""
