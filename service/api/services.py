"""What the API needs of the rest of the service."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.ports import (
    AuditLog,
    Clock,
    Dice,
    KeyStore,
    PublicKeyStore,
    ReadStore,
    TenantStore,
    Vault,
)
from service.usecases.accept import Accept
from service.usecases.manage_keys import ManageKeys
from service.usecases.manage_operations import ManageOperations
from service.usecases.manage_subscriptions import ManageSubscriptions
from service.usecases.manage_tenants import ManageTenants
from service.usecases.portals import Portals
from service.usecases.replay import Replays
from service.usecases.stats import Stats
from service.usecases.tickets import Tickets
from service.usecases.try_subscription import TrySubscription
from service.usecases.watch import Watch
from service.web.authentication import FindKey
from service.web.timing import RouteTimes


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Plain values of the settings."""

    #: Base of every absolute link, without a slash at its end.
    public_url: str
    max_event_bytes: int = 262_144
    #: Open deliveries from which producers are told to wait; 0: no limit.
    max_pending: int = 0
    cors_origins: tuple[str, ...] = ()
    #: Requests per second of one key; 0: no limit.
    rate_limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Services:
    """Use cases, reads and settings; the API has no state of its own besides."""

    accept: Accept
    replays: Replays
    operations: ManageOperations
    subscriptions: ManageSubscriptions
    trials: TrySubscription
    watch: Watch
    tickets: Tickets
    portals: Portals
    keys: ManageKeys
    tenants: ManageTenants
    reads: ReadStore
    key_reads: KeyStore
    tenant_reads: TenantStore
    public_keys: PublicKeyStore
    audit_log: AuditLog
    stats: Stats
    find_key: FindKey
    presume_key: FindKey
    vault: Vault
    clock: Clock
    dice: Dice
    #: Why this process should get no requests now; ``None`` when it should.
    ready: Callable[[], Awaitable[str | None]]
    #: How many deliveries are open, as far as this process knows.
    pending: Callable[[], int]
    #: Metrics as text, and its media type.
    metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    #: Where the time that answers took is counted.
    times: RouteTimes
    settings: ApiSettings
