"""What accept asks of the store, and answers kept for an ``Idempotency-Key``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.acceptance import Verdict
from service.domain.errors import Refusal
from service.domain.event import EventIn


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
class AcceptRequest:
    """Events posted in one request; what has faults of its own is a refusal already."""

    tenant_id: str
    events: Sequence[EventIn | Refusal]
    once: Once | None = None


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """One verdict an event, in order; or the answer given before."""

    answer: list[Verdict] | Replayed | Refusal
    #: The lanes that now have a delivery due.
    lanes: frozenset[int] = frozenset()


class AcceptStore(Protocol):
    """Takes events."""

    async def accept(
        self, group: Sequence[AcceptRequest], *, bounded: bool = True
    ) -> list[AcceptResult]:
        """Commit events, operations and deliveries of a whole group, all or nothing.

        Raises :class:`GroupTooWideError` when ``bounded`` and several events make too many
        deliveries.
        """

    async def pending(self) -> int:
        """How many deliveries are open, over all tenants."""
