"""Tenants see nothing of each other, and keys do nothing that their scopes do not say.

Both are asked of every address there is: of the table of routes, not of a list made by hand.
"""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from service.api import create_app
from service.api.app import actions_of
from service.api.routing import Action
from service.api.socket import SOCKET_PATH
from service.domain.api_keys import Scope
from service.runtime import hosting
from service.store.schema import metadata
from service.web.problems import Problems
from tests.support.api import BASE, Api
from tests.support.receiver import Receiver, Reply

#: In everything that tenant B has, and in nothing of A's.
MARK: Final = "only-in-beta"
SINCE: Final = "2020-01-01T00:00:00Z"
#: What a request needs besides its path, to be refused for nothing but whose the thing is.
BODIES: Final[dict[tuple[str, str], Any]] = {
    ("POST", "/v1/operations/{id}/events"): {"type": "a"},
    ("PATCH", "/v1/subscriptions/{id}"): {"description": "mine"},
    ("POST", "/v1/subscriptions/{id}/replay"): {"since": SINCE, "only": "all"},
}
#: Where it does not matter whose a name is: a producer names operations as it likes, and a plain
#: GET of the WebSocket's address is told to upgrade whatever the name.
ANY_NAME: Final = {("POST", "/v1/operations/{id}/events"), ("GET", SOCKET_PATH)}

#: The same attempts two days before: so long ago, they are kept by the hour.
EARLIER: Final = (
    "INSERT INTO attempt_tallies (subscription_no, slice_at, bucket, succeeded, failed) "
    "SELECT subscription_no, slice_at - 172800000, bucket, succeeded, failed FROM attempt_tallies"
)

#: Tables of what processes agree on among themselves, which no request reaches.
OF_NO_TENANT: Final = {"nodes", "lane_paces", "retention"}


def actions(api: Api) -> list[Action]:
    """All that needs a key."""

    async def ready() -> None:
        return None

    every = actions_of(hosting.services(api.opened, ready, lambda: 0), Problems(BASE))
    return [each for each in every if each.scope is not None]


async def handshake(api: Api, path: str, headers: Mapping[str, str]) -> int:
    """The status of a WebSocket handshake; 101 where it is accepted."""

    async def ready() -> None:
        return None

    app = create_app(hosting.services(api.opened, ready, lambda: 0))
    sent: list[Message] = []
    coming: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "websocket.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    first = sent[0]
    return 101 if first["type"] == "websocket.accept" else int(first["status"])


# --- scopes


async def test_each_scope_opens_its_own_routes_and_no_other(api: Api) -> None:
    keys = {scope: await api.key(scope) for scope in Scope}
    for action in actions(api):
        # HEAD is GET up to the first byte of the body: streams end there
        method = "HEAD" if action.method == "GET" else action.method
        path = action.path.replace("{id}", "x")
        for scope, key in keys.items():
            status = (await api.call(method, path, headers=key)).status_code
            where = f"{scope} {method} {path}: {status}"
            if scope in (action.scope, Scope.ADMIN):
                assert status not in {401, 403, 405, 429, 500}, where
            else:
                assert status == 403, where
    for scope, key in keys.items():
        status = await handshake(api, SOCKET_PATH.replace("{id}", "x"), key)
        assert status == (404 if scope in {Scope.OPERATIONS_READ, Scope.ADMIN} else 403)


async def test_what_administrators_do_is_for_no_other_scope(api: Api) -> None:
    paths = {each.path.split("/")[2] for each in actions(api) if each.scope is Scope.ADMIN}
    assert paths >= {"api-keys", "tenants", "audit-log"}


# --- tenants


class Beta:
    """Tenant B: one of each kind of thing, and everything that is written of it."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.ticket = ""
        self.cursor = ""

    async def fill(self, api: Api, receiver: Receiver) -> None:
        receiver.script = lambda request: Reply(410 if "gone" in request.path else 200)
        await api.post("/v1/tenants", {"id": "beta", "name": MARK}, 201)
        api.headers["ringback-tenant"] = "beta"
        gone = await api.subscribe(receiver.url(f"/{MARK}/gone"), description=MARK)
        event = {"operationId": "op_beta", "type": MARK, "id": "evt_beta", "message": MARK}
        headers = {"idempotency-key": "key-of-beta"}
        assert (await api.call("POST", "/v1/events", event, headers=headers)).status_code == 202
        failed = {"type": "FAILED", "error": {"title": MARK, "retryable": True}}
        await api.post("/v1/operations/op_failed/events", failed)
        await api.deliver()
        while await api.opened.stores.sweep.retire():
            pass
        await api.opened.stores.deliver.flush()
        await api.sql(EARLIER)
        assert await api.opened.stores.deliver.forget_counts()
        hook = await api.subscribe(receiver.url(f"/{MARK}"), description=MARK)
        await api.post(f"/v1/subscriptions/{hook['id']}/pause", None, 200)
        await api.post("/v1/operations/op_beta/events", {"type": MARK})
        letter = (await api.get("/v1/dead-letters"))["data"][0]
        delivery = (await api.get("/v1/deliveries?status=pending"))["data"][0]
        new = {"tenantId": "beta", "name": MARK, "scopes": ["events:write"]}
        key = await api.post("/v1/api-keys", new, 201)
        await api.post(f"/v1/subscriptions/{gone['id']}/resume", None, 200)
        self.ticket = (await api.post("/v1/stream-tickets", None, 201))["ticket"]
        link = await api.post("/v1/portal-links", {"subscriptionId": hook["id"]}, 201)
        self.cursor = (await api.get("/v1/events"))["pagination"]["nextCursor"]
        del api.headers["ringback-tenant"]
        self.ids = {
            "operations": "op_beta",
            "failed operations": "op_failed",
            "events": "evt_beta",
            "subscriptions": hook["id"],
            "dead subscriptions": gone["id"],
            "deliveries": delivery["id"],
            "dead-letters": letter["id"],
            "dead deliveries": letter["deliveryId"],
            "api-keys": key["id"],
            "tenants": "beta",
            "portal-links": link["id"],
        }

    async def rows(self, api: Api) -> dict[str, list[dict[str, Any]]]:
        """Every row that is the tenant's."""
        found = {}
        async with api.opened.base.database.read() as tx:
            lanes = metadata.tables["subscriptions"]
            own = await tx.query(lanes.select().where(lanes.c.tenant_id == "beta"))
            numbers = [row["no"] for row in own]
            for table in metadata.sorted_tables:
                if table.name in OF_NO_TENANT:
                    continue
                if "tenant_id" in table.c:
                    which = table.c.tenant_id == "beta"
                elif table.name == "tenants":
                    which = table.c.id == "beta"
                else:
                    which = table.c.subscription_no.in_(numbers)
                found[table.name] = await tx.query(table.select().where(which))
        return found


@pytest.fixture
async def beta(api: Api, receiver: Receiver) -> Beta:
    beta = Beta()
    await beta.fill(api, receiver)
    return beta


@pytest.fixture
async def alpha(api: Api, beta: Beta) -> dict[str, str]:
    """A key of tenant A with every scope that such a key may have, and a thing or two of A's."""
    assert beta.ids
    await api.post("/v1/tenants", {"id": "alpha", "name": "Alpha"}, 201)
    scopes = [scope.value for scope in Scope if scope is not Scope.ADMIN]
    new = {"tenantId": "alpha", "name": "x", "scopes": scopes}
    key = (await api.post("/v1/api-keys", new, 201))["key"]
    headers = {"authorization": f"Bearer {key}"}
    for body in ({"operationId": "op_own", "type": "a"}, {"operationId": "op_2", "type": "a"}):
        assert (await api.call("POST", "/v1/events", body, headers=headers)).status_code == 202
    hook = {"url": "https://example.com/hook"}
    assert (await api.call("POST", "/v1/subscriptions", hook, headers=headers)).status_code == 201
    return headers


async def test_of_every_kind_there_is_a_row(api: Api, beta: Beta) -> None:
    empty = {name for name, rows in (await beta.rows(api)).items() if not rows}
    assert empty <= {"replays"}


async def test_nothing_of_another_tenant_is_there(
    api: Api, beta: Beta, alpha: dict[str, str]
) -> None:
    before = await beta.rows(api)
    for action in actions(api):
        if "{id}" not in action.path or (action.method, action.path) in ANY_NAME:
            continue
        for name in beta.ids.values():
            path = action.path.replace("{id}", name)
            body = BODIES.get((action.method, action.path))
            answer = await api.call(action.method, path, body, headers=alpha)
            expected = 403 if action.scope is Scope.ADMIN else 404
            assert answer.status_code == expected, (action.method, path, answer.text)
            assert MARK not in answer.text
    for name in beta.ids.values():
        assert await handshake(api, SOCKET_PATH.replace("{id}", name), alpha) == 404
    assert await beta.rows(api) == before


async def test_lists_hold_nothing_of_another_tenant(
    api: Api, beta: Beta, alpha: dict[str, str]
) -> None:
    lists = [
        each.path
        for each in actions(api)
        if each.method == "GET" and "{id}" not in each.path and not each.path.endswith("/stream")
    ]
    assert len(lists) >= 9
    for path in lists:
        answer = await api.call("GET", f"{path}?limit=200" if "summary" not in path else path)
        everything = answer.text
        own = (await api.call("GET", path, headers=alpha)).text
        assert MARK not in own, path
        for name in beta.ids.values():
            assert f'"{name}"' not in own, path
        assert everything
    for path, names in {
        "/v1/deliveries": ("subscriptionId", "operationId", "eventId"),
        "/v1/dead-letters": ("subscriptionId",),
        "/v1/subscriptions": ("operationId",),
    }.items():
        for parameter in names:
            for name in beta.ids.values():
                found = await api.call("GET", f"{path}?{parameter}={name}", headers=alpha)
                assert found.json()["data"] == [], (path, parameter)


async def test_what_bodies_name_is_not_there_either(
    api: Api, beta: Beta, alpha: dict[str, str]
) -> None:
    before = await beta.rows(api)
    ids = beta.ids
    ticket = {"operationId": ids["operations"]}
    answer = await api.call("POST", "/v1/stream-tickets", ticket, headers=alpha)
    assert answer.status_code == 404
    for name in ("subscriptions", "dead subscriptions"):
        replay = {"subscriptionId": ids[name]}
        answer = await api.call("POST", "/v1/dead-letters/replay", replay, headers=alpha)
        assert answer.status_code == 422
    everything = await api.call("POST", "/v1/dead-letters/replay", {}, headers=alpha)
    assert everything.json()["matched"] == 0
    acting = {**alpha, "ringback-tenant": "beta"}
    assert (await api.call("GET", "/v1/operations", headers=acting)).status_code == 403
    assert await handshake(api, SOCKET_PATH.replace("{id}", ids["operations"]), acting) == 403
    assert await beta.rows(api) == before


async def test_the_same_names_are_others_in_each_tenant(
    api: Api, beta: Beta, alpha: dict[str, str]
) -> None:
    before = await beta.rows(api)
    event = {"operationId": "op_beta", "type": "mine", "id": "evt_beta"}
    headers = {**alpha, "idempotency-key": "key-of-beta"}

    posted = await api.call("POST", "/v1/events", event, headers=headers)

    assert (
        posted.json()["data"][0] | {"sequence": 1, "duplicate": False} == posted.json()["data"][0]
    )
    assert "idempotency-replayed" not in posted.headers
    log = await api.call("GET", "/v1/operations/op_beta/events", headers=alpha)
    assert [each["type"] for each in log.json()["data"]] == ["mine"]
    assert (await api.call("GET", "/v1/events/evt_beta", headers=alpha)).json()["type"] == "mine"
    for path in ("cancel", "events"):
        body = {"type": "x"} if path == "events" else None
        await api.call("POST", f"/v1/operations/op_beta/{path}", body, headers=alpha)
    made = await api.call("POST", "/v1/stream-tickets", {"operationId": "op_beta"}, headers=alpha)
    ticket = made.json()["ticket"]
    seen = await api.client.get(f"/v1/operations/op_beta/stream?ticket={ticket}")
    assert "mine" in seen.text
    assert MARK not in seen.text
    assert await beta.rows(api) == before


ASKED: Final = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.dictionaries(
        st.sampled_from(["subscriptionId", "operationId", "eventId", "cursor", "after", "status"]),
        st.integers(0, 10_000),
        max_size=2,
    ),
    st.dictionaries(
        st.sampled_from(
            ["operationId", "subscriptionId", "id", "type", "url", "tenantId", "name", "since"]
        ),
        st.integers(0, 10_000),
        max_size=4,
    ),
    st.sampled_from([{}, {"idempotency-key": "key-of-beta"}, {"ringback-tenant": "beta"}]),
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=st.lists(ASKED, min_size=1, max_size=12))
async def test_whatever_one_asks_one_meets_no_other_tenant(
    api: Api, beta: Beta, alpha: dict[str, str], asked: list[Any]
) -> None:
    before = await beta.rows(api)
    known = [*beta.ids.values(), "op_own", "a", SINCE, beta.cursor, "https://example.com/hook"]
    every = [each for each in actions(api) if not each.path.endswith("/stream")]
    for route, name, query, body, headers in asked:
        action = every[route % len(every)]
        path = action.path.replace("{id}", known[name % len(known)].replace("/", "_"))
        asking = "&".join(f"{key}={known[value % len(known)]}" for key, value in query.items())
        sent = {key: known[value % len(known)] for key, value in body.items()}
        answer = await api.call(
            action.method,
            f"{path}?{asking}" if action.method == "GET" else path,
            None if action.method == "GET" else sent,
            headers={**alpha, **headers},
        )
        assert answer.status_code < 500
        assert MARK not in answer.text
    assert await beta.rows(api) == before
