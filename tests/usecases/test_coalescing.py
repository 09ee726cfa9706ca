"""Looks that many ask for: few of them, none older than the question."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.usecases import coalescing
from service.usecases.coalescing import Coalesced

pytestmark = pytest.mark.anyio


@dataclass
class Book:
    """What is looked at; a look takes until it is let go, and finds what there was as it began."""

    page: int = 0
    looks: int = 0
    gates: list[asyncio.Event] = field(default_factory=list)

    async def look(self, about: str) -> tuple[str, int]:
        self.looks += 1
        found, gate = self.page, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return about, found

    async def let_go(self) -> None:
        """Let all looks that have begun by now come to their end."""
        await turns()
        for gate in self.gates:
            gate.set()
        await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_ask_at_once_share_one() -> None:
    book = Book()
    shared = Coalesced(book.look)
    asked = [asyncio.create_task(shared.ask("key")) for _ in range(50)]
    await book.let_go()

    assert await asyncio.gather(*asked) == [("key", 0)] * 50
    assert book.looks == 1


async def test_who_asks_while_one_is_under_way_gets_the_next() -> None:
    book = Book()
    shared = Coalesced(book.look)
    first = asyncio.create_task(shared.ask("key"))
    await turns()
    book.page = 1
    late = [asyncio.create_task(shared.ask("key")) for _ in range(20)]
    await book.let_go()
    await book.let_go()

    assert await first == ("key", 0)
    assert await asyncio.gather(*late) == [("key", 1)] * 20
    assert book.looks == 2


async def test_the_next_waits_for_a_slow_one_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescing, "_PATIENCE", 0.01)
    book = Book()
    shared = Coalesced(book.look)
    slow = asyncio.create_task(shared.ask("key"))
    await turns()
    book.page = 1
    late = [asyncio.create_task(shared.ask("key")) for _ in range(20)]
    async with asyncio.timeout(10):
        while book.looks < 2:  # noqa: ASYNC110  only asking tells
            await asyncio.sleep(0.001)
    book.gates[1].set()
    assert await asyncio.gather(*late) == [("key", 1)] * 20
    assert not slow.done()

    # whoever asks now does not share the slow one, which began before
    book.page = 2
    last = asyncio.create_task(shared.ask("key"))
    await turns()
    book.gates[0].set()
    assert await slow == ("key", 0)
    await book.let_go()
    assert await last == ("key", 2)


async def test_others_do_not_wait() -> None:
    book = Book()
    shared = Coalesced(book.look)
    asked = [asyncio.create_task(shared.ask(name)) for name in "abc"]
    await turns()
    assert book.looks == 3
    await book.let_go()
    assert [name for name, _ in await asyncio.gather(*asked)] == ["a", "b", "c"]


async def test_an_error_is_told_to_all_who_shared_it_and_to_nobody_else() -> None:
    failing = True

    async def look(_: str) -> int:
        await turns()
        if failing:
            raise OSError("gone")
        return 7

    shared = Coalesced(look)
    asked = [asyncio.create_task(shared.ask("key")) for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(each) for each in found] == ["gone"] * 3

    failing = False
    assert await shared.ask("key") == 7


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    book = Book()
    shared = Coalesced(book.look)
    asked = [asyncio.create_task(shared.ask("key")) for _ in range(3)]
    await turns()
    asked[0].cancel()
    await book.let_go()

    assert await asyncio.gather(*asked[1:]) == [("key", 0)] * 2
    assert asked[0].cancelled()


@given(steps=st.lists(st.sampled_from(["ask", "turn", "change", "finish"]), max_size=60))
def test_no_answer_is_older_than_its_question(steps: list[str]) -> None:
    async def run() -> None:
        book = Book()
        shared = Coalesced(book.look)
        asked: list[tuple[int, asyncio.Task[tuple[str, int]]]] = []
        for step in steps:
            if step == "ask":
                asked.append((book.page, asyncio.create_task(shared.ask("key"))))
                await asyncio.sleep(0)
            elif step == "turn":
                await turns()
            elif step == "change":
                book.page += 1
            else:
                await book.let_go()
        while any(not task.done() for _, task in asked):
            await book.let_go()
        for page, task in asked:
            assert (await task)[1] >= page
        assert book.looks <= len(asked)

    asyncio.run(run())


async def test_a_look_that_is_cancelled_before_it_begins_is_in_nobodys_way() -> None:
    book = Book()
    shared = Coalesced(book.look)
    first = asyncio.create_task(shared.ask("key"))
    await turns()
    second = asyncio.create_task(shared.ask("key"))
    await turns()
    for each in shared._next.values():  # noqa: SLF001  as a loop does that ends all its tasks
        each.cancel()
    await turns()
    third = asyncio.create_task(shared.ask("key"))
    await book.let_go()
    await book.let_go()

    assert await first == await third == ("key", 0)
    with pytest.raises(asyncio.CancelledError):
        await second
