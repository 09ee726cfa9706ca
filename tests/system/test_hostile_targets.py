"""Hostile URLs against the running service: created, updated, tested, delivered to; none is called.

Canaries listen at every address of this machine, on the port that all these URLs name.
"""

import asyncio
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.blackbox import POLL, Blackbox, blackbox
from tests.support.canaries import Canaries, own_addresses
from tests.support.hostile_urls import HOSTILE_ANSWERS, ORDINARY_URLS, hostile_urls
from tests.support.names import PROGRAM, SILENCE, NameServer
from tests.support.receiver import Received, Receiver, Reply
from tests.support.server import Server
from tests.system.conftest import StartServer

#: Requests at once.
_WIDTH = 16
#: Deliveries of which all that is kept is looked at; of the others, what their dead letters say.
_SAMPLE = 100
_ANYWHERE = "https://example.com/hooks"


@pytest.fixture
async def canaries() -> AsyncIterator[Canaries]:
    async with Canaries() as found:
        yield found
        assert await found.calls() == []


@pytest.fixture
def traps(canaries: Canaries, tmp_path: Path) -> dict[str, str]:
    """Settings that allow as little as can be, and an environment full of proxies."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password secret\n")
    proxy = f"http://127.0.0.1:{canaries.port}"
    names = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")]
    proxies = dict.fromkeys([*names, *map(str.lower, names)], proxy)
    return {**proxies, "NETRC": str(netrc), "RINGBACK_ALLOW_HTTP": "true"}


async def each(do: Callable[[Any], Awaitable[None]], items: Iterable[Any]) -> None:
    """Do it with every item, several at a time; when all are done, raise the first fault."""
    free = asyncio.Semaphore(_WIDTH)

    async def one(item: object) -> None:
        async with free:
            await do(item)

    for result in await asyncio.gather(*map(one, items), return_exceptions=True):
        if result is not None:
            raise result


def refused(answer: httpx.Response, pointer: str, url: str) -> None:
    assert answer.status_code == 422, (url, answer.text)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer], url


def says_only_blocked(attempt: Mapping[str, Any]) -> str:
    """The message: all that a tenant is told, which is to be the same for every reason."""
    assert attempt["errorClass"] == "blocked", attempt
    assert attempt["durationMs"] == 0
    assert not attempt.keys() & {"statusCode", "response", "timings", "nextAttemptAt"}
    return str(attempt["message"])


async def subscribed(
    api: Blackbox, urls: Iterable[str], kind: str, **members: object
) -> dict[str, str]:
    """Subscriptions to one type of event: URLs by id."""
    made: dict[str, str] = {}

    async def subscribe(url: str) -> None:
        body = {"url": url, "eventTypes": [kind], **members}
        answer = await api.post("/v1/subscriptions", body, 201)
        made[answer["id"]] = url

    await each(subscribe, urls)
    return made


async def all_blocked(api: Blackbox, made: Mapping[str, str], kind: str) -> None:
    """Test all of the subscriptions and send them one event; nobody is told more than `blocked`."""
    said = set()

    async def try_out(name: str) -> None:
        trial = await api.post(f"/v1/subscriptions/{name}/test", None, 200)
        said.add(says_only_blocked(trial))

    async def look(dead: Mapping[str, Any]) -> None:
        (attempt,) = (await api.get(f"/v1/deliveries/{dead['deliveryId']}"))["attempts"]
        said.add(says_only_blocked(attempt))

    await each(try_out, made)
    await api.event(f"op-{kind}", kind)
    summary = "/v1/dead-letters/summary"
    await api.until(summary, lambda page: sum(n["count"] for n in page["data"]) == len(made))
    dead_letters = await api.all("/v1/dead-letters")
    await each(look, dead_letters[:_SAMPLE])
    (message,) = said
    outcome = {"errorClass": "blocked", "message": message}
    for dead in dead_letters:
        assert (dead["reason"], dead["attempts"]) == ("blocked_target", 1), dead
        assert dead["lastOutcome"] == outcome
    assert await api.all("/v1/deliveries", status="pending") == []


async def test_hostile_urls_are_refused(
    start_server: StartServer, canaries: Canaries, traps: dict[str, str]
) -> None:
    urls = hostile_urls(canaries.port, own_addresses())
    assert len(urls) >= 300
    async with blackbox(start_server(traps, local=False)) as api:
        made = await api.subscribe(_ANYWHERE)

        async def register(url: str) -> None:
            refused(await api.http.post("/v1/subscriptions", json={"url": url}), "/url", url)
            path = f"/v1/subscriptions/{made['id']}"
            refused(await api.http.patch(path, json={"url": url}), "/url", url)

        async def begin(url: str) -> None:
            body = {"type": "job", "webhook": {"url": url}}
            refused(await api.http.post("/v1/operations", json=body), "/webhook/url", url)

        await each(register, urls)
        await each(begin, urls[::5])
        (listed,) = await api.all("/v1/subscriptions")
        assert listed["url"] == _ANYWHERE
        assert await api.all("/v1/operations") == []


async def test_hostile_urls_that_got_into_the_store_are_never_called(
    start_server: StartServer, canaries: Canaries, traps: dict[str, str]
) -> None:
    """Whoever wrote them there, an older version or a laxer policy: each is judged again."""
    urls = hostile_urls(canaries.port, own_addresses())
    server = start_server(traps, local=False)
    async with blackbox(server) as api:
        made = await subscribed(api, [_ANYWHERE] * len(urls), "hostile")
    assert server.stop() == 0
    smuggled = dict(zip(made, urls, strict=True))
    smuggle(server, smuggled)
    server.start()
    async with blackbox(server) as api:
        listed = {each["id"]: each["url"] for each in await api.all("/v1/subscriptions")}
        assert listed == smuggled
        await all_blocked(api, smuggled, "hostile")


def smuggle(server: Server, urls: Mapping[str, str]) -> None:
    with closing(sqlite3.connect(server.database)) as database, database:
        rows = [(url, name) for name, url in urls.items()]
        database.executemany("UPDATE subscriptions SET url = ? WHERE id = ?", rows)


async def test_names_that_lead_inside_are_taken_and_never_called(
    start_server: StartServer, canaries: Canaries, traps: dict[str, str]
) -> None:
    """Registration asks no name server: what a name leads to is judged when it is called."""
    answers = HOSTILE_ANSWERS | {f"own-{n}": [own] for n, own in enumerate(own_addresses())}
    zone = {f"{label}.hooks.test": [answer] for label, answer in answers.items()}
    urls = [f"http://{name}:{canaries.port}/" for name in (*zone, *machine_names())]
    async with NameServer(zone) as names:
        server = start_server({**traps, **names.environment}, local=False, program=PROGRAM)
        async with blackbox(server) as api:
            made = await subscribed(api, urls, "named")
            moved = await subscribed(api, [_ANYWHERE] * len(urls), "named")

            async def move(pair: tuple[str, str]) -> None:
                answer = await api.http.patch(f"/v1/subscriptions/{pair[0]}", json={"url": pair[1]})
                assert answer.status_code == 200, pair
                assert answer.json()["url"] == pair[1]

            moved = dict(zip(moved, (url.replace("http:", "https:") for url in urls), strict=True))
            await each(move, moved.items())
            assert not names.asked
            await all_blocked(api, made | moved, "named")
        assert names.asked.keys() == zone.keys()


def machine_names() -> set[str]:
    """Names by which this machine knows itself besides `localhost`."""
    lines = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    own = {name for line in lines for name in line[1:] if line[0] in ("127.0.0.1", "::1")}
    return own - {"localhost"}


@pytest.fixture
async def receivers(canaries: Canaries) -> AsyncIterator[list[Receiver]]:
    """Two that may be called; on their ports canaries sit at all other addresses of the machine."""
    elsewhere = ("127.0.0.2", "::1", *own_addresses())
    assert canaries.port
    async with AsyncExitStack() as stack:
        found, beside = [], []
        for _ in range(2):
            receiver = await stack.enter_async_context(Receiver())
            found.append(receiver)
            watch = Canaries(elsewhere, receiver.port)
            beside.append(await stack.enter_async_context(watch))
        yield found
        assert [call for watch in beside for call in await watch.calls()] == []


def allowing(receivers: Iterable[Receiver]) -> dict[str, str]:
    allowed = ",".join(f"127.0.0.1:{receiver.port}" for receiver in receivers)
    return {"RINGBACK_ALLOW_TARGETS": allowed, "RINGBACK_RETRY_SCHEDULE": "0"}


async def test_a_name_that_moves_between_check_and_connect_leads_nowhere(
    start_server: StartServer, traps: dict[str, str], receivers: list[Receiver]
) -> None:
    """A name's first answer may be called and every later one may not, or the other way round.

    One question is asked for a connection, and one more for the same name at another port.
    """
    good = ["127.0.0.1"]
    zone = {f"flip-{n}.test": [good, bad] for n, bad in enumerate(inside())}
    zone |= {f"flop-{n}.test": [bad, good] for n, bad in enumerate(inside())}
    async with NameServer(zone) as names:
        settings = {**traps, **allowing(receivers), **names.environment}
        server = start_server(settings, local=False, program=PROGRAM)
        async with blackbox(server) as api:
            for receiver, allowed in zip(receivers, ("flip", "flop"), strict=True):
                urls = [receiver.url("/", name) for name in zone]
                made = await subscribed(api, urls, allowed)
                await api.event("op", allowed)
                for name, url in made.items():
                    status = "delivered" if allowed in url else "dead"
                    delivery = await api.delivery({"id": name}, status)
                    if status == "dead":
                        says_only_blocked(delivery["attempts"][0])
                called = {request.headers["host"] for request in receiver.requests}
                assert called == {url.split("/")[2] for url in urls if allowed in url}
        assert names.asked == dict.fromkeys(zone, 2)


def inside() -> list[list[str]]:
    """Answers that lead to a canary, some of them beside an address that may be called."""
    alone = [[address] for address in ("127.0.0.2", "::1", "::ffff:127.0.0.2", *own_addresses())]
    return [*alone, ["127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1"]]


async def test_redirects_are_not_followed(
    start_server: StartServer,
    canaries: Canaries,
    traps: dict[str, str],
    receivers: list[Receiver],
) -> None:
    port = canaries.port
    places = [f"http://127.0.0.1:{port}/", f"//127.0.0.1:{port}/", f"http://localhost:{port}/"]
    places += [f"http://[::1]:{port}/", f"http://2130706433:{port}/", f"https://127.0.0.1:{port}/"]
    places += [receivers[1].url("/"), "/landed"]
    statuses = (300, 301, 302, 303, 305, 307, 308)

    def redirect(request: Received) -> Reply:
        if request.path == "/landed":
            return Reply()
        status, place = request.path.strip("/").split("/")
        kept = ("location", places[int(place)]), ("refresh", f"0; url={places[int(place)]}")
        return Reply(int(status), kept)

    receiver = receivers[0]
    receiver.script = redirect
    paths = [f"/{status}/{place}" for status in statuses for place in range(len(places))]
    async with blackbox(start_server({**traps, **allowing(receivers)}, local=False)) as api:
        made = await subscribed(api, map(receiver.url, paths), "moved")

        async def follow(name: str) -> None:
            status = int(made[name].split("/")[3])
            trial = await api.post(f"/v1/subscriptions/{name}/test", None, 200)
            delivery = await api.delivery({"id": name}, "dead")
            for attempt in (trial, delivery["attempts"][0]):
                assert (attempt["statusCode"], attempt["errorClass"]) == (status, "http_status")

        await api.event("op", "moved")
        await each(follow, made)
    assert sorted(request.path for request in receiver.requests) == sorted(2 * paths)
    assert receivers[1].requests == []
    assert not any("authorization" in request.headers for request in receiver.requests)


async def test_ordinary_urls_are_taken_without_a_name_server(
    start_server: StartServer, traps: dict[str, str]
) -> None:
    assert len(set(ORDINARY_URLS)) == 50
    async with NameServer({}) as names:
        server = start_server({**traps, **names.environment}, local=False, program=PROGRAM)
        async with blackbox(server) as api:
            made = await api.subscribe(_ANYWHERE)

            async def register(url: str) -> None:
                answer = await api.post("/v1/subscriptions", {"url": url}, 201)
                assert answer["url"] == url
                changed = await api.http.patch(f"/v1/subscriptions/{made['id']}", json={"url": url})
                assert (changed.status_code, changed.json().get("url")) == (200, url)

            await each(register, ORDINARY_URLS)
            # names of the test's own, which would be seen to be asked about
            await each(register, [f"https://{n}.ordinary.test/" for n in range(5)])
        assert not names.asked


async def test_names_that_never_get_an_answer_hold_nobody_up(
    start_server: StartServer, traps: dict[str, str], receivers: list[Receiver]
) -> None:
    hung = [f"{n}.hung.test" for n in range(100)] + [f"hung.{n}-hung.test" for n in range(100)]
    zone = {"quick.test": [["127.0.0.1"]], **{name: [SILENCE] for name in hung}}
    urls = [f"http://{name}:{receivers[0].port}/" for name in hung]
    async with NameServer(zone) as names:
        settings = {**traps, **allowing(receivers), **names.environment}
        server = start_server(settings, local=False, program=PROGRAM)
        async with blackbox(server) as api:
            await subscribed(api, urls, "slow", timeoutSeconds=1)
            made = await subscribed(api, [receivers[1].url(host="quick.test")], "quick")
            await api.event("op", "slow")
            await enough(lambda: len(names.asked) >= 100)
            await api.event("op", "quick")
            await api.delivery({"id": next(iter(made))}, "delivered")
        # and the process ends, though its threads would wait for a minute
        assert await asyncio.to_thread(server.stop, signal.SIGTERM, 30) == 0


async def enough(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():  # noqa: ASYNC110  what is counted elsewhere in this loop sets no event
            await asyncio.sleep(POLL)


async def test_a_naive_client_would_be_caught() -> None:
    """The canaries are where the URLs lead, and notice who comes."""
    async with Canaries() as canaries:
        urls = hostile_urls(canaries.port, own_addresses())
        caught = [url for url in urls if await asyncio.to_thread(naively_called, url)]
        calls = await canaries.calls()
    assert len(calls) == len(caught)
    assert len(caught) >= 100


def naively_called(url: str) -> bool:
    """Connect to whatever the standard library reads in the URL, if it is on this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
        numeric = socket.AI_NUMERICHOST if parts.hostname != "localhost" else 0
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM, flags=numeric)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as client:
            return is_here(str(address[0])) and port > 1023 and client.connect_ex(address) == 0
    except (OSError, ValueError):
        return False


def is_here(address: str) -> bool:
    ip = ip_address(address.removeprefix("::ffff:"))
    return ip.is_loopback or ip.is_unspecified or address in own_addresses()
