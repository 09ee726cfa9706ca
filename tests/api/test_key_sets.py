"""The public keys that sign, as anybody may get them."""

import re

import pytest

from service.api import key_sets
from tests.support.api import BASE, Api, pointers, problem
from tests.support.asymmetric import text_of

KEYS = "/.well-known/jwks.json"
SUBSCRIPTIONS = "/v1/subscriptions"


async def keys(api: Api, query: str = "") -> list[str]:
    answer = await api.client.get(KEYS + query)
    assert answer.status_code == 200, answer.text
    return [text_of(each) for each in answer.json()["keys"]]


async def test_nobody_signs_so_far(api: Api) -> None:
    await api.subscribe()

    assert (await api.client.get(KEYS)).json() == {"keys": []}


async def test_every_key_stands_there_and_nothing_of_whose_it_is(api: Api) -> None:
    made = [await api.subscribe(signing="ed25519", description=f"acme-{n}") for n in range(4)]
    answer = await api.client.get(KEYS)

    assert sorted(each["publicKey"] for each in made) == await keys(api)
    assert {frozenset(each) for each in answer.json()["keys"]} == {
        frozenset({"kty", "crv", "x", "kid", "use", "alg"})
    }
    assert len({each["kid"] for each in answer.json()["keys"]}) == 4
    assert not re.search("sub_|acme|default|example", answer.text)


async def test_the_keys_of_one_subscription(api: Api) -> None:
    first, second = [await api.subscribe(signing="both") for _ in range(2)]
    await api.post(f"{SUBSCRIPTIONS}/{first['id']}/rotate-secret", {"overlapSeconds": 60}, 200)
    newest = (await api.get(f"{SUBSCRIPTIONS}/{first['id']}"))["publicKey"]

    assert await keys(api, f"?subscriptionId={second['id']}") == [second["publicKey"]]
    found = await keys(api, f"?subscriptionId={first['id']}")
    assert sorted(found) == sorted([newest, first["publicKey"]])


@pytest.mark.parametrize("signing", ["hmac", None])
async def test_who_is_not_there_looks_like_who_has_none(api: Api, signing: str | None) -> None:
    name = "sub_none" if signing is None else (await api.subscribe(signing=signing))["id"]

    assert (await api.client.get(f"{KEYS}?subscriptionId={name}")).json() == {"keys": []}


async def test_keys_go_with_their_subscription(api: Api) -> None:
    made = await api.subscribe(signing="ed25519")
    await api.call("DELETE", f"{SUBSCRIPTIONS}/{made['id']}")

    assert await keys(api) == []


async def test_keys_stay_until_their_overlap_ends(api: Api) -> None:
    made = await api.subscribe(signing="ed25519")
    path = f"{SUBSCRIPTIONS}/{made['id']}/rotate-secret"
    rotated = await api.post(path, {"overlapSeconds": 60}, 200)
    assert len(await keys(api)) == 2
    await api.sql("UPDATE subscription_secrets SET expires_at = 1 WHERE expires_at IS NOT NULL")

    assert await keys(api) == [rotated["publicKey"]]
    assert await keys(api, f"?subscriptionId={made['id']}") == [rotated["publicKey"]]


async def test_clients_may_keep_them(api: Api) -> None:
    await api.subscribe(signing="ed25519")
    first = await api.client.get(KEYS)
    same = await api.client.get(KEYS, headers={"if-none-match": first.headers["etag"]})
    await api.subscribe(signing="ed25519")
    other = await api.client.get(KEYS, headers={"if-none-match": first.headers["etag"]})

    assert first.headers["content-type"] == "application/json"
    assert first.headers["cache-control"] == "public, max-age=300"
    assert (same.status_code, same.content) == (304, b"")
    assert other.status_code == 200


async def test_many_come_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(await api.subscribe(signing="ed25519"))["publicKey"] for _ in range(5)]
    monkeypatch.setattr(key_sets, "_PAGE", 2)
    url, found, pages = f"{BASE}{KEYS}", [], 0
    while url:
        answer = await api.client.get(url)
        found += [text_of(each) for each in answer.json()["keys"]]
        pages += 1
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        url = link[1] if link else ""

    assert (found, pages) == (sorted(made), 3)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("?limit=5", "/limit"),
        ("?cursor=x", "/cursor"),
        ("?cursor=" + "A" * 42 + "B", "/cursor"),
        ("?cursor=" + "A" * 44, "/cursor"),
        ("?subscriptionId=%00", "/subscriptionId"),
    ],
)
async def test_what_is_asked_wrongly(api: Api, query: str, where: str) -> None:
    assert pointers(problem(await api.client.get(KEYS + query), 422, "invalid")) == [where]
