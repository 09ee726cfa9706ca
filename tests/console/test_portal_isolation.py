"""Whatever somebody in the portal asks, nothing that is not his is shown or changed.

Asked of every address that the portal has: of its table of routes, not of a list made by hand.
"""

from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.console.app import portal_routes
from service.domain.portal import CONSUMER_SCOPES
from service.runtime.pages import console_services
from service.store.schema import metadata
from service.web.authentication import Doorkeeper
from tests.api.test_isolation import MARK, Beta
from tests.support.api import Api
from tests.support.console import OWN, Document, Visitor, consumer
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

#: In everything that is not the guest's.
HIDDEN: Final = (MARK, "theirs.")
ALL: Final = [scope.value for scope in CONSUMER_SCOPES]


class Route(NamedTuple):
    """A method and a path below the root."""

    method: str
    path: str


def table(api: Api) -> list[Route]:
    """All that the portal answers to who is in it, but for streams, which wait for what comes."""

    async def ready() -> str | None:
        return None

    keeper: Any = Doorkeeper
    return [
        Route(method, str(route.path))  # type: ignore[attr-defined]  # every route here has one
        for route in portal_routes(console_services(api.opened, ready), keeper)
        for method in getattr(getattr(route, "endpoint", None), "_actions", {})
        if not str(route.path).endswith("/stream")  # type: ignore[attr-defined]  # as above
    ]


class Neighbour:
    """Two subscriptions of one tenant: one has a guest, the other what he must not see."""

    def __init__(self) -> None:
        self.mine = ""
        self.ids: list[str] = []
        self.number = 0

    async def fill(self, api: Api, receiver: Receiver) -> None:
        receiver.script = lambda _: Reply(410)
        theirs = await api.subscribe(
            receiver.url(f"/{MARK}"), description=MARK, eventTypes=["theirs.*"]
        )
        mine = await api.subscribe(receiver.url("/mine"), eventTypes=["mine.*"])
        for kind in ("theirs.a", "mine.a", "theirs.b", "mine.b"):
            said = MARK if kind.startswith("theirs") else "own"
            name = kind.replace(".", "-")
            event = {"id": f"evt-{name}", "operationId": f"op-{name}", "type": kind}
            await api.post("/v1/events", {**event, "message": said})
        await api.deliver()
        while await api.opened.stores.sweep.retire():
            pass
        for one in (theirs, mine):
            await api.post(f"/v1/subscriptions/{one['id']}/resume", None, 200)
        self.mine = mine["id"]
        query = f"?subscriptionId={theirs['id']}"
        letters = (await api.get(f"/v1/dead-letters{query}"))["data"]
        self.ids = [
            *("evt-theirs-a", "evt-theirs-b", "op-theirs-a", "op-theirs-b", theirs["id"]),
            *(letter[name] for letter in letters for name in ("id", "deliveryId")),
        ]
        assert len(letters) == 2
        async with api.opened.base.database.read() as tx:
            lanes = metadata.tables["subscriptions"]
            (row,) = await tx.query(lanes.select().where(lanes.c.id == theirs["id"]))
        self.number = row["no"]

    async def rows(self, api: Api) -> dict[str, list[dict[str, Any]]]:
        """Every row that is the other's."""
        found = {}
        async with api.opened.base.database.read() as tx:
            for each in metadata.sorted_tables:
                if "subscription_no" in each.c:
                    which = each.c.subscription_no == self.number
                elif each.name in ("operations", "events", "subscriptions"):
                    which = each.c.id.in_(self.ids)
                else:
                    continue
                found[each.name] = await tx.query(each.select().where(which))
        return found


@pytest.fixture
async def beta(api: Api, receiver: Receiver) -> Beta:
    beta = Beta()
    await beta.fill(api, receiver)
    return beta


@pytest.fixture
async def neighbour(api: Api, receiver: Receiver) -> Neighbour:
    neighbour = Neighbour()
    await neighbour.fill(api, receiver)
    return neighbour


async def ask(
    guest: Visitor, route: Route, name: str, query: dict[str, str], form: dict[str, str]
) -> None:
    """What is answered shows nothing that is not the guest's, and tells of no fault of ours."""
    path = route.path.replace("{id}", name).replace("{path:path}", name)
    if route.method == "POST":
        token = Document((await guest.client.get("/portal")).text).token
        answer = await guest.client.post(path, data={"token": token, **form}, headers=OWN)
    else:
        answer = await guest.client.request(route.method, path, params=query)
    assert answer.status_code < 500, (route, name, answer.text)
    for words in HIDDEN:
        assert words not in answer.text, (route, name)


async def test_nothing_of_another_tenant_is_there(api: Api, beta: Beta) -> None:
    guest = await consumer(api, scopes=ALL)
    before = await beta.rows(api)
    for route in table(api):
        for name in beta.ids.values():
            filters = {"subscriptionId": name} if "deliveries" in route.path else {}
            await ask(guest, route, name, filters, {"subscriptionId": name})
    assert await beta.rows(api) == before


async def test_nothing_of_another_subscription_is_there(api: Api, neighbour: Neighbour) -> None:
    guest = await consumer(api, subscriptionId=neighbour.mine, scopes=ALL)
    before = await neighbour.rows(api)
    assert all(before[name] for name in ("dead_letters", "deliveries", "attempts", "operations"))
    for route in table(api):
        for name in neighbour.ids:
            if "{id}" in route.path:
                path = route.path.replace("{id}", name)
                page = await guest.client.get(path) if route.method != "POST" else None
                assert page is None or page.status_code == 404, path
            form = {"subscriptionId": name, "only": "all", "reach": "604800000", "overlap": "0"}
            await ask(guest, route, name, {}, form)
    assert await neighbour.rows(api) == before


ASKED: Final = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.dictionaries(
        st.sampled_from(
            ["subscriptionId", "operationId", "eventId", "id", "cursor", "before", "status", "done"]
        ),
        st.integers(0, 10_000),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from(["subscriptionId", "reason", "only", "reach", "overlap", "until", "url"]),
        st.integers(0, 10_000),
        max_size=4,
    ),
)
HOW: Final = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def ask_all(guest: Visitor, routes: list[Route], known: list[str], asked: list[Any]) -> None:
    for route, name, query, form in asked:
        given_query = {key: known[value % len(known)] for key, value in query.items()}
        given_form = {key: known[value % len(known)] for key, value in form.items()}
        which = known[name % len(known)].replace("/", "_")
        chosen = routes[route % len(routes)]
        await ask(guest, chosen, which, given_query, given_form)


@HOW
@given(asked=st.lists(ASKED, min_size=1, max_size=10))
async def test_whatever_one_asks_one_meets_no_other_tenant(
    api: Api, beta: Beta, asked: list[Any]
) -> None:
    guest = await consumer(api, scopes=ALL)
    before = await beta.rows(api)
    known = [*beta.ids.values(), beta.cursor, "all", "604800000", "5", "dead"]
    await ask_all(guest, table(api), known, asked)
    assert await beta.rows(api) == before


@HOW
@given(asked=st.lists(ASKED, min_size=1, max_size=10))
async def test_whatever_one_asks_one_meets_no_other_subscription(
    api: Api, neighbour: Neighbour, asked: list[Any]
) -> None:
    guest = await consumer(api, subscriptionId=neighbour.mine, scopes=ALL)
    before = await neighbour.rows(api)
    own = [neighbour.mine, "evt-mine-a", "op-mine-a"]
    known = [*neighbour.ids, *own, "all", "missing", "604800000", "0", "gone", "dead", "3"]
    await ask_all(guest, table(api), known, asked)
    for run in await api.opened.stores.replay.running_replays():
        await api.opened.stores.replay.step_replay(run, 100)
    assert await neighbour.rows(api) == before
