"""Watch: what followers get, and what that costs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.errors import RefusalKind
from service.domain.operation import Operation
from service.ports import Backplane, EventView, FeedSlice, Moved, StoreUnavailableError
from service.pubsub import InProcessBackplane
from service.store.reading import ReadStore
from service.store.tickets import TicketStore
from service.usecases import following
from service.usecases.accept import Accept
from service.usecases.following import Follower
from service.usecases.watch import Watch
from tests.support.sending import Wakes
from tests.support.world import World, event, refused

pytestmark = pytest.mark.anyio

PATIENCE = 10.0
KEY = "key_1"


class Deaf:
    """A backplane that loses every note."""

    def publish(self, notes: Sequence[Moved]) -> None:
        pass

    def listen(self, heard: Callable[[Sequence[Moved]], None]) -> None:
        pass


class CountedReads(ReadStore):
    """The store's reads, and how many of the log there were."""

    logs = 0
    fault: Exception | None = None

    async def log(self, operation_key: int, after: int, limit: int) -> list[EventView]:
        self.logs += 1
        if self.fault is not None:
            raise self.fault
        return await super().log(operation_key, after, limit)

    async def feed(self, tenant_id: str, after: int, limit: int) -> FeedSlice:
        self.logs += 1
        return await super().feed(tenant_id, after, limit)


class Scene:
    """A store, those who post to it, and the hub of those who follow."""

    def __init__(self, world: World, backplane: Backplane, limit: int = 1_000) -> None:
        self.reads = CountedReads(world.database)
        self.accept = Accept(world.accept, Wakes(), backplane)
        self.tickets = TicketStore(world.database, world.keys)
        self.watch = Watch(self.reads, self.tickets, backplane, limit)

    async def post(self, *names: str, operation: str = "op") -> None:
        items = [event(operation, id=name) for name in names]
        await self.accept.events("default", items)

    async def operation(self, name: str = "op") -> Operation:
        found = await self.reads.operation("default", name)
        assert found is not None
        return found

    @asynccontextmanager
    async def follower(self, after: int = 0, name: str = "op") -> AsyncIterator[Follower]:
        async with self.watch.operation(await self.operation(name), after, KEY) as follower:
            assert isinstance(follower, Follower)
            yield follower


@pytest.fixture(autouse=True)
async def key(world: World) -> None:
    await world.manage.ensure_key(KEY, "a key", b"digest", ["admin"])


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world, InProcessBackplane())


async def ids(follower: Follower, seconds: float = PATIENCE) -> list[str]:
    return [each.event.id for each in await follower.next(seconds)]


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_past_comes_first_then_what_happens(scene: Scene) -> None:
    await scene.post("1", "2")
    async with scene.follower() as follower:
        assert await ids(follower) == ["1", "2"]
        waiting = asyncio.create_task(ids(follower))
        await settled()
        await scene.post("3")
        assert await waiting == ["3"]
        assert follower.place == 3


async def test_one_resumes_where_one_was(scene: Scene) -> None:
    await scene.post("1", "2", "3")
    async with scene.follower(after=2) as follower:
        assert await ids(follower) == ["3"]


async def test_what_was_committed_while_one_came_is_not_missed(world: World) -> None:
    """The operation was read before the event, and its note came before anybody listened."""
    scene = Scene(world, Deaf())
    await scene.post("1")
    before = await scene.operation()
    await scene.post("2")
    async with scene.watch.operation(before, 1, KEY) as follower:
        assert isinstance(follower, Follower)
        assert await ids(follower) == ["2"]


async def test_a_lost_note_costs_a_look(world: World) -> None:
    scene = Scene(world, Deaf())
    await scene.post("1")
    async with scene.follower(after=1) as one, scene.watch.feed("default", 1, KEY, end=1) as all_:
        assert isinstance(all_, Follower)
        waiting = [asyncio.create_task(ids(one)), asyncio.create_task(ids(all_))]
        await asyncio.sleep(0.05)  # the reads with which both began
        await scene.post("2")
        await settled()
        assert not any(each.done() for each in waiting)
        await scene.watch.look()
        assert await asyncio.gather(*waiting) == [["2"], ["2"]]


async def test_nothing_new_ends_the_wait(scene: Scene) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as follower:
        assert await ids(follower, 0.01) == []
        assert not follower.is_over


async def test_a_hundred_followers_cost_one_read(scene: Scene) -> None:
    await scene.post("1")
    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(scene.follower(after=1)) for _ in range(100)]
        waiting = [asyncio.create_task(ids(each)) for each in followers]
        await asyncio.sleep(0.05)  # the read with which the channel began
        before = scene.reads.logs
        await scene.post("2")
        assert await asyncio.gather(*waiting) == [["2"]] * 100
        assert scene.reads.logs == before + 1
        assert scene.watch.followers == 100
    assert scene.watch.followers == 0


async def test_they_share_what_doors_made_of_an_event(scene: Scene) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as one, scene.follower(after=1) as other:
        waiting = [asyncio.create_task(each.next(PATIENCE)) for each in (one, other)]
        await settled()
        await scene.post("2")
        first, second = await asyncio.gather(*waiting)
        assert first[0] is second[0]


async def test_the_state_is_read_once_for_all_who_wait(scene: Scene) -> None:
    await scene.post("1")
    reads = 0

    async def read() -> Operation | None:
        nonlocal reads
        reads += 1
        return await scene.operation()

    async with scene.follower(after=1) as one, scene.follower(after=1) as other:
        for number in (2, 3):
            await scene.post(str(number))
            for each in (one, other):
                assert await each.next(PATIENCE)
            states = await asyncio.gather(one.operation(read), other.operation(read))
            assert [each.sequence for each in states if each] == [number, number]
            assert reads == number - 1


async def test_a_slow_follower_reads_the_store_and_nothing_is_kept_for_him(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_KEPT_EVENTS", 5)
    await scene.post("0")
    names = [str(number) for number in range(1, 41)]
    async with scene.follower(after=1) as slow, scene.follower(after=1) as quick:
        for name in names:
            await scene.post(name)
            assert await ids(quick) == [name]
        found: list[str] = []
        while len(found) < len(names):
            found += await ids(slow)
        assert found == names


async def test_a_channel_keeps_few_bytes_of_large_events(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_KEPT_BYTES", 1)
    await scene.post("0")
    async with scene.follower(after=1) as slow, scene.follower(after=1) as quick:
        for name in ("1", "2", "3"):
            await scene.post(name)
            assert await ids(quick) == [name]
        assert await ids(slow) == ["1", "2", "3"]


async def test_batches_of_large_events_are_small(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_BATCH_BYTES", 1)
    await scene.post(*map(str, range(20)))
    async with scene.follower() as follower:
        sizes: list[int] = []
        while sum(sizes) < 20:
            sizes.append(len(await ids(follower)))
        assert sizes == [8, *[1] * 12]


async def test_what_all_have_seen_is_not_kept(scene: Scene) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as one, scene.follower(after=1) as other:
        await scene.post("2", "3")
        assert await ids(one) == ["2", "3"]
        await scene.watch.look()
        before = scene.reads.logs
        assert await ids(other) == ["2", "3"]
        await scene.watch.look()
        assert scene.reads.logs == before
        async with scene.follower(after=1) as late:
            assert await ids(late) == ["2", "3"]
            assert scene.reads.logs == before + 1


async def test_a_state_that_could_not_be_read_is_read_again(scene: Scene) -> None:
    await scene.post("1")
    faults: list[Exception] = [StoreUnavailableError("busy")]

    async def read() -> Operation | None:
        if faults:
            raise faults.pop()
        return await scene.operation()

    async with scene.follower(after=1) as follower:
        with pytest.raises(StoreUnavailableError):
            await follower.operation(read)
        assert await follower.operation(read) is not None


async def test_what_comes_during_an_empty_read_is_not_jumped_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention took what was there; while that shows, more comes than is kept."""
    monkeypatch.setattr(following, "_KEPT_EVENTS", 2)
    await scene.post("1", "2", "3")
    async with scene.follower(after=3) as quick, scene.follower(after=0) as late:
        plain = scene.reads.log
        key = (await scene.operation()).key

        async def log(operation_key: int, after: int, _: int) -> list[EventView]:
            monkeypatch.setattr(scene.reads, "log", plain)
            await scene.post(*"456789")
            while quick.place < 9:
                await quick.next(PATIENCE)
            assert (operation_key, after) == (key, 0)
            return []

        monkeypatch.setattr(scene.reads, "log", log)
        assert (await ids(late))[0] == "4"


async def test_the_feed_is_followed_by_place(scene: Scene) -> None:
    await scene.post("1")
    async with scene.watch.feed("default", 0, KEY, end=1) as follower:
        assert isinstance(follower, Follower)
        assert await ids(follower) == ["1"]
        waiting = asyncio.create_task(ids(follower))
        await settled()
        await scene.post("2", operation="other")
        assert await waiting == ["2"]
        assert follower.place == 2


async def test_a_tenant_may_follow_so_much_at_a_time(world: World) -> None:
    scene = Scene(world, InProcessBackplane(), limit=1)
    await scene.post("1")
    operation = await scene.operation()
    async with scene.follower(), scene.watch.operation(operation, 0, KEY) as turned_away:
        refusal = refused(turned_away)
        assert refusal.kind is RefusalKind.TOO_MANY_REQUESTS
        assert refusal.retry_after
    async with scene.follower():
        pass


async def test_who_hangs_up_is_let_go(scene: Scene) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as follower:
        waiting = asyncio.create_task(ids(follower))
        await settled()
        follower.stop()
        assert await waiting == []
        assert follower.is_over


async def test_a_stop_lets_everybody_go(scene: Scene) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as one, scene.watch.feed("default", 1, KEY, end=1) as other:
        assert isinstance(other, Follower)
        waiting = [asyncio.create_task(ids(each)) for each in (one, other)]
        await settled()
        scene.watch.close()
        assert await asyncio.gather(*waiting) == [[], []]
        assert one.is_over
        assert other.is_over


async def test_whose_key_is_revoked_is_shut_out(scene: Scene, world: World) -> None:
    await scene.post("1")
    await world.manage.ensure_key("key_2", "another", b"other", ["admin"])
    async with scene.follower(after=1) as one:
        operation = await scene.operation()
        async with scene.watch.operation(operation, 1, "key_2") as other:
            assert isinstance(other, Follower)
            waiting = [asyncio.create_task(ids(each)) for each in (one, other)]
            await world.sql("UPDATE api_keys SET revoked_at = 1 WHERE id = 'key_2'")
            await scene.watch.look()
            assert await waiting[1] == []
            assert other.is_shut_out
            assert not one.is_over
            await scene.post("2")
            assert await waiting[0] == ["2"]


@pytest.mark.parametrize("fault", [StoreUnavailableError("busy"), RuntimeError("a bug")])
async def test_a_read_that_fails_is_made_up_for(
    scene: Scene, fault: Exception, reports: list[tuple[str, BaseException]]
) -> None:
    await scene.post("1")
    async with scene.follower(after=1) as follower:
        await asyncio.sleep(0.05)  # the read with which the channel began
        waiting = asyncio.create_task(ids(follower))
        scene.reads.fault = fault
        await scene.post("2")
        await settled()
        assert not waiting.done()
        scene.reads.fault = None
        await scene.watch.look()
        assert await waiting == ["2"]
    told = [error for _, error in reports]
    assert told == ([] if isinstance(fault, StoreUnavailableError) else [fault])


async def test_a_follower_that_was_cancelled_leaves_nothing(scene: Scene) -> None:
    await scene.post("1")

    async def follow() -> None:
        async with scene.follower(after=1) as follower:
            await follower.next(PATIENCE)

    task = asyncio.create_task(follow())
    await settled()
    while scene.watch.followers == 0:  # noqa: ASYNC110  it opens a file first
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.watch.followers == 0


class Crowd:
    """Four who follow one operation, come, read and leave at will."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.name = name
        self.posted: list[str] = []
        self.seen: list[list[str]] = [[], [], [], []]
        self._there: dict[int, tuple[Follower, AsyncExitStack]] = {}

    async def post(self, _: int = 0) -> None:
        self.posted.append(f"{self.name}_{len(self.posted)}")
        await self.scene.post(self.posted[-1], operation=self.name)

    async def read(self, who: int, seconds: float = 0.001) -> None:
        if who not in self._there:
            stack = AsyncExitStack()
            entering = self.scene.follower(after=len(self.seen[who]), name=self.name)
            self._there[who] = (await stack.enter_async_context(entering), stack)
        self.seen[who] += await ids(self._there[who][0], seconds)

    async def leave(self, who: int) -> None:
        if who in self._there:
            await self._there.pop(who)[1].aclose()

    async def look(self, _: int = 0) -> None:
        await self.scene.watch.look()

    async def finish(self) -> None:
        """Let everybody see everything, and go."""
        await self.look()
        for who in range(4):
            while len(self.seen[who]) < len(self.posted):
                await self.read(who, PATIENCE)
            await self.leave(who)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["post", "read", "leave", "look"]), st.integers(0, 3)),
        min_size=5,
        max_size=30,
    ),
    kept_events=st.integers(1, 4),
    deaf=st.booleans(),
)
async def test_however_one_follows_one_sees_the_log(
    world: World, steps: list[tuple[str, int]], kept_events: int, *, deaf: bool
) -> None:
    scene = Scene(world, Deaf() if deaf else InProcessBackplane())
    crowd = Crowd(scene, f"op_{world.keys.next(world.clock.now())}")
    await crowd.post()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "_KEPT_EVENTS", kept_events)
        for what, who in steps:
            await getattr(crowd, what)(who)
        await crowd.finish()
    assert crowd.seen == [crowd.posted] * 4
