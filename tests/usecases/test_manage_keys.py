"""When a key was used last: noted by the minute, written in batches, never while somebody waits."""

from collections.abc import Mapping

import pytest

from service.ports import Principal, StoreUnavailableError
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


async def find(digest: bytes) -> Principal | None:
    name = digest.decode()
    return None if name == "none" else Principal(name, "default", frozenset())


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
