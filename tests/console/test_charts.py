"""What the overview says of the time behind it: as data, as a table, to whom it is meant for."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from service.domain.api_keys import Scope
from service.domain.tallies import RANGES as OWN_RANGES
from service.domain.traffic import RANGES, Gauges
from tests.support.api import Api
from tests.support.console import Document, Visitor, consumer, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

OF_ALL = {"due", "in_flight", "oldest_due_age", "dead_letters_open"}
OF_EACH = {"accepted", "delivered", "failed", "dead", "p50", "p95"}
EMPTY = "Nothing was counted in this time"
#: Minutes have to be over to be drawn.
EARLIER = "UPDATE traffic SET slice_at = slice_at - 7200000"


async def happened(api: Api, receiver: Receiver, count: int = 3, since: str = EARLIER) -> None:
    """Events that were delivered two hours ago."""
    await api.subscribe(receiver.url("/hook"))
    for number in range(count):
        await api.post(f"/v1/operations/op{number}/events", {"type": "COMPLETED"})
    await api.deliver()
    await api.opened.stores.counts.flush()
    async with asyncio.timeout(10):
        while await delivered(api) < count:  # it is written once a second
            await asyncio.sleep(0.02)
            await api.opened.stores.deliver.flush()
    await api.opened.stores.traffic.sample(Gauges(1, 22, 333_000, 4444))
    await api.sql(since)


async def delivered(api: Api) -> int:
    """How many deliveries are counted."""
    async with api.opened.base.database.read() as tx:
        ((count,),) = await tx.sql("SELECT max(delivered) FROM traffic WHERE tenant_id = ''")
    return int(count)


async def data(of: Visitor, query: str = "?range=6h", root: str = "/console") -> dict[str, Any]:
    """The points that are drawn."""
    path = query if root.endswith("/") else f"/traffic{query}"
    answer = await of.client.get(f"{root}{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("name", RANGES)
async def test_every_range_has_its_points(admin: Visitor, name: str) -> None:
    found = await data(admin, f"?range={name}")

    assert found["range"] == name
    assert found["step"] == RANGES[name].step
    assert 59 <= len(found["at"]) <= 300
    assert found["at"] == sorted(found["at"])
    assert found["lines"].keys() == OF_ALL | OF_EACH
    assert {len(values) for values in found["lines"].values()} == {len(found["at"])}
    assert set(found["lines"]["delivered"]) == {0}
    assert set(found["lines"]["p50"]) == set(found["lines"]["due"]) == {None}


async def test_what_happened_is_drawn_and_in_the_table(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await happened(api, receiver)

    lines = (await data(admin))["lines"]
    page = await admin.get("/console?range=6h")

    assert sum(lines["accepted"]) == sum(lines["delivered"]) == 1.5  # a minute, of two
    assert max(each or 0 for each in lines["p95"]) > 0
    assert [max(each or 0 for each in lines[name]) for name in ("due", "dead_letters_open")] == [
        22,
        4444,
    ]
    assert page.says("Delivered 3")
    assert page.says("The same as a table")
    assert page.says("5 min")  # the oldest that was due
    assert page.says("4444")
    assert not page.says(EMPTY)
    assert drawn(page) == 6


async def test_the_range_is_chosen_by_plain_links(admin: Visitor) -> None:
    page = await admin.get("/console")
    links = {f"/console?range={name}": name for name in RANGES}

    assert set(links) <= set(page.links)
    assert chosen(page) == "/console?range=1h"
    for link in links:
        assert chosen(await admin.get(link)) == link


async def test_a_range_that_is_none_is_refused(admin: Visitor) -> None:
    for path in ("/console?range=2h", "/console/traffic?range=2h"):
        page = await admin.get(path, 422)
        assert page.says("must be one of 1h, 6h, 24h, 7d, 30d")


async def test_where_nothing_was_counted_the_page_says_so(admin: Visitor) -> None:
    page = await admin.get("/console")

    assert page.says(EMPTY)
    assert drawn(page) == 0


async def test_a_tenant_is_shown_what_is_its_own(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await happened(api, receiver)
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    new = {"tenantId": "acme", "name": "x", "scopes": [Scope.DELIVERIES_READ]}
    theirs, ours = visitor(api), visitor(api)
    await theirs.sign_in((await api.post("/v1/api-keys", new, 201))["key"])
    await ours.sign_in((await api.post("/v1/api-keys", {**new, "tenantId": "default"}, 201))["key"])

    assert sum((await data(admin))["lines"]["accepted"]) == 1.5
    assert sum((await data(ours))["lines"]["accepted"]) == 1.5
    assert sum((await data(theirs))["lines"]["accepted"]) == 0
    for guest in (theirs, ours):
        assert (await data(guest))["lines"].keys() == OF_EACH
    page = await ours.get("/console?range=6h")
    assert drawn(page) == 3
    assert not page.says("4444")
    assert (await theirs.get("/console?range=6h")).says(EMPTY)
    # an administrator who goes into a tenant sees that tenant's
    await admin.press("/console/tenants/acme/act")
    assert (await admin.get("/console?range=6h")).says(EMPTY)
    assert (await data(admin))["lines"].keys() == OF_EACH


async def test_without_the_scope_there_are_none(api: Api) -> None:
    key = await api.key(Scope.OPERATIONS_READ)
    guest = visitor(api)
    await guest.sign_in(key["authorization"].removeprefix("Bearer "))

    assert (await guest.client.get("/console/traffic")).status_code == 403
    assert not (await guest.get("/console")).says("Over time")
    assert (await visitor(api).client.get("/console/traffic")).status_code == 303


async def test_the_portal_has_them_for_a_tenant_and_for_one_subscription_only_its_attempts(
    api: Api, receiver: Receiver
) -> None:
    await happened(api, receiver)
    subscription = (await api.get("/v1/subscriptions"))["data"][0]["id"]
    tenant = await consumer(api)
    one = await consumer(api, subscriptionId=subscription)

    assert sum((await data(tenant, root="/portal"))["lines"]["delivered"]) == 1.5
    assert drawn(await tenant.get("/portal?range=6h")) == 3
    assert (await one.client.get("/portal/traffic")).status_code == 404
    page = await one.get("/portal?range=6h")
    assert drawn(page) == 2
    assert page.says("Attempts good")
    assert not page.says("Events accepted")


async def attempted(api: Api, receiver: Receiver, status: int) -> dict[str, Any]:
    """A subscription whose receiver answers so; one attempt that is counted, three hours ago."""
    receiver.script = lambda _: Reply(status)
    made = await api.subscribe(receiver.url("/hook"))
    await api.post("/v1/operations/op/events", {"type": "COMPLETED"})
    await api.deliver()
    path = f"/v1/subscriptions/{made['id']}/stats"
    async with asyncio.timeout(10):
        while sum((await api.get(path))["lastDay"].values()) < 1:  # it is written once a second
            await asyncio.sleep(0.02)
            await api.opened.stores.deliver.flush()
            await api.opened.stores.counts.flush()
    await api.sql("UPDATE attempt_tallies SET slice_at = slice_at - 10800000")
    return made


@pytest.mark.parametrize(("status", "line"), [(200, "succeeded"), (500, "failed")])
async def test_a_subscriptions_attempts_are_drawn_and_in_a_table(
    api: Api, admin: Visitor, receiver: Receiver, status: int, line: str
) -> None:
    made = await attempted(api, receiver, status)

    page = await admin.get(f"/console/subscriptions/{made['id']}")
    found = await data(admin, f"subscriptions/{made['id']}/traffic", "/console/")

    assert (found["range"], found["step"]) == ("24h", 600_000)
    steps = [later - earlier for earlier, later in pairwise(found["at"])]
    assert set(steps) == {600}
    assert len(found["at"]) == 144
    assert found["lines"].keys() == {"succeeded", "failed", "p50", "p95"}
    where = 144 - 1 - 18
    counts = {name: dict(enumerate(values)) for name, values in found["lines"].items()}
    assert {name: sum(counts[name].values()) for name in ("succeeded", "failed")} == {
        "succeeded": int(line == "succeeded"),
        "failed": int(line == "failed"),
    }
    at = next(place for place, count in counts[line].items() if count)
    assert at in (where - 1, where)  # a slice may have ended meanwhile
    assert [place for place, ms in counts["p95"].items() if ms is not None] == [at]
    assert drawn(page) == 2
    assert page.says("The same as a table")
    assert sum(words == "Good" for words in page.text) == 1
    assert page.says(f"Attempts {'good' if status == 200 else 'failed'} 1")


@pytest.mark.parametrize(("hours", "ranges"), [(3, "6h 24h 7d 30d"), (60, "7d 30d"), (200, "30d")])
async def test_of_a_subscription_the_same_ranges_are_to_be_had(
    api: Api, admin: Visitor, receiver: Receiver, hours: int, ranges: str
) -> None:
    made = await attempted(api, receiver, 200)
    await api.sql("UPDATE attempt_tallies SET slice_at = slice_at - ?", (hours - 3) * 3_600_000)
    below = f"subscriptions/{made['id']}"
    page = f"/console/{below}"
    links = {f"{page}?range={name}": name for name in OWN_RANGES}

    for _ in range(2):  # before and after what is past its day was moved
        for link, name in links.items():
            shown = await admin.get(link)
            assert chosen(shown) == link
            assert set(links) <= set(shown.links)
            section = next(had for _, had in shown.tags if had.get("id") == "charts")
            assert section["data-address"] == f"{page}/traffic?range={name}"
            found = await data(admin, f"{below}/traffic?range={name}", "/console/")
            assert (found["range"], found["step"]) == (name, OWN_RANGES[name].step)
            assert len(found["at"]) == OWN_RANGES[name].span // OWN_RANGES[name].step
            assert sum(found["lines"]["succeeded"]) == int(name in ranges.split())
            assert shown.says("Attempts good 1") == (drawn(shown) == 2) == (name in ranges.split())
        while await api.opened.stores.deliver.forget_counts():
            pass
    assert chosen(await admin.get(page)) == f"{page}?range=24h"
    assert chosen(await admin.get(f"{page}?done=paused")) == f"{page}?range=24h"


async def test_a_range_that_a_subscription_has_not_is_refused(api: Api, admin: Visitor) -> None:
    made = await api.subscribe()
    one = await consumer(api, subscriptionId=made["id"])

    for path in (f"subscriptions/{made['id']}", f"subscriptions/{made['id']}/traffic"):
        for range_ in ("1h", "2h", "x"):
            page = await admin.get(f"/console/{path}?range={range_}", 422)
            assert page.says("must be one of 6h, 24h, 7d, 30d")
            assert (await one.client.get(f"/portal/{path}?range={range_}")).status_code == 422
    assert (await one.get("/portal?range=1h", 422)).says("must be one of 6h, 24h, 7d, 30d")


async def test_of_a_subscription_of_one_operation_there_is_the_last_day(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe(operationId="job-1")
    path = f"/console/subscriptions/{made['id']}"

    page = await admin.get(path)

    assert {link for link in page.links if "range=" in link} == {
        f"{path}?range=6h",
        f"{path}?range=24h",
    }
    assert (await admin.get(f"{path}?range=7d", 422)).says("must be one of 6h, 24h.")


async def test_a_subscription_without_attempts_says_so(api: Api, admin: Visitor) -> None:
    made = await api.subscribe()

    page = await admin.get(f"/console/subscriptions/{made['id']}")

    assert page.says("No attempt was made in this time.")
    assert drawn(page) == 0
    assert (await admin.client.get("/console/subscriptions/none/traffic")).status_code == 404


async def test_they_are_for_who_may_see_deliveries_of_that_subscription(api: Api) -> None:
    mine, other = await api.subscribe(), await api.subscribe("https://other.test")
    key = await api.key(Scope.SUBSCRIPTIONS_READ)
    guest, one = visitor(api), await consumer(api, subscriptionId=mine["id"])
    await guest.sign_in(key["authorization"].removeprefix("Bearer "))

    path = f"subscriptions/{mine['id']}/traffic"
    assert (await guest.client.get(f"/console/{path}")).status_code == 403
    page = await guest.get(f"/console/subscriptions/{mine['id']}")
    assert not page.says("Over time")
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert len((await data(one, path, "/portal/"))["at"]) == 144
    foreign = f"/portal/subscriptions/{other['id']}/traffic"
    assert (await one.client.get(foreign)).status_code == 404


async def test_the_portal_of_one_subscription_begins_with_its_attempts(
    api: Api, receiver: Receiver
) -> None:
    made = await attempted(api, receiver, 200)
    one, everything = await consumer(api, subscriptionId=made["id"]), await consumer(api)
    scopes = [Scope.SUBSCRIPTIONS_READ.value]
    narrow = await consumer(api, subscriptionId=made["id"], scopes=scopes)

    for path in ("/portal", f"/portal/subscriptions/{made['id']}"):
        page = await one.get(path)
        assert drawn(page) == 2, path
        assert chosen(page) == f"{path}?range=24h"
        assert chosen(await one.get(f"{path}?range=7d")) == f"{path}?range=7d"
        section = next(had for tag, had in page.tags if had.get("id") == "charts")
        address = str(section["data-address"])
        assert sum((await one.client.get(address)).json()["lines"]["succeeded"]) == 1
        assert sum(tag == "script" for tag, _ in page.tags) == 4
    assert not (await everything.get("/portal")).says("Attempts good")
    assert not (await narrow.get("/portal")).says("Over time")


async def test_the_list_tells_which_subscription_fails_and_whose_circuit_is_open(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await attempted(api, receiver, 500)
    await api.subscribe("https://well.test")
    key = await api.key(Scope.SUBSCRIPTIONS_READ)
    guest = visitor(api)
    await guest.sign_in(key["authorization"].removeprefix("Bearer "))

    page = await admin.get("/console/subscriptions")
    assert sum(words.startswith("failing since") for words in page.text) == 1
    assert not page.says("circuit open")
    await api.sql("UPDATE subscription_health SET trips = 1, open_until = 9000000000000")
    assert (await admin.get("/console/subscriptions")).says("circuit open")
    page = await guest.get("/console/subscriptions")
    assert not page.says("failing")
    assert not page.says("circuit")


def drawn(page: Document) -> int:
    """How many charts there are on a page; each stays what it is while the page is merged."""
    charts = [had for tag, had in page.tags if tag == "figure"]
    assert all("hx-morph-skip" in had for had in charts)
    return len(charts)


def chosen(page: Document) -> str | None:
    return next(had["href"] for tag, had in page.tags if had.get("aria-current") == "true")
