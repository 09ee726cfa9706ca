"""Receivers are asked before they are sent anything: from outside, with every kind of answer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from tests.support import hostile
from tests.support.blackbox import Blackbox, blackbox, problem, received, verify
from tests.support.receiver import Act, Received, Receiver, Reply
from tests.system.conftest import StartServer

PATH: Final = "/v1/subscriptions"
WAYS: Final = ("challenge", "cloudevents")
#: The host of the public URL of the service that most tests share.
ORIGIN: Final = "127.0.0.1"
#: Seconds that a receiver has, and that everything around it may take on a busy machine.
DEADLINE: Final = 0.5
PATIENCE: Final = 5.0


def challenge(request: Received) -> bytes:
    """What is to be sent back; nothing where that is not asked."""
    return str(json.loads(request.body).get("challenge", "")).encode()


def allowed(origin: str, rate: str = "*") -> tuple[tuple[str, str], ...]:
    return (("WebHook-Allowed-Origin", origin), ("WebHook-Allowed-Rate", rate))


def agreeing(request: Received) -> Reply:
    """A receiver that agrees to all it is asked and takes all it is sent."""
    if request.method == "OPTIONS":
        return Reply(200, (("Allow", "POST"), *allowed(request.headers["webhook-request-origin"])))
    return Reply(200, (), challenge(request))


async def refused(asked: Awaitable[httpx.Response]) -> str:
    """What is said of a URL that does not agree."""
    (error,) = problem(await asked, 422, "invalid")["errors"]
    assert error["pointer"] == "/url"
    return str(error["detail"])


def create(api: Blackbox, url: str, way: str, **members: object) -> Awaitable[httpx.Response]:
    return api.http.post(PATH, json={"url": url, "verification": way, **members})


async def names(api: Blackbox) -> set[str]:
    return {each["id"] for each in await api.all(PATH)}


# --- who agrees


@pytest.mark.parametrize(
    "reply",
    [
        lambda it: Reply(200, (("content-type", "text/plain"),), challenge(it)),
        lambda it: Reply(201, (), challenge(it) + b"\n"),
        lambda it: Reply(200, (), json.dumps({"challenge": challenge(it).decode()}).encode()),
    ],
    ids=["text", "a line", "json"],
)
async def test_who_sends_the_challenge_back_is_sent_events(
    api: Blackbox, receiver: Receiver, kind: str, reply: Callable[[Received], Reply]
) -> None:
    receiver.script = reply
    made = await api.subscribe(
        receiver.url("/hook"),
        verification="challenge",
        operationTypes=[kind],
        headers={"x-token": "mine"},
    )
    assert made["verification"] == "challenge"
    assert made["verifiedAt"]
    (asked,) = receiver.requests
    verify(made["secret"], asked)
    assert (asked.method, asked.path, asked.headers["x-token"]) == ("POST", "/hook", "mine")
    body = json.loads(asked.body)
    assert body["type"] == asked.headers["x-webhook-event"] == "webhook.challenge"
    assert body["id"] == asked.headers["webhook-id"]
    assert len(body["challenge"]) >= 32

    await api.event("op-" + kind, "a", operationType=kind)
    _, event = await receiver.wait_for(2)
    verify(made["secret"], event)
    assert set(event.headers) - set(asked.headers) == {"x-operation-id", "x-operation-sequence"}


async def test_who_allows_our_origin_is_told_it(start_server: StartServer, kind: str) -> None:
    server = start_server({"RINGBACK_PUBLIC_URL": "https://Hooks.Example.com:8443/ringback"})
    async with blackbox(server) as api, Receiver(agreeing) as receiver:
        url = receiver.url("/hook?x=1")
        made = await api.subscribe(url, verification="cloudevents", rateLimitPerSecond=40)
        await api.event("op-" + kind, "a")
        asked, event = await receiver.wait_for(2)
    assert made["verifiedAt"]
    assert "allowedRatePerMinute" not in made
    assert (asked.method, asked.path, asked.body) == ("OPTIONS", "/hook?x=1", b"")
    assert asked.headers["webhook-request-rate"] == "2400"
    for request in (asked, event):
        assert request.headers["webhook-request-origin"] == "hooks.example.com"
    verify(made["secret"], event)


async def test_the_rate_that_was_agreed_to_is_kept(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    per_minute, count = 240, 5
    receiver.script = lambda _: Reply(200, allowed("*", str(per_minute)))
    members = {"operationTypes": [kind], "rateLimitPerSecond": 1_000}
    made = await api.subscribe(receiver.url(), verification="cloudevents", **members)
    assert made["allowedRatePerMinute"] == per_minute
    for number in range(count):
        await api.event(f"op-{kind}-{number}", "a", operationType=kind)
    _, *events = await receiver.wait_for(1 + count)
    gap = 60 / per_minute
    # the first may have come late, which makes the rest of the way shorter
    assert events[-1].at - events[0].at > (count - 1) * gap / 2

    # without the agreement they all go at once
    before = len(receiver.requests)
    patch = {"verification": "none"}
    assert (await api.http.patch(f"{PATH}/{made['id']}", json=patch)).status_code == 200
    for number in range(count):
        await api.event(f"op-{kind}-{number}", "b", operationType=kind)
    events = (await receiver.wait_for(before + count))[before:]
    assert {"webhook-request-origin"} & set(events[-1].headers) == set()
    assert events[-1].at - events[-2].at < gap * (count - 1)


# --- who does not

Script = Callable[[Received], Reply | Act]


def acting(act: Act) -> Script:
    return lambda _: act


REFUSALS: Final[dict[str, tuple[Script, str]]] = {
    "404": (lambda _: Reply(404, (), b"nobody"), "404 (Not Found)"),
    "405": (lambda _: Reply(405, (("allow", "GET"),)), "405 (Method Not Allowed)"),
    "410": (lambda _: Reply(410), "410 (Gone)"),
    "429": (lambda _: Reply(429, (("retry-after", "1"),)), "429"),
    "500": (lambda _: Reply(500), "500"),
    "ok and nothing else": (lambda _: Reply(204), "204 (No Content)"),
    "its own request": (lambda it: Reply(200, (), it.body), "200 (OK)"),
    "another challenge": (lambda _: Reply(200, (), b'{"challenge":"5f5f"}'), "200 (OK)"),
    "another origin": (lambda _: Reply(200, allowed("example.com")), "200 (OK)"),
    "no rate": (lambda _: Reply(200, allowed(ORIGIN, "0")), "200 (OK)"),
    "a large answer": (lambda it: Reply(200, (), b"x" * 10**6 + it.body), "200 (OK)"),
    "a hang": (acting(hostile.hang), "timeout: No answer within 0.5 s"),
    "a reset": (acting(hostile.reset), "protocol: "),
    "a hangup": (acting(hostile.close), "protocol: "),
    "a drip of headers": (acting(hostile.header_drip), "200 (OK)"),
    "a drip of body": (acting(hostile.body_drip), "200 (OK)"),
    "a flood of body": (acting(hostile.endless_body), "200 (OK)"),
    # how far it is read before it is too much is the system's affair
    "a flood of headers": (acting(hostile.endless_headers), "It must answer"),
    "interim answers": (acting(hostile.interim_flood), "protocol: More than 100 interim"),
    "no http": (acting(hostile.no_http), "protocol: "),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", REFUSALS)
async def test_who_does_not_agree_is_left_alone(
    api: Blackbox, receiver: Receiver, kind: str, answer: str, way: str
) -> None:
    script, said = REFUSALS[answer]
    receiver.script = script
    before, begun = await names(api), time.monotonic()
    members = {"operationTypes": [kind], "timeoutSeconds": DEADLINE}
    detail = await refused(create(api, receiver.url("/hook"), way, **members))
    assert time.monotonic() - begun < DEADLINE + PATIENCE
    assert said in detail
    wanted = "challenge of its body" if way == "challenge" else f"Allowed-Origin: {ORIGIN} (or *)"
    assert wanted in detail
    assert "send this request again" in detail
    assert await names(api) == before

    asked = len(receiver.requests)
    receiver.script = agreeing
    made = await api.subscribe(receiver.url("/other"), operationTypes=[kind])
    await api.event("op-" + kind, "a", operationType=kind)
    await api.deliveries(made, 1, "delivered")
    assert [each.path for each in receiver.requests[asked:]] == ["/other"]


@pytest.mark.parametrize("way", WAYS)
async def test_redirects_are_not_followed(api: Blackbox, receiver: Receiver, way: str) -> None:
    async with Receiver(agreeing) as other:
        location = ("location", other.url("/elsewhere"))
        for status in (301, 302, 303, 307, 308):
            receiver.script = lambda it, status=status: Reply(  # type: ignore[misc]  # bound here
                status, (location, *allowed(ORIGIN)), it.body and challenge(it)
            )
            assert str(status) in await refused(create(api, receiver.url(), way))
        assert other.connections == 0


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_is_there(api: Blackbox, way: str) -> None:
    async with Receiver() as gone:
        url = gone.url()
    assert (await refused(create(api, url, way))).startswith("connect: No connection to ")


@pytest.mark.parametrize("way", WAYS)
async def test_blocked_targets_are_not_asked(
    start_server: StartServer, receiver: Receiver, way: str
) -> None:
    receiver.script = agreeing
    server = start_server()
    async with blackbox(server) as api:
        made = await api.post(PATH, {"url": receiver.url("/")}, 201)
    server.stop()
    server.settings = {"RINGBACK_ALLOW_HTTP": "true"}  # what was allowed is no more
    server.start()
    path = f"{PATH}/{made['id']}"
    async with blackbox(server) as api:
        detail = await refused(api.http.patch(path, json={"verification": way}))
        assert detail.startswith("blocked: ")
        assert "127.0.0.1" not in detail
        assert "must answer" not in detail
        for url in ("http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"):
            await refused(create(api, url, way))
            await refused(api.http.patch(path, json={"url": url, "verification": way}))
        assert "verifiedAt" not in await api.get(path)
        (entry,) = (await api.get("/v1/audit-log?action=subscription.verification_failed"))["data"]
        assert entry["detail"]["errorClass"] == "blocked"
    assert receiver.connections == 0


# --- what goes on meanwhile, and afterwards


async def test_nobody_waits_for_one_who_is_asked(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    healthy = await api.subscribe(receiver.url("/healthy"), operationTypes=[kind])
    async with Receiver(acting(hostile.hang)) as hanging:
        members = {"operationTypes": [kind], "timeoutSeconds": 30}
        asking = [
            asyncio.create_task(refused(create(api, hanging.url(), way, **members)))
            for way in WAYS * 4
        ]
        await hanging.wait_for(len(asking))
        await api.event("op-" + kind, "a", operationType=kind)
        await api.deliveries(healthy, 1, "delivered")
        patch = {"description": "changed meanwhile"}
        answer = await api.http.patch(f"{PATH}/{healthy['id']}", json=patch)
        assert answer.status_code == 200
        assert not any(each.done() for each in asking)
    # the receiver is gone, and its connections with it
    for said in await asyncio.gather(*asking):
        assert said.startswith(("protocol: ", "connect: "))


async def test_events_go_to_the_old_url_until_the_new_one_agrees(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda it: Reply(500) if it.path == "/new" else agreeing(it)
    members = {"operationTypes": [kind], "verification": "challenge"}
    made = await api.subscribe(receiver.url("/old"), **members)
    path, new = f"{PATH}/{made['id']}", {"url": receiver.url("/new")}
    assert "500" in await refused(api.http.patch(path, json=new))
    assert await api.get(path) == {name: made[name] for name in made if name != "secret"}
    await api.event("op-" + kind, "a", operationType=kind)
    await received(receiver, "/old", 2)

    receiver.script = agreeing
    changed = await api.http.patch(path, json=new)
    assert changed.status_code == 200
    assert changed.json()["verifiedAt"] > made["verifiedAt"]
    await api.event("op-" + kind, "b", operationType=kind)
    *_, event = await received(receiver, "/new", 3)
    assert event.headers["x-webhook-event"] == "b"
    assert len(await received(receiver, "/old", 2)) == 2


async def test_with_a_key_it_is_asked_once(api: Blackbox, receiver: Receiver, kind: str) -> None:
    waiting = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        body = challenge(receiver.requests[-1])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    receiver.script = acting(slow)
    body = {"url": receiver.url(), "verification": "challenge", "operationTypes": [kind]}

    async def ask() -> httpx.Response:
        return await api.http.post(PATH, json=body, headers={"idempotency-key": kind})

    first = asyncio.create_task(ask())
    await receiver.wait_for(1)
    problem(await ask(), 409, "conflict")
    waiting.set()
    made: dict[str, Any] = (await first).json()
    api.made.append(made["id"])
    again = await ask()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == made
    assert len(receiver.requests) == 1
