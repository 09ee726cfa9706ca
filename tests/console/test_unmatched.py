"""A list in which nothing is like what was asked for says what was asked, and leads on."""

from html import escape
from typing import Final

import pytest

from tests.support.api import Api
from tests.support.console import Document, Visitor, consumer

pytestmark = pytest.mark.anyio

SINCE: Final = "2125-01-31T12:00:00Z"
#: Lists, the filters that are on, and what the page calls them.
FILTERED: Final = {
    "/deliveries": {"status": ("dead", "Status"), "since": (SINCE, "From")},
    "/dead-letters/all": {"reason": ("expired", "Reason"), "resolved": ("false", "Resolved")},
    "/subscriptions": {"status": ("paused", "Status"), "operationId": ("op-1", "Of one operation")},
    "/operations": {"type": ("report", "Type"), "createdAfter": (SINCE, "Created from")},
    "/events": {"types": ("a.b,c.*", "Event types"), "until": ("2001-01-01T00:00:00Z", "Until")},
}
OPERATORS_OWN: Final = {
    "/keys": {"tenantId": ("nobody", "Tenant")},
    "/audit-log": {"action": ("none", "What"), "since": (SINCE, "From")},
}


def query(filters: dict[str, tuple[str, str]]) -> str:
    return "&".join(f"{name}={text}" for name, (text, _) in filters.items())


def links(page: Document) -> list[str]:
    """Where the part leads that says that nothing is like this."""
    at = page.html.index('<div class="empty">')
    return Document(page.html[at : page.html.index("</div>", at)]).links


@pytest.mark.parametrize("root", ["/console", "/portal"])
async def test_it_names_each_filter_and_leads_to_the_list_without_it(
    api: Api, admin: Visitor, root: str
) -> None:
    who = admin if root == "/console" else await consumer(api)
    lists = {**FILTERED, **(OPERATORS_OWN if root == "/console" else {})}
    for path, filters in lists.items():
        page = await who.get(f"{root}{path}?{query(filters)}")
        for text, label in filters.values():
            assert page.says(f"{label} : {text}"), (path, label)
        *single, everything = links(page)
        assert everything == f"{root}{path}"
        assert len(single) == (len(filters) if len(filters) > 1 else 0), path
        for address, (text, label) in zip(single, filters.values(), strict=False):
            assert not (await who.get(address)).says(f"{label} : {text}")


async def test_one_filter_is_left_out_and_the_others_stay(admin: Visitor) -> None:
    page = await admin.get(f"/console/deliveries?status=dead&since={SINCE}&live=true")

    assert links(page) == [
        f"/console/deliveries?since={SINCE.replace(':', '%3A')}&live=true",
        "/console/deliveries?status=dead&live=true",
        "/console/deliveries",
    ]


async def test_a_filter_cannot_write_on_the_page(admin: Visitor) -> None:
    text = "<b>x</b>\"'"
    page = await admin.get(f"/console/deliveries?eventType={text}")

    assert page.says(f"Event type : {text}")
    assert text not in page.html
    assert escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page.html


async def test_a_list_that_nobody_filtered_is_not_called_filtered(admin: Visitor) -> None:
    for path in (
        "/deliveries?live=true",
        "/dead-letters/all",
        "/operations",
        "/deliveries?limit=5",
    ):
        page = await admin.get(f"/console{path}")
        assert not page.says("like this"), path
        assert not page.says("without it"), path


async def test_past_the_end_of_a_list_a_link_leads_to_its_beginning(
    api: Api, admin: Visitor
) -> None:
    for number in range(2):
        await api.post("/v1/events", {"operationId": f"op-{number}", "type": "STARTED"})
    first = await admin.get("/console/operations?limit=1")
    (further,) = [each for each in first.links if "cursor=" in each]
    await api.sql("DELETE FROM operations")
    page = await admin.get(further)

    assert links(page) == ["/console/operations"]


async def test_who_has_one_subscription_is_led_on_too(api: Api) -> None:
    made = await api.subscribe()
    one = await consumer(api, subscriptionId=made["id"])
    page = await one.get("/portal/deliveries?status=dead&subscriptionId=sub_other")

    assert page.says("Subscription : sub_other")
    assert links(page)[-1] == "/portal/deliveries"
