"""What the service writes of what happens, as a machine reads it: a line each, in JSON."""

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.ports import Principal
from service.telemetry.logs import Bounded
from service.web.telling import ENTERING, WHO, Told
from tests.support.postgres import Databases, run
from tests.support.receiver import Receiver, Reply
from tests.support.server import LOCAL, SERVICE, Server
from tests.system.test_postgres import SHARED

pytestmark = pytest.mark.anyio

CARD = "4111-2222-3333"
KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#: Runs the service on a terminal.
ON_TERMINAL = (
    "-c",
    "import pty, sys; pty.spawn([sys.executable, '-m', 'service', *sys.argv[1:]])",
)
#: Requests: more than are told of in the time that they take.
MANY = 400
#: Who sends a form from a page of the service's own.
OWN = {"sec-fetch-site": "same-origin"}
#: Members that every line has.
ALWAYS = {"event", "level", "logger", "timestamp"}


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A database of the test's own."""
    with databases.database() as url:
        yield url


def lines(server: Server, event: str = "") -> list[dict[str, Any]]:
    """The lines about this, or about anything, in their order."""
    found = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    assert all(each.keys() >= ALWAYS for each in found)
    return [each for each in found if event in ("", each["event"])]


async def sign_in(client: httpx.AsyncClient, key: str) -> httpx.Response:
    """Show a key to the console."""
    form = {"key": key, "next": "/console"}
    return await client.post("/console/sign-in", data=form, headers=OWN)


async def enter(client: httpx.AsyncClient, link: str) -> httpx.Response:
    """Open a link into the portal."""
    form = {"link": link.partition("#")[2]}
    return await client.post("/portal/enter", data=form, headers=OWN)


async def test_a_line_for_each_attempt_that_failed_and_each_request_that_changed_something(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.script = lambda seen: Reply(200 if "/good" in seen.path else 500, body=b"unwell")
    with Server(tmp_path, {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0,0"}) as server:
        async with server.client() as client:
            hook = {"url": receiver.url("/bad"), "secret": f"whsec_{KEY}"}
            made = (await client.post("/v1/subscriptions", json=hook)).json()
            await client.post("/v1/subscriptions", json={"url": receiver.url("/good")})
            await client.get(f"/v1/subscriptions/{made['id']}")
            await client.delete("/v1/subscriptions/none%0Aadmin")
            given = {"type": "STARTED", "data": {"card": CARD}}
            sent = (await client.post("/v1/operations/job/events", json=given)).json()["data"][0]
            await receiver.wait_for(3)
            while not lines(server, "delivery dead"):
                await client.get("/v1/stats")
        admin = server.admin_key
    attempt, dead = lines(server, "attempt failed"), lines(server, "delivery dead")
    created, wrong = [
        each for each in lines(server, "request") if each["route"].startswith("/v1/subscriptions")
    ][1:]

    assert (len(attempt), len(dead)) == (1, 1)
    told = {**attempt[0], **dead[0]}
    assert told["event_id"] == sent["id"]
    assert (told["type"], told["operation"], told["tenant"]) == ("STARTED", "job", "default")
    assert [each["attempt"] for each in (*attempt, *dead)] == [1, 2]
    assert (told["status"], told["reason"]) == (500, "attempts_exhausted")
    assert told["delivery"].startswith("dlv_")
    assert told["logger"] == "ringback.deliveries"
    assert (created["method"], created["route"]) == ("POST", "/v1/subscriptions")
    assert (created["status"], created["key"], created["tenant"]) == (201, "key_admin", "default")
    assert (wrong["method"], wrong["status"]) == ("DELETE", 404)
    assert wrong["path"] == "/v1/subscriptions/none%0Aadmin"
    assert {each["method"] for each in lines(server, "request")} == {"POST", "DELETE"}
    assert not any("events" in each["route"] for each in lines(server, "request"))
    for secret in (KEY, CARD, "unwell"):
        assert secret not in server.output
    assert server.output.count(admin) <= 1  # where it is shown once


async def test_a_flood_is_told_in_part_and_counted(tmp_path: Path) -> None:
    with Server(tmp_path, LOCAL) as server:
        async with server.client() as client:
            for _ in range(300):
                await client.delete("/v1/subscriptions/none")
    told = lines(server, "request")

    assert 50 <= len(told) < 300
    assert sum(1 + each.get("untold", 0) for each in told) <= 300


async def test_strangers_fill_no_disk_and_hide_nobody(tmp_path: Path) -> None:
    with Server(tmp_path, LOCAL) as server:
        async with server.client() as client:
            nobody = {"authorization": ""}
            begun = time.monotonic()
            for _ in range(100):
                await client.post("/" + "a" * 30_000, headers=nobody)
            await client.delete("/v1/subscriptions/none")
            seconds = time.monotonic() - begun
    told = lines(server, "request")

    assert [each["path"] for each in told][-1] == "/v1/subscriptions/none"
    assert max(len(each["path"]) for each in told) == 200
    assert len(told) <= 1 + 5 * (seconds + 2)


async def test_who_is_known_is_told_of_whatever_strangers_do(tmp_path: Path) -> None:
    settings = {**LOCAL, "RINGBACK_RATE_LIMIT": "10"}
    scopes = {"name": "reader", "tenantId": "default", "scopes": ["operations:read"]}
    with Server(tmp_path, settings) as server:
        async with server.client() as client, server.client() as other:
            made = (await client.post("/v1/api-keys", json=scopes)).json()
            link = (await client.post("/v1/portal-links", json={})).json()
            reader = {"authorization": f"Bearer {made['key']}"}
            async with strangers_about(server):
                signed_in = await sign_in(client, server.admin_key)
                entered = await enter(client, link["url"])
                refused = {403}
                while 429 not in refused:
                    answer = await other.post("/v1/subscriptions", json={}, headers=reader)
                    refused.add(answer.status_code)
                wrong = await sign_in(other, "rb_wrong")
                spent = await enter(other, link["url"])
    answers = [signed_in, entered, wrong, spent]
    assert [each.status_code for each in answers] == [303, 303, 401, 401]
    assert refused == {403, 429}

    told = [(each["status"], each["route"], each.get("key")) for each in lines(server, "request")]
    wanted = [
        (303, "/console/sign-in", "key_admin"),
        (303, "/portal/enter", link["id"]),
        (403, "/v1/subscriptions", made["id"]),
        (429, "/v1/subscriptions", made["id"]),
        (401, "/console/sign-in", None),
        (401, "/portal/enter", None),
    ]
    assert [each for each in wanted if each not in told] == []


def test_no_key_hides_what_another_did(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ringback.requests")
    told = Told()
    scope = {"method": "DELETE", "path": "/v1/api-keys/key_x"}
    for key, status in [*[("key_poor", 403)] * 100, ("key_admin", 204)]:
        told.tell({**scope, WHO: Principal(key, "default", frozenset())}, status, 1.0, 0.5)

    assert Counter(vars(record)["key"] for record in caplog.records) == {
        "key_poor": 50,
        "key_admin": 1,
    }


def test_no_fault_hides_another() -> None:
    bounded = Bounded()

    def passes(message: str, name: str = "asyncio") -> bool:
        place = ("base_events.py", 1760)
        record = logging.LogRecord(name, logging.ERROR, *place, message, None, None)
        record.created = 1.0  # all within one second
        return bool(bounded.filter(record))

    # as the event loop tells of all that is reported to it: in one place
    assert [passes("A request could not be built\ntask: <1>") for _ in range(6)][-2:] == [
        True,
        False,
    ]
    assert passes("The chore 'retire' failed\ntask: <2>")
    called = [passes(f"Exception in callback <bound method at 0x7f{each:x}>") for each in range(6)]
    assert called[-2:] == [True, False]
    assert [passes(f"bug {each}") for each in range(1_500)].count(False) == 0
    assert [passes("the last") for _ in range(6)][-2:] == [True, False]
    # the oldest that is known of a thousand: who is known already takes nobody's place
    assert [passes("bug 501") for _ in range(5)][-2:] == [True, False]
    assert not passes("the last")
    assert not passes("bug 501")
    assert [passes(f"anything, {each}", "library") for each in range(6)][-2:] == [True, False]


def test_each_has_a_bound_of_his_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ringback.requests")
    told, who = Told(), Principal("key_1", "default", frozenset())
    most = {200: 50, 503: 5, 404: 5, 401: 5}
    known: dict[int, dict[str, object]] = {200: {WHO: who}, 401: {ENTERING: True}}
    for _ in range(100):
        for status in most:
            scope = {"method": "POST", "path": "/", **known.get(status, {})}
            told.tell(scope, status, 1.0, 0.5)

    assert Counter(vars(record)["status"] for record in caplog.records) == most


@asynccontextmanager
async def strangers_about(server: Server) -> AsyncIterator[None]:
    """Somebody without a key asks for one thing after the other, from before on to after."""

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=server.url) as client:
            while True:
                await client.delete("/v1/subscriptions/none")

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        async with asyncio.timeout(30):
            while not any("untold" in each for each in lines(server, "request")):  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.02)
        yield
    finally:
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_what_is_not_http_fills_no_disk(tmp_path: Path) -> None:
    with Server(tmp_path, LOCAL) as server:

        async def send() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"nonsense\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()

        await told_in_part(server, "Invalid HTTP request received.", send)


@pytest.mark.parametrize("path", ["/v1/operations", "/console"])
async def test_a_database_that_is_away_is_told_of_in_part(
    tmp_path: Path, url: str, databases: Databases, path: str
) -> None:
    name = urlsplit(url).path[1:]
    with Server(tmp_path, {**SHARED, "RINGBACK_DATABASE_URL": url}) as server:
        async with server.client() as client:
            await sign_in(client, server.admin_key)
            other = databases.url_of(databases.template)
            await run(other, f'DROP DATABASE "{name}" WITH (FORCE)')

            async def send() -> None:
                assert (await client.get(path)).status_code == 503

            await told_in_part(server, "The store is not available: ", send)


async def told_in_part(server: Server, about: str, send: Callable[[], Awaitable[None]]) -> None:
    """Send very often; look that few lines tell of that, and of how many there are none."""
    begun, sent = time.monotonic(), 0

    def told() -> list[int]:
        found = [each for each in lines(server) if each["event"].startswith(about)]
        return [each.get("untold", 0) for each in found]

    while sent < MANY or not any(told()):
        await asyncio.gather(*(send() for _ in range(10)))
        sent += 10
        assert time.monotonic() < begun + 30
    seconds = time.monotonic() - begun

    assert len(told()) <= 5 * (seconds + 2) < MANY
    assert len(told()) + sum(told()) <= sent


@pytest.mark.parametrize(("plain", "is_coloured"), [("", True), ("1", False)])
def test_on_a_terminal_people_read_it(plain: str, is_coloured: bool) -> None:  # noqa: FBT001  a parameter
    program = (
        "import logging\n"
        "from service.telemetry import configure_logging\n"
        "configure_logging()\n"
        "logging.getLogger('ringback.x').info('happened', extra={'status': 201})\n"
    )
    ours, theirs = os.openpty()
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": plain}
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environ, check=True)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        said = terminal.read(4096).decode()

    assert ("\x1b[" in said) == is_coloured
    assert "happened" in said
    assert ("status=201" in said) != is_coloured  # colours stand between


@pytest.mark.parametrize("program", [SERVICE, ON_TERMINAL])
async def test_a_fault_is_told_without_what_was_sent(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    with Server(tmp_path, LOCAL, log_name="first.log") as first:
        first.stop()
        with closing(sqlite3.connect(first.database)) as file:
            for table in ("subscriptions", "events"):
                said = "SELECT RAISE(ABORT, 'not today')"
                file.execute(f"CREATE TRIGGER t_{table} BEFORE INSERT ON {table} BEGIN {said}; END")
    with Server(tmp_path, {**LOCAL, "NO_COLOR": "1"}, program=program) as server:
        await meet_faults(server, "not today")


async def test_a_fault_of_a_server_is_told_without_what_was_sent(tmp_path: Path, url: str) -> None:
    for table in ("subscriptions", "events"):
        await run(url, f"ALTER TABLE {table} ADD CONSTRAINT not_today CHECK (false) NOT VALID")
    with Server(tmp_path, {**SHARED, "RINGBACK_DATABASE_URL": url}) as server:
        await meet_faults(server, "not_today")


async def meet_faults(server: Server, reason: str) -> None:
    """Send what no row can be written of; look what is told of it."""
    hook = {"url": f"https://example.com/?{CARD}", "secret": f"whsec_{KEY}"}
    note = {"type": "STARTED", "data": {"card": CARD}}
    async with server.client() as client:
        answers = [
            await client.post("/v1/subscriptions", json=hook),
            await client.post("/v1/operations/job/events", json=note),
        ]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert server.output.count("Traceback (most recent call last)") >= 2
    assert reason in server.output
    for secret in (KEY, CARD, server.admin_key):
        assert secret not in server.output


async def test_lines_for_circuits_that_open_and_close(tmp_path: Path, receiver: Receiver) -> None:
    well = asyncio.Event()
    receiver.script = lambda _: Reply(200 if well.is_set() else 500)
    settings = {**LOCAL, "RINGBACK_BREAKER": "on", "RINGBACK_RETRY_SCHEDULE": "0"}
    with Server(tmp_path, settings) as server:
        async with server.client() as client:
            hook = {"url": receiver.url("/")}
            made = (await client.post("/v1/subscriptions", json=hook)).json()
            for number in range(10):
                await client.post(f"/v1/operations/o{number}/events", json={"type": "STARTED"})
            await told(server, "circuit opened")
            well.set()
            dead = lines(server, "delivery dead")[0]["delivery"]
            await client.post(f"/v1/deliveries/{dead}/retry")
            await told(server, "circuit closed")
    (opened,), (closed,) = lines(server, "circuit opened"), lines(server, "circuit closed")

    for each in (opened, closed):
        assert (each["subscription"], each["tenant"]) == (made["id"], "default")
    assert (opened["level"], closed["level"]) == ("warning", "info")
    assert 29 <= seconds_between(opened["timestamp"], opened["until"]) <= 31


async def test_lines_for_a_subscription_given_up_and_for_what_waited_for_it(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.script = lambda seen: Reply(410 if b"LAST" in seen.body else 500)
    settings = {**LOCAL, "RINGBACK_RETRY_SCHEDULE": "0,3600"}
    with Server(tmp_path, settings) as server:
        async with server.client() as client:
            hook = {"url": receiver.url("/")}
            made = (await client.post("/v1/subscriptions", json=hook)).json()
            for kind in ("FIRST", "LAST"):
                await client.post(f"/v1/operations/{kind}/events", json={"type": kind})
                await told(server, "attempt failed" if kind == "FIRST" else "delivery dead")
            await told(server, "deliveries of closed subscriptions given up")
    (disabled,) = lines(server, "subscription disabled")
    (given_up,) = lines(server, "deliveries of closed subscriptions given up")

    assert (disabled["subscription"], disabled["reason"]) == (made["id"], "gone")
    assert lines(server, "delivery dead")[0]["subscription"] == made["id"]
    assert given_up["deliveries"] == 1


async def test_lines_for_a_crash_a_stop_and_what_is_past_its_time(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(delay=0 if crashed.is_set() else 60)
    crashed = asyncio.Event()
    with Server(tmp_path, LOCAL) as server:
        async with server.client() as client:
            await client.post("/v1/subscriptions", json={"url": receiver.url("/")})
            await client.post("/v1/operations/o/events", json={"type": "STARTED"})
            await receiver.wait_for(1)
        server.kill()
        crashed.set()
        server.start()
        await told(server, "leases taken back")
        await receiver.wait_for(2)
        assert server.stop() == 0
        # not before: what is past retention is given up, however open it is
        server.settings = {**LOCAL, "RINGBACK_RETENTION": "0.1"}
        server.start()
        await told(server, "past retention, deleted")
    (leases,) = lines(server, "leases taken back")

    assert (leases["leases"], leases["subscriptions"]) == (1, 1)
    assert [each["in_flight"] <= 1 for each in lines(server, "stopping")] == [True]
    assert [each["in_flight"] for each in lines(server, "stopped")] == [0]
    assert sum(each["rows"] for each in lines(server, "past retention, deleted")) >= 1


async def told(server: Server, event: str) -> None:
    """Wait until there is a line about this."""
    async with asyncio.timeout(30):
        while not lines(server, event):  # noqa: ASYNC110  another process writes it
            await asyncio.sleep(0.02)


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()
