"""The page of a delivery says what it waits for, and one moment of its next attempt."""

import time
from typing import Any, Final

import pytest

from service.domain import times
from tests.support.api import Api
from tests.support.console import Document, Visitor, consumer
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

TRIPPED: Final = "UPDATE subscription_health SET trips = 1, open_until = 4000000000000"
DUE_LATER: Final = "UPDATE delivery_queue SET due_at = 5000000000000"
HELD_LATER: Final = "UPDATE subscriptions SET hold_until = 5000000000000"
OPEN: Final = "The circuit of its subscription is open until"


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
    now = times.render(time.time_ns() // 1_000_000)
    told = (str(had["datetime"]) for tag, had in page.tags if tag == "time")
    return {each for each in told if each > now}


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


async def test_a_circuit_that_opened_between_two_looks_makes_no_second_moment(
    api: Api, admin: Visitor, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await waiting(api, receiver)
    reads = type(api.opened.stores.read)
    look = reads.attempts

    async def opening(*args: Any) -> Any:  # noqa: ANN401  as the method that it stands for
        await api.sql(TRIPPED)
        return await look(*args)

    monkeypatch.setattr(reads, "attempts", opening)

    assert moments(await admin.get(f"/console{path}")) == {await api_says(api, path)}


async def test_where_its_own_time_is_later_that_is_the_next_attempt(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)
    await api.sql(DUE_LATER)

    page = await admin.get(f"/console{path}")

    assert page.says(OPEN)
    assert page.says("Its own next attempt is later")
    assert len(moments(page)) == 2


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

    assert page.says("Nothing is sent to its receiver before")
    assert not page.says(OPEN)
    assert moments(page) == {await api_says(api, path)}


async def test_what_is_paused_waits_for_no_moment(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    path = await waiting(api, receiver, TRIPPED)
    (subscription,) = (await api.get("/v1/subscriptions"))["data"]
    await api.post(f"/v1/subscriptions/{subscription['id']}/pause", status=200)

    page = await admin.get(f"/console{path}")

    assert page.says("Its subscription is paused")
    assert moments(page) == set()


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
        ((HELD_LATER, DUE_LATER.replace("5", "6")), "Nothing is sent to its", 6000000000000),
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

    assert not page.says("Nothing is sent to its receiver before")
    assert moments(page) == {await api_says(api, path)}
