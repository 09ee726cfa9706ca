"""Subscriptions changed in a form: all that the API changes, by its rules, over nobody's head."""

import json
from typing import Any, Final

import pytest

from service.domain.api_keys import Scope
from service.domain.errors import Refusal
from service.domain.subscription import Subscription
from service.domain.tenant import Tenant
from service.ports import Principal
from service.usecases.manage_subscriptions import ManageSubscriptions, SubscriptionInput
from service.usecases.manage_tenants import ManageTenants
from tests.support.api import Api
from tests.support.authority import Authority
from tests.support.console import Document, Visitor, consumer, visitor

pytestmark = pytest.mark.anyio

FULL: Final = {
    "url": "https://example.com/other",
    "eventTypes": "COMPLETED, payment.*",
    "operationTypes": "report.*",
    "description": "Shop & <b>Co</b>",
    "operationId": "job-1",
    "headers": "x-token: secret-1\nx-plain: a: b",
    "payload": "thin",
    "ordering": "operation",
    "signing": "both",
    "timeoutSeconds": "12.5",
    "retrySchedule": "0, 5, 300",
    "rateLimitPerSecond": "20",
    "maxConcurrency": "4",
    "metadata": '{"team": "shop"}',
}
SHOWN: Final[dict[str, Any]] = {
    "url": "https://example.com/other",
    "eventTypes": ["COMPLETED", "payment.*"],
    "operationTypes": ["report.*"],
    "description": "Shop & <b>Co</b>",
    "operationId": "job-1",
    "headers": {"x-token": "****", "x-plain": "****"},
    "payload": "thin",
    "ordering": "operation",
    "signing": "both",
    "timeoutSeconds": 12.5,
    "retrySchedule": [0.0, 5.0, 300.0],
    "rateLimitPerSecond": 20.0,
    "maxConcurrency": 4,
    "metadata": {"team": "shop"},
}


async def form_of(who: Visitor, name: str) -> dict[str, str]:
    """The form as a browser has it."""
    return (await who.get(f"/console/subscriptions/{name}/edit")).fields


async def save(who: Visitor, name: str, fields: dict[str, str], status: int = 303) -> Document:
    """Send the form, and look at what comes of it."""
    answer = await who.send(f"/console/subscriptions/{name}/edit", fields)
    assert answer.status_code == status, answer.text
    if status == 303:
        return await who.get(answer.headers["location"])
    return Document(answer.text)


async def newest(api: Api) -> dict[str, Any]:
    entry: dict[str, Any] = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    return entry


async def test_everything_that_can_be_changed_is_changed(api: Api, admin: Visitor) -> None:
    made = await api.subscribe()
    fields = await form_of(admin, made["id"])

    page = await save(admin, made["id"], {**fields, **FULL})

    assert page.says("Saved.")
    now = await api.get(f"/v1/subscriptions/{made['id']}")
    assert {name: now[name] for name in SHOWN} == SHOWN
    entry = await newest(api)
    assert (entry["action"], entry["actor"]) == ("subscription.changed", "key_admin")


async def test_only_what_was_changed_is(api: Api, admin: Visitor) -> None:
    made = await api.subscribe(headers={"x-token": "secret"}, metadata={"n": 1.10})
    fields = await form_of(admin, made["id"])
    assert fields["headers"] == "x-token: ****"

    await save(admin, made["id"], {**fields, "description": "Orders"})

    assert (await newest(api))["detail"] == {"changed": ["description"]}
    text = (await api.call("GET", f"/v1/subscriptions/{made['id']}")).text
    assert '"metadata":{"n":1.1}' in text.replace(" ", "")
    same = await save(admin, made["id"], await form_of(admin, made["id"]))
    assert same.says("nothing was saved")
    assert (await newest(api))["detail"] == {"changed": ["description"]}


async def test_a_header_is_added_beside_one_whose_value_nobody_sees(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe(headers={"x-token": "secret"})
    fields = await form_of(admin, made["id"])

    await save(admin, made["id"], {**fields, "headers": "x-token: ****\r\nx-more: 1"})

    now = await api.get(f"/v1/subscriptions/{made['id']}")
    assert now["headers"] == {"x-token": "****", "x-more": "****"}
    wrong = await save(
        admin, made["id"], {**await form_of(admin, made["id"]), "headers": "x-other: ****"}, 422
    )
    assert wrong.says("there is none to keep")


async def test_what_is_emptied_has_its_default_again(api: Api, admin: Visitor) -> None:
    body = {name: value for name, value in SHOWN.items() if name not in ("url", "headers")}
    made = await api.subscribe(**body, headers={"x-a": "1"})
    fields = await form_of(admin, made["id"])

    await save(admin, made["id"], {**fields, **dict.fromkeys(FULL, ""), "url": fields["url"]})

    now = await api.get(f"/v1/subscriptions/{made['id']}")
    assert now["eventTypes"] == ["*"]
    assert (now["payload"], now["ordering"], now["signing"]) == ("full", "none", "hmac")
    gone = {"operationTypes", "description", "operationId", "headers", "timeoutSeconds"}
    gone |= {"retrySchedule", "rateLimitPerSecond", "maxConcurrency", "metadata"}
    assert not gone & now.keys()


async def test_faults_stand_beside_their_fields_with_what_was_typed(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe()
    wrong = {
        "url": "ftp://x<y",
        "eventTypes": "ok, a b",
        "headers": "host: x\nx-a: 1\nx-a: 2",
        "timeoutSeconds": "soon",
        "retrySchedule": "0, -1",
        "maxConcurrency": "1.5",
        "metadata": "{",
        "clientCertificate": "none",
    }
    fields = {**await form_of(admin, made["id"]), **wrong}

    page = await save(admin, made["id"], fields, 422)

    left_out = {"headers": "host:\nx-a:\nx-a:", "clientCertificate": ""}
    assert {name: page.fields[name] for name in wrong} == {**wrong, **left_out}
    invalid = {str(had["name"]) for _, had in page.tags if had.get("aria-invalid") == "true"}
    shapes = {"eventTypes", "headers", "timeoutSeconds", "retrySchedule", "maxConcurrency"}
    assert invalid == {*shapes, "metadata"}
    described = {
        str(had["name"]): str(had["aria-describedby"]).split()
        for _, had in page.tags
        if "aria-describedby" in had
    }
    ids = {str(had["id"]) for _, had in page.tags if "id" in had}
    assert all(set(names) <= ids for names in described.values())
    assert "eventTypes-wrong-1" in described["eventTypes"]
    assert page.says("No. 2: ")
    assert "#eventTypes" in page.links
    # what only shows behind the shapes
    unfit = {**await form_of(admin, made["id"]), "url": "ftp://x", "clientCertificate": "none"}
    page = await save(admin, made["id"], unfit, 422)
    invalid = {str(had["name"]) for _, had in page.tags if had.get("aria-invalid") == "true"}
    assert {"url", "clientCertificate"} <= invalid
    assert (await api.get(f"/v1/subscriptions/{made['id']}"))["url"] == made["url"]


async def test_what_somebody_else_changed_is_told_and_not_overwritten(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe(description="old")
    path = f"/v1/subscriptions/{made['id']}"
    fields = await form_of(admin, made["id"])
    theirs = {"url": "https://example.com/theirs", "description": "theirs", "maxConcurrency": 7}
    assert (await api.call("PATCH", path, theirs)).status_code == 200

    mine = {**fields, "description": "mine", "eventTypes": "COMPLETED"}
    page = await save(admin, made["id"], mine, 409)

    assert page.says("Somebody changed this subscription meanwhile")
    assert page.says("Somebody else has made it: theirs")
    assert page.html.count("Somebody else has made it") == 1
    assert {name: page.fields[name] for name in ("url", "description", "eventTypes")} == {
        "url": theirs["url"],
        "description": "mine",
        "eventTypes": "COMPLETED",
    }
    now = await api.get(path)
    assert {name: now[name] for name in theirs} == theirs
    # and once more, now that it was seen
    await save(admin, made["id"], page.fields)
    now = await api.get(path)
    assert (now["url"], now["description"]) == (theirs["url"], "mine")
    assert (now["eventTypes"], now["maxConcurrency"]) == (["COMPLETED"], 7)


async def test_a_change_that_comes_between_look_and_save_is_told_too(
    api: Api, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await api.subscribe()
    path = f"/v1/subscriptions/{made['id']}"
    fields = await form_of(admin, made["id"])
    change = ManageSubscriptions.change

    async def late(
        manage: ManageSubscriptions, who: Principal, name: str, given: SubscriptionInput, seen: int
    ) -> Subscription | Refusal:
        monkeypatch.setattr(ManageSubscriptions, "change", change)
        await api.call("PATCH", path, {"description": "theirs"})
        return await change(manage, who, name, given, seen)

    monkeypatch.setattr(ManageSubscriptions, "change", late)

    page = await save(admin, made["id"], {**fields, "url": "https://example.com/mine"}, 409)

    assert page.fields["description"] == "theirs"
    assert page.fields["url"] == "https://example.com/mine"
    assert (await api.get(path))["url"] == made["url"]


async def test_so_is_one_that_comes_between_look_and_save_of_a_tenant(
    api: Api, admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.post("/v1/tenants", {"id": "shop", "name": "Shop"}, 201)
    path = "/console/tenants/shop/edit"
    fields = (await admin.get(path)).fields
    change = ManageTenants.change

    async def late(manage: ManageTenants, *given: Any) -> Tenant | Refusal:  # noqa: ANN401  passed on
        monkeypatch.setattr(ManageTenants, "change", change)
        await api.call("PATCH", "/v1/tenants/shop", {"name": "Theirs"})
        return await change(manage, *given)

    monkeypatch.setattr(ManageTenants, "change", late)
    answer = await admin.send(path, {**fields, "name": "Mine"})

    assert answer.status_code == 409
    page = Document(answer.text)
    assert page.says("Somebody changed this tenant meanwhile")
    assert page.says("Somebody else has made it: Theirs")
    assert page.fields["name"] == "Mine"
    assert (await api.get("/v1/tenants/shop"))["name"] == "Theirs"


async def test_certificates_are_put_in_and_taken_away(api: Api, admin: Visitor) -> None:
    authority = Authority.make("Own")
    client = authority.client("ringback")
    made = await api.subscribe()
    path = f"/v1/subscriptions/{made['id']}"
    pems = {"clientCertificate": client.certificate, "clientKey": client.key}

    fields = {**await form_of(admin, made["id"]), **pems, "caCertificate": authority.pem}
    await save(admin, made["id"], fields)
    now = await api.get(path)
    assert now["clientCertificate"]
    assert now["caCertificate"]
    page = await admin.get(f"/console/subscriptions/{made['id']}/edit")
    assert page.says(now["clientCertificate"]["subject"])
    shown = await admin.get(f"/console/subscriptions/{made['id']}")
    assert shown.says(now["clientCertificate"]["subject"])
    assert shown.says(now["caCertificate"][0]["subject"])
    assert "BEGIN" not in page.html
    await save(admin, made["id"], {**page.fields, "remove": "noClientCertificate"})

    now = await api.get(path)
    assert "clientCertificate" not in now
    assert "caCertificate" in now


async def test_a_new_one_takes_all_of_it_and_a_secret_of_ones_own(api: Api, admin: Visitor) -> None:
    secret = "whsec_" + "A" * 32
    page = await admin.press("/console/subscriptions", {**FULL, "secret": secret})

    assert page.says(secret)
    made = (await api.get("/v1/subscriptions"))["data"][0]
    assert {name: made[name] for name in SHOWN} == SHOWN
    answer = await admin.send(
        "/console/subscriptions", {**FULL, "headers": "x: 1\nx: 2", "secret": "short"}
    )
    assert answer.status_code == 422
    assert Document(answer.text).fields["headers"] == "x:\nx:"


#: What stands in a form that is not taken, and must not stand in the page that says so.
TYPED: Final = {
    "headers": "authorization: Bearer hush-1\n\nhush-2 bare\nx-plain:hush-3",
    "clientCertificate": "hush-4",
    "clientKey": "hush-5",
    "caCertificate": "hush-6",
}


async def test_what_is_secret_does_not_come_back_in_a_form_that_is_refused(
    api: Api, admin: Visitor
) -> None:
    made = await api.subscribe(headers={"authorization": "Bearer stored", "x-kept": "kept"})
    edit = f"/console/subscriptions/{made['id']}/edit"
    present = (await admin.get(edit)).fields
    typed = {**TYPED, "url": "nowhere", "secret": "hush-7", "eventTypes": "kept.*"}
    stale = {**present, **typed, "version": "0"}
    kept = {**typed, "headers": "x-kept: ****\nauthorization: hush-8"}
    for path, fields, headers in (
        ("/console/subscriptions", typed, "authorization:\n:\nx-plain:"),
        (edit, {**present, **typed}, "authorization:\n:\nx-plain:"),
        (edit, stale, "authorization:\n:\nx-plain:"),
        (edit, {**present, **kept}, "x-kept: ****\nauthorization:"),
    ):
        answer = await admin.send(path, fields)
        assert answer.status_code in (409, 422), path
        page = Document(answer.text)
        assert "hush" not in page.html, path
        assert page.fields["headers"] == headers
        assert page.fields["eventTypes"] == "kept.*"
        assert page.html.count("type it again") >= 4, path


async def test_a_header_whose_value_was_left_out_is_not_sent_empty(
    api: Api, admin: Visitor
) -> None:
    """The form comes back without values: who sends it again as it is would lose them."""
    made = await api.subscribe(headers={"x-a": "1"})
    edit = f"/console/subscriptions/{made['id']}/edit"
    present = (await admin.get(edit)).fields
    for path, fields in (
        ("/console/subscriptions", {"url": "https://example.com/", "headers": "x-a:\n:"}),
        (edit, {**present, "headers": "x-a:\n:"}),
        (edit, {**present, "headers": "x-a: ****\nx-bare"}),
    ):
        answer = await admin.send(path, fields)
        assert answer.status_code == 422, path
        assert Document(answer.text).says("is to be written as name: value"), path
    assert (await api.get(f"/v1/subscriptions/{made['id']}"))["headers"] == {"x-a": "****"}


async def test_nothing_is_said_to_be_typed_again_that_was_not_typed(admin: Visitor) -> None:
    answer = await admin.send("/console/subscriptions", {"url": "nowhere"})

    assert answer.status_code == 422
    assert "type it again" not in answer.text


async def test_who_is_shown_one_subscription_does_not_widen_what_it_gets(api: Api) -> None:
    made = await api.subscribe(eventTypes=["mine"])
    scopes = [Scope.SUBSCRIPTIONS_READ.value, Scope.SUBSCRIPTIONS_WRITE.value]
    one = await consumer(api, subscriptionId=made["id"], scopes=scopes)
    home = f"/portal/subscriptions/{made['id']}"

    assert f"{home}/edit" not in (await one.get(home)).links
    await one.get(f"{home}/edit", 404)
    assert (await one.send(f"{home}/edit", {"eventTypes": "*"})).status_code == 404
    everything = await consumer(api, scopes=scopes)
    assert f"{home}/edit" in (await everything.get(home)).links
    fields = (await everything.get(f"{home}/edit")).fields
    answer = await everything.send(f"{home}/edit", {**fields, "eventTypes": "theirs"})
    assert answer.status_code == 303
    assert (await newest(api))["actor"].startswith("pl_")


async def test_what_is_not_there_cannot_be_changed(api: Api, admin: Visitor) -> None:
    await admin.get("/console/subscriptions/none/edit", 404)
    assert (await admin.send("/console/subscriptions/none/edit")).status_code == 404
    reader = visitor(api)
    text = (await api.key(Scope.SUBSCRIPTIONS_READ))["authorization"].removeprefix("Bearer ")
    await reader.sign_in(text)
    made = await api.subscribe(metadata=json.loads("{}"))
    await reader.get(f"/console/subscriptions/{made['id']}/edit", 403)


async def test_numbers_of_seconds_are_shown_as_people_write_them(api: Api, admin: Visitor) -> None:
    schedule = [0, 0.5, 5, 1209600]
    made = await api.subscribe(retrySchedule=schedule, timeoutSeconds=12)

    page = await admin.get(f"/console/subscriptions/{made['id']}")

    assert page.says("Retry schedule 0 s, 0.5 s, 5 s, 1209600 s")
    assert page.says("Time-out 12 s")
