"""Beside the id of a subscription stands what people know it by, on every page that names one."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.console.receivers import receivers
from service.domain.api_keys import Scope
from service.lab.bench.counted import watch
from tests.support.api import Api
from tests.support.console import Visitor, consumer, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio


async def one_dead(api: Api, receiver: Receiver, **members: object) -> dict[str, str]:
    """A dead letter, whose receiver has something in the query of its URL that nobody may see."""
    receiver.script = lambda _: Reply(410)
    await api.subscribe(f"{receiver.url('/hook')}?token=hush-hush", **members)
    await api.post("/v1/events", {"operationId": "op-1", "type": "COMPLETED", "id": "evt-1"})
    await api.deliver()
    letter: dict[str, str] = (await api.get("/v1/dead-letters"))["data"][0]
    return letter


def pages(letter: dict[str, str]) -> list[str]:
    return [
        "/deliveries",
        f"/deliveries/{letter['deliveryId']}",
        "/dead-letters",
        "/dead-letters/all",
        f"/dead-letters/{letter['id']}",
        "/dead-letters/replay",
        f"/deliveries/replay?status=dead&subscriptionId={letter['subscriptionId']}",
        f"/events/{letter['eventId']}",
        "",
    ]


def pages_of_old(letter: dict[str, str]) -> list[str]:
    """Those that name a subscription that was deleted: nothing more can be sent to it."""
    return [each for each in pages(letter) if not each.startswith("/deliveries/replay")]


@pytest.mark.parametrize("root", ["/console", "/portal"])
async def test_the_url_stands_beside_the_id_without_its_query(
    api: Api, admin: Visitor, receiver: Receiver, root: str
) -> None:
    letter = await one_dead(api, receiver)
    scopes = [each.value for each in Scope if each not in (Scope.ADMIN, Scope.EVENTS_WRITE)]
    who = admin if root == "/console" else await consumer(api, scopes=scopes)
    for path in pages(letter):
        page = await who.get(f"{root}{path}")
        assert letter["subscriptionId"] in page.html, path
        assert page.says(f"{receiver.url('/hook')}?…"), path
        # what an attempt sent, and where to, is shown as it was
        assert "Request headers" in page.html or "hush-hush" not in page.html, path


async def test_a_description_stands_in_the_place_of_the_url_as_text(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    words = "<b>Accounting</b>"
    letter = await one_dead(api, receiver, description=words)
    for path in pages(letter):
        page = await admin.get(f"/console{path}")
        assert page.says(words), path
        assert words not in page.html, path


async def test_who_may_not_look_at_subscriptions_is_not_told_where_they_lead(
    api: Api, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver, description="Accounting")
    reader = visitor(api)
    key = await api.key(Scope.DELIVERIES_READ)
    await reader.sign_in(key["authorization"].removeprefix("Bearer "))
    for path in ("/deliveries", "/dead-letters", f"/dead-letters/{letter['id']}"):
        page = await reader.get(f"/console{path}")
        assert page.says(letter["subscriptionId"]), path
        assert not page.says("Accounting"), path


async def test_one_that_was_deleted_is_still_known(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver, description="Accounting")
    await api.call("DELETE", f"/v1/subscriptions/{letter['subscriptionId']}")

    for path in pages_of_old(letter):
        assert (await admin.get(f"/console{path}")).says("Accounting (deleted)"), path


async def test_who_did_not_get_an_event_yet_is_not_said_to_have_got_it(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver)
    page = await admin.get(f"/console/events/{letter['eventId']}")
    assert page.says("To whom it goes")
    assert not page.says("got it")


async def test_what_was_discarded_is_not_said_to_have_been_delivered(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver)
    await admin.press(f"/console/dead-letters/{letter['id']}/discard")
    none = {"": "No dead letters are open", "/dead-letters/all": "There are no dead letters"}
    for path, words in none.items():
        page = await admin.get(f"/console{path}")
        assert page.says(words)
        assert not page.says("was delivered")


async def test_that_it_was_deleted_is_said_of_one_with_a_long_name_too(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver, description="Accounting " * 20)
    await api.call("DELETE", f"/v1/subscriptions/{letter['subscriptionId']}")

    for path in pages_of_old(letter):
        assert (await admin.get(f"/console{path}")).says("… (deleted)"), path


@pytest.mark.parametrize("root", ["/console", "/portal"])
async def test_lists_leave_out_what_may_be_secret_and_the_page_of_one_says_all(
    api: Api, admin: Visitor, root: str
) -> None:
    drawn = "d3b07384d113edec49eaa6238ad5ff00"
    made = await api.subscribe(f"https://example.com/hooks/{drawn}?key=hush-hush")
    who = admin if root == "/console" else await consumer(api)
    page = await who.get(f"{root}/subscriptions")
    assert page.says("https://example.com/hooks/…?…")
    assert drawn not in page.html
    assert "hush-hush" not in page.html
    assert (await who.get(f"{root}/subscriptions/{made['id']}")).says(made["url"])


async def test_a_tenant_is_told_of_its_own_only(api: Api, receiver: Receiver) -> None:
    letter = await one_dead(api, receiver, description="Accounting")
    read = api.opened.stores.read

    assert await read.receivers("acme", [letter["subscriptionId"]]) == {}
    assert await read.receivers("default", []) == {}
    found = (await read.receivers("default", [letter["subscriptionId"], "none"])).values()
    assert [each.description for each in found] == ["Accounting"]


async def test_one_of_which_nothing_is_left_counts_as_deleted(api: Api) -> None:
    made = await api.subscribe(description="Accounting")
    visit: Any = SimpleNamespace(tenant="default", may=lambda _: True)

    known = await receivers(visit, api.opened.stores.read, [made["id"], "sub_none"])

    assert known[made["id"]] == ("Accounting", False, False)
    assert (known["sub_none"].is_deleted, known["sub_none"].is_able) == (True, False)


async def test_a_page_asks_for_all_of_them_at_once(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    for number in range(8):
        await api.subscribe(receiver.url(f"/hook-{number}"))

    async def statements() -> int:
        given: list[str] = []
        end = watch(lambda sql, _: given.append(sql))
        await admin.get("/console/deliveries")
        end()
        return len([sql for sql in given if "SELECT" in sql])

    await api.post("/v1/events", {"operationId": "op-1", "type": "STARTED"})
    few = await statements()
    for number in range(3):
        await api.post("/v1/events", {"operationId": f"op-2{number}", "type": "STARTED"})

    assert await statements() == few


async def test_no_link_leads_to_one_that_was_deleted_and_no_button_sends_to_it(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await one_dead(api, receiver, description="Accounting")
    subscription = f"/subscriptions/{letter['subscriptionId']}"
    for path in ("", "/deliveries", "/dead-letters", "/dead-letters/all"):
        assert f"/console{subscription}" in (await admin.get(f"/console{path}")).links, path
    await api.call("DELETE", f"/v1{subscription}")

    for path in pages_of_old(letter):
        assert f"/console{subscription}" not in (await admin.get(f"/console{path}")).links, path
    for path in (f"/dead-letters/{letter['id']}", f"/deliveries/{letter['deliveryId']}"):
        page = await admin.get(f"/console{path}")
        assert page.says("was deleted, and nothing can be sent to it any more"), path
        assert not [each for each in page.forms if each.endswith(("/replay", "/retry"))], path


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_a_replay_would_leave_out_is_not_counted(
    api: Api, admin: Visitor, receiver: Receiver, *, is_deleted: bool
) -> None:
    letter = await one_dead(api, receiver, description="Accounting", eventTypes=["COMPLETED"])
    if is_deleted:
        await api.call("DELETE", f"/v1/subscriptions/{letter['subscriptionId']}")
    other = await api.subscribe(receiver.url("/other"), eventTypes=["other"])
    await api.post("/v1/events", {"operationId": "op-2", "type": "other"})
    await api.deliver()
    # what answers 410 is disabled
    await api.post(f"/v1/subscriptions/{other['id']}/resume", status=200)

    replay = "/console/dead-letters/replay"
    page = await admin.get(replay)
    assert page.says("1 open dead letter would be sent again")
    assert page.says("1 is left out, whose subscription is disabled or deleted")
    assert page.says("gone left out")
    assert page.forms[replay]
    page = await admin.get(f"{replay}?subscriptionId={letter['subscriptionId']}")
    assert page.says("1 is left out, whose subscription is disabled or deleted")
    assert replay not in page.forms
