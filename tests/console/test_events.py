"""Events on their page: found by what is known of them, a page at a time, each visitor his own."""

import re
import tracemalloc
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from service.console import event_search
from service.domain import times
from tests.support.api import Api
from tests.support.console import Visitor, consumer

pytestmark = pytest.mark.anyio

HOUR: Final = 3_600_000  # ms
#: Events of the fixture: so many operations, with so many each.
OPERATIONS: Final = 4
EACH: Final = 30
KINDS: Final = ("invoice.paid", "invoice.sent", "note")


@pytest.fixture
async def many(api: Api) -> list[dict[str, Any]]:
    """Events as they were accepted, an hour from one to the next."""
    sent = [
        {
            "operationId": f"job-{number % OPERATIONS}",
            "operationType": f"kind.{number % OPERATIONS}",
            "type": KINDS[number % len(KINDS)],
        }
        for number in range(OPERATIONS * EACH)
    ]
    answer = await api.post("/v1/events", sent)
    await api.sql("UPDATE events SET created_at = 1700000000000 + 3600000 * feed_position")
    return [{**had, **got} for had, got in zip(sent, answer["data"], strict=True)]


async def found(visitor: Visitor, query: str, root: str = "/console") -> list[str]:
    """The ids on all pages of the list, in their order."""
    return [each for page in await pages(visitor, query, root) for each in page]


async def pages(visitor: Visitor, query: str, root: str = "/console") -> list[list[str]]:
    """The ids on each page of the list, in their order."""
    found: list[list[str]] = []
    address = f"{root}/events?{query}"
    while address:
        page = await visitor.get(address)
        events = [link for link in page.links if link.startswith(f"{root}/events/evt_")]
        assert len(events) <= event_search.MANY
        found.append([link.rpartition("/")[2] for link in events])
        address = next((link for link in page.links if "before=" in link), "")
    return found


def ids(events: list[dict[str, Any]]) -> list[str]:
    """As the page has them: newest first."""
    return [each["id"] for each in reversed(events)]


@pytest.mark.parametrize("part", [7, 500])
async def test_each_filter_finds_all_that_is_like_it_and_nothing_else(
    admin: Visitor,
    many: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    part: int,
) -> None:
    monkeypatch.setattr(event_search, "_PART", part)
    asked: dict[str, Any] = {
        "": lambda _: True,
        "types=note": lambda each: each["type"] == "note",
        "types=invoice.*": lambda each: each["type"].startswith("invoice"),
        "types=note,invoice.sent": lambda each: each["type"] != "invoice.paid",
        "operationType=kind.1": lambda each: each["operationId"] == "job-1",
        "operationId=job-2": lambda each: each["operationId"] == "job-2",
        "operationId=job-2&types=note": lambda each: (
            (each["operationId"], each["type"]) == ("job-2", "note")
        ),
        "operationType=none": lambda _: False,
        f"id={many[5]['id']}": lambda each: each["id"] == many[5]["id"],
        f"id={many[5]['id']}&types=none": lambda _: False,
        f"id={many[5]['id']}&operationId=job-0": lambda _: False,
    }
    for query, is_like_it in asked.items():
        expected = ids([each for each in many if is_like_it(each)])
        assert await found(admin, query) == expected, query


@pytest.mark.parametrize("narrower", ["", "&types=note", "&operationId=job-3"])
async def test_events_are_found_by_when_they_were_accepted(
    api: Api, admin: Visitor, many: list[dict[str, Any]], narrower: str
) -> None:
    ours = {
        "": many,
        "&types=note": [each for each in many if each["type"] == "note"],
        "&operationId=job-3": [each for each in many if each["operationId"] == "job-3"],
    }[narrower]
    shown = {each["id"]: place for place, each in enumerate(many)}
    async with api.opened.base.database.read() as tx:
        at: dict[str, int] = dict(await tx.sql("SELECT id, created_at FROM events"))
    for first, last in ((0, len(many)), (0, 1), (3, 3), (40, 41), (17, 99), (100, 119)):
        since, until = (moment(at, many, place) for place in (first, last))
        expected = [each for each in ours if first <= shown[each["id"]] < last]
        query = f"since={since}&until={until}{narrower}"
        assert await found(admin, query) == ids(expected), query


async def test_an_event_that_waited_for_its_place_hides_none_before_it(
    api: Api, admin: Visitor, many: list[dict[str, Any]]
) -> None:
    """Its time is that of the beginning of its transaction, its place comes with a lock."""
    begun = 1_700_000_000_000 + 51 * HOUR  # that of the event of place 51
    late = f"UPDATE events SET created_at = {begun - 8_000} WHERE feed_position = 56"  # noqa: S608  a number
    await api.sql(late)
    since = times.render(begun)

    expected = [each for place, each in enumerate(many, 1) if place > 50 and place != 56]
    assert await found(admin, f"since={since}") == ids(expected)


async def test_one_that_waited_for_its_place_is_found_behind_those_of_a_later_time(
    api: Api, admin: Visitor, many: list[dict[str, Any]]
) -> None:
    begun = 1_700_000_000_000 + 51 * HOUR  # that of the event of place 51
    late = f"UPDATE events SET created_at = {begun - 25_000} WHERE feed_position = 110"  # noqa: S608  a number
    await api.sql(late)
    until = times.render(begun)

    expected = [each for place, each in enumerate(many, 1) if place < 51 or place == 110]
    assert await found(admin, f"until={until}") == ids(expected)


@pytest.mark.parametrize("narrower", ["", "&types=note", "&operationId=job"])
async def test_no_page_about_a_busy_time_is_empty(api: Api, admin: Visitor, narrower: str) -> None:
    """A thousand events a second, all of them of one operation."""
    sent = [{"operationId": "job", "type": "note"} for _ in range(1_400)]
    busy = [
        each
        for first in (0, 700)
        for each in (await api.post("/v1/events", sent[first : first + 700]))["data"]
    ]
    await api.sql("UPDATE events SET created_at = 1700000000000 + feed_position")
    moments = [times.render(1_700_000_000_000 + place) for place in range(1, len(busy) + 1)]

    for first, last in ((0, 100), (0, 1), (690, 700), (1_300, 1_399), (700, 700)):
        query = f"since={moments[first]}&until={moments[last]}{narrower}"
        shown = await pages(admin, query)
        expected = ids(busy[first:last])
        assert shown == [expected[n : n + 50] for n in range(0, len(expected) or 1, 50)], query
    assert all(await pages(admin, f"until={moments[120]}{narrower}"))
    assert all(await pages(admin, f"since={moments[-120]}{narrower}"))


def moment(at: dict[str, int], events: list[dict[str, Any]], place: int) -> str:
    """When the event of this place was accepted; behind the last one: an hour after it."""
    late = max(place - len(events) + 1, 0)
    return times.render(at[events[place - late]["id"]] + late * HOUR)


async def test_who_has_one_subscription_finds_what_it_wants_and_got_alone(
    api: Api, many: list[dict[str, Any]]
) -> None:
    made = await api.subscribe(eventTypes=["note"])
    guest = await consumer(api, subscriptionId=made["id"])
    notes = [each for each in many if each["type"] == "note"]

    assert await found(guest, "", "/portal") == ids(notes)
    assert await found(guest, "types=invoice.*", "/portal") == []
    assert await found(guest, f"id={many[0]['id']}", "/portal") == []
    mine = [each for each in notes if each["operationId"] == "job-1"]
    assert await found(guest, "operationId=job-1", "/portal") == ids(mine)


async def test_what_was_asked_for_stays_in_the_form_and_in_the_next_address(
    admin: Visitor, many: list[dict[str, Any]]
) -> None:
    page = await admin.get("/console/events?types=invoice.*,none&operationType=")

    assert page.fields["types"] == "invoice.*,none"
    (further,) = [link for link in page.links if "before=" in link]
    assert "types=invoice.*,none" in further
    assert many
    for query in ("since=yesterday", "types=a b", "nothing=1"):
        assert (await admin.get(f"/console/events?{query}", 422)).says("The parameter")


async def test_looking_for_what_nobody_sent_ends_and_tells_where_to_go_on(
    admin: Visitor, many: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "MANY", 3)
    monkeypatch.setattr(event_search, "_PART", 3)
    monkeypatch.setattr(event_search, "_LOOKS", 10)

    page, looks = await admin.get("/console/events?types=none"), 1
    while further := [link for link in page.links if "before=" in link]:
        assert page.says("Nothing up to here is like this")
        page, looks = await admin.get(further[0]), looks + 1

    assert looks == len(many) / 30
    assert page.says("No event is like this.")


async def test_what_events_say_is_not_read_for_a_list_of_them(api: Api, admin: Visitor) -> None:
    """Small ones on top of large ones: how many fit into memory nobody could tell from them."""
    large = {"operationId": "job", "type": "large", "data": "x" * 240_000}
    await api.post("/v1/events", [{**large} for _ in range(30)])
    await api.post("/v1/events", [{"operationId": "job", "type": "small"} for _ in range(60)])
    await admin.get("/console/events")
    most: dict[str, int] = {}
    for query in ("", "types=none", "types=none&operationId=job", "types=large"):
        tracemalloc.start()
        try:
            await admin.get(f"/console/events?{query}")
            most[query] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert max(most.values()) < 4 * 2**20, most


@pytest.mark.parametrize("query", ["since=2023-11-14+22:13:20", "since=2023-11-14T22:13"])
async def test_times_are_found_as_pages_show_them(
    admin: Visitor, many: list[dict[str, Any]], query: str
) -> None:
    """Who copies a time from a table into a filter gets what came from then on."""
    assert await found(admin, query) == ids(many)
    assert await found(admin, query.replace("since", "until")) == []


async def test_a_day_is_a_time(admin: Visitor, many: list[dict[str, Any]]) -> None:
    assert await found(admin, "until=2023-11-15") == ids(many[:1])
    page = await admin.get("/console/events?until=2023-11-15&types=note%2C*")
    assert page.fields["until"] == "2023-11-15T00:00:00Z"


async def test_a_filter_that_cannot_be_read_can_be_left_out(admin: Visitor) -> None:
    page = await admin.get("/console/deliveries?since=yesterday", 422)
    assert page.says("Without the filter")
    assert not page.says("Try again")


@pytest.mark.parametrize("path", ["/console/deliveries", "/console/events", "/console/audit-log"])
async def test_of_a_time_that_is_none_both_ways_to_write_it_are_named(
    admin: Visitor, path: str
) -> None:
    page = await admin.get(f"{path}?since=garbage", 422)

    told = next(text for text in page.text if "RFC 3339" in text)
    assert "as the tables show it" in told
    examples = re.findall(r"such as ([^,.]+)", told)
    assert len(examples) == 2
    for example in examples:
        await admin.get(f"{path}?{urlencode({'since': example})}")


async def test_programs_are_told_of_one_way_to_write_a_time(api: Api) -> None:
    answer = await api.call("GET", "/v1/deliveries?since=garbage")

    assert "tables" not in answer.text
    assert "must be an RFC 3339 time" in answer.text
