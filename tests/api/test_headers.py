"""Headers of the owner's own: checked wherever they come in, masked wherever they come out."""

import json
from typing import Any

import pytest

from tests.support.api import Api, pointers, problem
from tests.support.receiver import Receiver, Reply

PATH = "/v1/subscriptions"
URL = "https://example.com/hook"
SECRET = "s3cret-of-theirs"  # noqa: S105  nobody's

#: Names, values and what is said of them; values are never repeated.
REFUSED = [
    *(
        (name, "v", "set by Ringback or by HTTP itself")
        for name in (
            *("Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"),
            *("Expect", "TE", "Trailer", "Upgrade", "Keep-Alive", "User-Agent", "Accept-Encoding"),
            *("Proxy-Authorization", "webhook-id", "Webhook-Signature", "WebHook-Request-Origin"),
            *("X-Webhook-Signature", "X-Operation-Id", "TraceParent", "ce-id"),
        )
    ),
    *(
        (name, "v", "is made of letters")
        for name in ("", "a b", "a:b", "a\r\nb", "a\0", "ä", "(a)")
    ),
    *(
        ("x-a", value, "printable ASCII")
        for value in ("a\r\nhost: b", "a\nb", "a\0b", "a\x7f", "a\x1bb", "ä", "\u2028")
    ),
    *(("x-a", value, "white space") for value in (" a", "a ", "\ta")),
    ("x" * 101, "v", "at most 100"),
    ("x-a", "v" * 4097, "at most 4096"),
]


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
async def test_what_is_refused_at_first_is_refused_later_too(
    api: Api, name: str, value: str, says: str
) -> None:
    made = await api.subscribe(headers={"X-Own": SECRET})
    body = {"url": URL, "headers": {"x-good": "v", name: value}}
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{made['id']}")):
        refused = problem(await api.call(method, path, body), 422, "invalid")
        assert pointers(refused) == [f"/headers/{name}"]
        assert says in refused["errors"][0]["detail"]
        assert len(value) < 4 or value not in json.dumps(refused, ensure_ascii=False)
    assert (await api.get(f"{PATH}/{made['id']}"))["headers"] == {"X-Own": "****"}


async def test_twice_is_once_too_often(api: Api) -> None:
    body = {"url": URL, "headers": {"X-A": "1", "x-a": "2"}}
    refused = problem(await api.call("POST", PATH, body), 422, "invalid")

    assert pointers(refused) == ["/headers/x-a"]


async def test_callbacks_of_operations_have_none_at_first(api: Api) -> None:
    webhook = {"url": URL, "headers": {"X-A": SECRET}}
    body = {"type": "job", "webhook": webhook}
    refused = problem(await api.call("POST", "/v1/operations", body), 422, "invalid")

    assert pointers(refused) == ["/webhook/headers"]
    assert SECRET not in json.dumps(refused)


async def test_values_come_out_nowhere(api: Api, receiver: Receiver) -> None:
    receiver.script = lambda _: Reply(500)
    once = {"idempotency-key": "once"}
    body = {"url": receiver.url(), "headers": {"X-Own": SECRET}, "retrySchedule": [0]}
    seen = [await api.call("POST", PATH, body, headers=once) for _ in range(2)]
    path = f"{PATH}/{seen[0].json()['id']}"
    bound = await api.post("/v1/operations", {"type": "job", "webhook": {"url": receiver.url()}})
    inline = f"{PATH}/{bound['webhook']['subscriptionId']}"
    operation = f"/v1/operations/{bound['operationId']}"
    again = {"headers": {"X-Own": SECRET}}
    seen += [await api.call("PATCH", each, again) for each in (path, inline)]
    await api.post(f"{operation}/events", {"type": "COMPLETED"})
    await api.deliver()
    deliveries = (await api.get("/v1/deliveries"))["data"]
    letters = (await api.get("/v1/dead-letters"))["data"]
    for method, address in (
        *(("GET", each) for each in (path, inline, PATH, operation, "/v1/audit-log")),
        *(("GET", f"/v1/deliveries/{each['id']}") for each in deliveries),
        *(("GET", f"/v1/dead-letters/{each['id']}") for each in letters),
        *(("POST", f"{each}/{verb}") for each in (path, inline) for verb in ("test", "pause")),
        *(("POST", f"{each}/rotate-secret") for each in (path, inline)),
    ):
        seen.append(await api.call(method, address))

    assert all(each.status_code < 300 for each in seen), [each.text for each in seen]
    assert len(deliveries) == 2
    assert all(request.headers["x-own"] == SECRET for request in receiver.requests)
    for answer in seen:
        assert SECRET not in answer.text + str(answer.headers)
    assert masks(answer.json() for answer in seen) > 8


def masks(tree: Any) -> int:  # noqa: ANN401  any JSON
    """How many values are masked in it."""
    if isinstance(tree, dict):
        return sum(map(masks, tree.values()))
    if isinstance(tree, str):
        return tree == "****"
    return sum(map(masks, tree)) if hasattr(tree, "__iter__") else 0
