"""Every page, empty and full: shown to who may see it, with its headers, in one tenant."""

import html
import re
import shlex
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest

from service.api import description
from service.console.events import why_not
from service.domain.api_keys import Scope
from service.domain.subscription import changed
from service.ports import StoreUnavailableError
from service.runtime import storage
from service.runtime.presence import at_work
from service.store import paging
from service.store.checkup import Server, State
from tests.support.api import Api
from tests.support.console import Visitor, visitor
from tests.support.receiver import Receiver, Reply
from tests.support.terminal import Terminal

pytestmark = pytest.mark.anyio

#: What a hostile producer, receiver or owner writes wherever he can.
HOSTILE: Final = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}"

#: Pages, and what an empty one of them says next.
EMPTY: Final = {
    "": "No dead letters are open",
    "/dead-letters": "ringback demo",
    "/dead-letters/all": "There are no dead letters",
    "/dead-letters/all?resolved=true": "No dead letter is like this",
    "/dead-letters/replay": "Nothing is left",
    "/deliveries": "ringback listen --subscribe",
    "/deliveries?status=dead": "No delivery is like this",
    "/deliveries/replay?status=dead": "None of these can be sent again now",
    "/subscriptions": "ringback subscription create",
    "/subscriptions?status=paused": "No subscription is like this",
    "/subscriptions/new": "Where events are sent",
    "/operations": "ringback event send",
    "/operations?status=FAILED": "No operation is like this",
    "/events": "ringback event send",
    "/events?id=none": "No event is like this",
    "/events?operationId=none": "No event is like this",
    "/events?types=none&since=2025-01-31T12:00:00Z": "No event is like this",
    "/keys": "key_admin",
    "/tenants": "default",
    "/audit-log": "Nothing was done yet",
    "/audit-log?action=none": "Nothing like this was done",
    "/system": "RINGBACK_ENCRYPTION_KEYS",
}
NEEDED: Final = {
    "/dead-letters": Scope.DELIVERIES_READ,
    "/dead-letters/all": Scope.DELIVERIES_READ,
    "/dead-letters/replay": Scope.DELIVERIES_REPLAY,
    "/deliveries": Scope.DELIVERIES_READ,
    "/deliveries/replay?status=dead": Scope.DELIVERIES_REPLAY,
    "/subscriptions": Scope.SUBSCRIPTIONS_READ,
    "/subscriptions/new": Scope.SUBSCRIPTIONS_WRITE,
    "/operations": Scope.OPERATIONS_READ,
    "/events": Scope.OPERATIONS_READ,
    "/keys": Scope.ADMIN,
    "/tenants": Scope.ADMIN,
    "/audit-log": Scope.ADMIN,
    "/system": Scope.ADMIN,
}


async def dead(api: Api, receiver: Receiver, **members: object) -> dict[str, Any]:
    """A dead letter, whose receiver said it is gone; and all that it hangs on, by name."""
    receiver.script = lambda _: Reply(
        410, (("x-hostile", HOSTILE), ("content-type", "text/html")), HOSTILE.encode()
    )
    subscription = await api.subscribe(
        receiver.url("/hook"),
        description=HOSTILE,
        metadata={"note": HOSTILE},
        headers={"x-token": "nobody-may-see-this"},
        **members,
    )
    event = {"type": "COMPLETED", "operationType": "report", "result": {"note": HOSTILE, "n": 1.10}}
    await api.post("/v1/operations/report-77/events", event)
    await api.deliver()
    letter = (await api.get("/v1/dead-letters"))["data"][0]
    return {**letter, "subscription": subscription}


def pages_about(letter: dict[str, Any]) -> dict[str, Scope]:
    """Pages of single things, and the scope each needs."""
    return {
        f"/dead-letters/{letter['id']}": Scope.DELIVERIES_READ,
        f"/deliveries/{letter['deliveryId']}": Scope.DELIVERIES_READ,
        f"/subscriptions/{letter['subscriptionId']}": Scope.SUBSCRIPTIONS_READ,
        f"/operations/{letter['operationId']}": Scope.OPERATIONS_READ,
        f"/events/{letter['eventId']}": Scope.OPERATIONS_READ,
    }


async def test_an_empty_page_says_what_to_do_next(admin: Visitor) -> None:
    for path, words in EMPTY.items():
        assert (await admin.get(f"/console{path}")).says(words), path


async def test_what_to_do_next_can_be_done_as_it_stands(api: Api, admin: Visitor) -> None:
    """Nothing has to be filled in, and it is about what the page shows: this service and tenant."""
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    told = {command for path in EMPTY for command in await commands(admin, path)}
    await admin.send("/console/tenants/acme/act")
    acme = {command for path in EMPTY for command in await commands(admin, path)}

    here = f" --url {api.opened.base.settings.public_url}"
    # of the first tenant there is a key, whose text opened these pages
    theirs = f"ringback key create jobs --scopes events:write,operations:read --of acme{here}"
    assert {line.replace(here, f"{here} --tenant acme") for line in {*told, theirs}} == acme
    assert len(told) == 4
    for line in {*told, theirs}:
        program, *words = shlex.split(line)
        assert program == "ringback"
        assert Terminal()(*words, "--help").code == 0, line
        assert line.endswith(here) or words == ["demo"]


async def commands(visitor: Visitor, path: str) -> list[str]:
    """What an empty page says to type."""
    text = (await visitor.client.get(f"/console{path}")).text
    found = re.findall(r'aria-label="The next command">(.*?)</pre>', text, re.DOTALL)
    return [html.unescape(line) for block in found for line in block.splitlines()]


async def test_every_page_forbids_what_it_does_not_need(admin: Visitor) -> None:
    for path in (*EMPTY, "/sign-in", "/none"):
        headers = (await admin.client.get(f"/console{path}")).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ), path
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


async def test_what_outsiders_wrote_is_text_on_every_page(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    lists = [path for path in EMPTY if "?" not in path]

    for path in [*lists, *pages_about(letter), f"/operations?type={HOSTILE.replace('#', '')}"]:
        page = await admin.get(f"/console{path}")
        names = [tag for tag, _ in page.tags]
        has_charts = not path or path.startswith("/subscriptions/sub_")
        assert names.count("script") == (4 if has_charts else 2), path
        assert "img" not in names, path
        assert "'49" not in page.html, path
        assert not any(
            name.startswith("on") or name == "style" for _, had in page.tags for name in had
        )

    delivery = await admin.get(f"/console/deliveries/{letter['deliveryId']}")
    assert delivery.says("<script>alert(1)</script>")  # in the response's body and headers
    assert delivery.says('"n": 1.1')
    assert not delivery.says("nobody-may-see-this")


async def test_nothing_turns_the_text_of_a_page_around(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    """A receiver's answer said ``gpj.exe`` as if it were ``exe.jpg``."""
    turned = "\u202egnp.exe\u2066"
    answer = (("content-type", "text/plain; charset=utf-8"),)
    receiver.script = lambda _: Reply(500, answer, turned.encode())
    hook = {"description": turned, "metadata": {"a": turned}, "retrySchedule": [0]}
    made = await api.subscribe(receiver.url("/hook"), **hook)
    progress = {"current": 1, "phase": turned, "message": turned}
    progress |= {"phases": [{"name": turned, "status": turned}]}
    operation = {"operationId": "turned", "type": "report", "clientJobId": turned}
    await api.post("/v1/operations", operation)
    event = {"type": "STATUS_UPDATE", "progress": progress, "message": turned}
    await api.post("/v1/operations/turned/events", event)
    await api.deliver()
    (letter,) = (await api.get("/v1/dead-letters"))["data"]
    await api.post("/v1/tenants", {"id": "acme", "name": turned}, 201)
    key = {"tenantId": "acme", "name": turned, "scopes": ["operations:read"]}
    await api.post("/v1/api-keys", key, 201)
    pages = (*EMPTY, *pages_about(letter), "/operations/turned")

    for path in (*pages, f"/subscriptions/{made['id']}"):
        page = await admin.get(f"/console{path}")
        assert not set(page.html) & set(turned[0] + turned[-1]), path

    assert (await admin.get(f"/console/subscriptions/{made['id']}")).says(r"\u202egnp.exe\u2066")
    delivery = await admin.get(f"/console/deliveries/{letter['deliveryId']}")
    assert delivery.says(r"\u202egnp.exe\u2066")
    form = await admin.get(f"/console/subscriptions/{made['id']}/edit")
    assert form.fields["description"] == turned
    path = f"/console/operations?clientJobId={quote(turned)}"
    assert (await admin.get(path)).fields["clientJobId"] == turned


async def test_numbers_and_texts_of_a_payload_stay_as_they_were_sent(
    api: Api, admin: Visitor
) -> None:
    content = b'{"type": "STARTED", "data": {"n": 12345678901234567890.10, "big": 1e400}}'
    sent = await api.call("POST", "/v1/operations/job/events", content=content)

    page = await admin.get(f"/console/events/{sent.json()['data'][0]['id']}")

    assert page.says("12345678901234567890.10")
    assert page.says("1e400")


async def test_each_scope_opens_its_own_pages_and_no_other(api: Api, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    needed = {**NEEDED, **pages_about(letter)}

    for scope in Scope:
        guest = visitor(api)
        await guest.sign_in((await api.key(scope))["authorization"].removeprefix("Bearer "))
        overview = await guest.get("/console")
        for path, wanted in needed.items():
            is_open = scope in (wanted, Scope.ADMIN)
            answer = await guest.client.get(f"/console{path}")
            assert answer.status_code == (200 if is_open else 403), (scope, path)
            if not is_open:
                assert wanted.value in answer.text
                assert path not in NEEDED or f"/console{path}" not in overview.links


async def test_who_may_only_read_sees_no_button_that_changes_something(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    guest = visitor(api)
    reading = (Scope.DELIVERIES_READ, Scope.SUBSCRIPTIONS_READ, Scope.OPERATIONS_READ)
    await guest.sign_in((await api.key(*reading))["authorization"].removeprefix("Bearer "))

    for path in ("", "/dead-letters", "/deliveries", "/subscriptions", *pages_about(letter)):
        page = await guest.get(f"/console{path}")
        changing = [where for where in page.forms if where]
        assert set(changing) == {"/console/theme", "/console/sign-out"}, path
        assert not any("replay" in link or "/new" in link for link in page.links), path


async def test_another_tenants_things_are_not_there(api: Api, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    await api.post("/v1/tenants", {"id": "other", "name": "Other"}, 201)
    every = [scope.value for scope in Scope if scope is not Scope.ADMIN]
    made = await api.post("/v1/api-keys", {"tenantId": "other", "name": "o", "scopes": every}, 201)
    foreigner = visitor(api)
    await foreigner.sign_in(made["key"])

    for path in pages_about(letter):
        assert (await foreigner.client.get(f"/console{path}")).status_code == 404, path
    for path in (
        "",
        "/dead-letters",
        "/dead-letters/all",
        "/deliveries",
        "/subscriptions",
        "/operations",
        "/events",
    ):
        page = await foreigner.get(f"/console{path}")
        assert not page.says(letter["subscriptionId"]), path
        assert not page.says("report-77"), path
    for path in ("retry", "cancel"):
        answer = await foreigner.send(f"/console/deliveries/{letter['deliveryId']}/{path}")
        assert answer.status_code == 404


async def test_an_administrator_acts_for_a_tenant_and_comes_back(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    await admin.press("/console/tenants", {"id": "other", "name": "Other", "verification": "none"})

    page = await admin.press("/console/tenants/other/act")
    assert page.says("tenant other")
    assert not page.says(letter["subscriptionId"])
    assert not (await admin.get("/console/tenants")).says("default")

    await admin.press("/console/tenants/leave")
    assert (await admin.get("/console/subscriptions")).says(letter["subscriptionId"])


async def test_who_acts_for_a_tenant_that_is_deleted_is_back_with_his_own(
    api: Api, admin: Visitor
) -> None:
    await admin.press("/console/tenants", {"id": "other", "name": "Other", "verification": "none"})
    await admin.press("/console/tenants/other/act")
    assert (await api.call("DELETE", "/v1/tenants/other")).status_code == 204

    assert (await admin.get("/console")).says("tenant default")


async def test_filters_stay_in_the_address_and_pages_follow(api: Api, admin: Visitor) -> None:
    await api.subscribe()
    events = [{"type": "note", "operationId": f"job-{n}"} for n in range(3)]
    await api.post("/v1/events", events)

    first = await admin.get("/console/deliveries?status=pending&eventType=note&limit=2")
    (further,) = [link for link in first.links if "cursor=" in link]
    assert "status=pending" in further
    assert "eventType=note" in further
    second = await admin.get(further)
    ids = {link for page in (first, second) for link in page.links if "/deliveries/dlv_" in link}
    assert len(ids) == 3
    assert not any("cursor=" in link for link in second.links)


@pytest.mark.parametrize(
    "query",
    [
        "deliveries?eventType=none",
        "operations?status=COMPLETED",
        "audit-log?action=none",
        "dead-letters/all?eventType=none",
    ],
)
async def test_where_nothing_on_a_page_is_asked_for_the_next_looks_further(
    api: Api, admin: Visitor, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    receiver.script = lambda _: Reply(410)
    await api.subscribe(receiver.url())
    await api.post("/v1/events", [{"type": "note", "operationId": f"job-{n}"} for n in range(3)])
    await api.deliver()
    monkeypatch.setattr(paging, "LOOKED_AT", 1)

    page, looks = await admin.get(f"/console/{query}"), 1
    while further := [link for link in page.links if "cursor=" in link]:
        assert page.says("Nothing up to here is like this")
        page, looks = await admin.get(further[0]), looks + 1

    assert looks > 1
    assert page.says("is like this.") or page.says("Nothing like this was done.")


async def test_events_are_paged_from_the_newest(api: Api, admin: Visitor) -> None:
    await api.post("/v1/events", [{"type": "note", "operationId": f"job-{n}"} for n in range(120)])

    seen: list[str] = []
    address = "/console/events"
    for _ in range(3):
        page = await admin.get(address)
        seen += [link for link in page.links if link.startswith("/console/operations/job-")]
        address = next((link for link in page.links if "before=" in link), "")
    assert seen == [f"/console/operations/job-{n}" for n in reversed(range(120))]
    assert address == ""


async def test_a_filter_with_a_fault_is_answered_with_what_is_wrong(admin: Visitor) -> None:
    for query in ("deliveries?status=none", "deliveries?nothing=1", "deliveries?since=x"):
        assert (await admin.get(f"/console/{query}", 422)).says("The parameter")
    assert (await admin.get("/console/events?before=x", 422)).says("The parameter")


async def test_what_is_not_there_is_said_on_a_page(admin: Visitor) -> None:
    for path in (
        *("/dead-letters/dl_1", "/deliveries/dlv_1", "/subscriptions/none", "/operations/none"),
        *("/operations/none/stream", "/events/none", "/none", "/deliveries/%00"),
    ):
        assert (await admin.get(f"/console{path}", 404)).says("There is no"), path


async def test_the_store_gone_is_said_on_a_page(
    api: Api, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(type(api.opened.stores.read), "deliveries", gone)

    assert (await admin.get("/console/deliveries", 503)).says("try again")


async def test_an_event_tells_who_got_it_and_why_not(api: Api, admin: Visitor) -> None:
    wanting = await api.subscribe("https://a.test")
    other = await api.subscribe("https://b.test", eventTypes=["FAILED"])
    typed = await api.subscribe("https://c.test", operationTypes=["payment"])
    lone = await api.subscribe("https://d.test", operationId="another")
    sent = await api.post("/v1/operations/job/events", {"type": "STARTED", "operationType": "x"})
    late = await api.subscribe("https://e.test")

    page = await admin.get(f"/console/events/{sent['data'][0]['id']}")

    assert any("/deliveries/dlv_" in link for link in page.links)
    for subscription in (wanting, other, typed, lone, late):
        assert page.says(subscription["id"])
    assert page.says("It wants other types: FAILED.")
    assert page.says("of operations of the type payment")
    assert page.says("operation another only")
    assert page.says("later than the event")


async def test_why_a_star_did_not_get_what_the_service_itself_says(api: Api) -> None:
    made = await api.subscribe()
    sent = await api.post("/v1/operations/job/events", {"type": "STARTED"})
    reads = api.opened.stores.read
    subscription = await reads.subscription("default", made["id"])
    event = await reads.event("default", sent["data"][0]["id"])
    assert subscription is not None
    assert event is not None
    told = replace(event, type="delivery.dead_lettered", operation_id=None)
    replay = replace(event, operation_type="ringback.replay")
    named = changed(subscription, event_types=("delivery.*",))

    assert why_not(subscription, told).startswith("It does not name delivery.dead_lettered")
    assert "does not name" not in why_not(named, told)
    assert "the operation type ringback.replay" in why_not(subscription, replay)


async def test_a_delivery_that_ended_without_an_attempt_waits_for_none(
    api: Api, admin: Visitor
) -> None:
    await api.subscribe()
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    (delivery,) = (await api.get("/v1/deliveries"))["data"]
    path = f"/console/deliveries/{delivery['id']}"
    assert (await admin.get(path)).says("No attempt was made yet.")

    await api.post(f"/v1/deliveries/{delivery['id']}/cancel", status=200)

    page = await admin.get(path)
    assert page.says("No attempt was made.")
    assert not page.says("yet")


async def test_the_settings_show_no_secret(admin: Visitor) -> None:
    page = await admin.get("/console/system")

    assert page.says("RINGBACK_RETRY_SCHEDULE")
    assert "a2tra2tra2" not in page.html


async def test_the_system_page_says_who_does_what(
    api: Api, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await admin.get("/console/system")
    for words in ("api yes", "worker yes", "sweeper yes", "Processes 1", "dramatiq", "msgspec"):
        assert page.says(words), words
    assert page.says("it has not begun")
    assert not page.says("missing")
    opened = replace(api.opened, roles=frozenset({"api"}))
    settings = type(api.opened.base.settings)
    monkeypatch.setattr(settings, "is_embedded", property(lambda _: False))
    server = Server(
        version=160_004,
        size=1,
        used=1,
        most=100,
        each=8,
        processes=2,
        roles=frozenset({"api", "worker"}),
        is_standby=False,
        user="x",
        may_part=True,
    )

    async def seen(*_: object) -> State:
        return State("x", "0009", "0009", server=server)

    monkeypatch.setattr(storage, "state", seen)
    work = await at_work(opened)
    assert {each.name: (each.is_here, each.is_anywhere) for each in work.parts} == {
        "api": (True, True),
        "worker": (False, True),
        "sweeper": (False, False),
    }
    assert (work.processes, work.server, work.revision) == (2, "PostgreSQL 16", "0009")
    assert (await admin.get("/console/system")).says("missing")

    async def away(*_: object) -> State:
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(storage, "state", away)
    work = await at_work(opened)
    assert {each.is_anywhere for each in work.parts} == {None}
    assert (work.processes, work.server, work.revision) == (None, None, None)
    assert (await admin.get("/console/system")).says("not known")


async def test_files_are_those_that_pages_name_and_are_asked_for_anew(admin: Visitor) -> None:
    page = await admin.get("/console")
    named = [
        str(had.get("src") or had.get("href"))
        for tag, had in page.tags
        if tag in ("script", "link")
    ]
    assert len(named) == 7
    for path in named:
        answer = await admin.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        etag = {"if-none-match": answer.headers["etag"]}
        assert (await admin.client.get(path, headers=etag)).status_code == 304
    assert (await admin.client.get("/console/static/../app.py")).status_code in (303, 404)


async def test_a_method_that_is_not_there_is_refused(admin: Visitor) -> None:
    assert (await admin.client.request("DELETE", "/console/keys")).status_code == 404
    assert (await admin.client.head("/console/keys")).content == b""


def test_the_address_of_the_stream_is_not_in_the_openapi_document() -> None:
    paths = msgspec.json.decode(description("https://x.test"))["paths"]
    assert not [path for path in paths if path.startswith("/console")]


async def test_a_subscription_says_what_it_wants_as_people_write_it(
    api: Api, admin: Visitor
) -> None:
    headers = {"x-tenant": "north", "authorization": "secret"}
    made = await api.subscribe(rateLimitPerSecond=50, headers=headers)
    page = await admin.get(f"/console/subscriptions/{made['id']}")
    assert page.says("Deliveries per second 50 Created")
    assert "****</code><br><code>" in page.html


async def test_until_when_a_subscription_is_held_back_stands_in_the_list(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(429, (("retry-after", "7200"),))
    await api.subscribe(receiver.url("/hook"))
    await api.post("/v1/events", {"operationId": "op-1", "type": "STARTED"})
    await api.deliver()
    page = await admin.get("/console/subscriptions")
    assert page.says("held until")
    assert "<br>" not in page.html
