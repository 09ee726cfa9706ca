"""Name servers that hang: whose names they are waits, and nobody else does."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.domain.outcome import ErrorClass, Failed, Responded
from service.sender import GuardedSender
from service.sender import lookups as lookups_module
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
    assert {each.error for each in failed} <= {ErrorClass.DNS}
    assert len(failed) < many


async def test_a_domain_has_so_many_threads_and_all_domains_together(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.3)
    monkeypatch.setattr(lookups_module, "_MOST", 6)
    monkeypatch.setattr(lookups_module, "_MOST_PER_DOMAIN", 4)
    lookups = Lookups(server.lookup)
    names = [one_domain(number) for number in range(10)] + list(map(own_domain, range(10)))
    found = await asyncio.gather(*map(lookups.find, names), return_exceptions=True)
    assert all(isinstance(each, LookupTimeoutError) for each in found)
    assert sorted(server.asked) == sorted([*names[:4], *names[10:12]])
    server.go.set()
    assert await lookups.find(names[5]) == ["127.0.0.1"]


async def test_what_waits_for_a_thread_gets_one_when_there_is_room(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups_module, "_MOST_PER_DOMAIN", 2)
    lookups = Lookups(server.lookup)
    finding = [asyncio.create_task(lookups.find(one_domain(number))) for number in range(20)]
    await asyncio.sleep(0)
    server.go.set()
    assert await asyncio.gather(*finding) == [["127.0.0.1"]] * 20


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
