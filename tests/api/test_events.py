"""Events that are accepted: what comes back, what is read later, and what follows what."""

import json

import pytest

from tests.support.api import Api, problem

EVENTS = "/v1/events"
OF_ONE = "/v1/operations/op_1/events"

#: JSON that a parse and a dump would change.
DELICATE = [
    "1.10",
    "1e400",
    "-0",
    "-0.0",
    "12345678901234567890.1234567",
    "123456789012345678901234567890",
    "0.1e-7",
    '"Grüße 👋 \u2028"',
    r'"Gr\u00fc\u00dfe \ud83d\udc4b"',
    r'"\u0000\/\b"',
    '{"b":1,"a":2,"b":3}',
    "[ 1 ,\t2 ]",
    "null",
    "{}",
    "[" * 500 + "]" * 500,
]


def ndjson(*events: object) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in events)


async def post_raw(api: Api, path: str, text: str) -> None:
    answer = await api.call("POST", path, content=text.encode())
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("member", ["data", "result", "warnings"])
@pytest.mark.parametrize("text", DELICATE)
async def test_what_was_sent_comes_back_byte_for_byte(api: Api, member: str, text: str) -> None:
    sent = f"[{text}]" if member == "warnings" else text
    body = f'{{"id":"evt_1","type":"COMPLETED","{member}": {sent} }}'
    await post_raw(api, OF_ONE, body)
    expected = f'"{member}":{sent}'.encode()
    paths = ["/v1/events/evt_1", OF_ONE]
    for path in [*paths, "/v1/operations/op_1"] if member != "data" else paths:
        answer = await api.call("GET", path)
        assert expected in answer.content, path


async def test_errors_keep_their_bytes_and_their_own_members(api: Api) -> None:
    sent = '{"type":"about:blank","status":500,"retryable":true,"retryAfter":1.50,"x":1e400}'
    await post_raw(api, OF_ONE, f'{{"type":"FAILED","error":{sent}}}')
    assert sent.encode() in (await api.call("GET", "/v1/operations/op_1")).content


async def test_an_accepted_event(api: Api) -> None:
    taken = await api.post(OF_ONE, {"type": "STARTED", "operationType": "report.sales"})
    entry = taken["data"][0]
    assert taken == {
        "data": [
            {
                "id": entry["id"],
                "operationId": "op_1",
                "sequence": 1,
                "status": "PROCESSING",
                "duplicate": False,
            }
        ]
    }
    event = await api.get(f"/v1/events/{entry['id']}")
    assert event == {
        "id": entry["id"],
        "type": "STARTED",
        "timestamp": event["timestamp"],
        "operationId": "op_1",
        "operationType": "report.sales",
        "sequence": 1,
        "status": "PROCESSING",
    }


async def test_the_producers_time_is_kept_in_utc(api: Api) -> None:
    given = {"id": "evt_1", "type": "a", "timestamp": "2025-01-31T13:00:00.5+01:00"}
    await api.post(OF_ONE, given)
    assert (await api.get("/v1/events/evt_1"))["timestamp"] == "2025-01-31T12:00:00.500Z"


async def test_a_repeated_event_changes_nothing(api: Api) -> None:
    await api.post(OF_ONE, {"id": "evt_1", "type": "STARTED"})
    again = await api.post(OF_ONE, {"id": "evt_1", "type": "STARTED", "message": "again"})
    assert again["data"][0]["duplicate"] is True
    assert again["data"][0]["sequence"] == 1
    assert len((await api.get(OF_ONE))["data"]) == 1


async def test_an_id_of_another_event_is_a_conflict(api: Api) -> None:
    await api.post(OF_ONE, {"id": "evt_1", "type": "STARTED"})
    other_type = await api.call("POST", OF_ONE, {"id": "evt_1", "type": "COMPLETED"})
    problem(other_type, 409, "conflict")
    elsewhere = {"id": "evt_1", "type": "STARTED", "operationId": "op_2"}
    problem(await api.call("POST", EVENTS, elsewhere), 409, "conflict")
    problem(await api.call("GET", "/v1/operations/op_2"), 404, "not-found")


@pytest.mark.parametrize("end", ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("kind", ["STARTED", "COMPLETED", "FAILED", "CANCELLED", "custom.type"])
async def test_nothing_follows_the_end(api: Api, end: str, kind: str) -> None:
    await api.post(OF_ONE, {"type": end})
    refused = problem(await api.call("POST", OF_ONE, {"type": kind}), 409, "conflict")
    assert refused["currentStatus"] == end
    assert end in refused["detail"]
    if kind.isupper():
        wanted = "PROCESSING" if kind == "STARTED" else kind
        assert refused["requestedStatus"] == wanted
        assert wanted in refused["detail"]
    assert len((await api.get(OF_ONE))["data"]) == 1


async def test_another_operation_type_is_a_conflict(api: Api) -> None:
    await api.post(OF_ONE, {"type": "a", "operationType": "report"})
    other = await api.call("POST", OF_ONE, {"type": "a", "operationType": "import"})
    problem(other, 409, "conflict")


async def test_in_a_batch_every_event_has_its_own_verdict(api: Api) -> None:
    batch = [
        {"type": "STARTED", "operationId": "op_1"},
        {"type": "a b", "operationId": "op_1", "id": "evt_bad"},
        {"type": "COMPLETED", "operationId": "op_1", "id": "evt_end"},
        {"type": "FAILED", "operationId": "op_1", "id": "evt_late"},
        {"type": "x"},
        17,
        {"type": "STARTED", "operationId": "op_2"},
    ]
    data = (await api.post(EVENTS, batch, 207))["data"]
    assert [each.get("sequence") for each in data] == [1, None, 2, None, None, None, 1]
    refused = {each["index"]: each for each in data if "problem" in each}
    assert {i: (each.get("id"), each["problem"]["status"]) for i, each in refused.items()} == {
        1: ("evt_bad", 422),
        3: ("evt_late", 409),
        4: (None, 422),
        5: (None, 422),
    }
    assert refused[1]["problem"]["errors"][0]["pointer"] == "/type"
    assert refused[3]["problem"]["currentStatus"] == "COMPLETED"
    types = [event["type"] for event in (await api.get(OF_ONE))["data"]]
    assert types == ["STARTED", "COMPLETED"]


async def test_a_batch_without_faults_is_202(api: Api) -> None:
    events = [{"type": "a"}, {"type": "b"}]
    assert [each["sequence"] for each in (await api.post(OF_ONE, events))["data"]] == [1, 2]


async def test_a_batch_of_refused_events_is_207_and_leaves_nothing(api: Api) -> None:
    data = (await api.post(EVENTS, [{"type": "a"}, {}], 207))["data"]
    assert [each["index"] for each in data] == [0, 1]
    assert not (await api.get("/v1/operations"))["data"]


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
async def test_an_empty_batch_is_refused(api: Api, body: bytes) -> None:
    problem(await api.call("POST", EVENTS, content=body), 422, "invalid")


async def test_a_thousand_events_are_taken_and_no_more(api: Api) -> None:
    events = [{"type": "a"}] * 1_000
    data = (await api.post(OF_ONE, events))["data"]
    assert [each["sequence"] for each in data] == list(range(1, 1_001))
    problem(await api.call("POST", OF_ONE, [*events, {"type": "a"}]), 422, "invalid")
    assert (await api.get("/v1/operations/op_1"))["sequence"] == 1_000


async def test_lines_of_json_are_a_batch(api: Api) -> None:
    lines = b'{"type":"a","operationId":"op_1"}\r\n\n{"type":\n{"type":"b","operationId":"op_1"}\n'
    headers = {"content-type": "application/x-ndjson"}
    answer = await api.call("POST", EVENTS, content=lines, headers=headers)
    assert answer.status_code == 207
    data = answer.json()["data"]
    assert [each.get("sequence") for each in data] == [1, None, 2]
    assert data[1]["problem"]["type"].endswith("/problems/malformed")


async def test_a_mark_of_utf8_before_lines_is_no_part_of_the_first(api: Api) -> None:
    lines = b"\xef\xbb\xbf" + ndjson(*({"type": each, "operationId": "op_1"} for each in "ab"))
    headers = {"content-type": "application/x-ndjson"}
    answer = await api.call("POST", EVENTS, content=lines, headers=headers)
    assert answer.status_code == 202
    assert [each["sequence"] for each in answer.json()["data"]] == [1, 2]


async def test_a_mark_of_utf8_before_json_is_named(api: Api) -> None:
    for body in (b'{"type":"a"}', b'[{"type":"a"}]'):
        headers = {"content-type": "application/json"}
        answer = await api.call("POST", OF_ONE, content=b"\xef\xbb\xbf" + body, headers=headers)
        assert "byte order mark" in problem(answer, 400, "malformed")["detail"]


async def test_lines_are_counted(api: Api) -> None:
    headers = {"content-type": "application/x-ndjson"}
    event = {"type": "a", "operationId": "op_1"}
    one = await api.call("POST", EVENTS, content=ndjson(event), headers=headers)
    assert (one.status_code, len(one.json()["data"])) == (202, 1)
    for body in (b"\n\n", ndjson(*[event] * 1_001), b"\n" * 100_000):
        problem(await api.call("POST", EVENTS, content=body, headers=headers), 422, "invalid")


async def test_the_log_is_read_from_a_sequence_on(api: Api) -> None:
    await api.post(OF_ONE, [{"type": f"t{number}"} for number in range(1, 8)])
    page = await api.get(f"{OF_ONE}?after=3&limit=2")
    assert [event["sequence"] for event in page["data"]] == [4, 5]
    rest = await api.get(f"{OF_ONE}?after=3&limit=2&cursor={page['pagination']['nextCursor']}")
    assert [event["sequence"] for event in rest["data"]] == [6, 7]
    assert rest["pagination"]["nextCursor"] is None
    assert (await api.get(f"{OF_ONE}?after=7"))["data"] == []


@pytest.mark.parametrize("path", ["/v1/events/evt_none", "/v1/operations/op_none/events"])
async def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    problem(await api.call("GET", path), 404, "not-found")
