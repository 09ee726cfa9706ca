"""Bulk replay of a list of deliveries: exactly what the filter shows, or a word on why not."""

from typing import Any, Final
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.console.delivery_replays import but_dead, plan_of, unfit
from service.domain import times
from service.domain.delivery import DeliveryStatus
from service.ports import DeliveryFilter
from tests.support.api import Api
from tests.support.console import Visitor, consumer
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

FILTERS: Final = st.builds(
    DeliveryFilter,
    status=st.none() | st.sampled_from(DeliveryStatus),
    subscription_id=st.none() | st.just("sub_1"),
    operation_id=st.none() | st.just("op_1"),
    event_id=st.none() | st.just("evt_1"),
    event_type=st.none() | st.sampled_from(("a", "a.*")),
    since=st.none() | st.just(1),
    until=st.none() | st.just(9),
)
#: Filters that a bulk replay can select, but for the id of the subscription.
FIT: Final[tuple[dict[str, str], ...]] = (
    {},
    {"eventType": "a.one"},
    {"subscriptionId": "first"},
    {"subscriptionId": "first", "eventType": "a.two"},
    {"subscriptionId": "first", "since": "between"},
    {"subscriptionId": "second", "until": "between", "eventType": "a.one"},
)
#: Those it cannot, and what is said of each.
UNFIT: Final[dict[str, str]] = {
    "": "Only what is dead",
    "status=delivered": "Only what is dead",
    "status=dead&operationId=job-1": "one operation",
    "status=dead&eventId=evt_1": "one event",
    "status=dead&eventType=a.*": "stands for itself",
    "status=dead&since=2020-01-01T00:00:00Z": "name one",
}


@given(FILTERS)
def test_what_is_fit_is_dead_and_narrowed_by_nothing_that_a_replay_has_not(
    which: DeliveryFilter,
) -> None:
    is_fit = not unfit(which)

    is_plain = (which.operation_id, which.event_id) == (None, None) and which.event_type != "a.*"
    is_timed = which.since is not None or which.until is not None
    selects = is_plain and (which.subscription_id is not None or not is_timed)
    assert is_fit is (selects and which.status is DeliveryStatus.DEAD)
    assert but_dead(which) is selects
    if is_fit:
        plan = plan_of(which, None if which.subscription_id is None else 7, 100)
        assert (plan.only, plan.reason, plan.dry_run) == ("dead", None, False)
        assert plan.subscription_no == (None if which.subscription_id is None else 7)
        assert plan.event_types == (() if which.event_type is None else (which.event_type,))
        assert plan.kind == ("subscription" if is_timed else "dead_letters")
        assert (plan.since, plan.until) == (which.since or 0, which.until or 100)


async def later(api: Api) -> int:
    """A moment (ms) that is past, and later than all that was done before."""
    clock = api.opened.base.clock
    at = clock.now() + 2
    while clock.now() <= at:
        await anyio.lowlevel.checkpoint()
    return at


async def several_dead(api: Api, receiver: Receiver) -> dict[str, str]:
    """Dead letters of two subscriptions and two types, before and after a moment."""
    receiver.script = lambda _: Reply(500)
    names = {}
    for name in ("first", "second"):
        made = await api.subscribe(receiver.url(f"/{name}"), retrySchedule=[0])
        names[name] = str(made["id"])
    for kind in ("a.one", "a.two"):
        await api.post("/v1/operations/job-1/events", {"type": kind})
    names["between"] = times.render(await later(api))
    for kind in ("a.one", "a.two"):
        await api.post("/v1/operations/job-2/events", {"type": kind})
    await api.deliver()
    return names


@pytest.mark.parametrize("asked", FIT, ids=lambda asked: "-".join(asked) or "all")
async def test_what_the_filter_shows_is_sent_again_and_nothing_else(
    api: Api, admin: Visitor, receiver: Receiver, asked: dict[str, str]
) -> None:
    names = await several_dead(api, receiver)
    filters = {key: names.get(value, value) for key, value in asked.items()}
    query = urlencode({"status": "dead", **filters})
    shown = {each["id"] for each in (await api.get(f"/v1/deliveries?{query}"))["data"]}
    assert shown
    where = f"/console/deliveries/replay?{query}"
    assert where in (await admin.get(f"/console/deliveries?{query}")).links

    preview = await admin.get(where)
    assert preview.says(f"{len(shown)} dead deliver")
    (form,) = [action for action in preview.forms if "replay" in action]
    fields = {"until": preview.fields["until"], "rate": "100", "note": "it was mended"}
    page = await admin.press(form, fields)

    assert page.says("ringback.replay")
    entry = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    assert (entry["action"], entry["detail"]["note"]) == ("replay.started", "it was mended")
    assert entry["detail"]["rate_per_second"] == 100
    (run,) = await api.opened.stores.replay.running_replays()
    assert run.matched == len(shown)
    await api.opened.stores.replay.step_replay(run, 100)
    waiting = (await api.get("/v1/deliveries?status=pending"))["data"]
    assert {each["id"] for each in waiting} == shown


async def test_what_dies_after_the_preview_is_not_sent_again(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await several_dead(api, receiver)
    preview = await admin.get("/console/deliveries/replay?status=dead")
    await later(api)
    await api.post("/v1/operations/job-3/events", {"type": "a.one"})
    await api.deliver()

    await admin.press("/console/deliveries/replay?status=dead", preview.fields)

    (run,) = await api.opened.stores.replay.running_replays()
    assert run.matched == 8


async def test_a_filter_that_no_replay_has_is_said_so(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await several_dead(api, receiver)

    for query, words in UNFIT.items():
        page = await admin.get(f"/console/deliveries?{query}")
        if page.says("a.one"):
            assert page.says("Not with this filter")
            assert page.says(words), query
        assert not any("/deliveries/replay" in link for link in page.links), query
        refused = await admin.get(f"/console/deliveries/replay?{query}", 422)
        assert refused.says(words), query
        answer = await admin.send(f"/console/deliveries/replay?{query}")
        assert answer.status_code == 422
    assert (await api.get("/v1/operations?type=ringback.replay"))["data"] == []


async def test_the_way_to_what_can_be_replayed_is_shown(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    names = await several_dead(api, receiver)
    first = names["first"]

    page = await admin.get(f"/console/deliveries?subscriptionId={first}&live=true")

    assert f"/console/deliveries?subscriptionId={first}&status=dead" in page.links
    assert f"/console/subscriptions/{first}" in page.links
    refused = await admin.get("/console/deliveries/replay?status=dead&subscriptionId=sub_none", 404)
    assert refused.says("sub_none")


async def test_a_disabled_subscription_is_pointed_out(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(410)
    made = await api.subscribe(receiver.url("/gone"))
    await api.post("/v1/operations/job-1/events", {"type": "a.one"})
    await api.deliver()

    query = f"status=dead&subscriptionId={made['id']}"
    page = await admin.get(f"/console/deliveries/replay?{query}")

    assert page.says("The subscription is disabled")


async def test_a_guest_replays_his_own_only(api: Api, receiver: Receiver) -> None:
    names = await several_dead(api, receiver)
    guest = await consumer(api, subscriptionId=names["first"])
    listed = await guest.get("/portal/deliveries?status=dead")
    assert "/portal/deliveries/replay?status=dead" in listed.links

    preview = await guest.get("/portal/deliveries/replay?status=dead")
    assert preview.says("4 dead deliveries")
    foreign = f"/portal/deliveries/replay?status=dead&subscriptionId={names['second']}"
    await guest.get(foreign, 404)
    assert (await guest.send(foreign)).status_code == 404
    page = await guest.press("/portal/deliveries/replay?status=dead", preview.fields)

    assert page.says("Started")
    (run,) = await api.opened.stores.replay.running_replays()
    assert run.plan.subscription_no is not None
    assert run.matched == 4


async def test_who_may_only_look_is_offered_nothing(api: Api, receiver: Receiver) -> None:
    await several_dead(api, receiver)
    scopes: list[Any] = ["deliveries:read", "subscriptions:read"]
    guest = await consumer(api, scopes=scopes)

    page = await guest.get("/portal/deliveries?status=dead")

    assert not any("replay" in link for link in page.links)
    assert not page.says("Replay")
