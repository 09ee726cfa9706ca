"""When a key was used last: noted by the minute, written in batches, never while somebody waits."""

from collections.abc import Mapping

import pytest

from service.ports import FoundKey, Principal, StoreUnavailableError
from service.store.api_keys import KeyStore
from service.usecases.manage_keys import KeyUse
from tests.support.clock import FakeClock
from tests.support.world import World

pytestmark = pytest.mark.anyio


class CountedKeys(KeyStore):
    """The store, and what it was asked to write."""

    def __init__(self, world: World) -> None:
        super().__init__(world.database, world.keys)
        self.written: list[dict[str, int]] = []
        self.away = False

    async def note_use(self, used: Mapping[str, int]) -> None:
        if self.away:
            raise StoreUnavailableError("away")
        self.written.append(dict(used))
        await super().note_use(used)


async def find(digest: bytes) -> FoundKey | None:
    name = digest.decode()
    return None if name == "none" else FoundKey(Principal(name, "default", frozenset()))


async def test_uses_are_gathered_and_written_once_a_minute(world: World, clock: FakeClock) -> None:
    await world.manage.ensure_key("a", "a", b"a", ["admin"])
    store = CountedKeys(world)
    use = KeyUse(find, store, clock)
    begun = clock.now()
    for _ in range(100):
        for name in (b"a", b"b", b"none"):
            await use.find(name)
    assert store.written == []
    await use.write()
    await use.write()
    clock.advance(59_999)
    await use.find(b"a")
    await use.write()
    assert store.written == [{"a": begun, "b": begun}]

    clock.advance(1)
    await use.find(b"a")
    await use.write()

    assert store.written[1:] == [{"a": begun + 60_000}]
    found = await store.key(Principal("a", "default", frozenset()), "a")
    assert found is not None
    assert found.last_used_at == begun + 60_000
    clock.advance(60_000)
    await use.find(b"b")
    await use.write()
    assert set(vars(use)["_noted"]) == {"b"}


async def test_what_could_not_be_written_is_noted_a_minute_later(
    world: World, clock: FakeClock
) -> None:
    store = CountedKeys(world)
    use = KeyUse(find, store, clock)
    await use.find(b"a")
    store.away = True
    with pytest.raises(StoreUnavailableError):
        await use.write()
    store.away = False
    clock.advance(60_000)
    await use.find(b"a")
    await use.write()
    assert store.written == [{"a": clock.now()}]


# --- what is remembered of keys


WHO = Principal("a", "default", frozenset())


class Asked:
    """Finds keys, and counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0
        self.answer: FoundKey | None = FoundKey(WHO)

    async def find(self, _: bytes) -> FoundKey | None:
        self.count += 1
        return self.answer


async def test_a_key_is_looked_up_once_a_second(world: World, clock: FakeClock) -> None:
    asked = Asked()
    use = KeyUse(asked.find, KeyStore(world.database, world.keys), clock)

    assert [await use.find(b"a") for _ in range(3)] == [WHO] * 3
    clock.advance(999)
    await use.find(b"a")
    assert asked.count == 1
    clock.advance(1)
    asked.answer = None

    assert await use.find(b"a") is None
    assert asked.count == 2


async def test_where_others_may_change_keys_each_request_looks(
    world: World, clock: FakeClock
) -> None:
    asked = Asked()
    store = KeyStore(world.database, world.keys)
    use = KeyUse(asked.find, store, clock, is_alone=False)
    await use.find(b"a")
    asked.answer = None

    assert await use.find(b"a") is None


async def test_for_a_second_a_key_is_presumed_to_be_in_force_by_who_confirms_it(
    world: World, clock: FakeClock
) -> None:
    asked = Asked()
    asked.answer = FoundKey(WHO, clock.now() + 1_500)
    store = CountedKeys(world)
    use = KeyUse(asked.find, store, clock, is_alone=False)

    seen = []
    for wait in (0, 999, 1, 499, 1):
        clock.advance(wait)
        found = await use.presume(b"a")
        seen.append((asked.count, None if found is None else found.unconfirmed))
        await use.write()

    # looked up, remembered, looked up, remembered, and at its end looked up
    assert seen == [(1, None), (1, b"a"), (2, None), (2, b"a"), (3, None)]
    use.forget()
    asked.answer = None
    assert await use.presume(b"a") is None
    assert len(store.written) == 1  # who presumes uses it, too: once a minute


async def test_a_process_alone_has_nothing_to_confirm(world: World, clock: FakeClock) -> None:
    use = KeyUse(Asked().find, KeyStore(world.database, world.keys), clock)
    await use.find(b"a")

    found = await use.presume(b"a")

    assert found == WHO
    assert found.unconfirmed is None


async def test_a_key_ends_to_the_millisecond(world: World, clock: FakeClock) -> None:
    asked = Asked()
    asked.answer = FoundKey(WHO, clock.now() + 500)
    use = KeyUse(asked.find, KeyStore(world.database, world.keys), clock)
    await use.find(b"a")
    asked.answer = None

    clock.advance(499)
    assert await use.find(b"a") == WHO
    clock.advance(1)
    assert await use.find(b"a") is None


async def test_what_is_no_key_is_not_remembered(world: World, clock: FakeClock) -> None:
    asked = Asked()
    asked.answer = None
    use = KeyUse(asked.find, KeyStore(world.database, world.keys), clock)

    assert [await use.find(b"a") for _ in range(3)] == [None] * 3
    assert asked.count == 3


async def test_a_change_is_seen_at_once_also_by_who_is_just_reading(
    world: World, clock: FakeClock
) -> None:
    asked = Asked()

    async def revoked_meanwhile(digest: bytes) -> FoundKey | None:
        found = await asked.find(digest)
        use.forget()
        return found

    use = KeyUse(revoked_meanwhile, KeyStore(world.database, world.keys), clock)
    await use.find(b"a")
    asked.answer = None

    assert await use.find(b"a") is None


async def test_no_more_keys_are_remembered_than_are_used(world: World, clock: FakeClock) -> None:
    use = KeyUse(Asked().find, KeyStore(world.database, world.keys), clock)
    for number in range(10_001):
        await use.find(b"%d" % number)

    assert len(vars(use)["_known"]) == 1
