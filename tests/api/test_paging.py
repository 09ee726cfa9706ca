"""Lists: every item once, whatever the page, and no query that means something else."""

import re
from typing import Any

import pytest

from service.store import paging
from tests.support.api import BASE, Api, pointers, problem
from tests.support.receiver import Receiver, Reply

LISTS = ["/v1/operations", "/v1/subscriptions", "/v1/deliveries", "/v1/dead-letters"]


async def fill(api: Api, receiver: Receiver) -> list[str]:
    """Seven of everything; the addresses of all lists."""
    receiver.script = lambda _: Reply(410)
    first = await api.subscribe(receiver.url("/0"))
    for number in range(1, 7):
        await api.subscribe(receiver.url(f"/{number}"), eventTypes=["never"])
    events = [{"type": "a", "operationId": f"op_{number}"} for number in range(7)]
    await api.post("/v1/events", events)
    await api.post("/v1/operations/op_0/events", [{"type": "never"}] * 6)
    await api.deliver()
    own = f"/v1/subscriptions/{first['id']}/undelivered"
    return [*LISTS, own, "/v1/operations/op_0/events"]


async def walk(api: Api, address: str) -> list[list[dict[str, Any]]]:
    """The pages of a list from this one on, by their links."""
    path = address.partition("?")[0]
    url, pages = address, []
    while url:
        answer = await api.call("GET", url)
        page = answer.json()
        pages.append(page["data"])
        cursor = page["pagination"]["nextCursor"]
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        assert (cursor is None) == (link is None)
        url = link[1] if link else ""
        if link:
            assert url.startswith(f"{BASE}{path}?")
            assert address.partition("?")[2] in url
            assert f"cursor={cursor}" in url
    return pages


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
async def test_a_walk_meets_everything_once(api: Api, receiver: Receiver, limit: int) -> None:
    for path in await fill(api, receiver):
        whole = (await api.get(f"{path}?limit=200"))["data"]
        assert len(whole) >= 7
        pages = await walk(api, f"{path}?limit={limit}")
        assert max(map(len, pages)) <= limit
        assert [item for page in pages for item in page] == whole, path


@pytest.mark.parametrize(
    "address",
    [
        "/v1/deliveries?eventType=a",
        "/v1/dead-letters?reason=gone",
        "/v1/operations?status=PENDING",
        "/v1/audit-log?action=subscription.created",
    ],
)
async def test_a_walk_goes_on_over_pages_on_which_nothing_is_like_what_was_asked_for(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    await fill(api, receiver)
    await api.post("/v1/operations/op_1/events", [{"type": "STARTED"}] * 6)
    whole = (await api.get(f"{address}&limit=200"))["data"]
    assert whole

    monkeypatch.setattr(paging, "LOOKED_AT", 2)
    pages = await walk(api, f"{address}&limit=50")

    assert max(map(len, pages)) <= 2
    assert [item for page in pages for item in page] == whole


async def test_the_next_page_keeps_the_filters(api: Api) -> None:
    events = [{"type": "a", "operationId": f"op_{n}", "operationType": "r/ü"[:2]} for n in range(3)]
    await api.post("/v1/events", events)
    link = (await api.call("GET", "/v1/operations?type=r/&limit=1")).headers["link"]
    assert "type=r%2F" in link


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "limit", ["0", "-1", "201", "1.5", "1e2", "ten", "99999999999999999999", " 5", "5%00"]
)
async def test_a_limit_is_1_to_200(api: Api, path: str, limit: str) -> None:
    refused = problem(await api.call("GET", f"{path}?limit={limit}"), 422, "invalid")
    assert pointers(refused) == ["/limit"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "1",
        "!!!!",
        "AAAA",
        "b3BlcmF0aW9ucw",  # operations
        "b3BlcmF0aW9ucy4x.x",
        "b3BlcmF0aW9ucy4tMQ",  # operations.-1
        "b3BlcmF0aW9ucy4xLjI",  # operations.1.2
        "b3BlcmF0aW9ucy45OTk5OTk5OTk5OTk5OTk5OTk5",  # operations.9999999999999999999
        "ZGVsaXZlcmllcy4x",  # deliveries.1
        "c3Vic2NyaXB0aW9ucy4xLjE",  # subscriptions.1.1
        "%FF%FE",
    ],
)
async def test_a_cursor_is_one_that_was_handed_out(api: Api, path: str, cursor: str) -> None:
    refused = problem(await api.call("GET", f"{path}?cursor={cursor}"), 422, "invalid")
    assert pointers(refused) == ["/cursor"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("colour=red", "/colour"),
        ("wait=30", "/wait"),
        ("status=running", "/status"),
        ("status=PENDING&status=FAILED", "/status"),
        ("createdAfter=yesterday", "/createdAfter"),
        ("createdAfter=2025-01-31", "/createdAfter"),
        ("createdBefore=1e400", "/createdBefore"),
        ("type=%00", "/type"),
        ("type=a%0Ab", "/type"),
        (f"type={'x' * 257}", "/type"),
    ],
)
async def test_faults_of_a_query(api: Api, query: str, where: str) -> None:
    refused = problem(await api.call("GET", f"/v1/operations?{query}"), 422, "invalid")
    assert pointers(refused) == [where]


async def test_all_faults_of_a_query_at_once(api: Api) -> None:
    answer = await api.call("GET", "/v1/deliveries?since=x&until=y&status=z&limit=0&q=1")
    refused = problem(answer, 422, "invalid")
    assert pointers(refused) == ["/limit", "/q", "/since", "/status", "/until"]
    assert "eventId" in next(e["detail"] for e in refused["errors"] if e["pointer"] == "/q")


async def test_empty_parameters_are_as_if_left_out(api: Api) -> None:
    await api.post("/v1/operations/op_1/events", {"type": "a"})
    page = await api.get("/v1/operations?status=&type=&createdAfter=&createdBefore=&limit=&cursor=")
    assert len(page["data"]) == 1
