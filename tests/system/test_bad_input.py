"""Bad input of every kind over a real socket: a clear problem document, and nothing changes."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.blackbox import Blackbox, blackbox
from tests.support.server import Server

JSON = "application/json"
NDJSON = "application/x-ndjson"
URL = "http://127.0.0.1:9/hook"
HUGE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Case:
    """A request and the status that refuses it."""

    status: int
    content: bytes = b""
    path: str = "/v1/events"
    method: str = "POST"
    kind: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Where the faults are; ``None``: not checked.
    pointers: tuple[str, ...] | None = None


def event(refused: int = 422, *pointers: str, **members: object) -> Case:
    body = {"operationId": "op-1", "type": "step", **members}
    return Case(refused, json.dumps(body).encode(), pointers=pointers or None)


def raw(text: str | bytes, status: int = 400) -> Case:
    """An event with something under ``data``."""
    data = text if isinstance(text, bytes) else text.encode()
    return Case(status, b'{"operationId":"op-1","type":"step","data":' + data + b"}")


def control(path: str, body: object, *pointers: str, status: int = 422) -> Case:
    return Case(status, json.dumps(body).encode(), path, pointers=pointers or None)


def subscription(*pointers: str, **members: object) -> Case:
    return control("/v1/subscriptions", {"url": URL, **members}, *pointers)


def text_of_subscription(member: str, *pointers: str) -> Case:
    content = f'{{"url":"{URL}",{member}}}'.encode()
    return Case(422, content, "/v1/subscriptions", pointers=pointers)


def read(path: str, status: int = 422, **headers: str) -> Case:
    return Case(status, path=path, method="GET", kind=None, headers=headers)


SOUND = b'{"operationId":"op-1","type":"step"}'

NOT_JSON = {
    "nothing at all": Case(400),
    "cut off": Case(400, b'{"operationId":"op-1","type":'),
    "a word": Case(400, b"hello"),
    "single quotes": Case(400, b"{'operationId':'op-1','type':'step'}"),
    "something behind it": Case(400, SOUND + b"x"),
    "two objects": Case(400, SOUND + SOUND),
    "a comma too many": Case(400, b'{"operationId":"op-1","type":"step",}'),
    "a comment": Case(400, b"/* */" + SOUND),
    "an array cut off": Case(400, b"[" + SOUND),
    "NaN": raw("NaN"),
    "infinity": raw("-Infinity"),
    "a leading zero": raw("012"),
    "a bare point": raw("1."),
    "hexadecimal": raw("0x10"),
    "an unknown escape": raw(r'"\q"'),
    "a tab in a text": raw('"\t"'),
    "NUL in a text": raw('"\0"'),
    "NUL between": Case(400, b'{"operationId":\0"op-1","type":"step"}'),
    "only NUL": Case(400, b"\0" * 100),
    "not UTF-8": raw(b'"\xff"'),
    "UTF-8 too long": raw(b'"\xc0\xaf"'),
    "half a surrogate pair in UTF-8": raw(b'"\xed\xa0\x80"'),
    "UTF-8 cut off": raw(b'"\xe2\x82"'),
    "UTF-16": Case(400, SOUND.decode().encode("utf-16")),
    "latin-1 in a message": Case(
        400, '{"operationId":"op-1","type":"step","message":"ü"}'.encode("latin-1")
    ),
}
WRONG_EVENTS = {
    "a text": Case(422, b'"text"', pointers=("",)),
    "a number": Case(422, b"7", pointers=("",)),
    "null": Case(422, b"null", pointers=("",)),
    "an empty object": Case(422, b"{}", pointers=("/operationId", "/type")),
    "an unknown field": event(422, "/colour", colour=1),
    "all faults at once": event(
        422, "/id", "/colour", "/message", "/progress", id="a b", colour=1, message=1, progress=200
    ),
    "an operation that is a number": event(422, "/operationId", operationId=7),
    "an operation with a slash": event(422, "/operationId", operationId="a/b"),
    "an operation with NUL": event(422, "/operationId", operationId="a\0"),
    "an operation too long": event(422, "/operationId", operationId="a" * 65),
    "an id that is empty": event(422, "/id", id=""),
    "an id with a line break": event(422, "/id", id="a\n"),
    "a type that is a list": event(422, "/type", type=["step"]),
    "a type with a blank": event(422, "/type", type="a b"),
    "a type with NUL": event(422, "/type", type="a\0"),
    "a type too long": event(422, "/type", type="a" * 129),
    "a time that is none": event(422, "/timestamp", timestamp="yesterday"),
    "a time that is a number": event(422, "/timestamp", timestamp=1.5),
    "a day that is none": event(422, "/timestamp", timestamp="2025-02-30T00:00:00Z"),
    "an unknown status": event(422, "/status", status="DONE"),
    "an end by a type of one's own": event(422, "/status", status="COMPLETED"),
    "a status against the type": event(422, "/status", type="FAILED", status="COMPLETED"),
    "a message too long": event(422, "/message", message="a" * 8193),
    "a negative progress": event(422, "/progress", progress=-1),
    "a progress above 100": event(422, "/progress", progress=100.5),
    "a progress in words": event(422, "/progress", progress="half"),
    "a negative count": event(422, "/progress", progress={"current": -1, "total": 3}),
    "a progress with more": event(422, "/progress", progress={"current": 1, "colour": 3}),
    "an error in words": event(422, "/error", type="FAILED", error="broken"),
    "an error that retries when?": event(422, "/error", error={"retryAfter": -1}),
    "warnings in words": event(422, "/warnings", warnings="careful"),
    "another operation than the path's": control(
        "/v1/operations/op-2/events", {"operationId": "op-1", "type": "step"}, "/operationId"
    ),
    "an operation of our own type": event(422, "/operationType", operationType="ringback.replay"),
    "no batch": Case(422, b"[]"),
    "no lines": Case(422, b"\n \n", kind=NDJSON),
    "too many": Case(422, b"[" + b",".join([SOUND] * 1001) + b"]"),
    "too many lines": Case(422, b"\n".join([SOUND] * 1001), kind=NDJSON),
}
NUMBERS = {
    "a progress beyond a double": Case(
        422, b'{"operationId":"op-1","type":"step","progress":1e400}', pointers=("/progress",)
    ),
    "a progress of 5,000 digits": Case(
        422,
        b'{"operationId":"op-1","type":"step","progress":' + b"9" * 5000 + b"}",
        pointers=("/progress",),
    ),
    "a count beyond a double": Case(
        422,
        b'{"operationId":"op-1","type":"step","progress":{"current":-1e400,"total":1}}',
        pointers=("/progress",),
    ),
    "a limit below": read("/v1/operations?limit=-1"),
    "a limit of none": read("/v1/operations?limit=0"),
    "a limit above": read("/v1/deliveries?limit=201"),
    "a limit of 5,000 digits": read("/v1/deliveries?limit=" + "9" * 5000),
    "a limit in Arabic digits": read("/v1/deliveries?limit=%D9%A1"),
    "a place beyond 64 bits": read("/v1/operations/op-1/events?after=99999999999999999999"),
    "a timeout above": subscription("/timeoutSeconds", timeoutSeconds=31),
    "a timeout of nothing": subscription("/timeoutSeconds", timeoutSeconds=0),
    "a timeout beyond a double": text_of_subscription('"timeoutSeconds":1e400', "/timeoutSeconds"),
    "a negative wait": subscription("/retrySchedule/0", retrySchedule=[-1]),
    "a wait beyond a double": text_of_subscription('"retrySchedule":[1e400]', "/retrySchedule"),
    "a wait of a year": subscription("/retrySchedule/0", retrySchedule=[31_536_000]),
    "no concurrency": subscription("/maxConcurrency", maxConcurrency=0),
    "concurrency beyond 64 bits": subscription("/maxConcurrency", maxConcurrency=2**70),
    "a broken concurrency": subscription("/maxConcurrency", maxConcurrency=1.5),
}
NESTING = {
    "10,000 arrays": raw("[" * 10_000 + "]" * 10_000, 422),
    "10,000 objects": raw('{"a":' * 10_000 + "1" + "}" * 10_000, 422),
    "10,000 arrays open": Case(422, b"[" * 10_000),
    "a batch of depths": Case(422, b"[" * 10_000 + b"]" * 10_000),
    "10,000 in an error": Case(
        422,
        b'{"operationId":"op-1","type":"step","error":{"a":'
        + b"[" * 10_000
        + b"]" * 10_000
        + b"}}",
    ),
    "10,000 in metadata": Case(
        422,
        b'{"type":"a","metadata":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "/v1/operations",
    ),
    "10,000 in a subscription": Case(
        422,
        b'{"url":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "/v1/subscriptions",
    ),
}
SIZES = {
    "an event too large": event(413, data="a" * 262_144),
    "a body too large": Case(413, b" " * HUGE + SOUND),
    "an operation too large": control(
        "/v1/operations", {"type": "a", "metadata": {"a": "a" * 1_100_000}}, status=413
    ),
}
CONTENT = {
    "a text": Case(415, SOUND, kind="text/plain"),
    "a form": Case(415, SOUND, kind="application/x-www-form-urlencoded"),
    "no type": Case(415, SOUND, kind=None),
    "another charset": Case(415, SOUND, kind="application/json; charset=utf-16"),
    "compressed": Case(415, SOUND, headers={"content-encoding": "gzip"}),
    "lines for one thing": Case(415, b'{"type":"a"}', "/v1/operations", kind=NDJSON),
}
KEYS = {
    "no key": read("/v1/operations", 401, authorization=""),
    "a wrong key": read("/v1/operations", 401, authorization="Bearer rb_00000000_wrong"),
    "another scheme": read("/v1/operations", 401, authorization="Basic YTpi"),
    "an empty key": read("/v1/operations", 401, authorization="Bearer"),
    "a wrong key on a broken body": Case(401, b"{", headers={"authorization": "Bearer no"}),
    "an Idempotency-Key too long": Case(400, SOUND, headers={"idempotency-key": "a" * 256}),
    "an Idempotency-Key of nothing": Case(400, SOUND, headers={"idempotency-key": ""}),
    "an Idempotency-Key with a blank": Case(400, SOUND, headers={"idempotency-key": "a b"}),
}
CONTROL = {
    "an operation without a type": control("/v1/operations", {}, "/type"),
    "an operation of a number": control("/v1/operations", {"type": 7}, "/type"),
    "an operation with more": control("/v1/operations", {"type": "a", "colour": 1}, "/colour"),
    "an operation of ours": control("/v1/operations", {"type": "ringback.replay"}, "/type"),
    "an operation with a bad id": control(
        "/v1/operations", {"type": "a", "operationId": "a\0"}, "/operationId"
    ),
    "an operation that is a list": control("/v1/operations", []),
    "an operation that is there": control(
        "/v1/operations", {"type": "other", "operationId": "op-0"}, status=409
    ),
    "a subscription to nowhere": control("/v1/subscriptions", {}, "/url"),
    "a subscription with more": subscription("/colour", colour="red"),
    "a URL that is a number": subscription("/url", url=7),
    "a URL that is none": subscription("/url", url="example.com"),
    "a URL of another scheme": subscription("/url", url="ftp://example.com/"),
    "a URL with a password": subscription("/url", url="https://a:b@example.com/"),
    "a URL with NUL": subscription("/url", url=URL + "\0"),
    "a URL to ourselves": subscription("/url", url="{own}"),
    "no types": subscription("/eventTypes", eventTypes=[]),
    "types in words": subscription("/eventTypes", eventTypes="COMPLETED"),
    "a type that cannot be": subscription("/eventTypes/0", eventTypes=["a b"]),
    "an unknown payload": subscription("/payload", payload="fat"),
    "headers of numbers": subscription("/headers/a", headers={"a": 1}),
    "headers with line breaks": subscription("/headers/a", headers={"a": "b\r\nc: d"}),
    "a secret too short": control(
        "/v1/subscriptions", {"url": URL, "secret": "whsec_YQ=="}, "/secret"
    ),
    "an endless overlap": control(
        "/v1/subscriptions/{id}/rotate-secret", {"overlapSeconds": 1e300}, "/overlapSeconds"
    ),
    "a negative overlap": control(
        "/v1/subscriptions/{id}/rotate-secret", {"overlapSeconds": -1}, "/overlapSeconds"
    ),
    "a replay since never": control("/v1/subscriptions/{id}/replay", {"only": "dead"}, "/since"),
    "a replay of what?": control(
        "/v1/subscriptions/{id}/replay", {"since": "2025-01-01T00:00:00Z", "only": "x"}, "/only"
    ),
    "a replay that ends before it begins": control(
        "/v1/dead-letters/replay",
        {"since": "2025-01-02T00:00:00Z", "until": "2025-01-01T00:00:00Z"},
        "/until",
    ),
    "a replay at no rate": control(
        "/v1/dead-letters/replay", {"ratePerSecond": 0}, "/ratePerSecond"
    ),
    "a replay at a negative rate": control(
        "/v1/dead-letters/replay", {"ratePerSecond": -5}, "/ratePerSecond"
    ),
    "a replay of nobody": control(
        "/v1/dead-letters/replay", {"subscriptionId": "sub_none"}, "/subscriptionId"
    ),
}
ADDRESSES = {
    "an unknown address": read("/v1/nothing", 404),
    "an unknown operation": read("/v1/operations/none", 404),
    "an operation of NUL": read("/v1/operations/%00", 404),
    "an operation of bad UTF-8": read("/v1/operations/%ff", 404),
    "an unknown event": read("/v1/events/none", 404),
    "an unknown subscription": read("/v1/subscriptions/sub_none", 404),
    "a delivery that cannot be": read("/v1/deliveries/dlv_xyz", 404),
    "a delivery beyond 64 bits": read("/v1/deliveries/dlv_" + "f" * 24, 404),
    "a dead letter that cannot be": read("/v1/dead-letters/dl_" + "z" * 24, 404),
    "events of an operation that cannot be": Case(422, SOUND, "/v1/operations/a%20b/events"),
    "a cursor that is none": read("/v1/operations?cursor=AAAA"),
    "a cursor of another list": read("/v1/deliveries?cursor=b3BlcmF0aW9ucy4x"),
    "an unknown status": read("/v1/deliveries?status=lost"),
    "an unknown parameter": read("/v1/deliveries?colour=red"),
    "a parameter twice": read("/v1/deliveries?limit=1&limit=2"),
    "a time that is none": read("/v1/dead-letters?since=yesterday"),
    "a parameter with NUL": read("/v1/deliveries?eventId=%00"),
    "a method that is none": Case(405, method="DELETE", kind=None),
    "a method of others": Case(405, SOUND, method="PROPFIND"),
}
GROUPS = {
    "not JSON": NOT_JSON,
    "wrong event": WRONG_EVENTS,
    "number": NUMBERS,
    "nesting": NESTING,
    "size": SIZES,
    "content type": CONTENT,
    "key": KEYS,
    "control": CONTROL,
    "address": ADDRESSES,
}
CASES = {
    f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()
}


@pytest.fixture(scope="module")
def quiet_server(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[Server]:
    """A service that nobody else talks to, in which nothing moves by itself."""
    folder = tmp_path_factory.mktemp("quiet")
    shutil.copytree(installed, folder / "data")
    with Server(folder) as server:
        yield server


@pytest.fixture
async def quiet(quiet_server: Server) -> AsyncIterator[Blackbox]:
    async with blackbox(quiet_server) as api:
        if not await api.all("/v1/subscriptions"):
            made = await api.subscribe(URL)
            await api.post(f"/v1/subscriptions/{made['id']}/pause", None, 200)
            await api.event("op-0", "STARTED", operationType="first")
            await api.post("/v1/operations", {"type": "second", "operationId": "op-00"})
        api.made.clear()
        yield api


async def everything(api: Blackbox) -> list[Any]:
    """All there is to see; operations show their number of events."""
    lists = ("operations", "deliveries", "subscriptions", "dead-letters")
    return [await api.all(f"/v1/{name}") for name in lists]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_it_is_refused_in_clear_words_and_nothing_changes(
    case: Case, quiet: Blackbox
) -> None:
    before = await everything(quiet)
    subscription = before[2][0]["id"]
    path = case.path.replace("{id}", subscription)
    own = f"{quiet.http.base_url}".rstrip("/") + "/hook"

    answer = await ask(quiet, case, path, case.content.replace(b"{own}", own.encode()))
    check_problem(answer, case)
    assert await everything(quiet) == before
    assert (await quiet.http.get("/readyz")).status_code == 200


async def ask(api: Blackbox, case: Case, path: str, content: bytes) -> httpx.Response:
    headers = dict(case.headers)
    if case.kind is not None:
        headers["content-type"] = case.kind
    request = api.http.build_request(case.method, path, content=content, headers=headers)
    if request.headers.get("authorization") == "":
        del request.headers["authorization"]
    return await api.http.send(request)


def check_problem(answer: httpx.Response, case: Case) -> None:
    assert answer.status_code == case.status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == case.status
    assert problem["type"].startswith(f"{answer.url.scheme}://{answer.url.netloc.decode()}/")
    assert problem["instance"] == answer.request.url.raw_path.partition(b"?")[0].decode()
    assert len(problem["title"]) > 5
    assert len(problem["detail"]) > 20
    if case.status == 422:
        assert all(len(error["detail"]) > 10 for error in problem["errors"])
    if case.pointers is not None:
        assert {e["pointer"] for e in problem["errors"]} == set(case.pointers)


@pytest.mark.parametrize("form", ["array", "lines"])
async def test_a_batch_of_nothing_but_faults_changes_nothing(quiet: Blackbox, form: str) -> None:
    bad = [b"7", b'{"operationId":"op-1"}', b'{"operationId":"op-1","type":"a","id":"a b"}']
    if form == "array":
        content, kind = b"[" + b",".join(bad) + b"]", JSON
    else:
        content, kind = b"\n".join([*bad, b"{"]), NDJSON
    before = await everything(quiet)

    answer = await quiet.http.post("/v1/events", content=content, headers={"content-type": kind})
    assert answer.status_code == 207
    problems = [each["problem"] for each in answer.json()["data"]]
    statuses = [problem["status"] for problem in problems]
    assert statuses == ([422] * 3 if form == "array" else [422] * 3 + [400])
    for problem in problems:
        assert {"type", "title", "status", "detail", "instance"} <= set(problem)
    assert await everything(quiet) == before


async def test_a_move_that_is_not_possible_changes_nothing(quiet: Blackbox) -> None:
    await quiet.event("op-ended", "COMPLETED")
    before = await everything(quiet)
    for kind in ("STARTED", "STATUS_UPDATE", "COMPLETED", "FAILED", "CANCELLED", "step"):
        body = {"operationId": "op-ended", "type": kind}
        problem = await quiet.post("/v1/events", body, 409)
        assert "COMPLETED" in problem["detail"]
    assert (await quiet.post("/v1/operations/op-ended/cancel", None, 409))["status"] == 409
    assert await everything(quiet) == before
