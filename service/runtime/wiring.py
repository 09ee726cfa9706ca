"""Opens the adapters and builds the use cases over them; closes in reverse."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from service import __version__, ports
from service.broker import ACTOR, QUEUE
from service.console import Looks
from service.domain import times
from service.domain.ids import KeyMaker
from service.ports import Clock, Dice
from service.runtime import keys as own_keys
from service.runtime.clock import SystemClock, SystemDice
from service.runtime.measuring import snapshot
from service.runtime.messaging import Messaging, open_messaging
from service.runtime.reach import target_policy
from service.runtime.storage import ensure_admin_key, open_storage
from service.sender import GuardedSender
from service.settings import ROLES, Settings
from service.store.accepting import AcceptStore
from service.store.announcing import Announcer
from service.store.api_keys import KeyStore
from service.store.counting import WaitingCounts
from service.store.database import Database
from service.store.delivering import DeliverStore
from service.store.lifetimes import LifetimeStore
from service.store.managing import ManageStore
from service.store.newest import newest_key
from service.store.operating import OperationStore
from service.store.portals import PortalStore
from service.store.reading import ReadStore
from service.store.replaying import ReplayStore
from service.store.sweeping import SweepStore
from service.store.tenancy import TenantStore
from service.store.tickets import TicketStore
from service.store.traffic import TrafficStore
from service.telemetry import CONTENT_TYPE, ToldDeliveries, ToldSweeps, exposition
from service.usecases.accept import Accept
from service.usecases.asking import Asking
from service.usecases.compose import Composer, Wire
from service.usecases.deliver import Deliver, Pace
from service.usecases.lifetimes import Lifetimes
from service.usecases.making import Maker
from service.usecases.manage_keys import KeyUse, ManageKeys
from service.usecases.manage_operations import ManageOperations
from service.usecases.manage_subscriptions import ManageSubscriptions
from service.usecases.manage_tenants import ManageTenants
from service.usecases.observing import Observe
from service.usecases.portals import Portals
from service.usecases.replay import Replays
from service.usecases.stats import Stats
from service.usecases.sweep import Chore, Rounds, Sweep, Terms, due
from service.usecases.tickets import Tickets
from service.usecases.try_subscription import TrySubscription
from service.usecases.verifying import Verifier
from service.usecases.watch import Watch
from service.vault.keyring import KeyRing
from service.web.timing import RouteTimes
from service.worker import WorkerHost, declare

#: Seconds that a subscription's own ``timeoutSeconds`` may ask for at most (contract, section 4.3).
LONGEST_TIMEOUT: Final = 30.0
_USER_AGENT: Final = f"Ringback/{__version__}"
#: Seconds between looks at counts: at those that wait to be written, at those past their time.
_COUNTS: Final = 1.0
_OLD_COUNTS: Final = 30.0
#: Open connections to receivers: one for each send in flight, and some that are kept warm.
_CONNECTIONS: Final = 1024


@dataclass(frozen=True, slots=True)
class Base:
    """What everything else stands on."""

    settings: Settings
    #: The database's: keys made by a machine's own would be ahead of it, or behind.
    clock: Clock
    dice: Dice
    keys: KeyMaker
    vault: KeyRing
    database: Database
    sender: GuardedSender
    messaging: Messaging


class Journey(NamedTuple):
    """What an event meets on its way from its producer to its receivers."""

    accept: ports.AcceptStore
    waker: ports.Waker
    deliver: ports.DeliverStore
    sender: ports.Sender
    sweep: ports.SweepStore


class Outside:
    """What the service is composed over.

    The lab puts in its place what does harm, and tracing what looks on; no one else does.
    """

    def clock(self) -> Clock:
        """The reader of time."""
        return SystemClock()

    def base(self, base: Base) -> Base:
        """What everything else is to stand on, given what it would stand on."""
        return base

    def journey(self, journey: Journey) -> Journey:
        """What events are to meet, given what they would meet."""
        return journey

    def near(self, waker: ports.Waker) -> ports.Waker:
        """What is to wake the worker of this very process, given what would."""
        return waker

    def app(self, app: Any) -> Any:  # noqa: ANN401  what uvicorn takes
        """What is to answer at the API's door, given what would."""
        return app


#: The world as it is.
OUTSIDE: Final = Outside()


@dataclass(frozen=True, slots=True)
class Stores:
    """The store, by what is wanted of it."""

    accept: AcceptStore
    counts: WaitingCounts
    deliver: DeliverStore
    sweep: SweepStore
    replay: ReplayStore
    manage: ManageStore
    operations: OperationStore
    lifetimes: LifetimeStore
    read: ReadStore
    tickets: TicketStore
    portals: PortalStore
    keys: KeyStore
    tenants: TenantStore
    traffic: TrafficStore

    @classmethod
    def over(cls, base: Base) -> "Stores":
        """The views of one database."""
        database, keys, breaker = base.database, base.keys, base.settings.breaker
        ttl = times.seconds(base.settings.operation_ttl)
        counts = WaitingCounts(database)
        accept = AcceptStore(database, keys, counts, base.dice, base.settings.retry_schedule, ttl)
        announcer = Announcer(accept, keys, base.dice)
        return cls(
            accept=accept,
            counts=counts,
            deliver=DeliverStore(database, keys, announcer, counts, breaker=breaker),
            sweep=SweepStore(database, announcer, counts, breaker=breaker),
            replay=ReplayStore(database, keys),
            manage=ManageStore(database, keys),
            operations=OperationStore(database, keys, ttl, accept.recalled),
            lifetimes=LifetimeStore(database, ttl),
            read=ReadStore(database, breaker=breaker),
            tickets=TicketStore(database, keys),
            portals=PortalStore(database, keys),
            keys=KeyStore(database, keys),
            tenants=TenantStore(database, keys),
            traffic=TrafficStore(database),
        )


@dataclass(frozen=True, slots=True)
class Administration:
    """What rules who may do anything here."""

    keys: ManageKeys
    key_use: KeyUse
    tenants: ManageTenants

    @classmethod
    def over(cls, stores: Stores, maker: Maker, *, is_alone: bool) -> "Administration":
        """The use cases over these stores; ``is_alone``: no other process has them."""
        find = stores.manage.find_key
        key_use = KeyUse(find, stores.keys, maker.clock, is_alone=is_alone)
        return cls(
            keys=ManageKeys(stores.keys, maker, key_use.forget),
            key_use=key_use,
            tenants=ManageTenants(stores.tenants, maker, key_use.forget),
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything that is open and built, whatever the process does of it."""

    base: Base
    stores: Stores
    accept: Accept
    deliver: Deliver
    #: What a process does again and again: as API, as worker, as sweeper.
    noting: Rounds
    feeding: Rounds
    sweep: Sweep
    replays: Replays
    operations: ManageOperations
    subscriptions: ManageSubscriptions
    trials: TrySubscription
    watch: Watch
    #: Who listens to pages of the console and of the portal.
    looks: Looks
    tickets: Tickets
    portals: Portals
    administration: Administration
    stats: Stats
    observe: Observe
    #: How long the answers of this process took.
    times: RouteTimes
    worker: WorkerHost
    #: Seconds that a send may take.
    longest: float
    outside: Outside = OUTSIDE
    roles: frozenset[str] = ROLES
    #: The admin key when it was made just now, to be shown this once.
    new_admin_key: str | None = None

    def start_worker(self) -> None:
        """Deliver from now on: what messages tell of, and what is accepted here."""
        self.worker.start()
        self.accept.lead_to(self.outside.near(self.deliver))

    async def metrics(self) -> tuple[bytes, str]:
        """The numbers of this process as text for Prometheus, and its media type."""
        return exposition(await snapshot(self)), CONTENT_TYPE


@asynccontextmanager
async def open_service(
    settings: Settings, roles: frozenset[str] = ROLES, outside: Outside = OUTSIDE
) -> AsyncIterator[Opened]:
    """Open the store, the sender and the ways between processes; build the use cases over them.

    Of what this process does not do, nothing is started, and no admin key is made.
    """
    dice = SystemDice()
    async with (
        open_storage(settings, outside.clock(), roles) as storage,
        open_messaging(settings.redis_url, dice) as messaging,
    ):
        database, vault = storage.database, storage.vault
        keys = KeyMaker(database.node, await newest_key(database))
        policy = target_policy(settings)
        sender = GuardedSender(policy, connections=_CONNECTIONS, user_agent=_USER_AGENT)
        try:
            base = Base(settings, database.clock, dice, keys, vault, database, sender, messaging)
            opened = _build(outside.base(base), outside)
            manage = opened.stores.manage
            own_keys.check(vault, await manage.sealed_samples())
            made = await ensure_admin_key(storage, settings, manage) if "api" in roles else None
            yield replace(opened, roles=roles, new_admin_key=made, outside=outside)
        finally:
            await sender.close()


def _build(base: Base, outside: Outside) -> Opened:
    """Build the use cases. What is built first stands below what is built after it."""
    settings, chance, messaging = base.settings, (base.clock, base.dice), base.messaging
    waker, backplane = messaging.waker, messaging.backplane
    maker = Maker(base.clock, base.dice, base.keys)
    composer = _composer(base)
    stores = Stores.over(base)
    met = outside.journey(_journey(base, stores, waker))
    accept = Accept(met.accept, met.waker, backplane)
    longest = max(settings.request_timeout, LONGEST_TIMEOUT)
    pace = Pace(settings.retry_schedule, longest)
    deliver = Deliver(met.deliver, met.sender, composer, chance, pace)
    declare(messaging.broker, deliver.wake, actor=ACTOR, queue=QUEUE)
    asked = (stores.manage, base.sender, composer, maker, Asking())
    subscriptions = ManageSubscriptions(stores.manage, Verifier(*asked), base.vault, waker, maker)
    administration = Administration.over(stores, maker, is_alone=not base.database.is_shared)
    observe = Observe(stores.sweep, stores.read, base.clock)
    told = (stores.operations, stores.read)
    watch = Watch(stores.read, stores.tickets, backplane)
    return Opened(
        base=base,
        stores=stores,
        accept=accept,
        deliver=deliver,
        noting=Rounds(base.clock, (*administration.key_use.chores(), _counting(stores))),
        feeding=Rounds(base.clock, _feeding(met, stores, deliver)),
        sweep=_sweep(base, met, stores, accept, (observe, administration.tenants)),
        replays=Replays(stores.replay, accept, waker, base.keys, chance),
        operations=ManageOperations(told, accept, subscriptions, waker, maker),
        subscriptions=subscriptions,
        trials=TrySubscription(*asked),
        watch=watch,
        looks=Looks(watch.closing),
        tickets=Tickets(stores.tickets, base.clock, base.dice),
        portals=Portals(stores.portals, maker),
        administration=administration,
        stats=Stats(stores.read, stores.sweep, base.clock, deliver.allowed),
        observe=observe,
        times=RouteTimes(),
        worker=WorkerHost(messaging.broker, messaging.broker.taken),
        longest=longest,
    )


def _composer(base: Base) -> Composer:
    """What makes requests of deliveries."""
    wire = Wire(_USER_AGENT, base.settings.public_url, base.settings.request_timeout)
    return Composer(base.vault, base.clock, base.dice, wire)


def _journey(base: Base, stores: Stores, waker: ports.Waker) -> Journey:
    """What events meet; what fails of them, and what a sweep does, is told in the log."""
    deliver = ToldDeliveries(stores.deliver, base.clock)
    sweep = ToldSweeps(stores.sweep, base.clock)
    return Journey(stores.accept, waker, deliver, base.sender, sweep)


def _feeding(met: Journey, stores: Stores, deliver: Deliver) -> tuple[Chore, ...]:
    """What each worker does for itself, whatever becomes of wakes."""
    return (
        due(met.sweep, deliver),
        Chore("results only counted", _COUNTS, stores.deliver.flush, keeps=True),
    )


def _counting(stores: Stores) -> Chore:
    """What every process does that accepts events, or gives deliveries up."""
    return Chore("counts", _COUNTS, stores.counts.flush, keeps=True)


def _sweep(
    base: Base,
    met: Journey,
    stores: Stores,
    accept: Accept,
    more: tuple[Observe, ManageTenants],
) -> Sweep:
    settings, (observe, tenants) = base.settings, more
    terms = Terms(settings.retry_schedule, times.seconds(settings.retention))
    lifetimes = Lifetimes(stores.lifetimes, accept, settings.public_url, terms.retention)
    chores = (
        *lifetimes.chores(),
        *tenants.chores(),
        Chore("old counts", _OLD_COUNTS, stores.deliver.forget_counts),
        Chore("old traffic", _OLD_COUNTS, stores.traffic.forget),
        _counting(stores),
        observe.chore(),
        observe.keeping(stores.traffic),
    )
    return Sweep(met.sweep, met.waker, base.clock, terms, chores)
