"""A subscription's "Send again": first what that would be, then that it is."""

from typing import Final

import pytest

from service.domain.api_keys import Scope
from service.store import bulk_replay
from tests.console.test_delivery_replays import later
from tests.console.test_pages import HOSTILE, dead
from tests.support.api import Api
from tests.support.console import Visitor, consumer, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

#: What is said of each choice where a delivery is dead, one went through and one never was.
SAID: Final = {
    "dead": "1 dead delivery would be sent again",
    "missing": "1 event that it never got would be sent to it",
    "all": "3 deliveries would be sent",
}


async def one_of_each(api: Api, receiver: Receiver) -> str:
    """The path of a subscription that never got one event, got one, and has one that is dead."""
    await api.post("/v1/operations/job-1/events", {"type": "a.one"})
    receiver.script = lambda _: Reply(500)
    made = await api.subscribe(receiver.url("/hook"), retrySchedule=[0])
    await api.post("/v1/operations/job-2/events", {"type": "a.one"})
    await api.deliver()
    receiver.script = lambda _: Reply(200)
    await api.post("/v1/operations/job-3/events", {"type": "a.one"})
    await api.deliver()
    return f"/console/subscriptions/{made['id']}"


@pytest.mark.parametrize("only", SAID)
async def test_first_it_is_said_how_many_and_asked(
    api: Api, admin: Visitor, receiver: Receiver, only: str
) -> None:
    home = await one_of_each(api, receiver)
    asking = await admin.get(home)
    assert [had.get("method") for tag, had in asking.tags if had.get("action") == f"{home}/replay"]
    assert f"{home}/replay" not in [
        had.get("action") for tag, had in asking.tags if had.get("method") == "post"
    ]

    preview = await admin.get(f"{home}/replay?only={only}&reach=86400000")

    assert preview.says(SAID[only])
    assert (await api.get("/v1/operations?type=ringback.replay"))["data"] == []
    await later(api)
    await api.post("/v1/operations/job-4/events", {"type": "a.one"})
    await api.deliver()
    page = await admin.press(f"{home}/replay", preview.fields)
    assert page.says("ringback.replay")
    (run,) = await api.opened.stores.replay.running_replays()
    assert run.matched == int(SAID[only].partition(" ")[0])
    step = await api.opened.stores.replay.step_replay(run, 100)
    assert step.run.replayed == run.matched


async def test_nothing_to_send_is_said(api: Api, admin: Visitor, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url("/hook"))

    page = await admin.get(
        f"/console/subscriptions/{made['id']}/replay?only=missing&reach=86400000"
    )

    assert page.says("There is nothing to send")
    assert page.says("Choose something else to send")
    assert not any("replay" in form for form in page.forms)


@pytest.mark.parametrize("only", SAID)
async def test_of_a_disabled_subscription_it_is_said_why_not(
    api: Api, admin: Visitor, receiver: Receiver, only: str
) -> None:
    letter = await dead(api, receiver)
    home = f"/console/subscriptions/{letter['subscriptionId']}"

    page = await admin.get(f"{home}/replay?only={only}&reach=86400000")

    assert page.says("The subscription is disabled, and nothing would be sent to it.")
    assert home in page.links
    assert not any("replay" in form for form in page.forms)


async def test_what_is_too_much_to_be_counted_at_once_is_counted_as_an_operation(
    api: Api, admin: Visitor, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await one_of_each(api, receiver)
    monkeypatch.setattr(bulk_replay, "CHUNK", 1)
    monkeypatch.setattr(bulk_replay, "MOST_LOOKS", 2)

    preview = await admin.get(f"{home}/replay?only=all&reach=86400000")

    assert preview.says("too many to be counted while you wait")
    page = await admin.press(f"{home}/replay", {**preview.fields, "dryRun": "true"})
    assert page.says("ringback.replay")
    (run,) = await api.opened.stores.replay.running_replays()
    assert (run.plan.dry_run, run.matched) == (True, None)


async def test_a_guest_is_asked_as_well(api: Api, receiver: Receiver) -> None:
    home = await one_of_each(api, receiver)
    name = home.rpartition("/")[2]
    guest = await consumer(api, subscriptionId=name)
    path = f"/portal/subscriptions/{name}/replay"

    preview = await guest.get(f"{path}?only=all&reach=86400000")

    assert preview.says("3 deliveries would be sent")
    assert (await guest.press(path, preview.fields)).says("Started")


@pytest.mark.parametrize(
    ("query", "words"),
    {
        "": "1 dead delivery would be sent again",
        "only=all": "3 deliveries would be sent",
        "reach=604800000": "1 dead delivery would be sent again",
    }.items(),
)
@pytest.mark.parametrize("root", ["/console", "/portal"])
async def test_what_an_address_does_not_choose_is_as_the_form_first_has_it(
    api: Api, admin: Visitor, receiver: Receiver, root: str, query: str, words: str
) -> None:
    name = (await one_of_each(api, receiver)).rpartition("/")[2]
    who = admin if root == "/console" else await consumer(api, subscriptionId=name)
    form = f"{root}/subscriptions/{name}/replay"

    preview = await who.get(f"{form}?{query}")

    assert preview.says(words)
    assert (await who.press(form, preview.fields)).says("Started")


async def test_a_form_that_chooses_something_else_is_told_where_to_choose(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    home = await one_of_each(api, receiver)
    for wrong in ({"only": "some", "reach": "3600000"}, {"only": "all", "reach": "1"}, {}):
        answer = await admin.send(f"{home}/replay", wrong)
        assert answer.status_code == 404
        assert "choose there" in answer.text


@pytest.mark.parametrize("query", ["only=some&reach=86400000", "only=all&reach=1", "only=all&x=1"])
async def test_another_choice_is_refused(
    api: Api, admin: Visitor, receiver: Receiver, query: str
) -> None:
    made = await api.subscribe(receiver.url("/hook"))

    answer = await admin.client.get(f"/console/subscriptions/{made['id']}/replay?{query}")

    assert answer.status_code == 422


async def test_who_may_only_look_is_not_asked(api: Api, receiver: Receiver) -> None:
    home = await one_of_each(api, receiver)
    path = f"/subscriptions/{home.rpartition('/')[2]}"
    scopes = ["deliveries:read", "subscriptions:read"]
    guest = await consumer(api, scopes=scopes)

    assert not (await guest.get(f"/portal{path}")).says("Send again")
    await guest.get(f"/portal{path}/replay?only=all&reach=3600000", 403)


async def test_what_others_wrote_is_shown_as_text_and_only_to_who_may_see_it(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    made = await api.subscribe(receiver.url("/hook"), description=HOSTILE)
    path = f"/console/subscriptions/{made['id']}/replay?only=all&reach=3600000"
    key = await api.key(Scope.DELIVERIES_REPLAY)
    other = visitor(api)
    await other.sign_in(key["authorization"].removeprefix("Bearer "))

    page, seen = await admin.get(path), await other.get(path)

    assert page.says("alert(1)")
    assert HOSTILE not in page.html
    assert not seen.says("alert(1)")
    assert not seen.says("Choose something else")  # it is chosen on a page that he may not see
    assert not seen.says("/hook")
