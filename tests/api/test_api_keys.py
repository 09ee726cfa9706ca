"""API keys: made once, shown once, ended at once; who may make which."""

import re
from typing import Any

import httpx
import pytest

from service.domain.api_keys import Scope
from service.store.schema import api_keys
from tests.support.api import BASE, Api, pointers, problem

BODY = {"tenantId": "default", "name": "producer", "scopes": ["events:write"]}
LATER = "2999-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
async def _acme(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)


async def made(api: Api, **members: object) -> dict[str, Any]:
    return await api.post("/v1/api-keys", {**BODY, **members}, 201)


async def ask(api: Api, key: dict[str, Any] | str, path: str = "/v1/operations") -> httpx.Response:
    text = key if isinstance(key, str) else key["key"]
    return await api.call("GET", path, headers={"authorization": f"Bearer {text}"})


async def log(api: Api, target: str) -> list[tuple[str, str]]:
    found = await api.get(f"/v1/audit-log?target={target}")
    return [(each["action"], each["tenantId"]) for each in found["data"]]


async def test_a_key_is_shown_once_and_does_what_its_scopes_say(api: Api) -> None:
    answer = await api.call("POST", "/v1/api-keys", {**BODY, "expiresAt": LATER})
    key = answer.json()

    assert answer.status_code == 201
    assert answer.headers["location"] == f"{BASE}/v1/api-keys/{key['id']}"
    assert re.fullmatch(r"rb_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key["key"])
    assert key["key"].startswith(key["prefix"] + "_")
    shown = await api.get(f"/v1/api-keys/{key['id']}")
    assert shown == {name: value for name, value in key.items() if name != "key"}
    assert shown | BODY == shown
    assert shown["expiresAt"] == "2999-01-01T00:00:00.000Z"
    event = {"operationId": "op", "type": "a"}
    headers = {"authorization": f"Bearer {key['key']}"}
    assert (await api.call("POST", "/v1/events", event, headers=headers)).status_code == 202
    problem(await ask(api, key), 403, "forbidden")
    assert await log(api, key["id"]) == [("api_key.created", "default")]


async def test_the_text_is_nowhere_but_in_the_answer(api: Api) -> None:
    headers = {"idempotency-key": "k1"}
    key = (await api.call("POST", "/v1/api-keys", BODY, headers=headers)).json()["key"]

    again = await api.call("POST", "/v1/api-keys", BODY, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["key"] == key
    for path in ("/v1/api-keys", "/v1/audit-log"):
        assert key not in (await api.call("GET", path)).text
    async with api.opened.base.database.read() as tx:
        rows = await tx.query(api_keys.select())
    assert key not in repr(rows)
    assert key.encode() not in api.opened.base.settings.database_path.read_bytes()


@pytest.mark.parametrize(
    ("members", "faults"),
    [
        ({"tenantId": "nobody"}, ["/tenantId"]),
        ({"tenantId": "acme", "scopes": ["admin"]}, ["/scopes"]),
        ({"tenantId": "acme", "scopes": ["events:write", "admin"]}, ["/scopes"]),
        ({"scopes": []}, ["/scopes"]),
        ({"scopes": ["events:write", "root"]}, ["/scopes/1"]),
        ({"scopes": "admin"}, ["/scopes"]),
        ({"name": ""}, ["/name"]),
        ({"name": "a\nb"}, ["/name"]),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, ["/expiresAt"]),
        ({"expiresAt": "soon"}, ["/expiresAt"]),
        ({"key": "rb_mine"}, ["/key"]),
        ({"tenantId": "acme", "scopes": ["admin"], "expiresAt": LATER[:3]}, ["/expiresAt"]),
    ],
)
async def test_keys_that_are_not_made(api: Api, members: dict[str, Any], faults: list[str]) -> None:
    answer = await api.call("POST", "/v1/api-keys", {**BODY, **members})
    assert pointers(problem(answer, 422, "invalid")) == faults
    assert len((await api.get("/v1/api-keys"))["data"]) == 1


async def test_what_is_missing_is_named(api: Api) -> None:
    answer = await api.call("POST", "/v1/api-keys", {})
    assert pointers(problem(answer, 422, "invalid")) == ["/name", "/scopes", "/tenantId"]


async def test_a_revoked_key_is_dead_at_once_and_stays_so(api: Api) -> None:
    key = await made(api, scopes=["operations:read"])
    assert (await ask(api, key)).status_code == 200
    path = f"/v1/api-keys/{key['id']}"

    assert (await api.call("DELETE", path)).status_code == 204

    problem(await ask(api, key), 401, "unauthenticated")
    assert (await api.get(path))["revokedAt"]
    assert (await api.call("DELETE", path)).status_code == 204
    problem(await api.call("POST", f"{path}/rotate"), 409, "conflict")
    created, revoked = ("api_key.created", "default"), ("api_key.revoked", "default")
    assert await log(api, key["id"]) == [revoked, created]


async def test_an_expired_key_is_dead(api: Api) -> None:
    key = await made(api, scopes=["operations:read"], expiresAt=LATER)
    await api.sql("UPDATE api_keys SET expires_at = 1 WHERE id <> 'key_admin'")

    problem(await ask(api, key), 401, "unauthenticated")
    problem(await api.call("POST", f"/v1/api-keys/{key['id']}/rotate"), 409, "conflict")


async def test_a_rotated_key_has_another_text_and_the_old_one_is_dead(api: Api) -> None:
    key = await made(api, scopes=["operations:read"])
    path = f"/v1/api-keys/{key['id']}/rotate"

    new = await api.post(path, None, 200)

    assert (await ask(api, new)).status_code == 200
    problem(await ask(api, key), 401, "unauthenticated")
    same = ("id", "tenantId", "name", "scopes", "createdAt")
    assert [new[name] for name in same] == [key[name] for name in same]
    assert new["prefix"] != key["prefix"]
    assert new["key"].startswith(new["prefix"])
    assert await log(api, key["id"]) == [
        ("api_key.rotated", "default"),
        ("api_key.created", "default"),
    ]


async def test_the_old_text_may_overlap(api: Api) -> None:
    key = await made(api, scopes=["operations:read"])
    path = f"/v1/api-keys/{key['id']}/rotate"

    new = await api.post(path, {"overlapSeconds": 60}, 200)

    assert new["previousKeyUntil"] > new["createdAt"]
    assert {(await ask(api, each)).status_code for each in (key, new)} == {200}
    again = await api.call("POST", path, {"overlapSeconds": 60})
    assert problem(again, 409, "conflict")["previousKeyUntil"] == new["previousKeyUntil"]
    assert {(await ask(api, each)).status_code for each in (key, new)} == {200}
    await api.sql("UPDATE api_keys SET previous_until = 1")
    newest = await api.post(path, {"overlapSeconds": 60}, 200)
    statuses = [(await ask(api, each)).status_code for each in (key, new, newest)]
    assert statuses == [401, 200, 200]
    await api.sql("UPDATE api_keys SET previous_until = 1")
    assert [(await ask(api, each)).status_code for each in (new, newest)] == [401, 200]
    await api.post(path, {"overlapSeconds": 60}, 200)
    await api.call("DELETE", f"/v1/api-keys/{key['id']}")
    assert (await ask(api, newest)).status_code == 401
    for overlap in (-1, 86_400 * 31, "1", True):
        answer = await api.call("POST", path, {"overlapSeconds": overlap})
        assert pointers(problem(answer, 422, "invalid")) == ["/overlapSeconds"]


async def test_a_rotation_asked_again_gives_the_same_text(api: Api) -> None:
    key = await made(api, scopes=["operations:read"])
    path, headers = f"/v1/api-keys/{key['id']}/rotate", {"idempotency-key": "k2"}
    first = (await api.call("POST", path, headers=headers)).json()["key"]
    again = (await api.call("POST", path, headers=headers)).json()["key"]
    assert first == again
    assert (await ask(api, again)).status_code == 200


async def test_the_bootstrap_key_is_ruled_by_its_setting(api: Api) -> None:
    for method, path in (("DELETE", ""), ("POST", "/rotate")):
        answer = await api.call(method, f"/v1/api-keys/key_admin{path}")
        detail = problem(answer, 409, "conflict")["detail"]
        assert "RINGBACK_ADMIN_KEY" in detail
        assert "admin.key" in detail
    shown = await api.get("/v1/api-keys/key_admin")
    assert shown["scopes"] == ["admin"]
    assert shown["prefix"] == "rb_00000000"


async def test_lists_and_their_filters(api: Api) -> None:
    ids = [(await made(api, tenantId=t))["id"] for t in ("default", "acme", "default", "acme")]
    newest = [*reversed(ids), "key_admin"]

    async def listed(query: str = "", **headers: str) -> list[str]:
        answer = await api.call("GET", f"/v1/api-keys{query}", headers=headers)
        return [key["id"] for key in answer.json()["data"]]

    assert await listed() == newest
    assert await listed("?tenantId=acme") == [ids[3], ids[1]]
    assert await listed(**{"ringback-tenant": "acme"}) == [ids[3], ids[1]]
    assert await listed(**{"ringback-tenant": "default"}) == [ids[2], ids[0], "key_admin"]
    assert await listed("?tenantId=default", **{"ringback-tenant": "acme"}) == []
    met, query = [], "?limit=2"
    while query:
        page = await api.get(f"/v1/api-keys{query}")
        met += [key["id"] for key in page["data"]]
        cursor = page["pagination"]["nextCursor"]
        query = f"?limit=2&cursor={cursor}" if cursor else ""
    assert met == newest


async def test_acting_for_a_tenant_shows_and_makes_its_keys_only(api: Api) -> None:
    theirs = await made(api, tenantId="acme")
    own = await made(api)
    api.headers["ringback-tenant"] = "acme"

    assert (await api.get(f"/v1/api-keys/{theirs['id']}"))["id"] == theirs["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await api.call(method, f"/v1/api-keys/{own['id']}{path}")
        problem(answer, 404, "not-found")
    answer = await api.call("POST", "/v1/api-keys", BODY)
    assert pointers(problem(answer, 422, "invalid")) == ["/tenantId"]
    await made(api, tenantId="acme")


async def test_the_last_use_is_kept_by_the_minute(api: Api) -> None:
    key = await made(api, scopes=["operations:read"])
    path = f"/v1/api-keys/{key['id']}"
    await ask(api, key)
    assert "lastUsedAt" not in await api.get(path)

    await api.opened.administration.key_use.write()

    used = (await api.get(path))["lastUsedAt"]
    assert used >= key["createdAt"]
    await ask(api, key)
    await api.opened.administration.key_use.write()
    assert (await api.get(path))["lastUsedAt"] == used


# --- acting for another tenant


async def test_only_admins_act_for_another_tenant(api: Api) -> None:
    scopes = [scope.value for scope in Scope if scope is not Scope.ADMIN]
    own = (await made(api, tenantId="acme", scopes=scopes))["key"]
    await api.call(
        "POST",
        "/v1/events",
        {"operationId": "theirs", "type": "a"},
        headers={"ringback-tenant": "acme"},
    )
    headers = {"authorization": f"Bearer {own}"}

    async def status(tenant: str, **more: str) -> httpx.Response:
        asked = {**more, "ringback-tenant": tenant}
        return await api.call("GET", "/v1/operations/theirs", headers=asked)

    assert (await status("acme")).status_code == 200
    assert (await status("acme", **headers)).status_code == 200
    problem(await status("default"), 404, "not-found")
    problem(await status("default", **headers), 403, "forbidden")
    problem(await status("nobody", **headers), 403, "forbidden")
    for name in ("nobody", "", "ACME", "acme, acme", "\u00fc".encode().decode("latin-1")):
        refused = await api.client.get(
            "/v1/operations/theirs",
            headers=[
                (b"authorization", api.headers["authorization"].encode()),
                (b"ringback-tenant", name.encode("latin-1")),
            ],
        )
        problem(refused, 404, "not-found")


async def test_what_an_admin_does_for_a_tenant_is_the_tenants(api: Api) -> None:
    api.headers["ringback-tenant"] = "acme"
    made = await api.subscribe()
    await api.post("/v1/operations/op/events", {"type": "a"})
    ticket = await api.post("/v1/stream-tickets", {"operationId": "op"}, 201)
    entries = (await api.get("/v1/audit-log"))["data"]
    del api.headers["ringback-tenant"]

    problem(await api.call("GET", f"/v1/subscriptions/{made['id']}"), 404, "not-found")
    opened = await api.client.get(f"/v1/operations/op?ticket={ticket['ticket']}")
    assert opened.json()["sequence"] == 1
    foreign = await api.client.get(
        f"/v1/operations/op?ticket={ticket['ticket']}", headers={"ringback-tenant": "default"}
    )
    problem(foreign, 403, "forbidden")
    assert {(each["tenantId"], each["actor"]) for each in entries} == {("acme", "key_admin")}
