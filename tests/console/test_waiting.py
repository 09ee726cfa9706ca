"""The page of a delivery says what it waits for, and one moment of its next attempt."""

import time
from pathlib import Path
from typing import Any, Final

import pytest

from service.domain import times
from service.domain.api_keys import Scope
from tests.support.api import Api, opened_api
from tests.support.console import Document, Visitor, administrator, consumer, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

OPENS: Final = 4_000_000_000_000
DUE: Final = 5_000_000_000_000
TRIPPED: Final = "UPDATE subscription_health SET trips = 1, open_until = 4000000000000"
DUE_LATER: Final = "UPDATE delivery_queue SET due_at = 5000000000000"
HELD_LATER: Final = "UPDATE subscriptions SET hold_until = 5000000000000"
OPEN: Final = "The circuit of its subscription is open until"
LATER: Final = "Its own next attempt is later"


async def waiting(api: Api, receiver: Receiver, change: str = "") -> str:
    """The path, below a site's root, of a delivery that failed once, and what changed then."""
    receiver.script = lambda _: Reply(503)
    await api.subscribe(receiver.url())
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    await api.deliver()
    await api.opened.stores.deliver.flush()
    if change:
        await api.sql(change)
    (delivery,) = (await api.get("/v1/deliveries"))["data"]
    assert delivery["status"] == "pending"
    return f"/deliveries/{delivery['id']}"


def moments(page: Document) -> set[str]:
    """The moments on a page that are to come."""
    return set(moments_told(page))


def moments_told(page: Document) -> list[str]:
    """The moments on a page that are to come, as often as it tells them."""
    now = times.render(time.time_ns() // 1_000_000)
    told = (str(had["datetime"]) for tag, had in page.tags if tag == "time")
    return [each for each in told if each > now]


def shown(at: int) -> str:
    """A moment as a page writes it."""
    text = times.render(at)
    return f"{text[:10]} {text[11:19]}"


async def api_says(api: Api, path: str) -> Any:  # noqa: ANN401  JSON is what it is
    return (await api.get(f"/v1{path}"))["nextAttemptAt"]


async def test_a_delivery_behind_an_open_circuit_says_why_it_waits_and_until_when(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)

    for guest, root in ((admin, "/console"), (await consumer(api), "/portal")):
        page = await guest.get(root + path)
        assert page.says(OPEN)
        assert page.says("as a probe")
        assert moments(page) == {await api_says(api, path)}


@pytest.mark.parametrize(
    ("change", "why"), [(TRIPPED, OPEN), (HELD_LATER, "Nothing goes to its receiver by itself")]
)
async def test_what_began_between_two_looks_makes_no_second_moment(
    api: Api,
    admin: Visitor,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    why: str,
) -> None:
    path = await waiting(api, receiver)
    reads = type(api.opened.stores.read)
    look = reads.attempts

    async def beginning(*args: Any) -> Any:  # noqa: ANN401  as the method that it stands for
        await api.sql(change)
        return await look(*args)

    monkeypatch.setattr(reads, "attempts", beginning)

    page = await admin.get(f"/console{path}")
    assert page.says(why)
    assert not page.says(LATER)
    # what keeps it back, the next attempt, and once more below the last one
    assert moments_told(page) == [await api_says(api, path)] * 3


async def test_where_its_own_time_is_later_that_is_the_next_attempt(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)
    await api.sql(DUE_LATER)

    page = await admin.get(f"/console{path}")

    assert page.says(f"{OPEN} {shown(OPENS)}")
    assert page.says(f"pending next attempt {shown(DUE)}")
    assert page.says(f"Next attempt: {shown(DUE)}")
    assert page.html.count(LATER) == 1
    # that of the circuit once, and the last of the two wherever an attempt is spoken of
    assert sorted(moments_told(page)) == [times.render(each) for each in (OPENS, DUE, DUE)]


async def test_a_half_open_circuit_is_said(api: Api, admin: Visitor, receiver: Receiver) -> None:
    path = await waiting(api, receiver, TRIPPED.replace("4000000000000", "2"))

    page = await admin.get(f"/console{path}")

    assert page.says("The circuit of its subscription is half open")
    assert not page.says(OPEN)


async def test_a_hold_that_is_longer_than_the_circuit_is_what_it_waits_for(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)
    await api.sql(HELD_LATER)

    page = await admin.get(f"/console{path}")

    assert page.says("Nothing goes to its receiver by itself before")
    assert not page.says(OPEN)
    assert moments(page) == {await api_says(api, path)}


async def pause(api: Api) -> None:
    for each in (await api.get("/v1/subscriptions"))["data"]:
        await api.post(f"/v1/subscriptions/{each['id']}/pause", status=200)


async def test_what_is_paused_waits_for_no_moment(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)
    await pause(api)

    page = await admin.get(f"/console{path}")

    assert page.says("Its subscription is paused")
    assert moments(page) == set()
    assert moments(await admin.get("/console/deliveries")) == set()
    assert "nextAttemptAt" not in await api.get(f"/v1{path}")


async def test_what_is_paused_is_sent_once_by_hand_and_then_waits_again(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver)
    await pause(api)
    page = await admin.get(f"/console{path}")
    assert page.says("Nothing goes to its receiver by itself until the subscription is resumed.")
    assert page.says(
        "“Send now” makes its next attempt at once all the same; the subscription stays paused."
    )

    page = await admin.press(f"/console{path}/retry")
    assert page.says("goes next: somebody asked for it to be sent now")
    assert not page.says("paused")
    page = await admin.get("/console/deliveries")
    row = page.text[page.text.index("Next attempt, or end") :]
    assert row[row.index("pending") : -1][:8].count("now") == 1

    await api.deliver()
    assert len(receiver.requests) == 2
    page = await admin.get(f"/console{path}")
    assert page.says("Its subscription is paused")
    assert page.says("by manual")
    assert moments(page) == set()
    receiver.script = lambda _: Reply(200)
    await admin.press(f"/console{path}/retry")
    await api.deliver()
    page = await admin.get(f"/console{path}")
    assert page.says("delivered")
    assert not page.says("paused")
    (subscription,) = (await api.get("/v1/subscriptions"))["data"]
    assert subscription["status"] == "paused"


# --- who may not send


@pytest.mark.parametrize("change", [TRIPPED, HELD_LATER, "pause", "park"])
async def test_only_who_may_send_is_told_of_sending_now(
    api: Api, admin: Visitor, receiver: Receiver, change: str
) -> None:
    path = await waiting(api, receiver, change if " " in change else "")
    if change == "park":
        path = await parked(api, receiver)
    elif change == "pause":
        await pause(api)
    key = await api.key(Scope.DELIVERIES_READ, Scope.SUBSCRIPTIONS_READ)
    reader = visitor(api)
    await reader.sign_in(key["authorization"].removeprefix("Bearer "))

    for guest, may in ((admin, True), (reader, False)):
        page = await guest.get(f"/console{path}")
        assert page.says("Waiting uses up no attempts.")
        assert page.says("Send now") is may
        assert (f"/console{path}/retry" in page.forms) is may
        assert (f"/console{path}/cancel" in page.forms) is may


# --- its turn


async def parked(api: Api, receiver: Receiver) -> str:
    """The path of a delivery behind another one, which failed once."""
    receiver.script = lambda _: Reply(503)
    await api.subscribe(receiver.url(), ordering="operation", eventTypes=["step"])
    for number in range(2):
        await api.post("/v1/operations/other/events", {"type": "step", "data": number})
    await api.deliver()
    found = (await api.get("/v1/deliveries?operationId=other"))["data"]
    (behind,) = [each["id"] for each in found if "waitsForDeliveryId" in each]
    return f"/deliveries/{behind}"


async def test_what_waits_for_its_turn_says_so_and_leads_to_what_goes_first(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await parked(api, receiver)
    first = (await api.get(f"/v1{path}"))["waitsForDeliveryId"]

    for guest, root in ((admin, "/console"), (await consumer(api), "/portal")):
        page = await guest.get(root + path)
        assert page.says("An earlier event of its operation goes first:")
        assert page.says("at once all the same, out of turn.")
        assert f"{root}/deliveries/{first}" in page.links
        assert not page.says("pending next attempt")
        assert moments(page) == set()
        listed = await guest.get(f"{root}/deliveries")
        assert listed.says("after an earlier one")
        assert f"{root}/deliveries/{first}" in listed.links
        page = await guest.get(f"{root}/deliveries/{first}")
        assert not page.says("An earlier event")

    await admin.press(f"/console/deliveries/{first}/cancel")
    page = await admin.get(f"/console{path}")
    assert not page.says("An earlier event")


async def test_what_waits_for_its_turn_also_says_what_keeps_back_those_before_it(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await parked(api, receiver)
    await api.opened.stores.deliver.flush()
    await api.sql(TRIPPED)
    page = await admin.get(f"/console{path}")
    assert page.says("An earlier event of its operation goes first")
    assert page.says(OPEN)
    assert not page.says(LATER)
    assert moments_told(page) == [times.render(OPENS)]

    await pause(api)
    page = await admin.get(f"/console{path}")
    assert page.says("An earlier event of its operation goes first")
    assert page.says("Its subscription is paused")
    assert page.says("at once all the same, out of turn; the subscription stays paused.")
    assert moments(page) == set()


async def test_what_is_sent_out_of_turn_does_not_wait_for_its_turn(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await parked(api, receiver)

    page = await admin.press(f"/console{path}/retry")
    assert page.says("goes next: somebody asked for it to be sent now")
    assert not page.says("An earlier event")

    await api.deliver()
    page = await admin.get(f"/console{path}")
    assert not page.says("An earlier event")
    assert moments(page) == {await api_says(api, path)}


@pytest.mark.parametrize("change", [TRIPPED, HELD_LATER])
async def test_what_goes_no_more_waits_for_nothing(
    api: Api, admin: Visitor, receiver: Receiver, change: str
) -> None:
    """It is about to be a dead letter: neither a hold nor a circuit that ends sends it."""
    path = await waiting(api, receiver, change)
    await api.sql("UPDATE subscriptions SET status = 'disabled'")

    page = await admin.get(f"/console{path}")

    assert not page.says("Nothing goes to its receiver")
    assert not page.says("The circuit of its subscription")
    assert moments(page) == set()


# --- circuits that do not count


async def test_without_a_breaker_no_page_tells_of_a_circuit_that_was_open(
    database_path: Path, receiver: Receiver
) -> None:
    async with opened_api(database_path) as api:
        path = await waiting(api, receiver, TRIPPED)
        (subscription,) = (await api.get("/v1/subscriptions"))["data"]
        of_it = f"/subscriptions/{subscription['id']}"
        links = await api.post("/v1/portal-links", {"subscriptionId": subscription["id"]}, 201)
        assert await api_says(api, path) == times.render(OPENS)
    async with opened_api(database_path, RINGBACK_BREAKER="off") as api:
        admin, guest = await administrator(api), visitor(api)
        await guest.enter(links)
        (attempt,) = (await api.get(f"/v1{path}"))["attempts"]
        assert await api_says(api, path) == attempt["nextAttemptAt"]
        assert (await api.get(f"/v1{of_it}/stats"))["circuit"] == {"state": "closed"}
        assert (await api.get("/v1/stats"))["circuits"] == {"open": 0, "halfOpen": 0}
        metrics = (await api.call("GET", "/metrics")).text
        assert "ringback_circuits_open 0" in metrics.replace(".0\n", "\n")
        paths = ("", of_it, path, "/subscriptions", "/deliveries")
        for page in [await admin.get(f"/console{each}") for each in paths] + [
            await guest.get(f"/portal{each}") for each in paths
        ]:
            assert times.render(OPENS) not in moments(page)
            assert not page.says("circuit open")
            assert not page.says("is open")
        assert (await admin.get("/console")).says("Circuits open / half open off")
        for page in (await admin.get(f"/console{of_it}"), await guest.get("/portal")):
            assert page.says("Circuit off")


async def test_a_delivery_that_nothing_keeps_back_names_its_next_attempt_once(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver)

    page = await admin.get(f"/console{path}")

    assert moments(page) == {await api_says(api, path)}
    assert not page.says("circuit")
    await api.post(f"/v1{path}/cancel", status=200)
    page = await admin.get(f"/console{path}")
    assert not page.says("Next attempt")
    assert moments(page) == set()


@pytest.mark.parametrize(
    ("changes", "why", "at"),
    [
        # a hold that ends before the circuit lets anything through
        ((TRIPPED, "UPDATE subscriptions SET hold_until = 3900000000000"), OPEN, 4000000000000),
        # one that is over
        ((TRIPPED, "UPDATE subscriptions SET hold_until = 1000"), OPEN, 4000000000000),
        # its own time after the hold
        ((HELD_LATER, DUE_LATER.replace("5", "6")), "Nothing goes to its", 6000000000000),
    ],
)
async def test_of_several_things_it_waits_for_the_last(
    api: Api, admin: Visitor, receiver: Receiver, changes: tuple[str, ...], why: str, at: int
) -> None:
    path = await waiting(api, receiver)
    for change in changes:
        await api.sql(change)

    page = await admin.get(f"/console{path}")

    assert page.says(why)
    assert max(moments(page)) == times.render(at) == await api_says(api, path)
    assert page.says("Its own next attempt is later") == (
        changes[-1] == DUE_LATER.replace("5", "6")
    )


async def test_a_hold_that_is_over_is_not_spoken_of(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, "UPDATE subscriptions SET hold_until = 1000")

    page = await admin.get(f"/console{path}")

    assert not page.says("Nothing goes to its receiver by itself before")
    assert moments(page) == {await api_says(api, path)}
