"""Who asks too often and who guesses: what they are told, and that nobody else notices."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api import create_app
from service.domain.api_keys import Scope
from service.domain.errors import Refusal, RefusalKind
from service.domain.rate import LOCKOUT, MAX_FAILURES
from service.runtime import hosting
from service.web import limiting
from service.web.limiting import RateLimits
from tests.support.api import ADMIN, BASE, Api, opened_api, problem

NOBODY = {"authorization": "Bearer rb_00000000_" + "B" * 43}


@pytest.fixture
async def slow(database_path: Path) -> AsyncIterator[Api]:
    """One request in a hundred seconds: the time that a test takes changes nothing."""
    async with opened_api(database_path, RINGBACK_RATE_LIMIT="0.01") as api:
        yield api


def told(answer: httpx.Response) -> tuple[int, int, int, int]:
    """What is said of the limit: quota, window, remaining and seconds until all is there again."""
    policy = re.fullmatch(r'"key";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    left = re.fullmatch(r'"key";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert policy is not None
    assert left is not None
    return int(policy[1]), int(policy[2]), int(left[1]), int(left[2])


async def test_a_key_over_its_limit_is_told_when_to_come_again(slow: Api) -> None:
    first = await slow.call("GET", "/v1/operations")
    second = await slow.call("GET", "/v1/operations/op_none")

    assert first.status_code == 200
    assert told(first) == (1, 100, 0, 100)
    problem(second, 429, "too-many-requests")
    assert 99 <= int(second.headers["retry-after"]) <= 100
    assert told(second) == (1, 100, 0, 100)


async def test_every_answer_to_a_key_tells_of_the_limit(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_RATE_LIMIT="1000") as api:
        await api.post("/v1/operations/op/events", {"type": "COMPLETED"})
        asked = [
            ("GET", "/v1/operations/op"),
            ("HEAD", "/v1/operations/op"),
            ("GET", "/v1/operations/none"),
            ("GET", "/v1/operations/op/stream"),
            ("GET", "/v1/operations/op/status"),
            ("POST", "/v1/subscriptions"),
        ]
        for method, path in asked:
            quota, window, left, _ = told(await api.call(method, path))
            assert (quota, window) == (1000, 1)
            assert 900 < left < 1000
        key = await api.key(Scope.EVENTS_WRITE)
        refused = await api.call("GET", "/v1/operations/op", headers=key)
        problem(refused, 403, "forbidden")
        assert told(refused)[2] == 999


async def test_keys_do_not_share_a_limit_and_tickets_share_their_keys(slow: Api) -> None:
    key = await slow.key(Scope.OPERATIONS_READ)
    made = await slow.call("POST", "/v1/stream-tickets", headers=key)
    assert made.status_code == 201
    ticket = made.json()["ticket"]
    problem(await slow.client.get(f"/v1/events?ticket={ticket}"), 429, "too-many-requests")
    assert (await slow.call("GET", "/v1/operations")).status_code == 200


async def test_what_needs_no_key_has_no_limit(slow: Api) -> None:
    for _ in range(3):
        answer = await slow.call("GET", "/livez")
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
    refused = await slow.call("GET", "/v1/operations", headers=NOBODY)
    assert "ratelimit" not in refused.headers


async def test_without_a_setting_there_is_no_limit(api: Api) -> None:
    answers = [await api.call("GET", "/v1/operations") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


def test_keys_that_are_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_MANY_KEYS", 10)
    now = 0.0
    limits = RateLimits(1, lambda: now)
    for number in range(1_000):
        now += 0.5
        assert limits.refuse({}, f"key_{number}") is None
    assert len(vars(limits)["_empty_at"]) < 30
    assert limits.refuse({}, "key_999") is not None


# --- guesses


async def guesses(api: Api, count: int, **headers: str) -> list[int]:
    answers = [
        await api.call("GET", "/v1/operations", headers={**NOBODY, **headers}) for _ in range(count)
    ]
    return [answer.status_code for answer in answers]


async def test_who_guesses_is_shut_out_and_valid_keys_are_not(api: Api) -> None:
    statuses = await guesses(api, MAX_FAILURES + 2)

    assert statuses == [401] * MAX_FAILURES + [429] * 2
    refused = await api.call("GET", "/v1/operations", headers=NOBODY)
    document = problem(refused, 429, "too-many-requests")
    assert "unknown, revoked or expired" in document["detail"]
    assert 0 < int(refused.headers["retry-after"]) <= LOCKOUT
    assert (await api.call("GET", "/v1/operations")).status_code == 200
    api.headers = {}
    problem(await api.call("GET", "/v1/operations"), 401, "unauthenticated")
    problem(await api.client.get("/v1/events?ticket=tk_none"), 429, "too-many-requests")


async def test_addresses_are_shut_out_one_by_one(api: Api) -> None:
    async def ready() -> None:
        return None

    app = create_app(hosting.services(api.opened, ready, lambda: 0))

    async def status(address: str) -> int:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return (await client.get("/v1/operations", headers=NOBODY)).status_code

    for number in range(MAX_FAILURES):
        assert await status("192.0.2.1") == 401
        # an IPv6 client has a whole network to choose from
        assert await status(f"2001:db8::{number:x}") == 401
    assert await status("192.0.2.1") == 429
    assert await status("::ffff:192.0.2.1") == 429
    assert await status("192.0.2.2") == 401
    assert await status("2001:db8::ffff:1") == 429
    assert await status("2001:db8:0:1::1") == 401
    assert await status("a socket") == 401


def test_few_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "_MOST_ADDRESSES", 100)
    known = limiting.Guesses(lambda: 0.0)
    refusal = Refusal(RefusalKind.UNAUTHENTICATED, "no")
    for number in range(1_000):
        scope: dict[str, Any] = {"client": (f"10.0.{number // 250}.{number % 250}", 1)}
        assert known.failed(scope, refusal) is refusal
    assert len(vars(known)["_known"]) == 100


async def test_many_at_once_are_counted_once_each(api: Api) -> None:
    async with asyncio.timeout(10):
        answers = await asyncio.gather(
            *(api.call("GET", "/v1/operations", headers=NOBODY) for _ in range(MAX_FAILURES + 20))
        )
    assert sum(answer.status_code == 401 for answer in answers) == MAX_FAILURES
    assert ADMIN not in "".join(answer.text for answer in answers)
