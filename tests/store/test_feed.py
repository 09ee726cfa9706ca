"""The feed: every event of a tenant, once, in the order of the commits."""

import pytest

from service.ports import FeedSlice
from tests.support.world import World, event

pytestmark = pytest.mark.anyio


def ids(feed: FeedSlice) -> list[str]:
    return [each.id for each in feed.events]


async def test_it_holds_the_events_of_all_operations_of_a_tenant(world: World) -> None:
    await world.tenant("other")
    await world.posted(event("a", id="1"), event("b", id="2"))
    await world.posted(event("c", id="foreign"), tenant="other")
    await world.posted(event("a", id="3", operation_type="report"))

    whole = await world.read.feed("default", 0, 10)
    assert ids(whole) == ["1", "2", "3"]
    assert [each.feed_position for each in whole.events] == [1, 2, 3]
    assert (whole.floor, whole.end) == (0, 3)
    assert whole.events[2].operation_type == "report"
    assert ids(await world.read.feed("default", 1, 1)) == ["2"]
    assert ids(await world.read.feed("default", 3, 10)) == []
    assert await world.read.feed_ends(["default", "other", "none"]) == {"default": 3, "other": 1}


async def test_refused_events_leave_no_gap(world: World) -> None:
    await world.posted(event("a", "COMPLETED", id="1"))
    await world.post(event("a", id="late"), event("b", id="2"))

    feed = await world.read.feed("default", 0, 10)
    assert [(each.id, each.feed_position) for each in feed.events] == [("1", 1), ("2", 2)]
