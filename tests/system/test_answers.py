"""Every status code of the addresses by which consumers follow and move operations."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.domain.api_keys import Scope
from tests.support.blackbox import Blackbox, blackbox, problem
from tests.support.keys import add_key
from tests.support.server import LOCAL, Server
from tests.system.conftest import StartServer

pytestmark = pytest.mark.anyio

READ, WRITE = Scope.OPERATIONS_READ, Scope.OPERATIONS_WRITE


@dataclass(frozen=True)
class Address:
    """Where something is asked for; ``{id}`` stands for an operation."""

    method: str
    path: str
    scope: Scope
    #: Whether a ticket does as well as a key.
    by_ticket: bool = True

    @property
    def names_one(self) -> bool:
        return "{id}" in self.path


STATUS = Address("GET", "/v1/operations/{id}", READ)
LOG = Address("GET", "/v1/operations/{id}/events", READ)
STREAM = Address("GET", "/v1/operations/{id}/stream", READ)
SOCKET = Address("WS", "/v1/operations/{id}/status", READ)
CANCEL = Address("POST", "/v1/operations/{id}/cancel", WRITE, by_ticket=False)
RETRY = Address("POST", "/v1/operations/{id}/retry", WRITE, by_ticket=False)
HISTORY = Address("GET", "/v1/operations", READ, by_ticket=False)
TICKETS = Address("POST", "/v1/stream-tickets", READ, by_ticket=False)
FEED = Address("GET", "/v1/events", READ)
FEED_STREAM = Address("GET", "/v1/events/stream", READ)
EVENT = Address("GET", "/v1/events/evt_none", READ, by_ticket=False)

ALL = {
    "status": STATUS,
    "log": LOG,
    "stream": STREAM,
    "socket": SOCKET,
    "cancel": CANCEL,
    "retry": RETRY,
    "history": HISTORY,
    "tickets": TICKETS,
    "feed": FEED,
    "feed stream": FEED_STREAM,
    "event": EVENT,
}
OF_ONE = {name: each for name, each in ALL.items() if each.names_one}


def every(addresses: dict[str, Address]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("address", addresses.values(), ids=addresses)


@dataclass
class Keyed:
    """A service that forgets ended operations after a second, and keys to it."""

    api: Blackbox
    keys: dict[str, str]

    async def ask(
        self, address: Address, name: str = "none", key: str | None = None, query: str = ""
    ) -> httpx.Response:
        """The answer at an address to who has a key; by default it is the admin's."""
        path = address.path.replace("{id}", name) + query
        bearer = {} if key == "" else {"authorization": f"Bearer {key or self.keys['admin']}"}
        if address.method == "WS":
            return await refused_handshake(self.api.http.base_url, path, bearer)
        async with httpx.AsyncClient(base_url=self.api.http.base_url, headers=bearer) as client:
            return await client.request(address.method, path)


async def refused_handshake(base: httpx.URL, path: str, headers: dict[str, str]) -> httpx.Response:
    """The answer to a WebSocket that is not opened."""
    url = f"ws://{base.netloc.decode()}{path}"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers=headers):
            pass
    found = caught.value.response
    request = httpx.Request("GET", f"http://{base.netloc.decode()}{path}")
    given = list(found.headers.raw_items())
    return httpx.Response(
        found.status_code, headers=given, content=bytes(found.body), request=request
    )


@pytest.fixture(scope="module")
def keyed_server(
    tmp_path_factory: pytest.TempPathFactory, installed: Path
) -> Iterator[tuple[Server, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("keyed")
    shutil.copytree(installed, folder / "data")
    server = Server(folder, {**LOCAL, "RINGBACK_OPERATION_TTL": "1"})
    everything = set(Scope) - {Scope.ADMIN}
    keys = {
        "foreign": add_key(server.database, everything, tenant="other"),
        **{f"not {each}": add_key(server.database, everything - {each}) for each in (READ, WRITE)},
    }
    with server:
        yield server, {"admin": server.admin_key, **keys}


@pytest.fixture
async def keyed(keyed_server: tuple[Server, dict[str, str]]) -> AsyncIterator[Keyed]:
    server, keys = keyed_server
    async with blackbox(server) as api:
        yield Keyed(api, keys)


@every(ALL)
async def test_401_without_a_key_that_is_valid(keyed: Keyed, address: Address) -> None:
    for key in ("", "rb_unknown"):
        answer = await keyed.ask(address, key=key)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    ticket = await keyed.ask(address, key="", query="?ticket=tk_unknown")
    said = problem(ticket, 401, "unauthenticated")["detail"]
    assert ("ticket" in said) is address.by_ticket


@every(ALL)
async def test_403_without_the_scope(keyed: Keyed, address: Address) -> None:
    answer = await keyed.ask(address, key=keyed.keys[f"not {address.scope}"])
    assert problem(answer, 403, "forbidden")["missingScope"] == address.scope


@every({**OF_ONE, "event": EVENT})
async def test_404_what_is_unknown(keyed: Keyed, address: Address) -> None:
    problem(await keyed.ask(address), 404, "not-found")


@every(OF_ONE)
async def test_404_what_is_another_tenants(keyed: Keyed, address: Address, kind: str) -> None:
    await keyed.api.event(kind, "FAILED", error={"title": "No", "retryable": True})
    answer = await keyed.ask(address, kind, key=keyed.keys["foreign"])
    problem(answer, 404, "not-found")


@every(OF_ONE)
async def test_410_what_has_expired(keyed: Keyed, address: Address, kind: str) -> None:
    await keyed.api.post("/v1/operations", {"type": "a", "operationId": kind, "ttlSeconds": 0.001})
    await keyed.api.event(kind, "FAILED", error={"title": "No", "retryable": True})
    said = await until_gone(keyed.api, kind)
    answer = await keyed.ask(address, kind)
    assert problem(answer, 410, "gone")["expiredAt"] == said["expiredAt"]


async def test_410_after_the_time_that_the_setting_says(keyed: Keyed, kind: str) -> None:
    await keyed.api.event(kind, "FAILED")
    shown = await keyed.api.get(f"/v1/operations/{kind}")
    assert milliseconds(shown["expiresAt"]) == milliseconds(shown["failedAt"]) + 1000
    gone = await until_gone(keyed.api, kind)
    assert gone["expiredAt"] == shown["expiresAt"]
    answer = await keyed.api.http.post("/v1/stream-tickets", json={"operationId": kind})
    problem(answer, 410, "gone")


async def until_gone(api: Blackbox, name: str) -> Any:  # noqa: ANN401  any JSON
    """What is said of an operation as soon as it has expired."""
    async with asyncio.timeout(10):
        while True:
            answer = await api.http.get(f"/v1/operations/{name}")
            if answer.status_code != 200:
                return problem(answer, 410, "gone")
            await asyncio.sleep(0.02)


def milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


@every({name: each for name, each in ALL.items() if each.method in ("GET", "WS") and each != EVENT})
async def test_422_a_query_that_means_nothing(keyed: Keyed, address: Address, kind: str) -> None:
    await keyed.api.post("/v1/operations", {"type": "a", "operationId": kind})
    name = "createdAfter" if address is HISTORY else "wait" if address is STATUS else "after"
    for query in (f"?{name}=-x", "?colour=red"):
        answer = await keyed.ask(address, kind, query=query)
        (error,) = problem(answer, 422, "invalid")["errors"]
        assert error["pointer"] == "/" + query[1:].partition("=")[0]


@pytest.mark.parametrize("path", [CANCEL.path, RETRY.path, TICKETS.path])
async def test_422_a_body_that_means_nothing(keyed: Keyed, path: str, kind: str) -> None:
    await keyed.api.event(kind, "STARTED")
    answer = await keyed.api.http.post(path.replace("{id}", kind), json={"colour": "red"})
    (error,) = problem(answer, 422, "invalid")["errors"]
    assert error["pointer"] == "/colour"
    assert (await keyed.api.get(f"/v1/operations/{kind}"))["status"] == "PROCESSING"


async def test_404_a_ticket_for_what_is_unknown(api: Blackbox) -> None:
    answer = await api.http.post("/v1/stream-tickets", json={"operationId": "none"})
    problem(answer, 404, "not-found")


# --- the status of an operation


async def test_200_and_304_while_it_runs(api: Blackbox, kind: str) -> None:
    path = f"/v1/operations/{kind}"
    await api.event(kind, "STARTED")
    running = await api.http.get(path)
    shown = running.json()
    assert running.status_code == 200
    assert int(running.headers["retry-after"]) == shown["pollInterval"]["recommended"]
    assert set(shown["links"]) == {"self", "events", "stream", "websocket", "cancel"}

    same = await api.http.get(path, headers={"if-none-match": running.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers.get("content-length", "0") == "0"
    assert same.headers["etag"] == running.headers["etag"]
    assert "content-type" not in same.headers


async def test_303_to_a_result_that_is_elsewhere(api: Blackbox, kind: str) -> None:
    path, url = f"/v1/operations/{kind}", "https://example.com/results/1.pdf?a=b"
    await api.event(kind, "COMPLETED", result={"url": url, "pages": 3})
    answer = await api.http.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, url)
    assert answer.json()["result"] == {"url": url, "pages": 3}

    whole = await api.http.get(path, params={"redirect": "false"})
    assert (whole.status_code, whole.json()) == (200, answer.json())
    assert "location" not in whole.headers


@pytest.mark.parametrize(
    ("end", "members"),
    [
        ("COMPLETED", {"result": {"rows": 3}}),
        ("COMPLETED", {}),
        ("COMPLETED_WITH_ERRORS", {"result": {"url": "https://example.com/"}, "warnings": ["w"]}),
        ("FAILED", {"error": {"type": "about:blank", "title": "Disk full", "status": 507}}),
        ("CANCELLED", {}),
    ],
)
async def test_200_at_every_other_end(
    api: Blackbox, kind: str, end: str, members: dict[str, Any]
) -> None:
    await api.event(kind, end, **members)
    answer = await api.http.get(f"/v1/operations/{kind}")
    assert answer.status_code == 200
    assert "retry-after" not in answer.headers
    shown = answer.json()
    assert shown["status"] == end
    assert {name: shown[name] for name in members} == members
    assert "cancel" not in shown["links"]


# --- moves


async def test_202_200_and_409_of_a_cancel(api: Blackbox, kind: str) -> None:
    path = f"/v1/operations/{kind}/cancel"
    await api.event(kind, "STARTED")
    first = await api.post(path, {"reason": "wrong month"}, 200)
    assert first["status"] == "CANCELLED"
    assert await api.post(path, {"reason": "another"}, 200) == first
    late = await api.http.post("/v1/events", json={"operationId": kind, "type": "STATUS_UPDATE"})
    problem(late, 409, "conflict")

    await api.event(f"{kind}-2", "COMPLETED")
    refused = await api.http.post(f"/v1/operations/{kind}-2/cancel")
    assert problem(refused, 409, "conflict")["currentStatus"] == "COMPLETED"


async def test_202_and_409_of_a_retry(api: Blackbox, kind: str) -> None:
    await api.event(kind, "FAILED", error={"title": "No", "retryable": True})
    first = await api.http.post(f"/v1/operations/{kind}/retry")
    assert first.status_code == 202
    assert first.headers["location"] == first.json()["statusUrl"]
    assert int(first.headers["retry-after"]) > 0

    for end, members in (
        ("STARTED", {}),
        ("COMPLETED", {}),
        ("FAILED", {"error": {"title": "No"}}),
        ("FAILED", {"error": {"title": "No", "retryable": False}}),
        ("CANCELLED", {}),
    ):
        name = f"{kind[:20]}-{end}-{len(json.dumps(members))}"
        await api.event(name, end, **members)
        problem(await api.http.post(f"/v1/operations/{name}/retry"), 409, "conflict")


async def test_409_of_a_retry_that_comes_too_soon(api: Blackbox, kind: str) -> None:
    error = {"title": "Busy", "retryable": True, "retryAfter": 3600}
    await api.event(kind, "FAILED", error=error)
    assert "retry" in (await api.get(f"/v1/operations/{kind}"))["links"]
    answer = await api.http.post(f"/v1/operations/{kind}/retry")
    problem(answer, 409, "conflict")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


# --- streams, tickets, the feed


async def test_204_of_a_stream_that_is_over(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED")
    await api.event(kind, "COMPLETED")
    path = f"/v1/operations/{kind}/stream"
    whole = await api.http.get(path)
    assert (whole.status_code, whole.text.count("\nid: ")) == (200, 2)
    for headers, query in (({"last-event-id": "2"}, ""), ({}, "?after=2")):
        again = await api.http.get(path + query, headers=headers)
        assert (again.status_code, again.content) == (204, b"")


async def test_426_of_a_plain_request_to_a_socket(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED")
    answer = await api.http.get(f"/v1/operations/{kind}/status")
    problem(answer, 426, "upgrade-required")
    assert answer.headers["upgrade"] == "websocket"


async def test_404_of_a_socket_where_none_is_spoken(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED")
    for path in ("/v1/nothing", f"/v1/operations/{kind}/stream"):
        problem(await refused_handshake(api.http.base_url, path, {}), 404, "not-found")


async def test_201_of_a_ticket(api: Blackbox, kind: str) -> None:
    await api.event(kind, "STARTED")
    for body in ({"operationId": kind}, {}):
        made = await api.post("/v1/stream-tickets", body, 201)
        assert {"ticket", "expiresAt"} <= set(made)


async def test_200_of_the_feed_the_history_and_an_event(api: Blackbox, kind: str) -> None:
    event = await api.event(kind, "STARTED", operationType=kind)
    events, _ = await api.feed(operationType=kind)
    assert [each["id"] for each in events] == [event["id"]]
    assert await api.get(f"/v1/events/{event['id']}") == events[0]
    history = await api.get("/v1/operations", type=kind, status="PROCESSING")
    assert [each["operationId"] for each in history["data"]] == [kind]


async def test_410_of_a_cursor_older_than_retention(start_server: StartServer) -> None:
    server = start_server({"RINGBACK_RETENTION": "0.1"})
    async with blackbox(server) as api:
        await api.event("op-1", "first")
        start = (await api.get("/v1/events", limit=1))["pagination"]["nextCursor"]
        await api.event("op-1", "second")
        await api.event("op-1", "COMPLETED")
    await asyncio.to_thread(server.restart)  # what it tidies up now and then it begins with

    async with blackbox(server) as api:
        fresh = await api.until("/v1/events", lambda page: not page["data"])
        problem(await api.http.get(f"/v1/events?after={start}"), 410, "gone")
        problem(await api.http.get(f"/v1/events/stream?after={start}"), 410, "gone")
        again = await api.http.get("/v1/events/stream", headers={"last-event-id": start})
        problem(again, 410, "gone")
        assert await api.get("/v1/events", after=fresh["pagination"]["nextCursor"]) == fresh
