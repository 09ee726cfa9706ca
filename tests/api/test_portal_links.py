"""Links into the consumer portal, as a producer's backend asks for them."""

from typing import Any, Final

import pytest

from service.domain.api_keys import Scope, hash_key
from service.domain.portal import CONSUMER_SCOPES
from tests.support.api import BASE, Api, pointers, problem

pytestmark = pytest.mark.anyio

PATH: Final = "/v1/portal-links"


async def link(api: Api, **body: object) -> dict[str, Any]:
    return await api.post(PATH, body, 201)


def secret_of(made: dict[str, Any]) -> str:
    return str(made["url"]).partition("#")[2]


async def test_a_link_is_of_the_tenant_that_the_key_acts_for(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    api.headers["ringback-tenant"] = "acme"
    hook = await api.subscribe()

    made = await link(api, subscriptionId=hook["id"], scopes=["deliveries:read"], ttlSeconds=60)

    assert (made["tenantId"], made["subscriptionId"]) == ("acme", hook["id"])
    assert made["scopes"] == ["deliveries:read"]
    assert made["sessionSeconds"] == 3600
    assert made["url"].startswith(f"{BASE}/portal/enter#pl_")


async def test_what_is_not_said_is_what_consumers_usually_do(api: Api) -> None:
    made = (await api.call("POST", PATH)).json()

    assert made["scopes"] == sorted(set(CONSUMER_SCOPES) - {Scope.OPERATIONS_WRITE})
    assert "subscriptionId" not in made


async def test_only_administrators_make_links(api: Api) -> None:
    others = [scope for scope in Scope if scope is not Scope.ADMIN]

    answer = await api.call("POST", PATH, {}, headers=await api.key(*others))

    assert problem(answer, 403, "forbidden")["missingScope"] == "admin"


async def test_a_link_allows_nothing_that_is_no_consumers(api: Api) -> None:
    for scope in (Scope.ADMIN, Scope.EVENTS_WRITE, "none"):
        answer = await api.call("POST", PATH, {"scopes": [scope]})
        assert pointers(problem(answer, 422, "invalid")) == ["/scopes/0"]
    for body in ({"ttlSeconds": 0}, {"ttlSeconds": 86_401}):
        problem(await api.call("POST", PATH, body), 422, "invalid")
    for body in ({"sessionSeconds": 59}, {"sessionSeconds": 43_201}):
        problem(await api.call("POST", PATH, body), 422, "invalid")


async def test_the_subscription_must_be_the_tenants(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    other = await api.subscribe()
    api.headers["ringback-tenant"] = "acme"

    for name in (other["id"], "sub_none", ""):
        problem(await api.call("POST", PATH, {"subscriptionId": name}), 404, "not-found")


async def test_asked_again_with_its_key_it_is_the_same_link(api: Api) -> None:
    headers = {"idempotency-key": "k"}
    first = await api.call("POST", PATH, {}, headers=headers)
    again = await api.call("POST", PATH, {}, headers=headers)

    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_secret_is_stored_nowhere(api: Api) -> None:
    made = await link(api)
    secret = secret_of(made)

    async with api.opened.base.database.read() as tx:
        rows = await tx.sql("SELECT * FROM portal_links")
        log = await tx.sql("SELECT * FROM audit_log")
    assert rows[0][0] == hash_key(secret)
    assert secret.encode() not in b"".join(repr(row).encode() for row in [*rows, *log])
    entry = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    assert (entry["action"], entry["target"]) == ("portal_link.created", made["id"])


async def test_a_link_is_revoked_once_by_the_tenant_that_has_it(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    acme = {"ringback-tenant": "acme"}
    made = (await api.call("POST", PATH, {}, headers=acme)).json()
    one = f"{PATH}/{made['id']}"

    problem(await api.call("DELETE", one), 404, "not-found")  # the key's own tenant has none
    others = [scope for scope in Scope if scope is not Scope.ADMIN]
    problem(await api.call("DELETE", one, headers=await api.key(*others)), 403, "forbidden")
    assert (await api.call("DELETE", one, headers=acme)).status_code == 204

    entry = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    assert (entry["action"], entry["target"]) == ("portal_link.revoked", made["id"])
    assert (entry["actor"], entry["tenantId"]) == ("key_admin", "acme")
    problem(await api.call("DELETE", one, headers=acme), 404, "not-found")
    problem(await api.call("DELETE", f"{PATH}/pl_none"), 404, "not-found")


async def test_links_that_are_over_are_forgotten(api: Api) -> None:
    await link(api)
    await api.sql("UPDATE portal_links SET ends_at = 1")
    kept = await link(api)

    await api.opened.stores.sweep.forget(0)

    async with api.opened.base.database.read() as tx:
        assert await tx.sql("SELECT id FROM portal_links") == [(kept["id"],)]


async def test_who_may_embed_a_tenants_portal_is_its_own_setting(api: Api) -> None:
    origins = ["https://app.acme.example", "http://localhost:3000"]
    made = await api.post("/v1/tenants", {"id": "acme", "name": "A", "portalOrigins": origins}, 201)
    assert made["portalOrigins"] == origins

    changed = await api.call("PATCH", "/v1/tenants/acme", {"portalOrigins": origins[:1]})
    assert changed.json()["portalOrigins"] == origins[:1]
    await api.call("PATCH", "/v1/tenants/acme", {"name": "B"})
    assert (await api.get("/v1/tenants/acme"))["portalOrigins"] == origins[:1]
    log = (await api.get("/v1/audit-log?target=acme"))["data"]
    assert {"portalOrigins": origins[:1]} in [each["detail"] for each in log]
    await api.call("PATCH", "/v1/tenants/acme", {"portalOrigins": []})
    assert (await api.get("/v1/tenants/acme"))["portalOrigins"] == []


@pytest.mark.parametrize(
    "origin",
    [
        *("https://a.test/", "https://a.test/x", "https://A.test", "http://a.test", "*", "'self'"),
        *("https://a.test; script-src *", "https://a.test https://b.test", "https://*.a.test", ""),
        *("https://a.test:0", "https://a.test\n", "//a.test", "https://", "data:", "null"),
        *("http://[::1]:8080", "https://[::1]"),
    ],
)
async def test_what_is_no_origin_does_not_get_into_the_policy(api: Api, origin: str) -> None:
    body = {"id": "acme", "name": "A", "portalOrigins": [origin]}

    answer = await api.call("POST", "/v1/tenants", body)

    assert pointers(problem(answer, 422, "invalid")) == ["/portalOrigins/0"]
