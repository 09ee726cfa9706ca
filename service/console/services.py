"""What the console needs of the rest of the service: the use cases and reads of the API."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service.console.looking import Looks
from service.domain.errors import Refusal
from service.domain.health import circuit
from service.ports import (
    AuditLog,
    Clock,
    Dice,
    KeyStore,
    ReadStore,
    SubscriptionStats,
    TenantStore,
    TrafficStore,
    Vault,
)
from service.usecases.manage_keys import ManageKeys, NewApiKey
from service.usecases.manage_operations import ManageOperations
from service.usecases.manage_subscriptions import ManageSubscriptions, SubscriptionInput
from service.usecases.manage_tenants import ManageTenants, TenantInput
from service.usecases.portals import Portals
from service.usecases.replay import Replays
from service.usecases.stats import Stats
from service.usecases.try_subscription import TrySubscription
from service.usecases.watch import Watch

T = TypeVar("T")

#: Reads a JSON body by the rules of the API, which are written down there and nowhere else.
Reads = Callable[[bytes], T | Refusal]


@dataclass(frozen=True, slots=True)
class Bodies:
    """How the API reads what it is sent."""

    subscription: Reads[SubscriptionInput]
    subscription_patch: Reads[SubscriptionInput]
    api_key: Reads[NewApiKey]
    tenant: Reads[TenantInput]
    #: Members of a tenant by name.
    tenant_patch: Reads[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is shown, secrets masked."""

    name: str
    value: str
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class About:
    """What this process is. Plain values."""

    public_url: str
    version: str
    #: Names of parts and their versions.
    parts: tuple[tuple[str, str], ...]
    settings: tuple[Setting, ...]
    #: Whether circuits count.
    breaker: bool

    def circuit_of(self, stats: SubscriptionStats) -> str:
        """How a subscription's circuit stands; ``off`` where none counts."""
        return circuit(stats.health, stats.at).value if self.breaker else "off"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the work: to answer (``api``), to deliver (``worker``), to sweep."""

    name: str
    is_here: bool
    #: Whether any process does it; ``None``: that is not known.
    is_anywhere: bool | None
    #: Seconds since it was last gone round without a fault here, where it is a round.
    age: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """What this process is at, and who else works with its database."""

    parts: tuple[Part, ...]
    #: Processes that work with the database; ``None``: that is not known.
    processes: int | None
    #: The revision of its schema, and the server that has it, where there is one.
    revision: str | None
    server: str | None
    #: Sends, now and at most.
    in_flight: int
    slots: int
    #: Who waits for events here, and who listens to pages.
    followers: int
    lookers: int
    #: Leases of workers that were gone, found by this process.
    expired_leases: int


@dataclass(frozen=True, slots=True)
class Services:
    """Use cases, reads and settings; the console has no state of its own besides."""

    replays: Replays
    operations: ManageOperations
    subscriptions: ManageSubscriptions
    trials: TrySubscription
    watch: Watch
    looks: Looks
    portals: Portals
    keys: ManageKeys
    tenants: ManageTenants
    reads: ReadStore
    key_reads: KeyStore
    tenant_reads: TenantStore
    audit_log: AuditLog
    stats: Stats
    traffic: TrafficStore
    vault: Vault
    clock: Clock
    dice: Dice
    bodies: Bodies
    about: About
    #: What it is at now.
    work: Callable[[], Awaitable[Work]]
    #: Why this process should get no requests now; ``None`` when it should.
    ready: Callable[[], Awaitable[str | None]]
