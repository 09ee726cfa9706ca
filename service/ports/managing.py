"""What the management of subscriptions and keys asks of the store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.domain.errors import Refusal
from service.domain.subscription import Subscription, Verification
from service.ports.accepting import Once, Replayed
from service.ports.adapters import SealedKey
from service.ports.delivering import Lane

#: Makes the private key that is to stand beside the secret of a version.
NewKey = Callable[[int], SealedKey]


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription to be made, checked and sealed."""

    subscription: Subscription
    secret: bytes
    #: Where a private key signs.
    key: SealedKey | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """A secret to come, by what seals it for its version."""

    seal: Callable[[int], bytes]
    #: Milliseconds for which the present one signs too.
    overlap: int
    #: Where a private key signs.
    key: NewKey | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: an API key, the tenant it acts for and what it may do."""

    key_id: str
    tenant_id: str
    scopes: frozenset[str]
    #: Whether the request named the tenant; an administrator who did not may see all of them.
    named: bool = False
    #: The hash of his key, where it was not looked up but remembered.
    unconfirmed: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that is in force: whose it is, and until when its text is good (ms)."""

    principal: Principal
    ends_at: int | None = None


class ManageStore(Protocol):
    """Subscriptions, their secrets, keys."""

    async def create_subscription(
        self, new: NewSubscription, actor: str, once: Once | None = None
    ) -> Subscription | Refusal | Replayed:
        """Make a subscription; events committed later reach it."""

    async def change_subscription(
        self,
        tenant_id: str,
        name: str,
        change: Callable[[Subscription], Subscription | Refusal],
        actor: str,
        action: str,
        key: NewKey | None = None,
    ) -> Subscription | Refusal:
        """Apply ``change`` to the subscription as it is now.

        ``key(version)`` comes beside the newest secret where a private key is to sign and none is
        there.
        """

    async def resume_subscription(
        self, tenant_id: str, name: str, actor: str
    ) -> Subscription | Refusal:
        """Enable a subscription, end its pause and its hold, and begin anew with its receiver."""

    async def delete_subscription(self, tenant_id: str, name: str, actor: str) -> Refusal | None:
        """Delete a subscription and its secrets; what waits for it becomes dead letters."""

    async def rotate_secret(
        self,
        tenant_id: str,
        name: str,
        rotation: Rotation,
        actor: str,
        once: Once | None = None,
    ) -> Subscription | Refusal | Replayed:
        """Add a secret; the present one goes on signing for a while."""

    async def lane(self, tenant_id: str, name: str) -> Lane | Refusal:
        """The subscription with the secrets that sign now, newest first; shown to nobody."""

    async def default_verification(self, tenant_id: str) -> Verification:
        """That of the tenant's new subscriptions which say nothing of it."""

    async def replayed(self, tenant_id: str, once: Once) -> Replayed | Refusal | None:
        """What is kept under an ``Idempotency-Key``; why it is not for this request; or nothing."""

    async def note(self, who: Principal, action: str, target: str, detail: str) -> None:
        """Write into the audit log what came to nothing else. ``detail`` is JSON."""

    async def reveal(
        self, tenant_id: str, name: str, actor: str, *, action: str = "subscription.secret_revealed"
    ) -> Lane | Refusal:
        """The subscription with its secrets; ``action`` names in the audit log what for."""

    async def ensure_key(
        self,
        key_id: str,
        name: str,
        digest: bytes,
        scopes: Sequence[str],
        public: str | None = None,
    ) -> None:
        """Make sure this key of the tenant ``default`` exists with this hash and public part."""

    async def find_key(self, digest: bytes) -> FoundKey | None:
        """Whose key this is, when it is neither revoked nor expired."""

    async def reseal(self, reseal: Callable[[bytes, str], bytes | None]) -> int:
        """Pass every sealed value with its context through ``reseal``; how many it changed."""
