"""Accept: how requests become groups, and what happens to a group that fails."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import pytest

from service.domain.acceptance import Accepted, Verdict
from service.domain.errors import Refusal, RefusalKind
from service.domain.event import EventIn
from service.ports import (
    AcceptRequest,
    AcceptResult,
    Foretell,
    GroupTooWideError,
    Once,
    Replayed,
    StoreUnavailableError,
    UnknownCommitError,
)
from service.pubsub import InProcessBackplane
from service.usecases import accept as accept_module
from service.usecases.accept import Accept
from tests.support.sending import Wakes
from tests.support.world import World, event, kept

pytestmark = pytest.mark.anyio

Names = list[str]


def name_of(item: EventIn | Refusal) -> str:
    return str(item.id) if isinstance(item, EventIn) else "refused"


class ScriptedStore:
    """Accepts what its script does not refuse; remembers the groups as they came."""

    def __init__(self) -> None:
        self.groups: list[list[Names]] = []
        self.committed: list[list[Names]] = []
        self.bounded: list[bool] = []
        #: Requests with any of these are refused as a whole.
        self.revoked: set[str] = set()
        self.credentials: set[bytes | None] = set()
        self.script: Callable[[Names], None] = lambda _: None
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()

    async def accept(
        self,
        group: Sequence[AcceptRequest],
        *,
        bounded: bool = True,
        foretell: Foretell | None = None,
    ) -> list[AcceptResult]:
        names = [[name_of(each) for each in request.events] for request in group]
        self.groups.append(names)
        self.bounded.append(bounded)
        self.credentials |= {request.credential for request in group}
        self.entered.set()
        await self.open.wait()
        if bounded:
            self.script([name for request in names for name in request])
        if foretell is not None:
            foretell(frozenset(map(len, names)))
            return [AcceptResult([verdict(n) for n in own]) for own in names]
        if any(self.revoked.intersection(own) for own in names):
            return [AcceptResult(verdict("refused")) for _ in names]  # type: ignore[arg-type]  # a refusal
        self.committed.append(names)
        return [AcceptResult([verdict(n) for n in own], frozenset({len(own)})) for own in names]

    async def pending(self) -> int:
        return 0


class Broken:
    """Wakes nobody."""

    def wake(self, lanes: Iterable[int]) -> None:
        raise RuntimeError(f"no wake for {len(list(lanes))}")


def verdict(name: str) -> Verdict:
    if name == "refused":
        return Refusal(RefusalKind.CONFLICT, name)
    return Accepted(name, "op", 1, "PENDING")


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def wakes() -> Wakes:
    return Wakes()


@pytest.fixture
def accept(store: ScriptedStore, wakes: Wakes) -> Accept:
    return Accept(store, wakes, InProcessBackplane())


def events(*names: str) -> list[EventIn | Refusal]:
    return [event(id=name) for name in names]


def told(answer: list[Verdict] | Replayed | Refusal) -> Names:
    assert isinstance(answer, list)
    return [each.id if isinstance(each, Accepted) else "refused" for each in answer]


async def together(
    store: ScriptedStore, *posts: Coroutine[Any, Any, Any]
) -> list[list[Verdict] | Replayed | Refusal | BaseException]:
    """Let the others come while the store is busy with the first."""
    store.open.clear()
    tasks = [asyncio.create_task(posts[0])]
    await store.entered.wait()
    tasks += [asyncio.create_task(post) for post in posts[1:]]
    await asyncio.sleep(0)  # each runs until it waits
    store.open.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_request_is_committed_at_once(
    accept: Accept, store: ScriptedStore, wakes: Wakes
) -> None:
    assert told(await accept.events("t", events("a", "b"))) == ["a", "b"]

    assert store.groups == [[["a", "b"]]]
    assert wakes.calls == [{2}]
    assert accept.accepted == 2


async def test_requests_that_come_during_a_commit_share_the_next(
    accept: Accept, store: ScriptedStore, wakes: Wakes
) -> None:
    answers = await together(
        store, *(accept.events("t", events(*names)) for names in ("a", "bb", "ccc"))
    )

    assert [told(each) for each in answers] == [["a"], ["b", "b"], ["c", "c", "c"]]  # type: ignore[arg-type]  # told checks
    assert store.groups == [[["a"]], [["b", "b"], ["c", "c", "c"]]]
    assert wakes.calls == [{1}, {2, 3}]


async def test_a_group_has_so_many_events_at_most(accept: Accept, store: ScriptedStore) -> None:
    sizes = (1, 300, 200, 1, 499, 900, 2)
    posts = [accept.events("t", events(*["x"] * size)) for size in sizes]

    await together(store, *posts)

    grouped = [[len(request) for request in group] for group in store.groups]
    assert grouped == [[1], [300, 200], [1, 499], [900], [2]]


async def test_a_producer_that_hangs_up_does_not_disturb_its_group(
    accept: Accept, store: ScriptedStore
) -> None:
    store.open.clear()
    first = asyncio.create_task(accept.events("t", events("first")))
    await store.entered.wait()
    gone, stays = (asyncio.create_task(accept.events("t", events(n))) for n in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    store.open.set()

    assert told(await first) == ["first"]
    assert told(await stays) == ["stays"]
    assert gone.cancelled()
    assert store.committed == [[["first"]], [["gone"], ["stays"]]]


async def test_a_failing_group_is_tried_request_by_request(
    accept: Accept, store: ScriptedStore
) -> None:
    def script(names: Names) -> None:
        if "bad" in names:
            raise ValueError("no good")

    store.script = script
    answers = await together(
        store, *(accept.events("t", events(name)) for name in ("first", "a", "bad", "b"))
    )

    assert [isinstance(each, ValueError) for each in answers] == [False, False, True, False]
    assert store.committed == [[["first"]], [["a"]], [["b"]]]
    assert accept.accepted == 3


async def test_a_store_that_is_not_there_is_told_to_everyone_and_asked_once(
    accept: Accept, store: ScriptedStore, wakes: Wakes
) -> None:
    def script(names: Names) -> None:
        if names != ["first"]:
            raise StoreUnavailableError("away")

    store.script = script
    first, *answers = await together(
        store, *(accept.events("t", events(name)) for name in ("first", "a", "b"))
    )

    assert isinstance(first, list)
    assert [type(each) for each in answers] == [StoreUnavailableError] * 2
    assert len(store.groups) == 2
    store.script = lambda _: None
    assert told(await accept.events("t", events("c"))) == ["c"]  # and it goes on
    assert wakes.calls == [{1}, {1}]


def at_most(count: int) -> Callable[[Names], None]:
    def script(names: Names) -> None:
        if len(names) > count and len(names) > 1:
            raise GroupTooWideError

    return script


async def test_a_group_that_is_too_wide_is_split(accept: Accept, store: ScriptedStore) -> None:
    store.script = at_most(2)
    answers = await together(
        store, *(accept.events("t", events(name)) for name in ("first", *"abcde"))
    )

    assert [told(each) for each in answers] == [[name] for name in ("first", *"abcde")]  # type: ignore[arg-type]  # told checks
    assert [sum(map(len, group)) <= 2 for group in store.committed] == [True] * len(store.committed)
    assert [name for group in store.committed for (name,) in group] == ["first", *"abcde"]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_request_that_is_too_wide_is_split_and_answered_in_order(
    accept: Accept, store: ScriptedStore, wakes: Wakes, count: int
) -> None:
    store.script = at_most(count)
    items = [*events(*"abc"), Refusal(RefusalKind.INVALID, "refused"), *events(*"defg")]

    answer = await accept.events("t", items)

    assert told(answer) == ["a", "b", "c", "refused", "d", "e", "f", "g"]
    committed = [name for (group,) in store.committed for name in group]
    assert committed == told(answer)
    assert all(len(group) <= count for (group,) in store.committed)
    assert len(wakes.calls) == 1


async def test_the_rest_of_a_wide_request_is_refused_when_its_key_is_revoked_amid_it(
    accept: Accept, store: ScriptedStore
) -> None:
    store.script = at_most(2)
    store.revoked = {"c"}

    answer = await accept.events("t", events(*"abcdef"), credential=b"key")

    assert told(answer) == ["a", "refused", "refused", "d", "e", "f"]
    assert store.credentials == {b"key"}


async def test_a_wide_request_of_which_nothing_was_kept_is_refused_as_a_whole(
    accept: Accept, store: ScriptedStore
) -> None:
    store.script = at_most(2)
    store.revoked = set("abcdef")

    answer = await accept.events("t", events(*"abcdef"), credential=b"key")

    assert not isinstance(answer, list)


async def test_a_request_with_an_idempotency_key_is_never_split(
    accept: Accept, store: ScriptedStore
) -> None:
    store.script = at_most(2)
    once = Once("k", b"f", lambda _: b"answer")

    assert told(await accept.events("t", events(*"abcd"), once)) == list("abcd")

    assert store.committed == [[list("abcd")]]
    assert store.bounded == [True, False]


async def test_of_a_wide_request_a_part_may_be_kept_when_the_store_goes_away(
    accept: Accept, store: ScriptedStore
) -> None:
    def script(names: Names) -> None:
        at_most(2)(names)
        if "d" in names:
            raise StoreUnavailableError("away")

    store.script = script

    with pytest.raises(UnknownCommitError):
        await accept.events("t", events(*"abcd"))
    with pytest.raises(StoreUnavailableError) as told:
        await accept.events("t", events(*"ded"))

    assert store.committed == [[list("ab")]]
    assert not isinstance(told.value, UnknownCommitError)


async def test_what_waits_for_a_store_that_hangs_is_bounded(
    accept: Accept, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(name: str) -> list[EventIn | Refusal]:
        return [event(id=name, data=b'"' + b"x" * 10_000 + b'"')]

    monkeypatch.setattr(accept_module, "_MOST_WAITING", 35_000)
    store.open.clear()
    first = asyncio.create_task(accept.events("t", large("first")))
    await store.entered.wait()
    waiting = [asyncio.create_task(accept.events("t", large(f"w{n}"))) for n in range(3)]
    await asyncio.sleep(0)

    for late in (large("late"), events("small", "ones")):
        with pytest.raises(StoreUnavailableError, match="room"):
            await accept.events("t", late)

    store.open.set()
    answers = await asyncio.gather(first, *waiting)
    assert [told(each) for each in answers] == [["first"], ["w0"], ["w1"], ["w2"]]
    assert told(await accept.events("t", large("next"))) == ["next"]


async def test_one_request_has_room_however_large(
    accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept_module, "_MOST_WAITING", 1)
    for name in "ab":
        assert told(await accept.events("t", events(name))) == [name]


async def test_a_wake_that_fails_is_told_of_and_keeps_no_one_waiting(
    store: ScriptedStore, reports: list[tuple[str, BaseException]]
) -> None:
    accept = Accept(store, Broken(), InProcessBackplane())

    answers = await together(store, *(accept.events("t", events(name)) for name in "abc"))

    assert [told(each) for each in answers if isinstance(each, list)] == [["a"], ["b"], ["c"]]
    assert [what for what, _ in reports] == ["Lanes could not be woken"] * 2


async def test_the_worker_of_this_process_is_told_by_the_store_and_not_once_more(
    accept: Accept, wakes: Wakes
) -> None:
    near = Wakes()
    accept.lead_to(near)

    assert told(await accept.events("t", events("a", "b"))) == ["a", "b"]

    assert near.calls == [{2}]
    assert wakes.calls == []


async def test_a_worker_that_cannot_be_told_costs_nobody_the_commit(
    world: World, reports: list[tuple[str, BaseException]]
) -> None:
    lane = await world.subscribe()
    accept = Accept(world.accept, Wakes(), InProcessBackplane())
    accept.lead_to(Broken())

    assert told(await accept.events("default", events("a"))) == ["a"]

    assert [what for what, _ in reports] == ["Lanes could not be woken"]
    assert len(await world.claim(lane.no)) == 1


async def test_over_a_real_store_many_producers_get_their_own_verdicts(world: World) -> None:
    lane = await world.subscribe()
    wakes = Wakes()
    accept = Accept(world.accept, wakes, InProcessBackplane())

    answers = await asyncio.gather(
        *(accept.events("default", [event(f"op{n % 5}", id=f"e{n}")]) for n in range(50))
    )

    assert [told(each) for each in answers] == [[f"e{n}"] for n in range(50)]
    assert wakes.lanes == {lane.no}
    assert accept.accepted == 50
    assert len(await world.claim(lane.no)) == 50


async def test_over_a_real_store_the_same_request_at_once_is_done_once(world: World) -> None:
    accept = Accept(world.accept, Wakes(), InProcessBackplane())

    answers = await asyncio.gather(*(accept.events("default", [event()], kept()) for _ in range(5)))

    assert sum(isinstance(each, list) for each in answers) == 1
    assert answers.count(Replayed(b"answer")) == 4
    assert accept.accepted == 1
