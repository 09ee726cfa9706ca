"""Every form: it does what it says, once, and the audit log has it under the visitor's key."""

import json
from typing import Any, Final

import pytest

from service.console.app import console_routes
from service.domain.api_keys import Scope
from service.runtime.pages import console_services
from service.web.authentication import Doorkeeper
from tests.console.test_pages import dead
from tests.support.api import Api
from tests.support.console import OWN, Document, Visitor, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

#: Forms of who is signed in: the scope each needs, and what the audit log calls it; ``None``: it
#: changes the visitor's own session only, or the operation's log tells of it.
FORMS: Final[dict[str, tuple[Scope | None, str | None]]] = {
    "/dead-letters/replay": (Scope.DELIVERIES_REPLAY, "replay.started"),
    "/dead-letters/{id}/replay": (Scope.DELIVERIES_REPLAY, "delivery.replayed"),
    "/dead-letters/{id}/discard": (Scope.DELIVERIES_REPLAY, "dead_letter.discarded"),
    "/dead-letters/replay/cancel": (Scope.DELIVERIES_REPLAY, "operation.cancelled"),
    "/deliveries/replay": (Scope.DELIVERIES_REPLAY, "replay.started"),
    "/deliveries/{id}/retry": (Scope.DELIVERIES_REPLAY, "delivery.retried"),
    "/deliveries/{id}/cancel": (Scope.DELIVERIES_REPLAY, "delivery.cancelled"),
    "/subscriptions": (Scope.SUBSCRIPTIONS_WRITE, "subscription.created"),
    "/subscriptions/{id}/edit": (Scope.SUBSCRIPTIONS_WRITE, "subscription.changed"),
    "/subscriptions/{id}/pause": (Scope.SUBSCRIPTIONS_WRITE, "subscription.paused"),
    "/subscriptions/{id}/resume": (Scope.SUBSCRIPTIONS_WRITE, "subscription.resumed"),
    "/subscriptions/{id}/test": (Scope.SUBSCRIPTIONS_WRITE, "subscription.tested"),
    "/subscriptions/{id}/rotate-secret": (
        Scope.SUBSCRIPTIONS_WRITE,
        "subscription.secret_rotated",
    ),
    "/subscriptions/{id}/reveal": (Scope.SUBSCRIPTIONS_READ, "subscription.secret_revealed"),
    "/subscriptions/{id}/delete": (Scope.SUBSCRIPTIONS_WRITE, "subscription.deleted"),
    "/subscriptions/{id}/replay": (Scope.DELIVERIES_REPLAY, "replay.started"),
    "/operations/{id}/cancel": (Scope.OPERATIONS_WRITE, "operation.cancelled"),
    "/operations/{id}/stop": (Scope.DELIVERIES_REPLAY, "operation.cancelled"),
    "/operations/{id}/retry": (Scope.OPERATIONS_WRITE, "operation.retried"),
    "/keys": (Scope.ADMIN, "api_key.created"),
    "/keys/{id}/rotate": (Scope.ADMIN, "api_key.rotated"),
    "/keys/{id}/revoke": (Scope.ADMIN, "api_key.revoked"),
    "/tenants": (Scope.ADMIN, "tenant.created"),
    "/tenants/leave": (Scope.ADMIN, None),
    "/tenants/{id}/edit": (Scope.ADMIN, "tenant.changed"),
    "/tenants/{id}/act": (Scope.ADMIN, None),
}
HOOK: Final = "https://example.com/hook"


async def newest(api: Api) -> dict[str, Any]:
    """What the audit log tells of last."""
    entry: dict[str, Any] = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    return entry


async def signed_in(api: Api, *scopes: Scope) -> tuple[Visitor, str]:
    """A visitor with a key of his own, and the key's id."""
    text = (await api.key(*scopes))["authorization"].removeprefix("Bearer ")
    found = visitor(api)
    await found.sign_in(text)
    return found, text


def forms_of(api: Api) -> dict[str, Scope | None]:
    """Paths of the console's table that take forms, with the scope each needs."""

    async def ready() -> str | None:
        return None

    keeper: Any = Doorkeeper
    routes = console_routes(console_services(api.opened, ready), keeper)
    found = {}
    for route in routes:
        actions = getattr(getattr(route, "endpoint", None), "_actions", {})
        if "POST" in actions:
            found[str(route.path).removeprefix("/console")] = actions["POST"].scope  # type: ignore[attr-defined]  # every route here has one
    return found


async def test_the_table_of_forms_is_whole(api: Api) -> None:
    assert forms_of(api) == {path: scope for path, (scope, _) in FORMS.items()}


async def test_a_form_is_refused_to_who_lacks_its_scope(api: Api) -> None:
    for path, (needed, _) in FORMS.items():
        others = [scope for scope in Scope if scope not in (needed, Scope.ADMIN)]
        guest, _ = await signed_in(api, *others)
        answer = await guest.send(f"/console{path.format(id='dlv_1')}")
        assert answer.status_code == 403, path
        assert needed is not None
        assert needed.value in answer.text


async def test_a_dead_letter_is_sent_again(api: Api, admin: Visitor, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    receiver.script = lambda _: Reply(200)
    await admin.press(f"/console/subscriptions/{letter['subscriptionId']}/resume")

    page = await admin.press(f"/console/dead-letters/{letter['id']}/replay")

    assert page.says("Sent again")
    assert page.says("pending")
    entry = await newest(api)
    assert (entry["action"], entry["actor"]) == ("delivery.replayed", "key_admin")
    again = await admin.send(f"/console/dead-letters/{letter['id']}/replay")
    assert again.status_code == 409
    await api.deliver()
    assert (await admin.get(f"/console/dead-letters/{letter['id']}")).says("resolved")
    assert (await admin.get(f"/console/deliveries/{letter['deliveryId']}")).says("delivered")


async def test_a_group_is_looked_at_and_then_sent_again(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    address = f"/console/dead-letters/replay?subscriptionId={letter['subscriptionId']}&reason=gone"
    # what answers 410 is disabled
    await api.post(f"/v1/subscriptions/{letter['subscriptionId']}/resume", status=200)
    preview = await admin.get(address)
    assert preview.says("1 open dead letter would be sent again")
    fields = {
        str(had["name"]): str(had["value"])
        for tag, had in preview.tags
        if tag == "input" and had.get("type") == "hidden"
    }
    assert fields["reason"] == "gone"

    page = await admin.press("/console/dead-letters/replay", {**fields, "rate": "10", "note": "ok"})

    assert page.says("ringback.replay")
    assert page.says("What was sent again by then stays so")
    assert not page.says("Its producer learns it")
    entry = await newest(api)
    assert entry["action"] == "replay.started"
    assert entry["detail"]["reason"] == "gone"


async def test_a_group_misspelt_is_not_everything(api: Api, admin: Visitor) -> None:
    for fields in ({"reason": "gonne"}, {"subscriptionId": "sub_none"}):
        answer = await admin.send("/console/dead-letters/replay", fields)
        assert answer.status_code == 404
    assert (await api.get("/v1/operations"))["data"] == []


async def test_a_dead_letter_is_discarded(api: Api, admin: Visitor, receiver: Receiver) -> None:
    letter = await dead(api, receiver)

    page = await admin.press(f"/console/dead-letters/{letter['id']}/discard")

    assert page.says("Discarded")
    assert (await newest(api))["action"] == "dead_letter.discarded"
    await admin.get(f"/console/dead-letters/{letter['id']}", 404)


async def test_a_delivery_is_cancelled_and_sent_all_the_same(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await api.subscribe(receiver.url())
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    delivery = (await api.get("/v1/deliveries"))["data"][0]["id"]

    assert (await admin.press(f"/console/deliveries/{delivery}/cancel")).says("cancelled")
    assert (await newest(api))["action"] == "delivery.cancelled"
    await admin.press(f"/console/deliveries/{delivery}/retry")
    assert (await newest(api))["action"] == "delivery.retried"
    await api.deliver()
    page = await admin.get(f"/console/deliveries/{delivery}")
    assert page.says("HTTP 200")
    assert page.says("curl --request POST")
    assert not page.says("--header 'webhook-signature")


async def test_the_command_holds_no_secret_and_sends_the_same_bytes(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    page = await admin.get(f"/console/deliveries/{letter['deliveryId']}")
    command = next(text for text in page.text if text.startswith("curl --request"))

    assert "x-token" not in command
    assert "signature" not in command
    assert "webhook-id: " in command


async def test_a_subscription_is_made_with_its_secret_shown_once(api: Api, admin: Visitor) -> None:
    fields = {"url": HOOK, "eventTypes": "COMPLETED, payment.*", "maxConcurrency": "3"}
    page = await admin.press("/console/subscriptions", fields)

    made = (await api.get("/v1/subscriptions"))["data"][0]
    assert made["eventTypes"] == ["COMPLETED", "payment.*"]
    assert made["maxConcurrency"] == 3
    secret = next(text for text in page.text if text.startswith("whsec_"))
    assert (await newest(api))["action"] == "subscription.created"
    assert not (await admin.get(f"/console/subscriptions/{made['id']}")).says(secret)
    revealed = await admin.press(f"/console/subscriptions/{made['id']}/reveal")
    assert revealed.says(secret)
    assert (await newest(api))["action"] == "subscription.secret_revealed"


async def test_a_subscription_with_faults_is_asked_for_anew_with_all_of_them(
    api: Api, admin: Visitor
) -> None:
    fields = {"url": "ftp://x", "eventTypes": "a b", "timeoutSeconds": "x<y", "description": "Shop"}
    answer = await admin.send("/console/subscriptions", fields)

    assert answer.status_code == 422
    page = Document(answer.text)
    assert page.says("/eventTypes/0")
    assert page.says("/timeoutSeconds")
    assert ("input", "x<y") in [(tag, had.get("value")) for tag, had in page.tags]
    unfit = Document((await admin.send("/console/subscriptions", {"url": "ftp://x"})).text)
    assert unfit.says("/url")
    assert (await api.get("/v1/subscriptions"))["data"] == []


async def test_a_subscription_is_paused_tested_rotated_resumed_and_deleted(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    receiver.script = lambda _: Reply(418, (), b"<i>teapot</i>")
    made = await api.subscribe(receiver.url())
    path = f"/console/subscriptions/{made['id']}"

    assert (await admin.press(f"{path}/pause")).says("paused")
    assert (await newest(api))["action"] == "subscription.paused"
    trial = await admin.press(f"{path}/test")
    assert trial.says("HTTP 418")
    assert trial.says("<i>teapot</i>")
    assert (await newest(api))["action"] == "subscription.tested"
    rotated = await admin.press(f"{path}/rotate-secret", {"overlap": "3600"})
    secret = next(text for text in rotated.text if text.startswith("whsec_"))
    assert secret != made["secret"]
    assert (await newest(api))["action"] == "subscription.secret_rotated"
    assert len((await api.get(f"/v1/subscriptions/{made['id']}/secret"))["secrets"]) == 2
    assert (await admin.send(f"{path}/rotate-secret", {"overlap": "7"})).status_code == 404
    assert (await admin.press(f"{path}/resume")).says("active")
    assert (await admin.press(f"{path}/delete")).says("Deleted")
    assert (await newest(api))["action"] == "subscription.deleted"
    assert (await admin.send(f"{path}/rotate-secret", {"overlap": "0"})).status_code == 410


async def test_of_two_secrets_it_is_said_which_is_to_end_and_when(api: Api, admin: Visitor) -> None:
    made = await api.subscribe()
    path = f"/console/subscriptions/{made['id']}"

    alone = await admin.press(f"{path}/reveal")
    rotated = await admin.press(f"{path}/rotate-secret", {"overlap": "3600"})
    both = await admin.press(f"{path}/reveal")

    assert alone.says(made["secret"])
    assert not alone.says("signs until")
    assert rotated.says("This page is not shown again")
    for page in (alone, both):  # who loses it can reveal it again
        assert not page.says("not shown again")
    newest, old = (each for each in both.text if each.startswith("whsec_"))
    assert old == made["secret"]
    assert both.says(f"The newest {newest}")
    assert both.says("An earlier one, which signs until")
    assert [had["datetime"] for tag, had in both.tags if tag == "time"] == [
        (await api.get(f"/v1/subscriptions/{made['id']}/secret"))["secrets"][1]["expiresAt"]
    ]


async def test_what_a_subscription_never_got_is_sent(
    api: Api, admin: Visitor, receiver: Receiver
) -> None:
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    made = await api.subscribe(receiver.url())
    path = f"/console/subscriptions/{made['id']}/replay"

    preview = await admin.get(f"{path}?only=missing&reach=3600000")
    assert preview.says("1 event that it never got would be sent to it.")
    assert (await api.get("/v1/operations?type=ringback.replay"))["data"] == []
    page = await admin.press(path, {**preview.fields, "rate": "10"})

    assert page.says("ringback.replay")
    entry = await newest(api)
    assert (entry["action"], entry["detail"]["only"]) == ("replay.started", "missing")
    assert entry["detail"]["rate_per_second"] == 10
    assert f"/console/audit-log?target={entry['target']}" in page.links
    wrong = await admin.send(path, {"only": "some", "reach": "3600000"})
    assert wrong.status_code == 404


async def test_of_what_nobody_knows_the_end_it_is_said_how_far_it_is_so_far(
    api: Api, admin: Visitor
) -> None:
    update = {"type": "STATUS_UPDATE", "progress": {"current": 7}}
    await api.post("/v1/operations/job/events", update)

    page = await admin.get("/console/operations/job")

    assert page.says("Done 7 so far")
    assert not any(tag == "progress" for tag, _ in page.tags)
    await api.post("/v1/operations/job/cancel", {}, 200)
    assert not (await admin.get("/console/operations/job")).says("so far")


async def test_an_operation_is_cancelled_and_another_tried_again(api: Api, admin: Visitor) -> None:
    await api.post("/v1/operations/job/events", {"type": "STATUS_UPDATE", "progress": 40})
    page = await admin.get("/console/operations/job")
    assert page.says("40 %")
    assert (await admin.press("/console/operations/job/cancel", {"reason": "x"})).says("CANCELLED")
    assert (await newest(api))["action"] == "operation.cancelled"
    failed = {"type": "FAILED", "error": {"title": "x", "retryable": True}}
    await api.post("/v1/operations/other/events", failed)

    page = await admin.press("/console/operations/other/retry")

    assert page.says("RETRY_REQUESTED")
    assert (await newest(api))["action"] == "operation.retried"
    answer = await admin.client.get("/console/operations/job/stream?after=2")
    assert answer.status_code == 204


async def test_an_operation_shows_its_phases(api: Api, admin: Visitor) -> None:
    phases = [{"name": "read <b>", "status": "done", "percentage": 100, "duration": 185.4}]
    progress = {"current": 3, "total": 12, "phase": "read", "message": "slow", "phases": phases}
    await api.post("/v1/operations/job/events", {"type": "STATUS_UPDATE", "progress": progress})

    page = await admin.get("/console/operations/job")

    for words in ("25 %", "read <b>", "3 of 12", "slow", "3 min 5 s"):
        assert page.says(words), words
    told = (await api.get("/v1/operations/job"))["progress"]["phases"]
    assert [each["duration"] for each in told] == [185.4]


async def test_the_stream_tells_that_an_operation_moved(api: Api, admin: Visitor) -> None:
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    await api.post("/v1/operations/job/events", {"type": "COMPLETED"})

    answer = await admin.client.get("/console/operations/job/stream")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "id: 1\nevent: moved\ndata: 1\n\nid: 2\nevent: ended\ndata: 1" in answer.text


async def test_a_key_is_made_rotated_and_revoked(api: Api, admin: Visitor) -> None:
    fields = {"tenantId": "default", "name": "ci", "scopes": "events:write", "life": "2592000000"}
    made = await admin.press("/console/keys", fields)
    text = next(text for text in made.text if text.startswith("rb_"))
    (key,) = [each for each in (await api.get("/v1/api-keys"))["data"] if each["name"] == "ci"]
    assert key["scopes"] == ["events:write"]
    assert "expiresAt" in key
    assert (await newest(api))["action"] == "api_key.created"
    assert not (await admin.get("/console/keys")).says(text)

    rotated = await admin.press(f"/console/keys/{key['id']}/rotate", {"overlap": "0"})
    assert next(text for text in rotated.text if text.startswith("rb_")) != text
    assert (await newest(api))["action"] == "api_key.rotated"
    assert (await admin.press(f"/console/keys/{key['id']}/revoke")).says("revoked")
    assert (await newest(api))["action"] == "api_key.revoked"
    fields = {"tenantId": "shop", "name": "", "life": "2592000000"}
    faulty = await admin.send("/console/keys", fields)
    assert faulty.status_code == 422
    page = Document(faulty.text)
    assert page.says("/scopes")
    assert (page.fields["tenantId"], page.fields["life"]) == ("shop", "2592000000")
    wrong = {had.get("id") for _, had in page.tags if had.get("aria-invalid")}
    assert wrong == {"name", "scopes"}


async def test_a_tenant_is_made(api: Api, admin: Visitor) -> None:
    origins = "https://app.example.com\r\nhttp://localhost:3000"
    fields = {"id": "shop", "name": "Shop & <b>Co</b>", "portalOrigins": origins}
    page = await admin.press("/console/tenants", fields)

    assert page.says("Shop & <b>Co</b>")
    assert page.says("https://app.example.com, http://localhost:3000")
    assert (await newest(api))["action"] == "tenant.created"
    twice = await admin.send("/console/tenants", {"id": "shop", "name": "x"})
    assert twice.status_code == 409
    assert (await admin.send("/console/tenants/none/act")).status_code == 404
    wrong = await admin.send("/console/tenants", {"id": "a b", "name": "x", "portalOrigins": "*"})
    assert wrong.status_code == 422
    shown = Document(wrong.text)
    assert (shown.fields["id"], shown.fields["portalOrigins"]) == ("a b", "*")
    faulty = {had.get("name") for _, had in shown.tags if had.get("aria-invalid")}
    assert faulty == {"id", "portalOrigins"}


async def test_a_tenants_settings_are_changed(api: Api, admin: Visitor) -> None:
    await api.post("/v1/tenants", {"id": "shop", "name": "Shop"}, 201)
    path = "/console/tenants/shop/edit"
    assert path in (await admin.get("/console/tenants")).links
    fields = (await admin.get(path)).fields
    wanted = {"name": "Big shop", "verification": "challenge", "portalOrigins": "https://a.test"}

    assert (await admin.press(path, {**fields, **wanted})).says("Saved.")

    now = await api.get("/v1/tenants/shop")
    assert now["portalOrigins"] == ["https://a.test"]
    assert (now["name"], now["verification"]) == ("Big shop", "challenge")
    assert (await newest(api))["action"] == "tenant.changed"
    fields = (await admin.get(path)).fields
    assert (await admin.press(path, fields)).says("nothing was saved")
    await admin.press(path, {**fields, "portalOrigins": ""})
    assert (await api.get("/v1/tenants/shop"))["portalOrigins"] == []
    fields = (await admin.get(path)).fields
    wrong = await admin.send(path, {**fields, "name": "", "portalOrigins": "https://a.test/x"})
    assert wrong.status_code == 422
    shown = Document(wrong.text)
    assert shown.fields["portalOrigins"] == "https://a.test/x"
    faulty = {had.get("name") for _, had in shown.tags if had.get("aria-invalid")}
    assert faulty == {"name", "portalOrigins"}
    assert (await admin.send("/console/tenants/none/edit")).status_code == 404
    await admin.get("/console/tenants/none/edit", 404)


async def test_a_tenants_setting_that_somebody_else_changed_is_not_overwritten(
    api: Api, admin: Visitor
) -> None:
    await api.post("/v1/tenants", {"id": "shop", "name": "Shop"}, 201)
    path = "/console/tenants/shop/edit"
    fields = (await admin.get(path)).fields
    theirs = {"name": "Theirs", "portalOrigins": ["https://a.test"]}
    await api.call("PATCH", "/v1/tenants/shop", theirs)

    answer = await admin.send(path, {**fields, "name": "Mine"})

    assert answer.status_code == 409
    page = Document(answer.text)
    assert page.says("Somebody else has made it: Theirs")
    assert (page.fields["name"], page.fields["portalOrigins"]) == ("Mine", "https://a.test")
    await admin.press(path, {**fields, "verification": "challenge"})
    now = await api.get("/v1/tenants/shop")
    assert (now["name"], now["verification"]) == ("Theirs", "challenge")
    await admin.press(path, page.fields)
    assert (await api.get("/v1/tenants/shop"))["name"] == "Mine"


async def test_the_documentation_is_a_step_away(api: Api, admin: Visitor) -> None:
    for page in (await admin.get("/console"), await visitor(api).get("/console/sign-in")):
        for where in ("/docs", "/docs/index"):
            assert where in page.links
            assert (await admin.client.get(where)).status_code == 200


async def test_what_is_done_is_done_as_the_visitors_key(api: Api) -> None:
    made = await api.subscribe(HOOK)
    guest, key_id = await signed_in(api, Scope.SUBSCRIPTIONS_WRITE, Scope.SUBSCRIPTIONS_READ)

    await guest.press(f"/console/subscriptions/{made['id']}/pause")

    entry = await newest(api)
    assert (entry["actor"], entry["target"]) == (key_id, made["id"])


async def test_a_form_of_another_kind_or_too_large_is_refused(api: Api, admin: Visitor) -> None:
    token = (await admin.get("/console")).token
    as_json = await admin.client.post(
        "/console/subscriptions",
        content=json.dumps({"token": token}),
        headers={**OWN, "content-type": "application/json"},
    )
    large = await admin.client.post(
        "/console/subscriptions", data={"token": token, "url": "x" * 600_000}, headers=OWN
    )
    many = await admin.client.post(
        "/console/subscriptions",
        data={"token": token, **{f"f{n}": "x" for n in range(200)}},
        headers=OWN,
    )

    assert [as_json.status_code, large.status_code, many.status_code] == [415, 413, 400]
    key = {"key": "x" * 70_000}  # of who is a stranger less is taken
    refused = await visitor(api).client.post("/console/sign-in", data=key, headers=OWN)
    assert refused.status_code == 413
    assert (await api.get("/v1/subscriptions"))["data"] == []
