"""The application: every address of the JSON API, put together from what it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final, Self

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import routing
from service.api.api_keys import ApiKeys
from service.api.audit_log import AuditTrail
from service.api.dead_letters import DeadLetters
from service.api.deliveries import Deliveries
from service.api.events import Events
from service.api.feed import Feed
from service.api.following import Following
from service.api.guide import Guide
from service.api.key_sets import KeySets
from service.api.links import Links
from service.api.openapi import Reference
from service.api.operations import Operations
from service.api.portal_links import PortalLinks
from service.api.public import Public
from service.api.replays import BulkReplays
from service.api.routing import Action
from service.api.services import ApiSettings, Services
from service.api.socket import SOCKET_PATH, NoSocket, StatusSocket
from service.api.stats import Statistics
from service.api.subscriptions import Subscriptions
from service.api.tenants import Tenants
from service.web import whole
from service.web.authentication import Doorkeeper
from service.web.idempotency import Idempotency
from service.web.limiting import Guesses, RateLimits
from service.web.problems import Problems
from service.web.timing import Timed

#: Addresses for people beside the API, given who lets them in.
Pages = Callable[[Doorkeeper], Sequence[BaseRoute]]

#: What a page of another origin may see of an answer besides its body.
_EXPOSED: Final = (
    "etag",
    "link",
    "location",
    "preference-applied",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
)
_ASKED: Final = ("authorization", "content-type", "if-none-match", "last-event-id", "prefer")
#: What pages of other origins may read (contract, section 3): operations and streams.
_READABLE: Final = ("/v1/operations", "/v1/events")


class Elsewhere:
    """Lets pages of these origins read operations and streams, and nothing else."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._closed = app
        self._open = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET",),
            allow_headers=_ASKED,
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_readable = scope["type"] == "http" and scope["path"].startswith(_READABLE)
        await (self._open if is_readable else self._closed)(scope, receive, send)


class Application(Starlette):
    """Starlette, but for addresses that name nothing: those are looked up, not searched for.

    Middleware and routing cost as much as taking in an event does, and what answers here lets no
    exception out that they would be for.
    """

    _direct: Mapping[str, tuple[Route, ASGIApp]] = MappingProxyType({})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        found = self._direct.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await super().__call__(scope, receive, send)
        else:
            scope["route"], answering = found
            whole.allow(scope)  # nobody is between but our own middleware
            await answering(scope, receive, send)

    def shorten(self, middleware: Middleware) -> None:
        """Let no router see requests for resources without parameters, nor other middleware."""
        resources = [
            each
            for each in self.routes
            if isinstance(each, Route) and isinstance(each.endpoint, routing.Resource)
        ]
        around, args, named = middleware.cls, middleware.args, middleware.kwargs
        self._direct = {
            each.path: (each, around(each.app, *args, **named))
            for each in resources
            if not each.param_convertors
        }


def no_pages(_: Doorkeeper) -> Sequence[BaseRoute]:
    """The API alone."""
    return ()


def create_app(services: Services, pages: Pages = no_pages) -> Application:
    """The API over these services, and pages beside it; nothing is shared between two of them."""
    settings = services.settings
    told = Problems(settings.public_url)
    doorkeeper, timed = _doorkeeper(services), _timed(services)
    actions = actions_of(services, told)
    actions += Reference(actions, settings.public_url).actions()
    app = Application(
        routes=[
            *routing.routes(actions, doorkeeper, told),
            *pages(doorkeeper),
            WebSocketRoute(SOCKET_PATH, StatusSocket(services, doorkeeper, told)),
            WebSocketRoute("/{path:path}", NoSocket(told)),
        ],
        middleware=[timed, *_middleware(settings.cors_origins)],
        exception_handlers={routing.NO_ROUTE: routing.Unknown(told)},
    )
    # A redirect would answer a POST by a request without its body.
    app.router.redirect_slashes = False
    if not settings.cors_origins:
        app.shorten(timed)
    return app


def create_status_app(services: Services) -> Starlette:
    """What anybody may ask of any process: whether it lives, is ready, and its numbers."""
    told = Problems(services.settings.public_url)
    actions = Public(services, told).actions()
    return Starlette(
        routes=routing.routes(actions, _doorkeeper(services), told),
        middleware=[_timed(services)],
        exception_handlers={routing.NO_ROUTE: routing.Unknown(told)},
    )


def _doorkeeper(services: Services) -> Doorkeeper:
    now = services.clock.monotonic
    return Doorkeeper(
        find_key=services.find_key,
        presume_key=services.presume_key,
        redeem=services.tickets.redeem,
        has_tenant=services.tenant_reads.has_tenant,
        limits=RateLimits(services.settings.rate_limit, now),
        guesses=Guesses(now),
    )


def description(public_url: str) -> bytes:
    """The OpenAPI document of the application; nothing is opened for it."""
    services: dict[str, Any] = {field.name: _Uncalled() for field in fields(Services)}
    services["settings"] = ApiSettings(public_url)
    actions = actions_of(Services(**services), Problems(public_url))
    return Reference(actions, public_url).text


class _Uncalled:
    """Stands for services where actions are only looked at."""

    def __getattr__(self, _: str) -> Self:
        return self


def actions_of(services: Services, told: Problems) -> list[Action]:
    """All that can be done over these services."""
    links = Links(services.settings.public_url)
    once = Idempotency(services.vault)
    return [
        *Feed(services, told).actions(),  # its stream comes before the events' ids
        *Events(services, once, told).actions(),  # the busiest first: routes are tried in order
        *Operations(services, once, links).actions(),
        *Following(services, once, told).actions(),
        *BulkReplays(services, once, links).actions(),
        *Subscriptions(services, once, links).actions(),
        *Deliveries(services, once, links).actions(),
        *DeadLetters(services, once, links).actions(),
        *ApiKeys(services, once, links).actions(),
        *Tenants(services, once, links).actions(),
        *PortalLinks(services, once, links).actions(),
        *AuditTrail(services).actions(),
        *Statistics(services).actions(),
        *KeySets(services).actions(),
        *Public(services, told).actions(),
        *Guide(services.settings.public_url).actions(),
    ]


def _timed(services: Services) -> Middleware:
    return Middleware(Timed, times=services.times, now=services.clock.monotonic)


def _middleware(origins: tuple[str, ...]) -> list[Middleware]:
    return [Middleware(Elsewhere, origins=origins)] if origins else []
