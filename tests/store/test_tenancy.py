"""Tenants and their keys: changes that meet all hold, and what ended is ended."""

import asyncio

import pytest

from service.domain.api_keys import ADMIN_KEY_ID, ApiKey
from service.domain.errors import Refusal, RefusalKind
from service.domain.tenant import Tenant
from service.ports import NewText, Principal
from service.store.api_keys import KeyStore
from service.store.keeping import find_key
from service.store.schema import api_keys, audit_log
from service.store.tenancy import TenantStore
from tests.support.databases import ONLY_POSTGRES
from tests.support.held import Held, started
from tests.support.world import World

pytestmark = pytest.mark.anyio

ADMIN = Principal(ADMIN_KEY_ID, "default", frozenset())
#: Whoever changes anything about a tenant, or a key of it, comes to wait for this.
ITS_ROW = "SELECT FROM tenants WHERE id = 'acme' FOR UPDATE"
HOUR = 3_600_000
ORIGINS = ("https://app.example.com",)


@pytest.fixture
async def tenants(world: World) -> TenantStore:
    """With a tenant that has a key, whose text is ``zero``."""
    store = TenantStore(world.database, world.keys)
    await store.create_tenant(ADMIN, Tenant(1, "acme", "Acme", world.clock.now()))
    await made(world, "key_a", "zero")
    return store


@pytest.fixture
def keys(world: World, tenants: TenantStore) -> KeyStore:  # noqa: ARG001  the tenant of the keys
    return KeyStore(world.database, world.keys)


def text(word: str) -> NewText:
    return NewText(word.encode(), None)


async def made(world: World, name: str, word: str) -> object:
    """Make a key of the tenant."""
    now = world.clock.now()
    key = ApiKey(world.keys.next(now), name, "acme", name, frozenset(), now)
    return await KeyStore(world.database, world.keys).create_key(ADMIN, key, text(word))


async def good(world: World, *words: str) -> list[str]:
    """Those of these texts that a key is found by."""
    return [word for word in words if await find_key(world.database, word.encode())]


def is_conflict(answer: object) -> bool:
    return isinstance(answer, Refusal) and answer.kind is RefusalKind.CONFLICT


def is_missing(answer: object) -> bool:
    return isinstance(answer, Refusal) and answer.kind is RefusalKind.NOT_FOUND


# --- tenants


@ONLY_POSTGRES
async def test_changes_of_one_tenant_at_once_all_hold(other: World, tenants: TenantStore) -> None:
    async with Held(other, ITS_ROW):
        changes = [
            await started(other, tenants.change_tenant(ADMIN, "acme", members))
            for members in ({"name": "Renamed"}, {"portal_origins": ORIGINS})
        ]
    await asyncio.gather(*changes)

    now = await tenants.tenant(ADMIN, "acme")
    assert now is not None
    assert (now.name, now.portal_origins) == ("Renamed", ORIGINS)


async def test_what_is_other_than_it_was_seen_is_not_changed(
    world: World, tenants: TenantStore
) -> None:
    seen = await tenants.tenant(ADMIN, "acme")
    assert seen is not None
    await tenants.change_tenant(ADMIN, "acme", {"name": "Theirs"})
    noted = len(await world.rows(audit_log))

    refused = await tenants.change_tenant(
        ADMIN, "acme", {"name": "Mine", "portal_origins": ()}, seen
    )
    assert is_conflict(refused)
    assert len(await world.rows(audit_log)) == noted
    changed = await tenants.change_tenant(ADMIN, "acme", {"portal_origins": ORIGINS}, seen)

    assert isinstance(changed, Tenant)
    assert (changed.name, changed.portal_origins) == ("Theirs", ORIGINS)


@ONLY_POSTGRES
async def test_of_two_ends_of_one_tenant_there_is_one(
    world: World, other: World, tenants: TenantStore
) -> None:
    async with Held(other, ITS_ROW):
        ends = [await started(world, tenants.delete_tenant(ADMIN, "acme")) for _ in range(2)]
    answers = await asyncio.gather(*ends)

    assert [each is None for each in answers].count(True) == 1
    assert [is_missing(each) for each in answers].count(True) == 1
    assert len(await world.rows(audit_log, action="tenant.deleted")) == 1


@ONLY_POSTGRES
@pytest.mark.parametrize("first", ["end", "key"])
async def test_a_key_that_is_made_while_its_tenant_ends_is_dead(
    world: World, other: World, tenants: TenantStore, first: str
) -> None:
    work = {"end": tenants.delete_tenant(ADMIN, "acme"), "key": made(world, "key_b", "bee")}
    async with Held(other, ITS_ROW):
        tasks = {name: await started(world, work[name]) for name in sorted(work, key=first.__ne__)}
    assert await tasks["end"] is None
    answer = await tasks["key"]

    assert isinstance(answer, Refusal) is (first == "end")
    assert await good(world, "zero", "bee") == []
    assert not await tenants.has_tenant("acme")


# --- keys


async def test_a_text_is_not_dead_before_its_overlap_is_over(world: World, keys: KeyStore) -> None:
    words = ("zero", "one", "two", "three")
    assert isinstance(await keys.rotate_key(ADMIN, "key_a", text("one"), HOUR), ApiKey)
    assert await good(world, *words) == ["zero", "one"]

    world.clock.advance(HOUR - 1)
    refused = await keys.rotate_key(ADMIN, "key_a", text("two"), HOUR)
    assert is_conflict(refused)
    assert await good(world, *words) == ["zero", "one"]

    world.clock.advance(1)
    assert isinstance(await keys.rotate_key(ADMIN, "key_a", text("two"), HOUR), ApiKey)
    assert await good(world, *words) == ["one", "two"]
    # what is known to others can always be ended
    assert isinstance(await keys.rotate_key(ADMIN, "key_a", text("three"), 0), ApiKey)
    assert await good(world, *words) == ["three"]


@ONLY_POSTGRES
@pytest.mark.parametrize("overlaps", [(HOUR, HOUR), (HOUR, 0), (0, HOUR), (0, 0)])
async def test_the_second_of_two_rotations_at_once_judges_what_the_first_left(
    world: World, other: World, keys: KeyStore, overlaps: tuple[int, int]
) -> None:
    async with Held(other, ITS_ROW):
        tasks = [
            await started(world, keys.rotate_key(ADMIN, "key_a", text(word), overlap))
            for word, overlap in zip(("one", "two"), overlaps, strict=True)
        ]
    answers = [is_conflict(each) for each in await asyncio.gather(*tasks)]

    expected = {
        (HOUR, HOUR): ([False, True], ["zero", "one"]),
        (HOUR, 0): ([False, False], ["two"]),
        (0, HOUR): ([False, False], ["one", "two"]),
        (0, 0): ([False, False], ["two"]),
    }
    assert (answers, await good(world, "zero", "one", "two")) == expected[overlaps]


@ONLY_POSTGRES
async def test_a_key_that_is_revoked_while_it_is_rotated_stays_so(
    world: World, other: World, keys: KeyStore
) -> None:
    async with Held(other, ITS_ROW):
        revoked = await started(world, keys.revoke_key(ADMIN, "key_a"))
        rotated = await started(world, keys.rotate_key(ADMIN, "key_a", text("one"), HOUR))
    assert await revoked is None

    assert is_conflict(await rotated)
    assert await good(world, "zero", "one") == []
    (row,) = await world.rows(api_keys, id="key_a")
    assert row["previous_hash"] is None
