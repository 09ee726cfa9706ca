"""The operator console and the consumer portal over what is open, beside the API."""

import platform
from collections.abc import Awaitable, Callable
from functools import partial

from service import __version__, console
from service.api.api_keys import ApiKeyBody
from service.api.app import Pages
from service.api.reading import parse
from service.api.subscription_bodies import NewSubscriptionBody, SubscriptionPatch
from service.api.tenants import TenantBody, TenantPatch
from service.domain.errors import Refusal
from service.runtime import presence
from service.runtime.wiring import Opened
from service.settings import Settings
from service.usecases.manage_keys import NewApiKey
from service.usecases.manage_subscriptions import SubscriptionInput
from service.usecases.manage_tenants import TenantInput

Ready = Callable[[], Awaitable[str | None]]


def pages(opened: Opened, ready: Ready) -> Pages:
    """What people see, given who lets them in; ``ready`` is as in the API's services."""
    return partial(console.routes, console_services(opened, ready))


def console_services(opened: Opened, ready: Ready) -> console.Services:
    """What the console needs of what is open."""
    stores = opened.stores
    return console.Services(
        replays=opened.replays,
        operations=opened.operations,
        subscriptions=opened.subscriptions,
        trials=opened.trials,
        watch=opened.watch,
        looks=opened.looks,
        portals=opened.portals,
        keys=opened.administration.keys,
        tenants=opened.administration.tenants,
        reads=stores.read,
        key_reads=stores.keys,
        tenant_reads=stores.tenants,
        audit_log=stores.read,
        stats=opened.stats,
        traffic=stores.traffic,
        vault=opened.base.vault,
        clock=opened.base.clock,
        dice=opened.base.dice,
        bodies=_bodies(),
        about=_about(opened.base.settings),
        work=partial(presence.at_work, opened),
        ready=ready,
    )


def _bodies() -> console.Bodies:
    return console.Bodies(
        subscription=_subscription,
        subscription_patch=_subscription_patch,
        api_key=_api_key,
        tenant=_tenant,
        tenant_patch=_tenant_patch,
    )


def _about(settings: Settings) -> console.About:
    store = "SQLite, in this process" if settings.is_embedded else "PostgreSQL"
    between = "Redis" if settings.redis_url else "in this process"
    return console.About(
        public_url=settings.public_url,
        version=__version__,
        parts=(
            ("Ringback", __version__),
            ("Python", platform.python_version()),
            ("Store", store),
            ("Broker and pub/sub", between),
            *presence.libraries(),
        ),
        settings=tuple(console.Setting(*row) for row in settings.describe()),
        breaker=settings.breaker,
    )


def _subscription(body: bytes) -> SubscriptionInput | Refusal:
    read = parse(body, NewSubscriptionBody)
    return read if isinstance(read, Refusal) else read.given(read.secret)


def _subscription_patch(body: bytes) -> SubscriptionInput | Refusal:
    read = parse(body, SubscriptionPatch)
    return read if isinstance(read, Refusal) else read.given()


def _api_key(body: bytes) -> NewApiKey | Refusal:
    read = parse(body, ApiKeyBody)
    return read if isinstance(read, Refusal) else read.given()


def _tenant(body: bytes) -> TenantInput | Refusal:
    read = parse(body, TenantBody)
    return read if isinstance(read, Refusal) else read.given()


def _tenant_patch(body: bytes) -> dict[str, object] | Refusal:
    read = parse(body, TenantPatch)
    return read if isinstance(read, Refusal) else read.given()
