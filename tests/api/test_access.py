"""Who may do what, and what is said to whom may not; addresses and methods that are none."""

from pathlib import Path
from typing import Final

import pytest

from service.domain.api_keys import Scope
from service.ports import StoreUnavailableError, UnknownCommitError
from tests.support.api import BASE, Api, opened_api, problem

ID: Final = "x_000000000000000000000000"
READ, WRITE = Scope.OPERATIONS_READ, Scope.EVENTS_WRITE
SUBSCRIPTION = f"/v1/subscriptions/{ID}"

#: Every address of the API, and the scope it needs.
NEEDED: Final = {
    ("POST", "/v1/events"): WRITE,
    ("POST", f"/v1/operations/{ID}/events"): WRITE,
    ("POST", "/v1/operations"): WRITE,
    ("GET", "/v1/operations"): READ,
    ("GET", f"/v1/operations/{ID}"): READ,
    ("HEAD", f"/v1/operations/{ID}"): READ,
    ("GET", f"/v1/operations/{ID}/events"): READ,
    ("GET", f"/v1/events/{ID}"): READ,
    ("POST", f"/v1/operations/{ID}/cancel"): Scope.OPERATIONS_WRITE,
    ("POST", "/v1/subscriptions"): Scope.SUBSCRIPTIONS_WRITE,
    ("GET", "/v1/subscriptions"): Scope.SUBSCRIPTIONS_READ,
    ("GET", SUBSCRIPTION): Scope.SUBSCRIPTIONS_READ,
    ("GET", f"{SUBSCRIPTION}/secret"): Scope.SUBSCRIPTIONS_READ,
    ("PATCH", SUBSCRIPTION): Scope.SUBSCRIPTIONS_WRITE,
    ("DELETE", SUBSCRIPTION): Scope.SUBSCRIPTIONS_WRITE,
    ("POST", f"{SUBSCRIPTION}/pause"): Scope.SUBSCRIPTIONS_WRITE,
    ("POST", f"{SUBSCRIPTION}/resume"): Scope.SUBSCRIPTIONS_WRITE,
    ("POST", f"{SUBSCRIPTION}/test"): Scope.SUBSCRIPTIONS_WRITE,
    ("POST", f"{SUBSCRIPTION}/rotate-secret"): Scope.SUBSCRIPTIONS_WRITE,
    ("POST", f"{SUBSCRIPTION}/replay"): Scope.DELIVERIES_REPLAY,
    ("GET", f"{SUBSCRIPTION}/undelivered"): Scope.DELIVERIES_READ,
    ("GET", "/v1/deliveries"): Scope.DELIVERIES_READ,
    ("GET", f"/v1/deliveries/{ID}"): Scope.DELIVERIES_READ,
    ("POST", f"/v1/deliveries/{ID}/retry"): Scope.DELIVERIES_REPLAY,
    ("POST", f"/v1/deliveries/{ID}/cancel"): Scope.DELIVERIES_REPLAY,
    ("GET", "/v1/dead-letters"): Scope.DELIVERIES_READ,
    ("GET", "/v1/dead-letters/summary"): Scope.DELIVERIES_READ,
    ("GET", f"/v1/dead-letters/{ID}"): Scope.DELIVERIES_READ,
    ("POST", f"/v1/dead-letters/{ID}/replay"): Scope.DELIVERIES_REPLAY,
    ("POST", "/v1/dead-letters/replay"): Scope.DELIVERIES_REPLAY,
    ("DELETE", f"/v1/dead-letters/{ID}"): Scope.DELIVERIES_REPLAY,
}


async def test_every_address_needs_its_scope_and_no_other(api: Api) -> None:
    others = {
        needed: await api.key(*(set(Scope) - {needed, Scope.ADMIN})) for needed in NEEDED.values()
    }
    own = {needed: await api.key(needed) for needed in NEEDED.values()}
    for (method, path), needed in NEEDED.items():
        refused = await api.call(method, path, headers=others[needed])
        assert refused.status_code == 403, (method, path)
        if method != "HEAD":
            assert problem(refused, 403, "forbidden")["missingScope"] == needed.value
            assert needed.value in refused.json()["detail"]
        allowed = await api.call(method, path, headers=own[needed])
        assert allowed.status_code not in (401, 403, 405, 500), (method, path)


async def test_every_address_needs_a_key(api: Api) -> None:
    api.headers = {}
    for method, path in NEEDED:
        refused = await api.call(method, path)
        assert refused.status_code == 401, (method, path)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        if method != "HEAD":
            assert "Authorization: Bearer" in problem(refused, 401, "unauthenticated")["detail"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic cm9vdDpyb290",
        "rb_00000000_" + "A" * 43,
        "Bearer rb_00000000_" + "B" * 43,
        "Bearer gr\u00fc\u00dfe",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_keys_that_are_none(api: Api, header: str) -> None:
    headers = [(b"authorization", header.encode("latin-1"))]
    answer = await api.client.get("/v1/operations", headers=headers)
    problem(answer, 401, "unauthenticated")


async def test_two_keys_at_once_are_none(api: Api) -> None:
    headers = [(b"authorization", value.encode()) for value in api.headers.values()] * 2
    problem(await api.client.get("/v1/operations", headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(api: Api, scheme: str) -> None:
    key = api.headers["authorization"].partition(" ")[2]
    answer = await api.call("GET", "/v1/operations", headers={"authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/operations/",
        "/v1/operation",
        "/v2/operations",
        "/V1/operations",
        "/v1/operations/op_1/events/1",
        "/v1/subscriptions/x/unknown",
        "/v1/%00",
        "/%F0%9F%98%80",
        "/a%22b",
        "//v1/operations",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_addresses_are_problems(api: Api, method: str, path: str) -> None:
    problem(await api.call(method, BASE + path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/operations/op_1/cancel", "POST"),
        ("PUT", "/v1/operations", "GET, HEAD, POST"),
        ("PATCH", "/v1/operations/op_1", "GET, HEAD"),
        ("POST", "/v1/subscriptions/sub_1", "DELETE, GET, HEAD, PATCH"),
        ("BREW", "/v1/dead-letters/replay", "POST"),
        ("OPTIONS", "/v1/deliveries", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
async def test_wrong_methods_are_problems_that_name_the_right_ones(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = await api.call(method, path)
    document = problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed
    assert allowed in document["detail"]


async def test_head_is_get_without_the_body(api: Api) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "STARTED"})
    got = await api.call("GET", "/v1/operations/op_1")
    head = await api.call("HEAD", "/v1/operations/op_1")
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["etag"] == got.headers["etag"]


async def test_health_needs_no_key(api: Api) -> None:
    api.headers = {}
    assert await api.get("/livez") == {"status": "ok"}
    assert await api.get("/readyz") == {"status": "ok"}
    api.fault = "The service is stopping."
    answer = await api.call("GET", "/readyz")
    assert problem(answer, 503, "unavailable")["detail"] == "The service is stopping."
    assert int(answer.headers["retry-after"]) > 0
    assert await api.get("/livez") == {"status": "ok"}


async def test_a_type_says_what_it_means(api: Api) -> None:
    document = problem(await api.call("GET", "/v1/operations/op_none"), 404, "not-found")
    meaning = await api.get(document["type"].removeprefix(BASE))
    assert meaning["type"] == document["type"]
    assert meaning["status"] == 404
    problem(await api.call("GET", "/problems/none"), 404, "not-found")


async def test_a_fault_of_ours_tells_nothing_of_the_inside(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(api.opened.stores.read, "operation", broken)
    answer = await api.call("GET", "/v1/operations/op_1")
    problem(answer, 500, "internal-error")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


async def test_a_store_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("disk full on /dev/sda1")

    monkeypatch.setattr(api.opened.stores.accept, "accept", away)
    answer = await api.call("POST", "/v1/operations/op_1/events", {"type": "a"})
    document = problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "/dev/sda1" not in document["detail"]
    assert "Nothing was kept" in document["detail"]


async def test_what_may_have_been_kept_is_not_said_to_be_lost(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(*_: object, **__: object) -> None:
        raise UnknownCommitError("the connection was cut")

    monkeypatch.setattr(api.opened.stores.manage, "create_subscription", cut)
    answer = await api.call("POST", "/v1/subscriptions", {"url": "https://example.com"})
    document = problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "may have been kept" in document["detail"]
    assert "Idempotency-Key" in document["detail"]


async def test_producers_wait_while_too_much_is_pending(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_MAX_PENDING="10") as api:
        api.pending = 10
        await api.post("/v1/operations/op_1/events", {"type": "a"})
        api.pending = 11
        answer = await api.call("POST", "/v1/operations/op_1/events", {"type": "a"})
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await api.get("/v1/operations/op_1"))["sequence"] == 1
        await api.post("/v1/operations", {"type": "a"})


async def test_pages_of_named_origins_may_read(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_CORS_ORIGINS="https://a.test") as api:
        asked = {
            "origin": "https://a.test",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization, if-none-match",
        }
        api.headers = {}
        allowed = await api.call("OPTIONS", "/v1/operations/op_1", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.test"
        other = {**asked, "origin": "https://b.test"}
        refused = await api.call("OPTIONS", "/v1/operations/op_1", headers=other)
        assert "access-control-allow-origin" not in refused.headers
        writes = {**asked, "access-control-request-method": "DELETE"}
        assert (await api.call("OPTIONS", "/v1/operations", headers=writes)).status_code == 400
        private = await api.call("OPTIONS", SUBSCRIPTION, headers=asked)
        assert "access-control-allow-origin" not in private.headers
        read = await api.call("GET", "/v1/operations", headers={"origin": "https://a.test"})
        assert read.status_code == 401
        assert read.headers["access-control-allow-origin"] == "https://a.test"
        assert "etag" in read.headers["access-control-expose-headers"].lower()


async def test_without_origins_no_page_may_read(api: Api) -> None:
    answer = await api.call("GET", "/v1/operations", headers={"origin": "https://a.test"})
    assert "access-control-allow-origin" not in answer.headers


async def test_answers_are_not_kept_by_caches(api: Api) -> None:
    made = await api.call("POST", "/v1/subscriptions", {"url": "https://example.com/hook"})
    assert made.headers["cache-control"] == "no-store"
    missing = await api.call("GET", "/v1/operations/op_none")
    assert missing.headers["cache-control"] == "no-store"
