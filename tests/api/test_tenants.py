"""Tenants: made, changed, deleted with all they have, and never made again."""

import asyncio
from typing import Any

import pytest

from service.store.schema import metadata
from tests.support.api import BASE, Api, pointers, problem
from tests.support.receiver import Receiver, Reply

ACME = {"id": "acme", "name": "Acme"}
#: What of a tenant outlives it: that it was there, and who did what.
KEPT = {"tenants", "audit_log"}


async def listed(api: Api) -> list[str]:
    return [each["id"] for each in (await api.get("/v1/tenants"))["data"]]


async def rows_of(api: Api, tenant: str) -> dict[str, int]:
    """How many rows of each table are a tenant's, as far as that is written in them."""
    counts = {}
    async with api.opened.base.database.read() as tx:
        for table in metadata.sorted_tables:
            if "tenant_id" in table.c:
                found = await tx.query(table.select().where(table.c.tenant_id == tenant))
                counts[table.name] = len(found)
    return counts


async def all_rows(api: Api) -> dict[str, int]:
    async with api.opened.base.database.read() as tx:
        return {t.name: len(await tx.query(t.select())) for t in metadata.sorted_tables}


async def test_a_tenant_is_made_shown_and_renamed(api: Api) -> None:
    answer = await api.call("POST", "/v1/tenants", ACME, headers={"idempotency-key": "t1"})
    again = await api.call("POST", "/v1/tenants", ACME, headers={"idempotency-key": "t1"})

    assert (answer.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert answer.headers["location"] == f"{BASE}/v1/tenants/acme"
    made = answer.json()
    usual = {"verification": "none", "portalOrigins": []}
    assert made == {**ACME, **usual, "createdAt": made["createdAt"]}
    assert await api.get("/v1/tenants/acme") == made
    renamed = await api.call("PATCH", "/v1/tenants/acme", {"name": "Acme Ltd"})
    assert renamed.json() == {**made, "name": "Acme Ltd"}
    assert await api.get("/v1/tenants/acme") == renamed.json()
    assert await listed(api) == ["acme", "default"]
    log = (await api.get("/v1/audit-log?target=acme"))["data"]
    assert [(each["action"], each["detail"]) for each in log] == [
        ("tenant.changed", {"name": "Acme Ltd"}),
        ("tenant.created", {"name": "Acme"}),
    ]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, ["/id", "/name"]),
        ({"id": "a b", "name": "x"}, ["/id"]),
        ({"id": "", "name": "x"}, ["/id"]),
        ({"id": "a" * 65, "name": "x"}, ["/id"]),
        ({"id": "a/b", "name": ""}, ["/id", "/name"]),
        ({"id": "a", "name": "x" * 257}, ["/name"]),
        ({"id": "a", "name": "x", "admin": True}, ["/admin"]),
        ({"id": "a", "name": "x", "verification": "email"}, ["/verification"]),
    ],
)
async def test_tenants_that_are_not_made(api: Api, body: object, faults: list[str]) -> None:
    answer = await api.call("POST", "/v1/tenants", body)
    assert pointers(problem(answer, 422, "invalid")) == faults
    assert await listed(api) == ["default"]


async def test_no_id_is_given_twice(api: Api) -> None:
    await api.post("/v1/tenants", ACME, 201)
    problem(await api.call("POST", "/v1/tenants", ACME), 409, "conflict")
    problem(await api.call("POST", "/v1/tenants", {"id": "default", "name": "x"}), 409, "conflict")
    await api.call("DELETE", "/v1/tenants/acme")
    gone = problem(await api.call("POST", "/v1/tenants", ACME), 409, "conflict")
    assert "was deleted" in gone["detail"]


async def test_what_cannot_be_done(api: Api) -> None:
    problem(await api.call("DELETE", "/v1/tenants/default"), 409, "conflict")
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        problem(await api.call(method, "/v1/tenants/nobody", body), 404, "not-found")
    assert pointers(
        problem(await api.call("PATCH", "/v1/tenants/default", {"id": "x"}), 422, "invalid")
    ) == ["/id"]
    for name in (None, "", 1):
        refused = await api.call("PATCH", "/v1/tenants/default", {"name": name})
        assert pointers(problem(refused, 422, "invalid")) == ["/name"]
    assert (await api.get("/v1/tenants/default"))["name"]


async def test_acting_for_a_tenant_shows_that_one_only(api: Api) -> None:
    await api.post("/v1/tenants", ACME, 201)
    headers = {"ringback-tenant": "acme"}
    answer = await api.call("GET", "/v1/tenants", headers=headers)
    assert [each["id"] for each in answer.json()["data"]] == ["acme"]
    for method in ("GET", "DELETE"):
        refused = await api.call(method, "/v1/tenants/default", headers=headers)
        problem(refused, 404, "not-found")


async def test_pages(api: Api) -> None:
    for number in range(5):
        await api.post("/v1/tenants", {"id": f"t{number}", "name": "x"}, 201)
    met, query = [], "?limit=2"
    while query:
        page = await api.get(f"/v1/tenants{query}")
        met += [each["id"] for each in page["data"]]
        cursor = page["pagination"]["nextCursor"]
        query = f"?limit=2&cursor={cursor}" if cursor else ""
    assert met == ["t4", "t3", "t2", "t1", "t0", "default"]


# --- the end of one


async def fill(api: Api, tenant: str, receiver: Receiver) -> dict[str, Any]:
    """Some of everything, delivered, dead and waiting; a key of its own."""
    receiver.script = lambda request: Reply(410 if "gone" in request.path else 200)
    scopes = {"scopes": ["events:write", "operations:read"]}
    key = await api.post("/v1/api-keys", {"tenantId": tenant, "name": "x", **scopes}, 201)
    api.headers["ringback-tenant"] = tenant
    await api.subscribe(receiver.url(f"/{tenant}"))
    await api.subscribe(receiver.url(f"/{tenant}/gone"), eventTypes=["b"])
    paused = await api.subscribe(receiver.url(f"/{tenant}/paused"), secret="s" * 40)
    await api.post(f"/v1/subscriptions/{paused['id']}/pause", None, 200)
    webhook = {"url": receiver.url(f"/{tenant}/own")}
    await api.post("/v1/operations", {"type": "t", "operationId": "op", "webhook": webhook})
    headers = {"idempotency-key": "k"}
    events = [{"operationId": name, "type": kind} for name in ("op", "op2") for kind in "ab"]
    await api.call("POST", "/v1/events", events, headers=headers)
    await api.post("/v1/stream-tickets", {"operationId": "op"}, 201)
    await api.deliver()
    await api.post("/v1/dead-letters/replay", {"dryRun": True})
    del api.headers["ringback-tenant"]
    return key


async def purged(api: Api) -> None:
    async with asyncio.timeout(10):
        while await api.opened.administration.tenants.purge():
            pass


async def test_a_deleted_tenant_is_gone_at_once_and_nothing_more_is_sent(
    api: Api, receiver: Receiver
) -> None:
    await api.post("/v1/tenants", ACME, 201)
    key = await fill(api, "acme", receiver)
    headers = {"authorization": f"Bearer {key['key']}"}
    event = {"operationId": "op3", "type": "a"}
    assert (await api.call("POST", "/v1/events", event, headers=headers)).status_code == 202
    sent = len(receiver.requests)

    assert (await api.call("DELETE", "/v1/tenants/acme")).status_code == 204

    await api.deliver()
    assert len(receiver.requests) == sent
    problem(await api.call("POST", "/v1/events", event, headers=headers), 401, "unauthenticated")
    acting = {"ringback-tenant": "acme"}
    problem(await api.call("GET", "/v1/operations", headers=acting), 404, "not-found")
    problem(await api.call("GET", "/v1/tenants/acme"), 404, "not-found")
    problem(await api.call("DELETE", "/v1/tenants/acme"), 404, "not-found")
    new = {"tenantId": "acme", "name": "x", "scopes": ["events:write"]}
    assert pointers(problem(await api.call("POST", "/v1/api-keys", new), 422, "invalid")) == [
        "/tenantId"
    ]
    assert await listed(api) == ["default"]
    newest = (await api.get("/v1/audit-log?target=acme"))["data"][0]
    assert newest["action"] == "tenant.deleted"
    assert newest["detail"] == {"name": "Acme", "keysRevoked": 1, "subscriptionsDeleted": 4}


async def test_what_it_had_is_purged_and_nothing_of_others(api: Api, receiver: Receiver) -> None:
    await fill(api, "default", receiver)
    before = await all_rows(api)
    await api.post("/v1/tenants", ACME, 201)
    await fill(api, "acme", receiver)
    await api.post("/v1/tenants", {"id": "last", "name": "x"}, 201)
    await api.subscribe(receiver.url("/newer"))  # the newest subscription of all always stays
    await api.call("DELETE", "/v1/tenants/acme")

    await purged(api)

    left = await rows_of(api, "acme")
    assert {name for name, count in left.items() if count} == {"audit_log"}
    after = await all_rows(api)
    own = {"subscriptions", "subscription_secrets"}
    grown = {name: after[name] - before[name] - (name in own) for name in after}
    assert {name for name, count in grown.items() if count} == KEPT


async def test_of_the_newest_subscription_only_the_number_stays(
    api: Api, receiver: Receiver
) -> None:
    await api.post("/v1/tenants", ACME, 201)
    await fill(api, "acme", receiver)
    await api.call("DELETE", "/v1/tenants/acme")

    await purged(api)

    async with api.opened.base.database.read() as tx:
        (row,) = await tx.query(metadata.tables["subscriptions"].select())
        assert await tx.query(metadata.tables["subscription_secrets"].select()) == []
    assert row["url"] == ""
    assert (row["headers"], row["metadata"], row["operation_id"]) == (None, None, None)
    await api.sql("UPDATE tenants SET deleted_at = 1 WHERE deleted_at IS NOT NULL")
    await purged(api)
    async with api.opened.base.database.read() as tx:
        tenants = await tx.query(metadata.tables["tenants"].select())
    assert [each["id"] for each in tenants if each["purged_at"]] == ["acme"]
    assert (await api.subscribe(receiver.url("/next")))["id"]
