"""The console and the portal, put together from what they are given."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.routing import BaseRoute

from service.console import live, routing, statics
from service.console.administration import Administration
from service.console.dead_letters import DeadLetters
from service.console.deliveries import Deliveries
from service.console.delivery_replays import DeliveryReplays
from service.console.entrances import ConsoleEntrance, PortalEntrance
from service.console.entry import ConsoleEntry, PortalEntry
from service.console.events import Events
from service.console.keys import Keys
from service.console.layout import Layout
from service.console.operations import Operations
from service.console.overview import Overview
from service.console.rendering import Templates
from service.console.services import Services
from service.console.sessions import Cookies, Sessions
from service.console.site import CONSOLE, PORTAL
from service.console.subscription_editing import SubscriptionEditing
from service.console.subscription_replays import SubscriptionReplays
from service.console.subscriptions import Subscriptions
from service.console.tenants import Tenants
from service.console.visits import Action
from service.web.authentication import Doorkeeper

_TLS: Final = "https"


def routes(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """Every address for people."""
    return [*console_routes(services, doorkeeper), *portal_routes(services, doorkeeper)]


def console_routes(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """Every address of the console."""
    cookies = Cookies("console", secure=_is_secure(services.about.public_url))
    sessions = Sessions(services.vault, services.clock, services.dice, cookies)
    layout = Layout(Templates(), services.clock, CONSOLE, services.about.public_url)
    entrance = ConsoleEntrance(doorkeeper, sessions, layout)
    actions = [*shared(services, layout), *operators_own(services, sessions)]
    pages = routing.routes(actions, entrance)
    return [
        *statics.routes(CONSOLE.root),
        *ConsoleEntry(entrance, services.looks).routes(),
        live.route(pages, entrance, services),
        *pages,
    ]


def portal_routes(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """Every address of the portal."""
    url = services.about.public_url
    cookies = Cookies("portal", secure=_is_secure(url), embedded=is_trusted(url))
    sessions = Sessions(services.vault, services.clock, services.dice, cookies)
    layout = Layout(Templates(), services.clock, PORTAL, url)
    entrance = PortalEntrance(doorkeeper, sessions, layout, services.portals, services.reads)
    pages = routing.routes(shared(services, layout), entrance)
    return [
        *statics.routes(PORTAL.root),
        *PortalEntry(entrance, services.looks, services.portals).routes(),
        live.route(pages, entrance, services),
        *pages,
    ]


def shared(services: Services, layout: Layout) -> list[Action]:
    """What both show and do, each visitor within his bounds."""
    return [
        *Overview(services).actions(),
        *DeadLetters(services).actions(),
        *DeliveryReplays(services).actions(),
        *Deliveries(services).actions(),
        *SubscriptionEditing(services).actions(),
        *Subscriptions(services).actions(),
        *SubscriptionReplays(services).actions(),
        *Operations(services, layout).actions(),
        *Events(services).actions(),
    ]


def operators_own(services: Services, sessions: Sessions) -> list[Action]:
    """What only the console has."""
    return [
        *Keys(services).actions(),
        *Tenants(services, sessions).actions(),
        *Administration(services).actions(),
    ]


def is_trusted(public_url: str) -> bool:
    """Whether browsers take cookies from there that only secure connections carry."""
    return _is_secure(public_url) or _is_loopback(urlsplit(public_url).hostname or "")


def _is_secure(public_url: str) -> bool:
    return urlsplit(public_url).scheme == _TLS


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
