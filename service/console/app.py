"""The console, put together from what it is given."""

from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Route

from service.console import routing, statics
from service.console.administration import Administration
from service.console.dead_letters import DeadLetters
from service.console.deliveries import Deliveries
from service.console.entry import Entry
from service.console.events import Events
from service.console.keys import Keys
from service.console.layout import Layout
from service.console.operations import Operations
from service.console.overview import Overview
from service.console.rendering import Templates
from service.console.routing import Entrance, Resource
from service.console.services import Services
from service.console.sessions import Sessions
from service.console.subscriptions import Subscriptions
from service.console.visits import ROOT, Action
from service.web.authentication import Doorkeeper

_TLS: Final = "https://"


def routes(services: Services, doorkeeper: Doorkeeper) -> Sequence[BaseRoute]:
    """Every address of the console."""
    secure = services.about.public_url.startswith(_TLS)
    sessions = Sessions(services.vault, services.clock, services.dice, secure=secure)
    layout = Layout(Templates(), services.clock)
    entrance = Entrance(doorkeeper, sessions, layout)
    return [
        *statics.routes(),
        *Entry(entrance).routes(),
        *routing.routes(actions_of(services, entrance), entrance),
        Route(f"{ROOT}/{{path:path}}", Resource({}, entrance)),
    ]


def actions_of(services: Services, entrance: Entrance) -> list[Action]:
    """All that can be done by who is signed in."""
    return [
        *Overview(services).actions(),
        *DeadLetters(services).actions(),
        *Deliveries(services).actions(),
        *Subscriptions(services).actions(),
        *Operations(services, entrance.layout).actions(),
        *Events(services).actions(),
        *Keys(services).actions(),
        *Administration(services, entrance.sessions).actions(),
    ]
