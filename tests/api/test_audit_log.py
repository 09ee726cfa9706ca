"""The audit log: every change that somebody makes, who saw a secret, and no secret in it."""

import json
from typing import Any, Final

import pytest

from service.api.app import actions_of
from service.runtime import hosting
from service.web.problems import Problems
from tests.support.api import BASE, Api, pointers, problem
from tests.support.receiver import Receiver, Reply

#: What changes something by request of a key, and what it is called; ``None``: the log of the
#: operation or of the events themselves tells of it.
ACTIONS: Final[dict[tuple[str, str], str | None]] = {
    ("POST", "/v1/events"): None,
    ("POST", "/v1/operations/{id}/events"): None,
    ("POST", "/v1/operations"): "operation.created",
    ("POST", "/v1/operations/{id}/cancel"): "operation.cancelled",
    ("POST", "/v1/operations/{id}/retry"): "operation.retried",
    ("POST", "/v1/stream-tickets"): "stream_ticket.issued",
    ("POST", "/v1/subscriptions"): "subscription.created",
    ("PATCH", "/v1/subscriptions/{id}"): "subscription.changed",
    ("POST", "/v1/subscriptions/{id}/pause"): "subscription.paused",
    ("POST", "/v1/subscriptions/{id}/resume"): "subscription.resumed",
    ("POST", "/v1/subscriptions/{id}/test"): "subscription.tested",
    ("POST", "/v1/subscriptions/{id}/rotate-secret"): "subscription.secret_rotated",
    ("GET", "/v1/subscriptions/{id}/secret"): "subscription.secret_revealed",
    ("POST", "/v1/subscriptions/{id}/replay"): "replay.started",
    ("DELETE", "/v1/subscriptions/{id}"): "subscription.deleted",
    ("POST", "/v1/deliveries/{id}/retry"): "delivery.retried",
    ("POST", "/v1/deliveries/{id}/cancel"): "delivery.cancelled",
    ("POST", "/v1/dead-letters/{id}/replay"): "delivery.replayed",
    ("POST", "/v1/dead-letters/replay"): "replay.started",
    ("DELETE", "/v1/dead-letters/{id}"): "dead_letter.discarded",
    ("POST", "/v1/api-keys"): "api_key.created",
    ("POST", "/v1/api-keys/{id}/rotate"): "api_key.rotated",
    ("DELETE", "/v1/api-keys/{id}"): "api_key.revoked",
    ("POST", "/v1/portal-links"): "portal_link.created",
    ("DELETE", "/v1/portal-links/{id}"): "portal_link.revoked",
    ("POST", "/v1/tenants"): "tenant.created",
    ("PATCH", "/v1/tenants/{id}"): "tenant.changed",
    ("DELETE", "/v1/tenants/{id}"): "tenant.deleted",
}
SECRET: Final = "nobody-may-see-this-secret"  # noqa: S105  that is what the test is about
FAILED: Final = {"type": "FAILED", "error": {"title": "x", "retryable": True}}
HOOK: Final = {
    "secret": SECRET,
    "headers": {"x-token": SECRET},
    "metadata": {"token": SECRET},
}


async def newest(api: Api) -> dict[str, Any]:
    entry: dict[str, Any] = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    return entry


async def prepared(api: Api, receiver: Receiver) -> dict[str, dict[str, Any] | None]:
    """Ids for each path, and the body of what needs one."""
    receiver.script = lambda request: Reply(410 if "gone" in request.path else 503)
    await api.subscribe(receiver.url("/gone"), eventTypes=["a", "b"])
    await api.post("/v1/operations/op_1/events", [{"type": "a"}, {"type": "b"}])
    await api.post("/v1/operations/op_2/events", FAILED)
    await api.deliver()
    while await api.opened.stores.sweep.retire():
        pass
    hook = await api.subscribe(receiver.url("/own?token=" + SECRET), **HOOK)
    other = await api.subscribe(receiver.url("/other"), eventTypes=["a"])
    await api.post(f"/v1/subscriptions/{other['id']}/pause", None, 200)
    await api.post("/v1/operations/op_4/events", {"type": "a"})
    letters = (await api.get("/v1/dead-letters"))["data"]
    await api.post(f"/v1/subscriptions/{letters[0]['subscriptionId']}/resume", None, 200)
    (waiting,) = (await api.get(f"/v1/deliveries?subscriptionId={other['id']}"))["data"]
    key = {"tenantId": "default", "name": "x", "scopes": ["events:write"]}
    made = await api.post("/v1/api-keys", key, 201)
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    return {
        "operation": {"id": "op_1"},
        "failed": {"id": "op_2"},
        "subscription": hook,
        "delivery": waiting,
        "letter": letters[0],
        "second letter": letters[1],
        "key": made,
        "new key": key,
        "portal link": await api.post("/v1/portal-links", None, 201),
    }


async def test_every_change_is_in_it(api: Api, receiver: Receiver) -> None:
    things = await prepared(api, receiver)
    since = "2020-01-01T00:00:00Z"
    bodies: dict[tuple[str, str], Any] = {
        ("POST", "/v1/operations"): {
            "type": "t",
            "webhook": {"url": receiver.url("/w"), "secret": SECRET},
        },
        ("POST", "/v1/subscriptions"): {"url": receiver.url("/n?k=" + SECRET), **HOOK},
        ("PATCH", "/v1/subscriptions/{id}"): {"headers": {"x-other": SECRET}},
        ("POST", "/v1/subscriptions/{id}/replay"): {"since": since, "only": "dead"},
        ("POST", "/v1/api-keys"): things["new key"],
        ("POST", "/v1/tenants"): {"id": "other", "name": "x"},
        ("PATCH", "/v1/tenants/{id}"): {"name": "y"},
    }
    names = {
        ("POST", "/v1/operations/{id}/retry"): "failed",
        ("DELETE", "/v1/dead-letters/{id}"): "second letter",
    }
    kinds = {
        "operations": "operation",
        "subscriptions": "subscription",
        "deliveries": "delivery",
        "dead-letters": "letter",
        "api-keys": "key",
        "portal-links": "portal link",
    }
    for (method, path), action in ACTIONS.items():
        if action is None:
            continue
        kind = names.get((method, path), kinds.get(path.split("/")[2], ""))
        thing = things.get(kind) or {"id": "acme"}
        before = await newest(api)
        answer = await api.call(
            method, path.replace("{id}", thing["id"]), bodies.get((method, path))
        )
        assert answer.status_code < 300, (method, path, answer.text)
        entry = await newest(api)
        assert entry["action"] == action, (method, path)
        assert entry["actor"] == "key_admin"
        assert entry["id"] > before["id"]
        assert entry["target"]
    everything = (await api.get("/v1/audit-log?limit=200"))["data"]
    assert SECRET not in json.dumps(everything)
    assert "whsec_" not in json.dumps(everything)


async def test_what_could_change_something_is_known_here(api: Api) -> None:
    async def ready() -> None:
        return None

    services = hosting.services(api.opened, ready, lambda: 0)
    changing = {
        (each.method, each.path)
        for each in actions_of(services, Problems(BASE))
        if each.method != "GET"
    }
    assert changing == set(ACTIONS) - {("GET", "/v1/subscriptions/{id}/secret")}


async def test_what_was_refused_or_done_before_is_not_in_it(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    body = {"url": "https://example.com/hook"}
    for _ in range(2):
        await api.call("POST", "/v1/subscriptions", body, headers=headers)
    await api.call("POST", "/v1/subscriptions", {"url": "no"})
    await api.call("DELETE", "/v1/subscriptions/sub_none")
    await api.call("DELETE", "/v1/tenants/default")
    assert [each["action"] for each in (await api.get("/v1/audit-log"))["data"]] == [
        "subscription.created"
    ]


async def test_filters_and_pages(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    acme = {"ringback-tenant": "acme"}
    first = await api.subscribe()
    second = (
        await api.call("POST", "/v1/subscriptions", {"url": "https://x.example"}, headers=acme)
    ).json()
    await api.call("DELETE", f"/v1/subscriptions/{first['id']}")

    async def actions(query: str = "", **headers: str) -> list[str]:
        answer = await api.call("GET", f"/v1/audit-log{query}", headers=headers)
        return [each["action"] for each in answer.json()["data"]]

    deleted, created, tenant = "subscription.deleted", "subscription.created", "tenant.created"
    assert await actions() == [deleted, created, created, tenant]
    assert await actions(f"?target={first['id']}") == [deleted, created]
    assert await actions(f"?action={created}") == [created, created]
    assert await actions("?actor=key_admin") == [deleted, created, created, tenant]
    assert await actions("?actor=key_none") == []
    assert await actions(**acme) == [created, tenant]
    assert await actions(f"?target={second['id']}", **acme) == [created]
    assert await actions(f"?target={first['id']}", **acme) == []
    assert await actions(**{"ringback-tenant": "default"}) == [deleted, created]
    at = (await api.get(f"/v1/audit-log?target={second['id']}"))["data"][0]["createdAt"]
    later = await actions(f"?since={at}")
    assert later + await actions(f"?until={at}") == await actions()
    assert created in later
    met, query = [], "?limit=3"
    while query:
        page = await api.get(f"/v1/audit-log{query}")
        met += [each["action"] for each in page["data"]]
        cursor = page["pagination"]["nextCursor"]
        query = f"?limit=3&cursor={cursor}" if cursor else ""
    assert met == await actions()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("since=yesterday", "/since"),
        ("who=me", "/who"),
        ("cursor=x", "/cursor"),
        ("limit=0", "/limit"),
    ],
)
async def test_what_cannot_be_asked(api: Api, query: str, fault: str) -> None:
    answer = await api.call("GET", f"/v1/audit-log?{query}")
    assert pointers(problem(answer, 422, "invalid")) == [fault]
