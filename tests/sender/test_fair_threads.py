"""Work in threads: owners take turns, and who is slow waits for all others."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from service.sender import fair_threads
from service.sender.fair_threads import FairThreads
from service.sender.owners import owner_of


@pytest.fixture
async def threads() -> AsyncIterator[FairThreads]:
    one = FairThreads()
    yield one
    one.close()


class Work:
    """Notes its name when it begins, and ends when it is let go."""

    def __init__(self, begun: list[str]) -> None:
        self.begun = begun
        self.go = threading.Event()

    def named(self, name: str) -> str:
        self.begun.append(name)
        assert self.go.wait(20)
        return name


async def until(begun: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(begun) < count:  # noqa: ASYNC110  it is a thread that appends
            await asyncio.sleep(0.001)


async def test_results_and_failures_come_back(threads: FairThreads) -> None:
    assert await threads.run("a", lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await threads.run("a", lambda: 1 // 0)


async def known(threads: FairThreads, *owners: str) -> None:
    """Show that they are quick."""
    for owner in owners:
        await threads.run(owner, lambda: None)


def burn() -> None:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass


async def test_an_owner_has_one_thread_and_others_take_turns(threads: FairThreads) -> None:
    begun: list[str] = []
    slow, quick = Work(begun), Work(begun)
    quick.go.set()
    await known(threads, "slow", "b", "c")
    first = [threads.run("slow", lambda: slow.named("slow")) for _ in range(20)]
    await until(begun, 1)
    others = [
        threads.run(owner, lambda owner=owner: quick.named(owner))  # type: ignore[misc]  # bound now
        for owner in ("b", "b", "b", "c")
    ]
    assert await asyncio.gather(*others) == ["b", "b", "b", "c"]
    assert begun == ["slow", "b", "b", "c", "b"]
    slow.go.set()
    await asyncio.gather(*first)


async def test_who_was_heavy_waits_for_all_others(
    threads: FairThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_threads, "_HEAVY_SECONDS", 0.02)
    heavies = ("h1", "h2", "h3")
    await known(threads, "a", "b", "c", *heavies)
    await asyncio.gather(*(threads.run(owner, burn) for owner in heavies))
    await known(threads, *heavies)  # one that is quick takes nothing back
    begun: list[str] = []
    work = Work(begun)
    heavy = [threads.run(owner, lambda: work.named("heavy")) for owner in heavies]
    await until(begun, 1)
    new = threads.run("new", lambda: work.named("new"))
    light = [threads.run(owner, lambda: work.named("light")) for owner in ("a", "b", "c")]
    await until(begun, 2)
    assert begun == ["heavy", "light"]  # one thread is for those who are known to be quick
    work.go.set()
    await asyncio.gather(*heavy, *light, new)
    assert [each for each in begun if each != "light"] == ["heavy", "new", "heavy", "heavy"]


async def test_who_was_heavy_long_ago_is_not_for_ever(
    threads: FairThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_threads, "_HEAVY_SECONDS", 0.02)
    monkeypatch.setattr(fair_threads, "_HEAVY_FOR_SECONDS", 0.0)
    await threads.run("a", burn)
    await known(threads, "a")
    begun: list[str] = []
    work = Work(begun)
    running = [threads.run(owner, lambda: work.named("any")) for owner in ("new", "a")]
    await until(begun, 2)  # neither waits for the other
    work.go.set()
    await asyncio.gather(*running)


async def test_what_nobody_waits_for_is_not_begun(threads: FairThreads) -> None:
    begun: list[str] = []
    work = Work(begun)
    running = threads.run("a", lambda: work.named("first"))
    waiting = [threads.run("a", lambda: work.named("second")) for _ in range(3)]
    await until(begun, 1)
    for each in waiting[:2]:
        each.cancel()
    work.go.set()
    assert [await running, await waiting[2]] == ["first", "second"]
    assert begun == ["first", "second"]


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("www.shop.co.uk", "shop.co.uk"),
        ("shop.co.uk", "shop.co.uk"),
        ("co.uk", "co.uk"),
        ("a.shop.com.au", "shop.com.au"),
        ("h1.abc.ru", "abc.ru"),
        ("x.amazonaws.com", "amazonaws.com"),
        ("localhost", "localhost"),
        ("uk", "uk"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_whose_a_host_is(host: str, owner: str) -> None:
    assert owner_of(host) == owner
