"""Nothing goes to a subscription that is disabled or gone: pages say so, and what to do instead."""

from typing import Any

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
