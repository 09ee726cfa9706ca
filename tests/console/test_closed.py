"""Nothing goes to a subscription that is disabled or gone: pages say so, and what to do instead."""

from typing import Any, Final

import pytest

from service.domain.api_keys import Scope
from tests.console.test_pages import dead
from tests.console.test_waiting import HELD_LATER, TRIPPED, waiting
from tests.support.api import Api
from tests.support.console import Document, Visitor, consumer, visitor
from tests.support.receiver import Receiver

pytestmark = pytest.mark.anyio


def pages(letter: dict[str, Any], root: str = "/console") -> dict[str, str]:
    """Pages from which something is sent again, and where their buttons lead."""
    delivery = f"{root}/deliveries/{letter['deliveryId']}"
    gone = f"{root}/dead-letters/{letter['id']}"
    return {delivery: f"{delivery}/retry", gone: f"{gone}/replay"}


async def test_to_a_disabled_one_nothing_is_offered_before_it_is_resumed(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    home = f"/console/subscriptions/{letter['subscriptionId']}"

    for path, form in pages(letter).items():
        page = await admin.get(path)
        assert page.says("The subscription is disabled, and nothing can be sent to it."), path
        assert home in page.links
        assert form not in page.forms
        assert (await admin.send(form)).status_code == 409
    await admin.press(f"{home}/resume")
    for path, form in pages(letter).items():
        page = await admin.get(path)
        assert not page.says("nothing can be sent"), path
        assert form in page.forms


async def test_to_a_deleted_one_nothing_is_offered_ever(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    await admin.press(f"/console/subscriptions/{letter['subscriptionId']}/delete")

    for path, form in pages(letter).items():
        page = await admin.get(path)
        assert page.says("The subscription was deleted, and nothing can be sent to it any more.")
        assert form not in page.forms, path
    letters = await admin.get(f"/console/dead-letters/{letter['id']}")
    assert f"/console/dead-letters/{letter['id']}/discard" in letters.forms


async def test_who_may_not_send_again_is_not_told_why_not(api: Api, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    guest = await consumer(api, scopes=["deliveries:read"])

    for path in pages(letter, "/portal"):
        assert not (await guest.get(path)).says("nothing can be sent")


@pytest.mark.parametrize("scopes", [[], [Scope.DELIVERIES_READ, Scope.DELIVERIES_REPLAY]])
async def test_a_group_for_a_deleted_one_says_what_is_left_to_do_and_offers_no_replay(
    api: Api, admin: Visitor, receiver: Receiver, scopes: list[Scope]
) -> None:
    letter = await dead(api, receiver)
    name = letter["subscriptionId"]
    who = admin
    if scopes:
        who = visitor(api)
        await who.sign_in((await api.key(*scopes))["authorization"].removeprefix("Bearer "))

    def replays(page: Document) -> list[str]:
        return [each for each in page.links if "/dead-letters/replay" in each]

    # one that is disabled may be resumed, as the next page says
    assert replays(await who.get("/console/dead-letters"))
    await admin.press(f"/console/subscriptions/{name}/delete")
    page = await who.get("/console/dead-letters")

    assert page.says("Deleted: what is left can only be discarded, one by one")
    assert replays(page) == []
    assert (
        f"/console/dead-letters/all?subscriptionId={name}&reason=gone&resolved=false" in page.links
    )


async def test_a_group_for_a_deleted_one_says_nothing_of_replays_to_who_may_start_none(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    await api.call("DELETE", f"/v1/subscriptions/{letter['subscriptionId']}")
    guest = await consumer(api, scopes=["deliveries:read"])

    assert not (await guest.get("/portal/dead-letters")).says("can only be discarded")


# --- the addresses of one that was deleted


OWN_PAGES: Final = ("", "/edit", "/replay", "/replay?only=all&reach=3600000")


@pytest.mark.parametrize("root", ["/console", "/portal"])
@pytest.mark.parametrize("page", OWN_PAGES)
async def test_of_a_deleted_one_it_is_said_that_it_was_and_where_what_is_left_is(
    api: Api, admin: Visitor, receiver: Receiver, root: str, page: str
) -> None:
    letter = await dead(api, receiver)
    name = letter["subscriptionId"]
    who = admin if root == "/console" else await consumer(api)
    await api.call("DELETE", f"/v1/subscriptions/{name}")

    gone = await who.get(f"{root}/subscriptions/{name}{page}", 410)

    assert gone.says(f"The subscription {name!r} was deleted")
    assert "<h1>Deleted</h1>" in gone.html
    assert not gone.says("Try again")
    for path, what in (("deliveries", "deliveryId"), ("dead-letters/all", "id")):
        below = f"{root}/{path}?subscriptionId={name}"
        assert below in gone.links
        listed = await who.get(below)
        assert listed.says(letter[what])


async def test_where_deliveries_are_is_not_said_to_who_may_not_look_at_them(api: Api) -> None:
    made = await api.subscribe("https://example.com/hook")
    await api.call("DELETE", f"/v1/subscriptions/{made['id']}")
    guest = await consumer(api, scopes=["subscriptions:read"])

    page = await guest.get(f"/portal/subscriptions/{made['id']}", 410)

    assert page.says("was deleted")
    assert not [each for each in page.links if "deliveries" in each or "dead-letters" in each]


async def test_what_another_tenant_deleted_is_as_if_it_had_never_been(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    name = letter["subscriptionId"]
    bound = await api.subscribe(receiver.url("/other"))
    await api.call("DELETE", f"/v1/subscriptions/{name}")
    await api.post("/v1/tenants", {"id": "beta", "name": "Beta"}, 201)
    neighbour = await consumer(api, subscriptionId=bound["id"])
    await admin.press("/console/tenants/beta/act")

    for page in OWN_PAGES:
        for who, root in ((admin, "/console"), (neighbour, "/portal")):
            assert not (await who.get(f"{root}/subscriptions/{name}{page}", 404)).says("deleted")


@pytest.mark.parametrize("root", ["/console", "/portal"])
@pytest.mark.parametrize(
    "button", ["pause", "resume", "test", "rotate-secret", "reveal", "replay", "delete"]
)
async def test_what_is_pressed_on_a_page_that_is_older_says_that_it_was_deleted(
    api: Api, admin: Visitor, root: str, button: str
) -> None:
    made = await api.subscribe("https://example.com/hook")
    scopes = ["subscriptions:read", "subscriptions:write", "deliveries:read", "deliveries:replay"]
    who = admin if root == "/console" else await consumer(api, scopes=scopes)
    await api.call("DELETE", f"/v1/subscriptions/{made['id']}")

    answer = await who.send(f"{root}/subscriptions/{made['id']}/{button}", {"overlap": "0"})

    assert answer.status_code == 410
    assert Document(answer.text).says(f"The subscription {made['id']!r} was deleted")


async def test_numbers_of_one_that_was_deleted_are_gone(api: Api, admin: Visitor) -> None:
    made = await api.subscribe("https://example.com/hook")
    await api.call("DELETE", f"/v1/subscriptions/{made['id']}")

    await admin.get(f"/console/subscriptions/{made['id']}/traffic", 410)


async def test_what_was_typed_into_the_form_of_one_deleted_meanwhile_is_not_lost(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe("https://example.com/hook")
    home = f"/console/subscriptions/{made['id']}"
    fields = (await admin.get(f"{home}/edit")).fields
    await api.call("DELETE", f"/v1/subscriptions/{made['id']}")

    answer = await admin.send(f"{home}/edit", {**fields, "description": "Much thought of"})

    assert answer.status_code == 410
    assert Document(answer.text).says("Much thought of")


# --- resuming


@pytest.mark.parametrize(
    ("change", "is_offered"),
    [
        ("", False),
        ("UPDATE subscriptions SET hold_until = 1000", False),
        (HELD_LATER, True),
        (TRIPPED, True),
        ("UPDATE subscription_health SET trips = 1, open_until = 1000", True),
        ("UPDATE subscriptions SET status = 'paused'", True),
        ("UPDATE subscriptions SET status = 'disabled'", True),
    ],
)
@pytest.mark.parametrize("root", ["/console", "/portal"])
async def test_resuming_is_offered_where_something_is_held_back(
    api: Api, admin: Visitor, receiver: Receiver, root: str, change: str, *, is_offered: bool
) -> None:
    await waiting(api, receiver, change)
    (made,) = (await api.get("/v1/subscriptions"))["data"]
    who = admin if root == "/console" else await consumer(api, subscriptionId=made["id"])
    home = f"{root}/subscriptions/{made['id']}"

    assert (f"{home}/resume" in (await who.get(home)).forms) == is_offered
    if is_offered:
        assert f"{home}/resume" not in (await who.press(f"{home}/resume")).forms


async def test_resuming_is_offered_to_who_may_not_see_how_the_circuit_stands(api: Api) -> None:
    made = await api.subscribe("https://example.com/hook")
    key = await api.key(Scope.SUBSCRIPTIONS_READ, Scope.SUBSCRIPTIONS_WRITE)
    editor = visitor(api)
    await editor.sign_in(key["authorization"].removeprefix("Bearer "))
    home = f"/console/subscriptions/{made['id']}"

    assert f"{home}/resume" in (await editor.get(home)).forms
