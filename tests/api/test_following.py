"""Streams, tickets, the feed and answers that wait, as far as they show without a network.

What goes on while a stream is open is in tests/system.
"""

import asyncio
from typing import Any

import pytest

from service.api import feed
from service.domain.api_keys import Scope
from tests.support.api import BASE, Api, pointers, problem

STREAM = "/v1/operations/op_1/stream"
LOG = "/v1/operations/op_1/events"
FEED = "/v1/events"


@pytest.fixture
async def ended(api: Api) -> list[dict[str, Any]]:
    """The log of an operation that is over."""
    for kind in ("STARTED", "page.rendered", "COMPLETED_WITH_ERRORS"):
        await api.post(LOG, {"type": kind})
    found: list[dict[str, Any]] = (await api.get(LOG))["data"]
    return found


@pytest.mark.usefixtures("ended")
async def test_a_stream_of_an_operation_that_is_over(api: Api) -> None:
    answer = await api.call("GET", STREAM)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    log = await api.call("GET", LOG)
    first, *messages = answer.text.removesuffix("\n\n").split("\n\n")
    assert first.startswith("retry: ")
    lines = [message.split("\n") for message in messages]
    assert [line[:2] for line in lines] == [
        ["id: 1", "event: status-update"],
        ["id: 2", "event: event"],
        ["id: 3", "event: completed"],
    ]
    for line in lines:
        assert line[2].removeprefix("data: ") in log.text


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [("?after=1", {}, 2), ("", {"last-event-id": "2"}, 3), ("?after=1", {"last-event-id": "2"}, 3)],
)
async def test_it_resumes(api: Api, query: str, headers: dict[str, str], first: int) -> None:
    answer = await api.call("GET", STREAM + query, headers=headers)
    assert answer.text.split("\n\n")[1].startswith(f"id: {first}\n")


@pytest.mark.usefixtures("ended")
async def test_after_the_end_there_is_nothing_to_come_back_for(api: Api) -> None:
    for query, headers in (("?after=3", {}), ("", {"last-event-id": "3"})):
        answer = await api.call("GET", STREAM + query, headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30])
async def test_a_place_that_is_none_is_refused(api: Api, given: str) -> None:
    await api.post(LOG, {"type": "STARTED"})
    by_header = await api.call("GET", STREAM, headers={"last-event-id": given})
    assert pointers(problem(by_header, 422, "invalid")) == ["/Last-Event-ID"]
    by_query = await api.call("GET", f"{STREAM}?after={given}")
    assert pointers(problem(by_query, 422, "invalid")) == ["/after"]
    feed_header = await api.call("GET", f"{FEED}/stream", headers={"last-event-id": given})
    assert pointers(problem(feed_header, 422, "invalid")) == ["/Last-Event-ID"]


async def test_a_place_ahead_of_the_log_is_refused_where_one_would_wait_for_it(api: Api) -> None:
    await api.post(LOG, {"type": "STARTED"})
    for path in (f"{STREAM}?after=2", f"{LOG}?after=2&wait=1"):
        assert pointers(problem(await api.call("GET", path), 422, "invalid")) == ["/after"]
    assert (await api.get(f"{LOG}?after=2"))["data"] == []


@pytest.mark.usefixtures("ended")
async def test_an_end_that_retention_took_is_an_end(api: Api) -> None:
    await api.sql("DELETE FROM events")
    answer = await api.call("GET", STREAM)
    assert (answer.status_code, answer.content) == (204, b"")


async def test_data_of_several_lines_is_several_lines(api: Api) -> None:
    await api.call("POST", LOG, content=b'{"type":"COMPLETED","data":{\n"a":\r\n1}}')
    answer = await api.call("GET", STREAM)
    assert '"data":{\ndata: "a":\ndata: 1}}\n\n' in answer.text


@pytest.mark.usefixtures("ended")
async def test_head_says_what_a_stream_would_be(api: Api) -> None:
    answer = await api.call("HEAD", STREAM)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_what_is_not_there_is_not_followed(api: Api) -> None:
    for path in (STREAM, LOG, "/v1/operations/op_1?wait=1"):
        problem(await api.call("GET", path), 404, "not-found")
    body = {"operationId": "op_1"}
    problem(await api.call("POST", "/v1/stream-tickets", body), 404, "not-found")


async def test_plain_http_is_told_of_the_socket(api: Api) -> None:
    answer = await api.call("GET", "/v1/operations/op_1/status")
    problem(answer, 426, "upgrade-required")
    assert answer.headers["upgrade"] == "websocket"


# --- tickets


async def ticket(api: Api, **body: str) -> str:
    made = await api.post("/v1/stream-tickets", body, 201)
    assert set(made) == {"ticket", "expiresAt", "reconnectUntil"}
    return str(made["ticket"])


@pytest.mark.usefixtures("ended")
async def test_a_ticket_opens_its_operation_and_nothing_else(api: Api) -> None:
    await api.post("/v1/operations/op_2/events", {"type": "COMPLETED"})
    text = await ticket(api, operationId="op_1")
    api.headers = {}
    for path in (STREAM, LOG, "/v1/operations/op_1"):
        assert (await api.call("GET", f"{path}?ticket={text}")).status_code == 200
    for path in ("/v1/operations/op_2/stream", FEED, f"{FEED}/stream"):
        problem(await api.call("GET", f"{path}?ticket={text}"), 403, "forbidden")
    for path in ("/v1/operations", "/v1/events/evt_1", "/v1/deliveries"):
        problem(await api.call("GET", f"{path}?ticket={text}"), 401, "unauthenticated")
    cancel = await api.call("POST", f"/v1/operations/op_1/cancel?ticket={text}")
    problem(cancel, 401, "unauthenticated")


@pytest.mark.usefixtures("ended")
async def test_a_ticket_for_the_feed_opens_the_feed_only(api: Api) -> None:
    text = await ticket(api)
    api.headers = {}
    page = await api.call("GET", f"{FEED}?ticket={text}")
    assert len(page.json()["data"]) == 3
    assert text not in page.headers["link"]
    problem(await api.call("GET", f"{STREAM}?ticket={text}"), 403, "forbidden")
    problem(await api.call("GET", f"{FEED}?ticket=tk_unknown"), 401, "unauthenticated")


async def test_a_ticket_needs_the_scope_of_reading(api: Api) -> None:
    api.headers = await api.key(Scope.EVENTS_WRITE)
    problem(await api.call("POST", "/v1/stream-tickets"), 403, "forbidden")


async def test_the_same_request_gets_the_same_ticket(api: Api) -> None:
    headers = {"idempotency-key": "one"}
    first = await api.call("POST", "/v1/stream-tickets", headers=headers)
    again = await api.call("POST", "/v1/stream-tickets", headers=headers)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"


# --- the feed


async def pull(api: Api, query: str = "") -> tuple[list[str], str]:
    """The types on a page of the feed, and its cursor."""
    page = await api.get(f"{FEED}{query}")
    return [each["type"] for each in page["data"]], page["pagination"]["nextCursor"]


@pytest.mark.usefixtures("ended")
async def test_the_feed_goes_on_from_its_cursor(api: Api) -> None:
    first, cursor = await pull(api, "?limit=2")
    assert first == ["STARTED", "page.rendered"]
    assert await pull(api, f"?after={cursor}") == await pull(api, f"?cursor={cursor}")
    rest, end = await pull(api, f"?after={cursor}")
    assert rest == ["COMPLETED_WITH_ERRORS"]
    assert await pull(api, f"?after={end}") == ([], end)
    await api.post(FEED, {"type": "late", "operationId": "op_2"})
    assert (await pull(api, f"?after={end}"))[0] == ["late"]


@pytest.mark.usefixtures("ended")
async def test_the_feed_names_its_next_page(api: Api) -> None:
    answer = await api.call("GET", f"{FEED}?limit=1&types=COMPLETED*")
    cursor = answer.json()["pagination"]["nextCursor"]
    assert answer.headers["link"] == (
        f'<{BASE}{FEED}?limit=1&types=COMPLETED*&after={cursor}>; rel="next"'
    )


async def test_the_feed_takes_filters(api: Api) -> None:
    for number, kind in enumerate(["report.sales", "report.tax", "export"]):
        event = {"operationId": f"op_{number}", "operationType": kind, "type": f"a.{number}"}
        await api.post(FEED, event)
    await api.post(FEED, {"operationId": "op_9", "type": "a.9"})

    async def types(query: str) -> list[str]:
        return (await pull(api, query))[0]

    assert await types("?operationType=report.*") == ["a.0", "a.1"]
    assert await types("?types=a.2,a.9") == ["a.2", "a.9"]
    assert await types("?types=*.1&operationType=report.tax") == ["a.1"]
    assert await types("?types=b") == []
    problem(await api.call("GET", f"{FEED}?types=,"), 422, "invalid")


async def test_a_filter_that_finds_nothing_in_much_still_gets_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_SCAN", 4)
    monkeypatch.setattr(feed, "_CHUNK", 2)
    await api.post(FEED, [{"operationId": "op", "type": f"a.{n}"} for n in range(7)])
    await api.post(FEED, {"operationId": "op", "type": "wanted"})

    found, cursor = await pull(api, "?types=wanted")
    assert found == []
    assert (await pull(api, f"?types=wanted&after={cursor}"))[0] == ["wanted"]


@pytest.mark.usefixtures("ended")
async def test_cursors_that_lead_nowhere_are_refused(api: Api) -> None:
    _, cursor = await pull(api, "?limit=1")
    _, end = await pull(api)
    for path in (FEED, f"{FEED}/stream"):
        problem(await api.call("GET", f"{path}?after=nonsense"), 422, "invalid")

    async with api.opened.base.database.read() as tx:
        assert await tx.sql("SELECT feed_position FROM tenants") == [(3,)]
    await api.opened.base.database.write(
        lambda tx: tx.sql("UPDATE tenants SET feed_floor = 2, feed_position = 2")
    )
    for path in (FEED, f"{FEED}/stream"):
        gone = await api.call("GET", f"{path}?after={cursor}")
        assert "without" in problem(gone, 410, "gone")["detail"]
        problem(await api.call("GET", f"{path}?after={end}"), 422, "invalid")


# --- answers that wait


async def soon(asked: Any, api: Api, event: dict[str, Any]) -> Any:  # noqa: ANN401  an answer of any kind
    """The answer to what was asked a little before an event was posted."""
    waiting = asyncio.create_task(asked)
    while api.opened.watch.followers == 0:  # noqa: ASYNC110  the store is read first
        await asyncio.sleep(0.001)
    await api.post(FEED, event)
    return await waiting


NEWS = {"operationId": "op_1", "type": "news"}


@pytest.mark.parametrize(
    ("query", "headers", "applied"),
    [
        ("?wait=30", {}, None),
        ("", {"prefer": "wait=30"}, "wait=30"),
        ("", {"prefer": 'respond-async, wait="99"; x=1'}, "wait=60"),
    ],
)
async def test_a_poll_waits_for_news(
    api: Api, query: str, headers: dict[str, str], applied: str | None
) -> None:
    await api.post(LOG, {"type": "STARTED"})
    path = f"/v1/operations/op_1{query}"
    answer = await soon(api.call("GET", path, headers=headers), api, NEWS)
    assert answer.json()["sequence"] == 2
    assert answer.headers.get("preference-applied") == applied
    answer = await soon(api.call("GET", f"{LOG}{query or '?'}&after=2", headers=headers), api, NEWS)
    assert [each["sequence"] for each in answer.json()["data"]] == [3]


async def test_the_feed_waits_for_what_is_wanted(api: Api) -> None:
    waiting = asyncio.create_task(api.get(f"{FEED}?wait=30&types=news"))
    while api.opened.watch.followers == 0:  # noqa: ASYNC110  the store is read first
        await asyncio.sleep(0.001)
    await api.post(FEED, {"operationId": "op_1", "type": "other"})
    await api.post(FEED, NEWS)
    page = await waiting
    assert [each["type"] for each in page["data"]] == ["news"]


async def test_no_news_is_an_answer_too(api: Api) -> None:
    await api.post(LOG, {"type": "STARTED"})
    answer = await api.call("GET", "/v1/operations/op_1")
    known = {"if-none-match": answer.headers["etag"]}
    same = await api.call("GET", "/v1/operations/op_1?wait=1", headers=known)
    assert (same.status_code, same.content) == (304, b"")
    assert (await api.get(f"{LOG}?after=1&wait=1"))["data"] == []


async def test_who_knows_another_state_is_answered_at_once(api: Api) -> None:
    await api.post(LOG, {"type": "STARTED"})
    async with asyncio.timeout(5):
        answer = await api.call(
            "GET", "/v1/operations/op_1?wait=60", headers={"if-none-match": '"old"'}
        )
    assert answer.status_code == 200


@pytest.mark.usefixtures("ended")
async def test_nobody_waits_for_an_operation_that_is_over(api: Api) -> None:
    async with asyncio.timeout(5):
        await api.get("/v1/operations/op_1?wait=60")
        assert (await api.get(f"{LOG}?after=3&wait=60"))["data"] == []


@pytest.mark.parametrize("given", ["61", "-1", "1.5", "x"])
async def test_so_long_nobody_may_wait(api: Api, given: str) -> None:
    await api.post(LOG, {"type": "STARTED"})
    for path in ("/v1/operations/op_1", LOG, FEED):
        answer = await api.call("GET", f"{path}?wait={given}")
        assert pointers(problem(answer, 422, "invalid")) == ["/wait"]


async def test_preferences_that_mean_nothing_here_are_read_over(api: Api) -> None:
    await api.post(LOG, {"type": "STARTED"})
    answer = await api.call("GET", "/v1/operations/op_1", headers={"prefer": "wait=x, return=min"})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
