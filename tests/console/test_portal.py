"""The consumer portal: who gets in and for how long, who may embed it, what is shown and done."""

from typing import Any, Final, NamedTuple

import httpx
import pytest

from service.console import event_search
from service.console.app import is_trusted, portal_routes
from service.domain.api_keys import Scope
from service.domain.portal import CONSUMER_SCOPES, DEFAULT_SCOPES
from service.domain.rate import MAX_FAILURES
from service.ports import StoreUnavailableError
from service.runtime.pages import console_services
from service.web.authentication import Doorkeeper
from tests.console.test_pages import dead, pages_about
from tests.support.api import Api
from tests.support.console import OWN, Document, Visitor, consumer, visitor
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

COOKIE: Final = "__Host-ringback-portal"
ALL: Final = [scope.value for scope in CONSUMER_SCOPES]
#: Pages of a tenant's portal.
PAGES: Final = (
    *("", "/dead-letters", "/dead-letters/all", "/dead-letters/replay", "/deliveries"),
    *("/subscriptions", "/events", "/operations", "/subscriptions/new"),
)
#: Those of them that are for nobody who has one subscription only.
WHOLE: Final = ("/operations", "/subscriptions/new")


class Swap(NamedTuple):
    """Whose cookie, what it is called, what it is called elsewhere, and where that is."""

    who: Visitor
    own: str
    others: str
    where: str


async def link(api: Api, **body: object) -> dict[str, Any]:
    return await api.post("/v1/portal-links", body, 201)


async def is_in(guest: Visitor) -> bool:
    """Whether he has a session."""
    answer = await guest.client.get("/portal")
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


# --- in and out


async def test_a_link_opens_the_portal_once(api: Api) -> None:
    made = await link(api)
    page = await visitor(api).get("/portal/enter")
    assert page.forms["/portal/enter"] == ["link"]
    guest = visitor(api)

    answer = await guest.enter(made)

    assert answer.headers["location"] == "/portal"
    assert (await guest.get("/portal")).says("tenant default")
    refused = await visitor(api).enter(made, 401)
    assert "opened already" in refused.text
    assert "set-cookie" not in refused.headers
    assert await is_in(guest)


async def test_the_cookie_is_kept_apart_for_each_site_that_embeds(api: Api) -> None:
    made = await link(api)
    answer = await visitor(api).enter(made)

    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert set(attributes) == {
        *("HttpOnly", "Max-Age=3600", "Path=/"),
        *("SameSite=None", "Secure", "Partitioned"),
    }
    assert made["url"].partition("#")[2] not in name


def test_where_no_browser_would_take_such_a_cookie_none_is_set() -> None:
    for url in ("https://a.test", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"):
        assert is_trusted(url), url
    for url in ("http://a.test", "http://10.0.0.1:8080", "http://localhost.evil.test"):
        assert not is_trusted(url), url


async def test_a_link_ends_before_it_is_opened_and_a_session_after(api: Api) -> None:
    late = await link(api)
    await api.sql("UPDATE portal_links SET ends_at = 1")
    await visitor(api).enter(late, 401)

    guest = await consumer(api)
    await api.sql("UPDATE portal_links SET ends_at = 1")
    answer = await guest.client.get("/portal/deliveries")
    assert answer.status_code == 401
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert "Open the portal again" in answer.text
    assert "API key" not in answer.text


async def test_links_and_sessions_die_with_their_key(api: Api) -> None:
    backend = await api.key(Scope.ADMIN)
    key_id = backend["authorization"].removeprefix("Bearer ")
    made = [
        (await api.call("POST", "/v1/portal-links", {}, headers=backend)).json() for _ in range(2)
    ]
    guest = visitor(api)
    await guest.enter(made[0])

    assert (await api.call("DELETE", f"/v1/api-keys/{key_id}")).status_code == 204

    assert not await is_in(guest)
    await visitor(api).enter(made[1], 401)


async def test_links_and_sessions_die_with_their_tenant(api: Api) -> None:
    await api.post("/v1/tenants", {"id": "acme", "name": "Acme"}, 201)
    api.headers["ringback-tenant"] = "acme"
    unused, guest = await link(api), await consumer(api)
    del api.headers["ringback-tenant"]

    assert (await api.call("DELETE", "/v1/tenants/acme")).status_code == 204

    assert not await is_in(guest)
    await visitor(api).enter(unused, 401)


async def test_links_and_sessions_die_with_their_subscription(api: Api) -> None:
    hook = await api.subscribe()
    unused = await link(api, subscriptionId=hook["id"])
    guest = await consumer(api, subscriptionId=hook["id"])

    assert (await api.call("DELETE", f"/v1/subscriptions/{hook['id']}")).status_code == 204

    assert not await is_in(guest)
    await visitor(api).enter(unused, 401)


async def test_a_link_that_is_revoked_opens_nothing_and_its_session_is_over(api: Api) -> None:
    unused, used, kept = [await link(api) for _ in range(3)]
    guest, other = visitor(api), visitor(api)
    await guest.enter(used)
    await other.enter(kept)
    store = api.opened.stores.tickets
    assert await store.in_force([used["id"], kept["id"]]) == {used["id"], kept["id"]}

    for made in (unused, used):
        path = f"/v1/portal-links/{made['id']}"
        assert (await api.call("DELETE", path)).status_code == 204

    await visitor(api).enter(unused, 401)
    assert not await is_in(guest)
    assert await is_in(other)
    assert await store.in_force([used["id"], kept["id"]]) == {kept["id"]}


async def test_signing_out_ends_the_session_and_not_only_in_this_browser(api: Api) -> None:
    guest = await consumer(api)
    copied = dict(guest.client.cookies)

    answer = await guest.send("/portal/sign-out")

    assert answer.headers["location"] == "/portal"
    assert not await is_in(guest)
    thief = visitor(api)
    thief.client.cookies.update(copied)
    assert not await is_in(thief)


async def test_guessing_links_counts_as_guessing_keys(api: Api) -> None:
    stranger = visitor(api)
    for _ in range(MAX_FAILURES):
        await stranger.enter({"url": "#pl_guess"}, 401)

    shut_out = await stranger.client.post("/portal/enter", data={"link": "x"}, headers=OWN)
    assert shut_out.status_code == 429


async def test_no_other_site_opens_a_link_for_somebody(api: Api) -> None:
    form = {"link": (await link(api))["url"].partition("#")[2]}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.test"}, {}):
        answer = await visitor(api).client.post("/portal/enter", data=form, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_the_sessions_of_the_two_sites_are_not_each_others(api: Api, admin: Visitor) -> None:
    guest = await consumer(api)
    other = "__Host-ringback-console"
    for who, own, others, where in (
        Swap(guest, COOKIE, other, "/console"),
        Swap(admin, other, COOKIE, "/portal"),
    ):
        swapped = visitor(api)
        swapped.client.cookies.set(others, dict(who.client.cookies)[own])
        assert (await swapped.client.get(where)).status_code in (303, 401)
    for path in ("/keys", "/tenants", "/audit-log", "/system"):
        assert (await guest.client.get(f"/portal{path}")).status_code == 404


async def test_forms_of_other_sites_do_nothing(api: Api) -> None:
    hook = await api.subscribe()
    guest = await consumer(api)
    token = (await guest.get("/portal")).token
    path = f"/portal/subscriptions/{hook['id']}/pause"

    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://app.test"}, {}):
        answer = await guest.client.post(path, data={"token": token}, headers=headers)
        assert answer.status_code == 403
    answer = await guest.client.post(path, data={"token": "x"}, headers=OWN)
    assert answer.status_code == 403
    assert (await api.get(f"/v1/subscriptions/{hook['id']}"))["status"] == "active"


# --- embedding


async def ancestors(guest: Visitor, path: str) -> str:
    """Who may embed a page."""
    policy = (await guest.client.get(f"/portal{path}")).headers["content-security-policy"]
    (found,) = [part for part in policy.split("; ") if part.startswith("frame-ancestors ")]
    return str(found).removeprefix("frame-ancestors ")


async def test_only_pages_of_the_tenants_choice_embed_the_portal(api: Api) -> None:
    origins = ["https://app.acme.test", "https://b.test:8443"]
    await api.post("/v1/tenants", {"id": "acme", "name": "A", "portalOrigins": origins}, 201)
    nobodys = await consumer(api)
    api.headers["ringback-tenant"] = "acme"
    embedded = await consumer(api)

    for path in ("", "/deliveries", "/none", "/deliveries?status=none"):
        assert await ancestors(nobodys, path) == "'none'"
        assert await ancestors(embedded, path) == "https://app.acme.test https://b.test:8443"
    assert await ancestors(visitor(api), "/enter") == "*"
    assert await ancestors(visitor(api), "/deliveries") == "*"
    del api.headers["ringback-tenant"]
    await api.call("PATCH", "/v1/tenants/acme", {"portalOrigins": []})
    assert await ancestors(embedded, "") == "'none'"


async def looked(guest: Visitor, made: dict[str, Any], status: int = 200) -> httpx.Response:
    """Ask whether the portal can be shown, as the script of a link's page does in a frame."""
    form = {"link": made["url"].partition("#")[2]}
    answer = await guest.client.post("/portal/enter/look", data=form, headers=OWN)
    assert answer.status_code == status, answer.text
    assert "set-cookie" not in answer.headers
    return answer


async def test_whether_the_portal_fits_is_looked_at_without_opening_the_link(api: Api) -> None:
    """A frame where it did not fit used the link up, and showed nothing."""
    origins = ["https://app.acme.test", "https://b.test:8443"]
    await api.post("/v1/tenants", {"id": "acme", "name": "A", "portalOrigins": origins}, 201)
    nobodys = await link(api)
    api.headers["ringback-tenant"] = "acme"
    acmes = await link(api)
    guest = visitor(api)

    for made, who in ((nobodys, "'self'"), (acmes, f"'self' {' '.join(origins)}")):
        for _ in range(2):
            answer = await looked(guest, made)
            policy = answer.headers["content-security-policy"]
            assert policy == f"default-src 'none'; frame-ancestors {who}"
            assert Document(answer.text).text == ["-"]  # its title
        await guest.enter(made)
        assert "opened already" in (await looked(guest, made, 401)).text


async def test_only_the_page_of_a_link_looks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await link(api)
    form = {"link": made["url"].partition("#")[2]}
    stranger = visitor(api)
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.test"}, {}):
        answer = await stranger.client.post("/portal/enter/look", data=form, headers=headers)
        assert answer.status_code == 403
    assert (await stranger.client.get("/portal/enter/look")).status_code == 404
    own = (await stranger.client.get("/portal/enter")).headers["content-security-policy"]
    assert own.endswith("; frame-src 'self'")

    async def gone(*_: object) -> None:
        raise StoreUnavailableError("It is away.")

    with monkeypatch.context() as patched:
        patched.setattr(type(api.opened.stores.portals), "embedders", gone)
        await looked(stranger, made, 503)
    for _ in range(MAX_FAILURES):
        await looked(stranger, {"url": "#pl_guess"}, 401)
    await looked(stranger, {"url": "#pl_guess"}, 429)


async def test_what_anybody_may_embed_shows_nothing_of_anybody(api: Api) -> None:
    await api.subscribe()
    for path in ("/portal/enter", "/portal", "/portal/subscriptions"):
        text = (await visitor(api).client.get(path)).text
        assert "sub_" not in text
        assert "default" not in text


# --- what is shown and done


async def test_a_tenants_guest_sees_its_things_on_the_consoles_pages(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    guest = await consumer(api, scopes=ALL)

    for path in PAGES:
        page = await guest.get(f"/portal{path}")
        assert not any(link.startswith("/console") for link in page.links), path
        assert not any(where.startswith("/console") for where in page.forms), path
        assert not page.says("ringback demo"), path
        assert not page.says("curl -X POST"), path
    for path in pages_about(letter):
        page = await guest.get(f"/portal{path}")
        assert not any(link.startswith("/console") for link in page.links), path
        assert not page.says("nobody-may-see-this"), path
    assert (await guest.get("/portal")).says(letter["subscriptionId"])


async def test_a_link_allows_what_it_says_and_no_more(api: Api, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    for scope in CONSUMER_SCOPES:
        guest = await consumer(api, scopes=[scope.value])
        for path, needed in pages_about(letter).items():
            expected = 200 if needed is scope else 403
            answer = await guest.client.get(f"/portal{path}")
            assert answer.status_code == expected
            assert "API key" not in answer.text
    reader = await consumer(api, scopes=[s.value for s in CONSUMER_SCOPES if "read" in s])
    for path in ("", "/dead-letters", "/subscriptions", *pages_about(letter)):
        page = await reader.get(f"/portal{path}")
        assert {where for where in page.forms if where} == {"/portal/theme", "/portal/sign-out"}


async def test_who_has_no_subscription_yet_is_led_to_making_one(api: Api) -> None:
    guest, reader = await consumer(api), await consumer(api, scopes=["subscriptions:read"])

    for page in (await guest.get("/portal"), await guest.get("/portal/subscriptions")):
        assert page.says("There are no subscriptions yet.")
        assert "/portal/subscriptions/new" in page.links
    assert "/portal/subscriptions/new" not in (await reader.get("/portal")).links


async def test_one_subscriptions_guest_does_everything_with_it(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    name = letter["subscriptionId"]
    guest = await consumer(api, subscriptionId=name)
    home = f"/portal/subscriptions/{name}"

    assert (await guest.press(f"{home}/resume")).says("active")
    assert (await guest.press(f"{home}/pause")).says("paused")
    assert (await guest.press(f"{home}/test")).says("HTTP 410")
    assert (await guest.press(f"{home}/reveal")).says("whsec_")
    assert (await guest.press(f"{home}/rotate-secret", {"overlap": "0"})).says("whsec_")
    receiver.script = lambda _: Reply(200)
    await guest.press(f"{home}/resume")
    assert (await guest.press(f"/portal/dead-letters/{letter['id']}/replay")).says("Sent again")
    await api.deliver()
    assert (await guest.get(f"/portal/deliveries/{letter['deliveryId']}")).says("delivered")
    log = (await api.get("/v1/audit-log?limit=1"))["data"][0]
    assert log["actor"].startswith("pl_")
    started = await guest.press(
        f"{home}/replay", {"only": "all", "reach": "3600000", "dryRun": "false"}
    )
    assert started.says("Started")


async def test_one_subscriptions_guest_sees_only_that(api: Api, receiver: Receiver) -> None:
    mine = await dead(api, receiver)
    other = await api.subscribe(receiver.url("/other"), eventTypes=["FAILED"], description="Theirs")
    unseen = await api.post("/v1/operations/job/events", {"type": "FAILED", "message": "Theirs"})
    await api.post("/v1/operations/job-2/events", {"type": "STARTED"})
    hook = await api.subscribe(receiver.url("/mine"), eventTypes=["COMPLETED"])
    guest = await consumer(api, subscriptionId=hook["id"], scopes=ALL)
    mine_too = await consumer(api, subscriptionId=mine["subscriptionId"], scopes=ALL)
    await api.deliver()

    for path in (path for path in PAGES if path not in WHOLE):
        page = await guest.get(f"/portal{path}")
        for foreign in (other["id"], mine["subscriptionId"], mine["id"], "Theirs", "job"):
            assert not page.says(foreign), (path, foreign)
    for path in (*WHOLE, "/operations/job", "/operations/job/stream"):
        assert (await guest.client.get(f"/portal{path}")).status_code == 404, path
    delivery = (await api.get(f"/v1/deliveries?subscriptionId={other['id']}"))["data"][0]["id"]
    event = unseen["data"][0]["id"]
    for path in (f"/subscriptions/{other['id']}", f"/deliveries/{delivery}", f"/events/{event}"):
        assert (await guest.client.get(f"/portal{path}")).status_code == 404, path
    listed = await guest.get(f"/portal/deliveries?subscriptionId={other['id']}")
    assert not any(delivery in each for each in listed.links)
    assert not (await guest.get(f"/portal/events?id={event}")).says("FAILED")
    # it came later than the event that it would have wanted: that is said, and the event is shown
    late = await guest.get(f"/portal/events/{mine['eventId']}")
    assert late.says("later than the event")
    assert late.says("It did not go to the subscription")
    assert not late.says(mine["subscriptionId"])
    assert (await mine_too.get(f"/portal/events/{mine['eventId']}")).says(mine["subscriptionId"])
    assert "/portal/operations/report-77" not in late.links


async def test_who_has_a_subscription_is_not_told_to_make_the_first(
    api: Api, receiver: Receiver
) -> None:
    hook = await api.subscribe(receiver.url("/mine"))
    whole, guest = await consumer(api), await consumer(api, subscriptionId=hook["id"])

    assert (await whole.get("/portal/deliveries")).says("after the first subscription")
    assert (await guest.get("/portal/deliveries")).says("event that the subscription wants")


async def test_who_began_a_bulk_replay_may_cancel_it_and_no_other_operation(
    api: Api, receiver: Receiver
) -> None:
    await dead(api, receiver)
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    guest = await consumer(api)
    reader = await consumer(api, scopes=["operations:read", "deliveries:read"])
    started = await guest.press("/portal/dead-letters/replay", {"rate": "1"})
    (run,) = await api.opened.stores.replay.running_replays()
    home = f"/portal/operations/{run.operation.id}"
    assert f"{home}/stop" in started.forms

    assert f"{home}/stop" not in (await reader.get(home)).forms
    assert (await reader.send(f"{home}/stop")).status_code == 403
    assert not any("/job/" in each for each in (await guest.get("/portal/operations/job")).forms)
    theirs = (await api.post("/v1/dead-letters/replay", {}, 202))["operationId"]
    assert (
        f"/portal/operations/{theirs}/stop"
        not in (await guest.get(f"/portal/operations/{theirs}")).forms
    )
    for name in (theirs, "job", "nope"):
        assert (await guest.send(f"/portal/operations/{name}/stop")).status_code == 404

    ended = await guest.press(f"{home}/stop")
    assert ended.says("Cancelled.")
    assert f"{home}/stop" not in ended.forms
    now = await api.get(f"/v1/operations/{run.operation.id}")
    assert now["status"] == "CANCELLED"
    assert (await api.get("/v1/operations/job"))["status"] == "PROCESSING"


async def test_one_subscriptions_guest_cancels_the_replays_that_he_began_and_no_others(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    mine = {"subscriptionId": letter["subscriptionId"]}
    guest, other = [await consumer(api, **mine) for _ in range(2)]
    page, cancel = "/portal/dead-letters", "/portal/dead-letters/replay/cancel"
    assert cancel not in (await guest.get(page)).forms
    assert (await guest.press(f"{page}/replay", {"rate": "1"})).says("can cancel it")
    theirs = await api.post("/v1/dead-letters/replay", {}, 202)

    begun = await guest.get(page)
    assert begun.says("is under way.")
    assert cancel not in (await other.get(page)).forms
    foreign: list[dict[str, str]] = [{"operation": theirs["operationId"]}, {"operation": ""}, {}]
    assert [(await guest.send(cancel, each)).status_code for each in foreign] == [404] * 3
    name = {"operation": begun.fields["operation"]}
    assert (await other.send(cancel, name)).status_code == 404

    told = '{"current": 3, "total": 4, "percentage": 75.0}'
    await api.sql("UPDATE operations SET progress = ? WHERE id = ?", told, name["operation"])
    assert (await guest.get(page)).says("is under way: 75 %.")
    ended = await guest.press(cancel, name)
    assert ended.says("Cancelled.")
    assert cancel not in ended.forms
    now = (await api.get(f"/v1/operations/{name['operation']}"))["status"]
    assert now == "CANCELLED"
    assert (await api.get(f"/v1/operations/{theirs['operationId']}"))["status"] == "PENDING"


async def test_a_guest_finds_the_replay_that_he_began_whatever_was_done_since(
    api: Api, receiver: Receiver
) -> None:
    letter = await dead(api, receiver)
    hook = letter["subscriptionId"]
    guest = await consumer(api, subscriptionId=hook)
    page, cancel = "/portal/dead-letters", "/portal/dead-letters/replay/cancel"
    await guest.press(f"{page}/replay", {"rate": "1"})
    await api.sql(  # as many as the audit log looks through at once
        "INSERT INTO audit_log (key, tenant_id, actor, action, target) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "SELECT (SELECT max(key) FROM audit_log) + i, 'default', 'key_x', 'operation.created', "
        "'op_' || i FROM n"
    )
    asked = {"only": "missing", "reach": "3600000"}
    for _ in range(11):
        await guest.send(f"/portal/subscriptions/{hook}/replay", asked)

    assert cancel in (await guest.get(page)).forms


async def test_a_guests_group_replay_takes_only_his_own(api: Api, receiver: Receiver) -> None:
    letter = await dead(api, receiver)
    hook = await api.subscribe(receiver.url("/mine"))
    guest = await consumer(api, subscriptionId=hook["id"])

    assert (await guest.get("/portal/dead-letters/replay")).says("Nothing is left")
    foreign = {"subscriptionId": letter["subscriptionId"]}
    assert (await guest.send("/portal/dead-letters/replay", foreign)).status_code == 404
    assert (await guest.send("/portal/dead-letters/replay", {})).status_code == 303
    await api.post(f"/v1/subscriptions/{letter['subscriptionId']}/resume", None, 200)
    (run,) = await api.opened.stores.replay.running_replays()
    step = await api.opened.stores.replay.step_replay(run, 100)
    assert (step.finished, step.run.replayed) == (True, 0)
    assert (await api.get(f"/v1/dead-letters/{letter['id']}"))["state"] == "open"


async def test_events_are_found_behind_many_that_are_not_the_guests(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "_PART", 50)
    hook = await api.subscribe(eventTypes=["wanted"])
    await api.post("/v1/events", [{"type": "wanted", "operationId": "first"}])
    await api.post("/v1/events", [{"type": "other", "operationId": f"o-{n}"} for n in range(620)])
    guest = await consumer(api, subscriptionId=hook["id"])

    first = await guest.get("/portal/events")
    assert first.says("No event of these")
    (further,) = [link for link in first.links if "before=" in link]
    second = await guest.get(further)

    assert second.says("wanted")
    assert not any("before=" in link for link in second.links)


async def test_a_tenants_guest_cancels_and_retries_operations_where_the_link_says_so(
    api: Api,
) -> None:
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    failed = {"type": "FAILED", "error": {"title": "x", "retryable": True}}
    await api.post("/v1/operations/other/events", failed)
    reader = await consumer(api)
    assert (await reader.send("/portal/operations/job/cancel")).status_code == 403
    guest = await consumer(api, scopes=ALL)

    assert (await guest.press("/portal/operations/job/cancel")).says("CANCELLED")
    assert (await guest.press("/portal/operations/other/retry")).says("RETRY_REQUESTED")
    entries = (await api.get("/v1/audit-log?limit=2"))["data"]
    assert [each["action"] for each in entries] == ["operation.retried", "operation.cancelled"]
    assert all(each["actor"].startswith("pl_") for each in entries)


async def test_the_store_gone_is_said_on_a_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made, guest = await link(api), await consumer(api)

    async def gone(*_: object) -> None:
        raise StoreUnavailableError("It is away.")

    for method in ("guest", "open", "end"):
        monkeypatch.setattr(type(api.opened.stores.portals), method, gone)

    assert (await guest.get("/portal", 503)).says("try again")
    await visitor(api).enter(made, 503)


async def test_an_operation_is_followed_until_the_session_is_over(api: Api) -> None:
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    guest = await consumer(api)
    await guest.get("/portal/operations/job")
    store = api.opened.stores.tickets
    async with api.opened.base.database.read() as tx:
        (name,) = [row[0] for row in await tx.sql("SELECT id FROM portal_links")]

    assert await store.in_force([name, "key_admin", "pl_none"]) == {name, "key_admin"}
    await guest.send("/portal/sign-out")
    assert await store.in_force([name]) == frozenset()


async def test_colours_are_chosen_within_an_iframe_too(api: Api) -> None:
    guest = await consumer(api)
    answer = await guest.client.post(
        "/portal/theme", data={"theme": "dark", "next": "/portal/events"}, headers=OWN
    )

    assert answer.headers["location"] == "/portal/events"
    assert "Partitioned" in answer.headers["set-cookie"]
    assert 'data-theme="dark"' in (await guest.client.get("/portal")).text


def forms_of(api: Api) -> dict[str, tuple[Scope | None, bool]]:
    """Paths of the portal that take forms, with their scope, and whether they need it all."""

    async def ready() -> str | None:
        return None

    keeper: Any = Doorkeeper
    found = {}
    for route in portal_routes(console_services(api.opened, ready), keeper):
        actions = getattr(getattr(route, "endpoint", None), "_actions", {})
        if "POST" in actions:
            action = actions["POST"]
            found[str(route.path).removeprefix("/portal")] = (action.scope, action.whole)  # type: ignore[attr-defined]  # every route here has one
    return found


async def test_everything_in_the_portal_needs_a_scope_that_a_link_may_have(api: Api) -> None:
    forms = forms_of(api)

    assert len(forms) >= 15
    assert {scope for scope, _ in forms.values()} <= set(CONSUMER_SCOPES)
    assert set(CONSUMER_SCOPES) > DEFAULT_SCOPES


async def test_forms_about_more_than_one_subscription_are_not_there_for_one(api: Api) -> None:
    hook = await api.subscribe()
    await api.post("/v1/operations/job/events", {"type": "STARTED"})
    guest = await consumer(api, subscriptionId=hook["id"], scopes=ALL)

    for path in [path for path, (_, whole) in forms_of(api).items() if whole]:
        for name in (hook["id"], "job"):
            answer = await guest.send(f"/portal{path.format(id=name)}", {"url": "https://a.test"})
            assert answer.status_code == 404, path
    assert len((await api.get("/v1/subscriptions"))["data"]) == 1
    assert (await api.get("/v1/operations/job"))["status"] == "PROCESSING"
