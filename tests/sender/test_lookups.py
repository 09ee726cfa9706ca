"""Name servers that hang: whose names they are waits, and nobody else does."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.domain.concurrency import is_distress
from service.domain.outcome import ErrorClass, Failed, Responded
from service.sender import GuardedSender
from service.sender import lookups as lookups_module
from service.sender.errors import CrowdedOutError
from service.sender.lookups import Lookups, LookupTimeoutError
from tests.sender.conftest import LOOPBACK, Ask
from tests.support.receiver import Receiver

ROOT = Path(__file__).parents[2]


class NameServer:
    """Hangs on names below ``hung`` until it is let go; knows all others."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[str] = []

    def lookup(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("hung"):
            self.go.wait(30)
        return ["127.0.0.1"]


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    one = NameServer()
    yield one
    one.go.set()


def own_domain(number: int) -> str:
    return f"hung.example-{number}.com"


def one_domain(number: int) -> str:
    return f"hung-{number}.example.com"


@pytest.mark.parametrize(("name", "many"), [(own_domain, 300), (one_domain, 600)])
async def test_names_that_hang_keep_no_other_waiting(
    server: NameServer, receiver: Receiver, ask: Ask, name: Callable[[int], str], many: int
) -> None:
    sender = GuardedSender(LOOPBACK, lookup=server.lookup, connections=many + 1)
    hung = [
        asyncio.create_task(sender.send(ask(url=receiver.url(host=name(number)), timeout=20)))
        for number in range(many)
    ]
    await asyncio.sleep(0)
    outcome = await sender.send(ask(url=receiver.url(host="quick.example.net"), timeout=4))
    assert isinstance(outcome, Responded)
    server.go.set()
    outcomes = await asyncio.gather(*hung)
    await sender.close()
    # a busy machine may take longer over so many than a look-up may
    failed = [each for each in outcomes if isinstance(each, Failed)]
    assert {each.error for each in failed} <= {ErrorClass.DNS, ErrorClass.UNKNOWN}
    assert len(failed) < many


async def test_an_owner_has_so_many_threads_and_all_owners_together(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.3)
    monkeypatch.setattr(lookups_module, "_MOST", {True: 1, False: 6})
    monkeypatch.setattr(lookups_module, "_MOST_PER_OWNER", 4)
    lookups = Lookups(server.lookup)
    names = [one_domain(number) for number in range(10)] + list(map(own_domain, range(10)))
    found = await asyncio.gather(*map(lookups.find, names), return_exceptions=True)
    begun = [*names[:4], *names[10:12]]
    for name, each in zip(names, found, strict=True):
        # who had no room has no answer, be it good or bad
        assert isinstance(each, LookupTimeoutError if name in begun else CrowdedOutError)
    assert sorted(server.asked) == sorted(begun)
    server.go.set()
    assert await lookups.find(names[5]) == ["127.0.0.1"]


async def test_what_waits_for_a_thread_gets_one_when_there_is_room(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_MOST_PER_OWNER", 2)
    lookups = Lookups(server.lookup)
    finding = [asyncio.create_task(lookups.find(one_domain(number))) for number in range(20)]
    await asyncio.sleep(0)
    server.go.set()
    assert await asyncio.gather(*finding) == [["127.0.0.1"]] * 20


async def test_strangers_below_one_registry_do_not_share_a_bound(
    server: NameServer, receiver: Receiver, ask: Ask
) -> None:
    sender = GuardedSender(LOOPBACK, lookup=server.lookup)
    hung = [
        asyncio.create_task(sender.send(ask(url=f"http://hung-{number}.evil.co.uk/")))
        for number in range(40)
    ]
    await asyncio.sleep(0)
    outcome = await sender.send(ask(url=receiver.url(host="www.shop.co.uk"), timeout=4))
    assert isinstance(outcome, Responded)
    for each in hung:
        each.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    await sender.close()


async def test_a_name_that_was_answered_waits_for_no_stranger(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.3)
    monkeypatch.setattr(lookups_module, "_MOST", {True: 2, False: 4})
    lookups = Lookups(server.lookup)
    await lookups.find("www.example.com")
    hung = [asyncio.create_task(lookups.find(own_domain(number))) for number in range(9)]
    await asyncio.sleep(0)
    assert await lookups.find("www.example.com") == ["127.0.0.1"]
    with pytest.raises(CrowdedOutError):
        await lookups.find("new.example.com")
    await asyncio.gather(*hung, return_exceptions=True)


async def test_a_name_that_was_answered_once_hangs_once(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.2)
    monkeypatch.setattr(lookups_module, "_MOST", {True: 2, False: 0})
    lookups = Lookups(server.lookup)
    for each in ("hung.example.com", "www.example.com"):
        lookups._remember(each)  # noqa: SLF001  nothing else makes it known that hangs
    with pytest.raises(LookupTimeoutError):
        await lookups.find("hung.example.com")
    server.go.set()
    assert await lookups.find("www.example.com") == ["127.0.0.1"]
    with pytest.raises(CrowdedOutError):  # and has no claim to the place of the good any more
        await asyncio.gather(*(lookups.find("hung-2.example.com") for _ in range(2)))


@pytest.mark.parametrize("limit", [0.2, 2.0])
async def test_waiting_for_room_of_ours_is_not_the_receivers_fault(
    server: NameServer, ask: Ask, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    """Neither when the attempt's own time is up first."""
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.5)
    monkeypatch.setattr(lookups_module, "_MOST", {True: 0, False: 1})
    sender = GuardedSender(LOOPBACK, lookup=server.lookup)
    hung = asyncio.create_task(sender.send(ask(url="http://hung.example.com/")))
    await asyncio.sleep(0.01)
    outcome = await sender.send(ask(url="http://www.example.net/", timeout=limit))
    hung.cancel()
    await asyncio.gather(hung, return_exceptions=True)
    await sender.close()
    assert isinstance(outcome, Failed)
    assert (outcome.error, outcome.message) == (
        ErrorClass.UNKNOWN,
        "Ringback itself had no room to look www.example.net up: too many other names waited.",
    )
    assert not is_distress(outcome)


def test_of_answered_names_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, "_REMEMBERED", 2)

    async def ask_all() -> dict[str, None]:
        lookups = Lookups(lambda _: ["127.0.0.1"])
        for each in "abca":
            await lookups.find(each)
        return lookups._answered  # noqa: SLF001  nothing else shows it

    assert list(asyncio.run(ask_all())) == ["c", "a"]


async def test_what_a_lookup_raises_is_raised_to_all_who_wait() -> None:
    def broken(_: str) -> list[str]:
        raise ValueError("no such thing")

    lookups = Lookups(broken)
    found = await asyncio.gather(
        *(lookups.find("a.example") for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in found] == [ValueError] * 3


def test_a_process_ends_though_a_lookup_hangs() -> None:
    code = """
import asyncio, threading
from service.domain.request import OutboundRequest
from service.domain.targets import TargetPolicy
from service.sender import GuardedSender

async def main():
    sender = GuardedSender(TargetPolicy(), lookup=lambda _: threading.Event().wait(60))
    await sender.send(OutboundRequest("https://hung.example/", (), b"", 0.2))
    await sender.close()

asyncio.run(main())
"""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=50)
    assert time.monotonic() - begun < 30
