"""Whatever is posted as an event: a clear answer, and nothing changed unless it was accepted."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, opened_api, pointers, problem

EVENTS = "/v1/events"
OF_ONE = "/v1/operations/op_1/events"

MALFORMED = {
    "nothing": b"",
    "white space": b"  \n",
    "not JSON": b"type=STARTED",
    "cut short": b'{"type":"STARTED"',
    "two documents": b'{"type":"STARTED"}{"type":"STARTED"}',
    "a comma too many": b'{"type":"STARTED",}',
    "single quotes": b"{'type':'STARTED'}",
    "a byte order mark": b'\xef\xbb\xbf{"type":"STARTED"}',
    "NaN": b'{"type":"STARTED","data":NaN}',
    "Infinity": b'{"type":"STARTED","data":{"a":-Infinity}}',
    "a leading zero": b'{"type":"STARTED","data":01}',
    "a raw line break in a text": b'{"type":"STARTED","message":"a\nb"}',
    "a raw NUL": b'{"type":"STARTED","data":"\x00"}',
    "half of a surrogate pair in data": b'{"type":"STARTED","data":"\\ud800"}',
    "half of a surrogate pair in the type": b'{"type":"\\udc00"}',
    "a bad escape": b'{"type":"STARTED","data":"\\x41"}',
    "Latin-1": '{"type":"STARTED","data":"Grüße"}'.encode("latin-1"),
    "an overlong NUL": b'{"type":"STARTED","data":"\xc0\x80"}',
    "a surrogate in UTF-8": b'{"type":"STARTED","data":"\xed\xa0\x80"}',
    "UTF-16": '{"type":"STARTED"}'.encode("utf-16"),
    "a fault, and then no JSON": b'{"type":1,"data":}',
    "an unknown field, and then no JSON": b'{"kind":"a","data":1]',
    "an array cut short": b'[{"type":"STARTED"}',
    "an array with a comma too many": b'[{"type":"STARTED"},]',
}

#: What is posted, and where its faults are.
INVALID: dict[str, tuple[str, list[str]]] = {
    "null": ("null", [""]),
    "a number": ("17", [""]),
    "a text": ('"STARTED"', [""]),
    "no type": ("{}", ["/type"]),
    "a type that is a number": ('{"type":1}', ["/type"]),
    "a type that is null": ('{"type":null}', ["/type"]),
    "an empty type": ('{"type":""}', ["/type"]),
    "a type with a space": ('{"type":"a b"}', ["/type"]),
    "a type with a line break at its end": ('{"type":"a\\n"}', ["/type"]),
    "a type with a NUL": ('{"type":"a\\u0000"}', ["/type"]),
    "a long type": (json.dumps({"type": "a" * 129}), ["/type"]),
    "an id with a slash": ('{"type":"a","id":"a/b"}', ["/id"]),
    "a long id": (json.dumps({"type": "a", "id": "a" * 65}), ["/id"]),
    "an id with a letter that is not ASCII": ('{"type":"a","id":"\\u00e4"}', ["/id"]),
    "an empty id": ('{"type":"a","id":""}', ["/id"]),
    "another operation": ('{"type":"a","operationId":"op_2"}', ["/operationId"]),
    "an unknown field": ('{"type":"a","payload":{}}', ["/payload"]),
    "a field in the wrong case": ('{"type":"a","operation_type":"x"}', ["/operation_type"]),
    "a field whose name needs escaping": ('{"type":"a","x/~y":1}', ["/x~1~0y"]),
    "an unknown status": ('{"type":"a","status":"DONE"}', ["/status"]),
    "a status that contradicts": ('{"type":"STARTED","status":"FAILED"}', ["/status"]),
    "a custom type that ends": ('{"type":"paid","status":"COMPLETED"}', ["/status"]),
    "a time without offset": ('{"type":"a","timestamp":"2025-01-31T12:00:00"}', ["/timestamp"]),
    "a time that is a number": ('{"type":"a","timestamp":1735689600}', ["/timestamp"]),
    "the 30th of February": ('{"type":"a","timestamp":"2025-02-30T12:00:00Z"}', ["/timestamp"]),
    "a long message": (json.dumps({"type": "a", "message": "m" * 8193}), ["/message"]),
    "a message that is an object": ('{"type":"a","message":{}}', ["/message"]),
    "progress above 100": ('{"type":"a","progress":101}', ["/progress"]),
    "progress below 0": ('{"type":"a","progress":-1}', ["/progress"]),
    "progress that is no double": ('{"type":"a","progress":1e400}', ["/progress"]),
    "progress of 5,000 digits": ('{"type":"a","progress":' + "9" * 5000 + "}", ["/progress"]),
    "progress that is a text": ('{"type":"a","progress":"50%"}', ["/progress"]),
    "progress counted backwards": ('{"type":"a","progress":{"current":-5}}', ["/progress"]),
    "unknown progress": ('{"type":"a","progress":{"done":5}}', ["/progress"]),
    "an error that is a text": ('{"type":"a","error":"boom"}', ["/error"]),
    "an error status that is a text": ('{"type":"a","error":{"status":"500"}}', ["/error"]),
    "warnings that are no array": ('{"type":"a","warnings":{}}', ["/warnings"]),
    "a type of Ringback's own": (
        '{"type":"a","operationType":"ringback.replay"}',
        ["/operationType"],
    ),
    "everything at once": (
        (
            '{"id":"a b","type":7,"operationId":"x y","operationType":[],"timestamp":"noon",'
            '"progress":-1,"error":1,"warnings":2,"colour":"red"}'
        ),
        [
            "/colour",
            "/error",
            "/id",
            "/operationId",
            "/operationType",
            "/progress",
            "/timestamp",
            "/type",
            "/warnings",
        ],
    ),
}

DEEP = {
    "arrays": b'{"type":"a","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "objects": b'{"type":"a","data":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "unclosed": b'{"type":"a","data":' + b"[" * 200_000,
    "progress": b'{"type":"a","progress":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a bad type beside it": b'{"type":1,"data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "the document": b"[" * 100_000 + b"]" * 100_000,
}


async def unchanged(api: Api) -> bool:
    """Whether nothing was created."""
    return not (await api.get("/v1/operations"))["data"]


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_json_is_refused(api: Api, body: bytes) -> None:
    problem(await api.call("POST", OF_ONE, content=body), 400, "malformed")
    assert await unchanged(api)


@pytest.mark.parametrize(("body", "where"), INVALID.values(), ids=INVALID)
async def test_every_fault_is_named(api: Api, body: str, where: list[str]) -> None:
    refused = problem(await api.call("POST", OF_ONE, content=body.encode()), 422, "invalid")
    assert pointers(refused) == where
    assert await unchanged(api)


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP)
async def test_deep_nesting_is_refused(api: Api, body: bytes) -> None:
    refused = problem(await api.call("POST", OF_ONE, content=body), 422, "invalid")
    assert "deep" in refused["errors"][0]["detail"]
    assert await unchanged(api)


async def test_the_place_of_a_fault_in_the_json_is_told(api: Api) -> None:
    refused = problem(await api.call("POST", OF_ONE, content=b'{"type" 1}'), 400, "malformed")
    assert "(byte 8)" in refused["detail"]
    refused = problem(await api.call("POST", OF_ONE, content=b'{"a":"\xff"}'), 400, "malformed")
    assert "not UTF-8 (byte 6)" in refused["detail"]


async def test_the_operation_is_required_where_the_path_has_none(api: Api) -> None:
    refused = problem(await api.call("POST", EVENTS, {"type": "a"}), 422, "invalid")
    assert pointers(refused) == ["/operationId"]
    refused = problem(await api.call("POST", EVENTS, {"type": "a", "x": 1}), 422, "invalid")
    assert pointers(refused) == ["/operationId", "/x"]


@pytest.mark.parametrize("name", ["a%20b", "a.b", "a" * 65, "%0A", "%F0%9F%98%80"])
async def test_an_operation_id_that_cannot_be_is_refused_in_the_path(api: Api, name: str) -> None:
    answer = await api.call("POST", f"/v1/operations/{name}/events", {"type": "a"})
    assert pointers(problem(answer, 422, "invalid")) == ["/operationId"]
    assert await unchanged(api)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=iso-8859-1",
    ],
)
async def test_other_content_types_are_refused(api: Api, content_type: str) -> None:
    body, headers = b'{"type":"a"}', {"content-type": content_type}
    answer = await api.call("POST", OF_ONE, content=body, headers=headers)
    problem(answer, 415, "unsupported-media-type")
    assert await unchanged(api)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
)
async def test_parameters_of_the_content_type_do_not_matter(api: Api, content_type: str) -> None:
    body, headers = b'{"type":"a"}', {"content-type": content_type}
    answer = await api.call("POST", OF_ONE, content=body, headers=headers)
    assert answer.status_code == 202


async def test_compressed_bodies_are_refused(api: Api) -> None:
    answer = await api.call("POST", OF_ONE, content=b"x", headers={"content-encoding": "gzip"})
    problem(answer, 415, "unsupported-media-type")


async def test_an_event_may_be_as_large_as_the_limit_and_no_larger(api: Api) -> None:
    frame = len(b'{"type":"a","data":""}')
    most = b'{"type":"a","data":"%s"}' % (b"x" * (262_144 - frame))
    assert (await api.call("POST", OF_ONE, content=most)).status_code == 202
    more = b'{"type":"a","data":"%s"}' % (b"x" * (262_145 - frame))
    refused = problem(await api.call("POST", OF_ONE, content=more), 413, "too-large")
    assert refused["maximumBytes"] == 262_144


async def test_the_limit_of_an_event_is_a_setting(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_MAX_EVENT_BYTES="100") as api:
        small: dict[str, Any] = {"type": "a", "operationId": "op_1"}
        large = {**small, "data": "x" * 100}
        assert (await api.call("POST", EVENTS, small)).status_code == 202
        problem(await api.call("POST", EVENTS, large), 413, "too-large")
        mixed = await api.post(EVENTS, [small, large], 207)
        assert [each.get("sequence") for each in mixed["data"]] == [2, None]
        assert mixed["data"][1]["problem"]["status"] == 413


async def test_a_body_announced_too_large_is_not_read(api: Api) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield pytest.fail("the body was read")

    headers = {"content-length": str(16 * 1024 * 1024 + 1)}
    answer = await api.call("POST", OF_ONE, content=never(), headers=headers)
    problem(answer, 413, "too-large")


async def test_a_chunked_body_is_read_up_to_the_limit_only(api: Api) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * (1024 * 1024)

    problem(await api.call("POST", OF_ONE, content=endless()), 413, "too-large")
    assert sent == 17
    assert await unchanged(api)


async def test_an_array_of_millions_is_refused_without_taking_it_apart(api: Api) -> None:
    body = b"[" + b"1," * 8_000_000 + b"1]"
    refused = problem(await api.call("POST", EVENTS, content=body), 422, "invalid")
    assert "more than 1000 events" in refused["errors"][0]["detail"]


async def test_a_body_of_nothing_but_faults_is_answered_shortly(api: Api) -> None:
    body = {"type": "a", **{f"f{number}": 1 for number in range(5_000)}}
    refused = problem(await api.call("POST", OF_ONE, body), 422, "invalid")
    assert len(refused["errors"]) == 101
    assert refused["errors"][-1]["detail"] == "4900 more faults are not listed."
