"""What a producer wrote under data, result, error and warnings arrives byte for byte."""

import json

import pytest

from tests.support.blackbox import Blackbox, verify
from tests.support.receiver import Receiver, Reply

VALUES = {
    "decimals": "1.10",
    "beyond a double": "1e400",
    "more digits than a double": "12345678901234567890.1234567",
    "exponent as written": "[1E+2, 1e2, -0, -0.0, 0.1e-7]",
    "long whole number": "9" * 400,
    "not ASCII": '"Grüße, 緑, \N{LARGE GREEN CIRCLE}, \u2028"',
    "escapes as written": r'"\u00fc\/\u0041\n\uD83D\uDFE2"',
    "NUL as an escape": r'"a\u0000b"',
    "white space inside": '{ "a" :\t[ 1 ,  2 ]  , "b":{ } }',
    "order and repetition of names": '{"b":1,"a":2,"b":3,"":{}}',
    "nothing": "null",
    "deep, but not too deep": "[" * 50 + "]" * 50,
}


def members(value: str) -> dict[str, str]:
    return {
        "data": value,
        "result": f'{{"value": {value}}}',
        "error": f'{{"title":  "No", "own" : {value}}}',
        "warnings": f"[ {value} ,{value}]",
    }


def event(kind: str, value: str, operation: str) -> str:
    head = f'"operationId":"{operation}", "operationType" : "{kind}","type":"FAILED"'
    own = ", ".join(f'"{name}" :  {text}' for name, text in members(value).items())
    return f"{{ {head} ,{own} }}"


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
async def test_a_value_arrives_as_it_was_written(
    api: Blackbox, receiver: Receiver, kind: str, value: str
) -> None:
    subscription = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    operation = "op-" + kind
    await api.send("/v1/events", event(kind, value, operation).encode())
    (request,) = await receiver.wait_for(1)

    verify(subscription["secret"], request)
    wanted = [f'"{name}":{text}' for name, text in members(value).items()]
    # the same bytes wherever the event and its operation are read
    log = (await api.http.get(f"/v1/operations/{operation}/events")).text
    one = (await api.http.get(f"/v1/events/{request.headers['webhook-id']}")).text
    for where in (request.body.decode(), log, one):
        assert [each for each in wanted if each not in where] == []
    shown = (await api.http.get(f"/v1/operations/{operation}")).text
    assert [each for each in wanted[1:] if each not in shown] == []


@pytest.mark.parametrize("form", ["array", "lines", "below the operation"])
async def test_however_it_was_posted(
    api: Blackbox, receiver: Receiver, kind: str, form: str
) -> None:
    await api.subscribe(receiver.url("/"), operationTypes=[kind])
    values = list(VALUES.values())
    operations = [f"{n}-{kind}"[:64] for n in range(len(values))]
    events = [event(kind, v, o) for v, o in zip(values, operations, strict=True)]
    if form == "array":
        await api.send("/v1/events", f"[ {' , '.join(events)}\n]".encode())
    elif form == "lines":
        await api.send("/v1/events", "\n".join(events).encode(), "application/x-ndjson")
    else:
        for each, operation in zip(events, operations, strict=True):
            await api.send(f"/v1/operations/{operation}/events", each.encode())

    requests = await receiver.wait_for(len(values))
    bodies = {r.headers["x-operation-id"]: r.body.decode() for r in requests}
    for value, operation in zip(values, operations, strict=True):
        for name, text in members(value).items():
            assert f'"{name}":{text}' in bodies[operation]


async def test_retries_dead_letters_and_replays_keep_the_bytes_too(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    receiver.script = lambda r: Reply(200 if r.headers["x-webhook-attempt"] == "3" else 500)
    subscription = await api.subscribe(
        receiver.url("/"), operationTypes=[kind], retrySchedule=[0, 0.1]
    )
    everything = f"[{', '.join(VALUES.values())}]"
    await api.send("/v1/events", event(kind, everything, "op-" + kind).encode())
    dead = await api.dead_letter(subscription)
    letter = (await api.http.get(f"/v1/dead-letters/{dead['id']}")).text
    assert f'"data":{everything}' in letter
    await api.post(f"/v1/dead-letters/{dead['id']}/replay")

    requests = await receiver.wait_for(3)
    assert len({r.body for r in requests}) == 1
    assert f'"data":{everything}' in requests[0].body.decode()


async def test_metadata_of_operations_and_subscriptions_keeps_its_bytes(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    metadata = '{ "n": 1.10, "huge":1e400, "name" :"Grüße" }'
    content = f'{{"type":{json.dumps(kind)},"metadata": {metadata}}}'.encode()
    kept = {"content-type": "application/json"}
    made = await api.http.post("/v1/operations", content=content, headers=kept)
    operation = await api.http.get(f"/v1/operations/{made.json()['operationId']}")
    assert f'"metadata":{metadata}' in operation.text

    content = f'{{"url":{json.dumps(receiver.url("/"))},"metadata": {metadata}}}'.encode()
    answer = await api.http.post("/v1/subscriptions", content=content, headers=kept)
    api.made.append(answer.json()["id"])
    assert f'"metadata":{metadata}' in answer.text
