"""The backplane over Redis: heard by other processes, bounded, and unharmed by Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import redis

from service.ports import Moved
from service.pubsub import NAMESPACE, make_backplane, on_redis
from tests.support.lateness import own_time
from tests.support.server import free_port
from tests.support.valkey import FAULTS, Valkey, client, namespace

pytestmark = pytest.mark.anyio

PATIENCE = 15.0


@dataclass
class Two:
    """The backplanes of two processes, and what the second hears."""

    urls: tuple[str, str]
    name: str = NAMESPACE
    heard: list[Moved] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = make_backplane(self.urls[0], "first", self.name)
        self.second = make_backplane(self.urls[1], "second", self.name)
        self.second.listen(self.heard.extend)

    async def told(self, name: str) -> None:
        """Publish a note by the first until the second hears it: a note may be lost."""
        async with asyncio.timeout(PATIENCE):
            while ("default", name) not in self.heard:
                self.first.publish([("default", name)])
                await asyncio.sleep(0.02)


def channels(seen: redis.Redis) -> list[object]:
    return list(seen.pubsub_channels())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  what is waited for happens elsewhere
            await asyncio.sleep(0.001)


@asynccontextmanager
async def two(*urls: str, name: str = NAMESPACE) -> AsyncIterator[Two]:
    async with AsyncExitStack() as closing:
        made = Two((urls[0], urls[-1]), name)
        for each in (made.first, made.second):
            closing.push_async_callback(each.close)
        runs = [asyncio.create_task(each.run()) for each in (made.first, made.second)]
        try:
            yield made
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)


async def test_a_note_reaches_another_process_at_once(redis_url: str) -> None:
    async with two(redis_url, name=namespace()) as made:
        await made.told("ready")
        took = []
        for number in range(20):
            begun = time.perf_counter()
            made.first.publish([("default", f"op_{number}")])
            await until(lambda note=("default", f"op_{number}"): note in made.heard)  # type: ignore[misc]  # bound now, not later
            took.append(time.perf_counter() - begun)
    assert sorted(took)[10] < 0.05


async def test_notes_that_gather_are_heard_once_each(redis_url: str) -> None:
    async with two(redis_url, name=namespace()) as made:
        await made.told("ready")
        for turn in range(300):
            made.first.publish([("default", f"op_{turn % 3}"), ("other", "")])
        await made.told("last")
    names = {name for _, name in made.heard}
    assert names == {"ready", "last", "op_0", "op_1", "op_2", ""}
    assert made.heard.count(("other", "")) == 1


async def test_who_is_listened_to_by_nobody_keeps_quiet_until_somebody_is_there(
    valkey: Valkey,
) -> None:
    async with two(valkey.url) as made:
        with client(valkey.url) as seen:
            await until(lambda: seen.pubsub_numsub("ringback:0:moved")[0][1] == 2)
            await made.told("both")

            def messages() -> int:
                return int(seen.info("commandstats")["cmdstat_publish"]["calls"])

            lone = make_backplane(valkey.url.replace("/0", "/1"), "lone", NAMESPACE)
            before = messages()
            for number in range(30):
                lone.publish([("default", f"op_{number}")])
                await asyncio.sleep(0.01)
            assert 1 <= messages() - before <= 2
            await lone.close()
        await made.told("still")


async def test_databases_of_one_server_are_worlds_apart(valkey: Valkey) -> None:
    async with two(valkey.url, valkey.url.replace("/0", "/1")) as made:
        with client(valkey.url) as seen:
            await until(lambda: len(channels(seen)) == 2)
        made.first.publish([("default", "op")])
        await asyncio.sleep(0.1)
    assert made.heard == []


async def test_what_is_no_note_is_left_out(valkey: Valkey) -> None:
    async with two(valkey.url) as made:
        await made.told("ready")
        with client(valkey.url) as other:
            for junk in ("", "junk", "1", "[1]", '["x", 1]', '["x", [["a"]]]'):
                assert other.publish("ringback:0:moved", junk) == 2
        await made.told("after")
    assert set(made.heard) == {("default", "ready"), ("default", "after")}


@pytest.mark.parametrize("fault", FAULTS)
async def test_notes_are_heard_again_after_a_fault(
    valkey: Valkey, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with two(valkey.url) as made:
        await made.told("before")
        valkey.suffer(fault)
        longest = 0.0
        local: list[Moved] = []
        made.first.listen(local.extend)
        for number in range(50):
            begun = own_time()
            made.first.publish([("default", f"op_{number}")])
            longest = max(longest, own_time() - begun)
            await asyncio.sleep(0.02)
        assert len(local) == 50
        valkey.recover(fault)
        await made.told("after")
    assert longest < 0.1
    lost = [each.message for each in caplog.records if "Watchers look" in each.message]
    assert len(lost) == (2 if fault == "killed" else 0)


async def test_a_connection_that_has_gone_silent_is_given_up(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(on_redis, "_SILENCE", 0.2)
    async with two(valkey.url) as made:
        await made.told("before")
        await asyncio.sleep(1.0)  # signs of life are asked for, and given
        assert caplog.records == []
        valkey.pause()
        await until(lambda: "no sign of life" in caplog.text)
        valkey.resume()
        await made.told("after")


async def test_it_starts_before_redis_does() -> None:
    server = Valkey(free_port())
    async with two(server.url) as made:
        made.first.publish([("default", "early")])
        with server:
            await made.told("after")


async def test_notes_that_wait_for_redis_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_redis, "_MOST", 100)
    backplane = make_backplane(f"redis://127.0.0.1:{free_port()}", "first")
    for number in range(1_000):
        backplane.publish([("default", f"op_{number}")])
    assert len(vars(backplane)["_waiting"]) == 100
    await backplane.close()
