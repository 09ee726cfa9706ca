"""What the consumer portal asks of the store: links, and the sessions that they open."""

from dataclasses import dataclass
from typing import Protocol

from service.domain.errors import Refusal
from service.ports.accepting import Once, Replayed
from service.ports.managing import Principal


@dataclass(frozen=True, slots=True)
class PortalLink:
    """A link as it is stored beside the hash of its secret. Times are ms."""

    id: str
    tenant_id: str
    #: The key that asked for it, with which it dies.
    key_id: str
    #: The one subscription it shows; ``None``: everything of the tenant.
    subscription_id: str | None
    scopes: frozenset[str]
    created_at: int
    #: Until when it must be opened.
    ends_at: int
    #: How long the session lasts that it opens.
    session_ms: int


@dataclass(frozen=True, slots=True)
class OneSubscription:
    """The only subscription that somebody may see."""

    no: int
    id: str


@dataclass(frozen=True, slots=True)
class PortalGuest:
    """Who came by a link; the link's id stands for a key's. ``ends_at`` is ms."""

    principal: Principal
    subscription: OneSubscription | None
    ends_at: int
    #: Origins whose pages may embed the tenant's portal.
    origins: tuple[str, ...] = ()


class PortalStore(Protocol):
    """Keeps links by the hash of their secret, and knows whether what they stand on is there."""

    async def issue(
        self, digest: bytes, link: PortalLink, once: Once | None = None
    ) -> PortalLink | Refusal | Replayed:
        """Write a link down, of a tenant and a subscription that are there."""

    async def embedders(self, digest: bytes) -> tuple[str, ...] | None:
        """The origins that may embed what a link would open; ``None`` when it opens nothing."""

    async def open(self, digest: bytes) -> PortalGuest | None:
        """Begin the session of a link that nobody has opened; each link once."""

    async def guest(self, digest: bytes) -> PortalGuest | None:
        """Whose session this is, while it lasts and key, tenant and subscription do."""

    async def end(self, digest: bytes) -> None:
        """End a session."""

    async def revoke(self, who: Principal, name: str) -> Refusal | None:
        """Let a link open nothing any more, and end the session that it opened."""
