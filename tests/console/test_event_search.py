"""Events are found by when they were accepted, whatever order they took their places in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.console import event_search
from service.console.event_search import Search, newest
from service.domain.ids import MAX_KEY
from service.ports import EventLine, EventSpan

pytestmark = pytest.mark.anyio


@dataclass
class Written:
    """Events by their places, from 1 on, with what was read of them."""

    moments: Sequence[int]
    floor: int = 0
    #: Places of each read.
    spans: list[int] = field(default_factory=list)

    def place(self, event: EventLine) -> int:
        return event.feed_position

    async def ends(self) -> tuple[int, int]:
        return self.floor, len(self.moments)

    async def read(self, span: EventSpan, count: int) -> Sequence[EventLine]:
        self.spans.append(span.before - span.after - 1)
        events = [line(place, at) for place, at in enumerate(self.moments, 1) if place > self.floor]
        within = [
            each
            for each in reversed(events)
            if span.after < each.feed_position < span.before
            and span.since <= each.created_at < span.until
        ]
        return within[:count]


def line(place: int, at: int) -> EventLine:
    kind = "odd" if place % 2 else "even"
    return EventLine(f"evt_{place}", kind, None, None, None, place, at)


@st.composite
def disorder(draw: st.DrawFn) -> tuple[list[int], int]:
    """Moments of places, and how far behind one of a later moment any of them stands."""
    moments = sorted(draw(st.lists(st.integers(1, 60), min_size=1, max_size=60)))
    for _ in range(draw(st.integers(0, 4))):
        late = moments.pop(draw(st.integers(0, len(moments) - 1)))
        moments.insert(draw(st.integers(0, len(moments))), late)
    apart = [
        here - there
        for here, at in enumerate(moments)
        for there in range(here)
        if moments[there] > at
    ]
    return moments, max(apart, default=0)


async def walked(source: Written, search: Search) -> list[list[int]]:
    """The places on each page."""
    pages: list[list[int]] = []
    before: int | None = None
    while not pages or before is not None:
        found, before = await newest(source, search, before)
        pages.append([each.feed_position for each in found])
    return pages


@given(
    written=disorder(),
    floor=st.integers(0, 3),
    times=st.tuples(st.integers(0, 61), st.integers(1, 62) | st.just(MAX_KEY)),
    kinds=st.sampled_from([("odd",), ("odd", "even")]),
    near=st.sampled_from([1, 4]),
)
@example(written=([*range(31)], 0), floor=0, times=(0, MAX_KEY), kinds=("odd",), near=1)
@example(written=([5, 5, 1], 2), floor=0, times=(0, 5), kinds=("odd",), near=1)
@example(written=([5, 1, 1], 2), floor=0, times=(5, MAX_KEY), kinds=("odd",), near=1)
async def test_all_between_two_moments_are_found_once_newest_first(
    written: tuple[list[int], int],
    floor: int,
    times: tuple[int, int],
    kinds: tuple[str, ...],
    near: int,
) -> None:
    moments, apart = written
    since, until = times
    source = Written(moments, floor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_search, "MANY", 5)
        patch.setattr(event_search, "_PART", 7)
        patch.setattr(event_search, "_OVERTAKEN", apart)
        patch.setattr(event_search, "_NEAR", near)
        pages = await walked(source, Search(lambda event: event.type in kinds, since, until))

    expected = [
        place
        for place, at in reversed(list(enumerate(moments, 1)))
        if place > floor and since <= at < until and line(place, at).type in kinds
    ]
    assert [place for page in pages for place in page] == expected
    assert all(pages) or pages == [[]]


async def test_a_look_is_at_so_many_places_however_many_come_in_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_search, "_OVERTAKEN", 100)
    monkeypatch.setattr(event_search, "_NEAR", 10)
    source = Written([1 + place // 5_000 for place in range(20_000)])  # 5,000 a millisecond

    found, before = await newest(source, Search(lambda _: True, until=3), None)

    assert ([each.feed_position for each in found], before) == ([*range(10_000, 9_950, -1)], 9_951)
    assert source.spans[:-1] == [1] * (len(source.spans) - 1)
    assert source.spans[-1] <= 100 + event_search.MANY + 2 + 10
    assert len(source.spans) <= 13
