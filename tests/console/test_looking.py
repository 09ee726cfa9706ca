"""Looks at pages: one for all windows that show the same, and none when nobody listens."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from service.console import looking
from service.console.looking import OVER, UNKNOWN, Change, Looker, Looks, Place
from service.domain.errors import Refusal
from service.usecases.listening import Listener

pytestmark = pytest.mark.anyio

#: Seconds.
PACE: Final = 0.02
LONG: Final = 2.0
HERE: Final = Place("me", None, "/p")


class Scene:
    """What a page shows, and how often it was looked at."""

    def __init__(self) -> None:
        self.shown = "a"
        self.looks = 0
        self.fault: Exception | None = None

    async def look(self) -> str:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.shown

    async def looked(self, times: int) -> None:
        """Wait until so many more looks were made."""
        until = self.looks + times
        while self.looks < until:  # noqa: ASYNC110  nobody says when one was made
            await asyncio.sleep(PACE / 4)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_LEAST", PACE)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def heard(*lookers: Looker) -> list[Sequence[Change]]:
    async with asyncio.timeout(LONG):
        return await asyncio.gather(*(each.next(LONG) for each in lookers))


async def test_two_windows_of_one_session_are_one_look(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    one = looks.listening(HERE, scene.look, "a", "a")
    two = looks.listening(HERE, scene.look, "a", "a")
    async with one as first, two as second:
        assert isinstance(first, Looker)
        assert isinstance(second, Looker)
        scene.shown = "b"
        assert await heard(first, second) == [[Change(1, is_last=False)]] * 2
        assert scene.looks == 1
        assert await first.next(PACE * 3) == ()
    before = scene.looks
    await asyncio.sleep(PACE * 5)
    assert scene.looks == before


async def test_who_saw_something_else_is_told_at_once_and_others_are_not(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    async with looks.listening(HERE, scene.look, "a", "older") as looker:
        assert isinstance(looker, Looker)
        assert await heard(looker) == [[Change(1, is_last=False)]]
        assert await looker.next(PACE) == ()


async def test_what_cannot_be_said_just_now_is_not_told(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    async with looks.listening(HERE, scene.look, "a", "a") as looker:
        assert isinstance(looker, Looker)
        scene.shown = UNKNOWN
        await scene.looked(2)
        assert await looker.next(0) == ()


async def test_a_look_that_fails_is_made_again(
    scene: Scene, reports: list[tuple[str, BaseException]]
) -> None:
    looks = Looks(asyncio.Event())
    async with looks.listening(HERE, scene.look, "a", "a") as looker:
        assert isinstance(looker, Looker)
        scene.fault = RuntimeError("a bug")
        await scene.looked(2)
        scene.fault, scene.shown = None, "b"
        assert await heard(looker) == [[Change(1, is_last=False)]]
    assert {str(error) for _, error in reports} == {"a bug"}


async def test_after_the_end_there_is_no_look_and_who_comes_again_is_looked_for(
    scene: Scene,
) -> None:
    looks = Looks(asyncio.Event())
    async with looks.listening(HERE, scene.look, "a", "a") as looker:
        assert isinstance(looker, Looker)
        scene.shown = OVER
        assert await heard(looker) == [[Change(1, is_last=True)]]
        before = scene.looks
        await asyncio.sleep(PACE * 5)
        assert scene.looks == before
        scene.shown = "a"
        async with looks.listening(HERE, scene.look, "a", "a") as again:
            assert isinstance(again, Looker)
            scene.shown = "b"
            assert await heard(again) == [[Change(1, is_last=False)]]


async def test_who_listens_is_let_go_when_the_service_stops(scene: Scene) -> None:
    closing = asyncio.Event()
    async with Looks(closing).listening(HERE, scene.look, "a", "a") as looker:
        assert isinstance(looker, Looker)
        asyncio.get_running_loop().call_later(PACE, closing.set)
        assert await heard(looker) == [()]
        assert looker.is_over


async def test_looks_take_a_small_share_of_the_time(scene: Scene) -> None:
    async def slow() -> str:
        await asyncio.sleep(PACE)
        return await scene.look()

    async with Looks(asyncio.Event()).listening(HERE, slow, "a", "a"):
        await asyncio.sleep(PACE * 15)
        assert scene.looks == 1


async def test_who_signed_out_is_let_go_whatever_a_look_finds_later(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    there = HERE._replace(session="you")
    mine = looks.listening(HERE, scene.look, "a", "a")
    yours = looks.listening(there, scene.look, "a", "a")
    async with mine as me, yours as you:
        assert isinstance(me, Looker)
        assert isinstance(you, Looker)
        assert looks.lookers == 2
        looks.end("me")
        scene.shown = "b"
        await scene.looked(1)
        assert await heard(me, you) == [[Change(1, is_last=True)], [Change(1, is_last=False)]]
    assert looks.lookers == 0


async def test_a_session_that_acts_for_another_tenant_sees_another_page(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    there = HERE._replace(tenant="acme")
    mine = looks.listening(HERE, scene.look, "a", "a")
    theirs = looks.listening(there, scene.look, "a", "a")
    async with mine as first, theirs as second:
        assert isinstance(first, Looker)
        assert isinstance(second, Looker)
        scene.shown = "b"
        await heard(first, second)
        assert scene.looks == 2
        looks.end("me")
        assert await heard(first, second) == [[Change(2, is_last=True)]] * 2


async def test_so_many_listen_in_one_process_and_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "MOST", 1)
    looks = Looks(asyncio.Event())
    console, portal = Place("a", None, "/console"), Place("b", None, "/portal")
    async with (
        looks.listening(console, scene.look, "a", "a"),
        looks.listening(portal, scene.look, "a", "a") as refused,
    ):
        assert isinstance(refused, Refusal)


class Follower(Listener):
    """Somebody who follows something else than a page."""


@asynccontextmanager
async def following(meanwhile: Callable[[], None]) -> AsyncGenerator[Follower | Refusal]:
    follower = Follower(asyncio.Event())
    meanwhile()
    yield follower


async def test_who_signed_out_before_he_listens_is_let_go_at_once(scene: Scene) -> None:
    looks = Looks(asyncio.Event())
    async with looks.beside("me", following(lambda: looks.end("me"))) as follower:
        assert isinstance(follower, Follower)
        assert follower.is_over
    async with looks.listening(HERE, scene.look, "a", "a") as looker:
        assert isinstance(looker, Looker)
        assert await heard(looker) == [[Change(1, is_last=True)]]
    async with looks.beside("you", following(lambda: None)) as other:
        assert isinstance(other, Follower)
        assert not other.is_over


async def test_so_many_sessions_that_ended_are_kept_in_mind_the_last_ones(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_ENDED", 2)
    looks = Looks(asyncio.Event())
    for session in ("first", "second", "third"):
        looks.end(session)
    told: dict[str, bool] = {}
    for session in ("first", "second", "third"):
        async with looks.listening(HERE._replace(session=session), scene.look, "a", "a") as looker:
            assert isinstance(looker, Looker)
            told[session] = await looker.next(PACE / 4) == [Change(1, is_last=True)]
    assert told == {"first": False, "second": True, "third": True}
