"""Who gets in, for how long, and what no other site can make them do."""

from typing import Final

import pytest
from starlette.requests import Request

from service.console.sessions import Cookies, Sessions
from service.domain.api_keys import Scope
from service.domain.rate import MAX_FAILURES
from tests.support.api import ADMIN, Api
from tests.support.console import OWN, Visitor, administrator, visitor

pytestmark = pytest.mark.anyio

COOKIE: Final = "__Host-ringback-console"
#: What browsers say of forms that pages elsewhere sent.
FOREIGN: Final[tuple[dict[str, str], ...]] = (
    {"sec-fetch-site": "cross-site", "origin": "https://evil.test"},
    {"sec-fetch-site": "same-site", "origin": "https://other.ringback.test"},
    {"sec-fetch-site": "none"},
    {"origin": "https://evil.test"},
    {"origin": "null"},
    {},
)


async def test_the_bare_address_of_the_service_leads_to_the_console(api: Api) -> None:
    """It is what people type first; programs have no business there."""
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    found = await visitor(api).client.get("/", headers=browser)
    assert (found.status_code, found.headers["location"]) == (303, "/console")
    for program in (
        await visitor(api).client.get("/"),
        await visitor(api).client.post("/", headers=browser),
    ):
        assert program.headers["content-type"] == "application/problem+json"


async def test_a_stranger_is_asked_for_a_key_and_then_gets_where_he_wanted(api: Api) -> None:
    stranger = visitor(api)
    asked = await stranger.client.get("/console/deliveries?status=dead")
    assert asked.status_code == 303
    assert (
        asked.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fdeliveries%3Fstatus%3Ddead"
    )

    form = {"key": ADMIN, "next": "/console/deliveries?status=dead"}
    answer = await stranger.client.post("/console/sign-in", data=form, headers=OWN)

    assert answer.headers["location"] == "/console/deliveries?status=dead"
    assert (await stranger.client.get(answer.headers["location"])).status_code == 200


async def test_a_link_elsewhere_leads_to_the_page_and_not_to_the_door(admin: Visitor) -> None:
    """Browsers keep the strict cookie to themselves on such a way; the page then asks itself."""
    address = "/console/deliveries?status=dead&eventType=%22%3E"
    admin.client.cookies.clear()
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    answer = await admin.client.get(address, headers=elsewhere)

    assert answer.status_code == 200
    assert f'content="0;url={address.replace("&", "&amp;")}"' in answer.text
    again = await admin.client.get(address, headers={"sec-fetch-site": "same-origin"})
    assert again.status_code == 303


async def test_the_cookie_is_for_this_host_and_no_script_and_holds_no_key(api: Api) -> None:
    answer = await visitor(api).sign_in(ADMIN)

    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert set(attributes) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict", "Secure"}
    assert ADMIN not in name


async def test_nobody_is_sent_elsewhere_after_signing_in(api: Api) -> None:
    for where in (
        *("https://evil.test/console", "//evil.test/console", "/v1/stats", "javascript:1"),
        *("/console/\r\nx: y", "/console/../v1", "/consoleevil", "/console//evil.test\\"),
    ):
        form = {"key": ADMIN, "next": where}
        answer = await visitor(api).client.post("/console/sign-in", data=form, headers=OWN)
        assert answer.headers["location"].startswith("/console"), where
        assert not answer.headers["location"].startswith("/consoleevil")


async def test_a_wrong_key_lets_nobody_in_and_counts_as_a_guess_at_the_api_does(api: Api) -> None:
    stranger = visitor(api)
    for _ in range(MAX_FAILURES):
        refused = await stranger.sign_in("rb_wrong", 401)
        assert "unknown, revoked or expired" in refused.text
        assert "set-cookie" not in refused.headers

    shut_out = await stranger.sign_in("rb_wrong", 429)
    assert int(shut_out.headers["retry-after"]) > 0
    wrong = {"authorization": "Bearer rb_wrong"}
    assert (await api.call("GET", "/v1/stats", headers=wrong)).status_code == 429
    await stranger.sign_in(ADMIN)


async def test_a_session_ends_with_its_key(api: Api) -> None:
    key = await api.key(Scope.DELIVERIES_READ)
    text = key["authorization"].removeprefix("Bearer ")
    guest = visitor(api)
    await guest.sign_in(text)
    await guest.get("/console/deliveries")

    assert (await api.call("DELETE", f"/v1/api-keys/{text}")).status_code == 204

    answer = await guest.client.get("/console/deliveries")
    assert answer.status_code == 303
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    refreshed = await guest.client.get("/console/deliveries", headers={"hx-request": "true"})
    assert (refreshed.status_code, refreshed.headers["hx-redirect"][:16]) == (
        401,
        "/console/sign-in",
    )


async def test_a_session_ends_after_twelve_hours(api: Api, admin: Visitor) -> None:
    clock = api.opened.base.clock
    begun = clock.now()
    admin_cookie = dict(admin.client.cookies)[COOKIE]

    class Later:
        def now(self) -> int:
            return begun + 12 * 3_600_000 + 60_000

        def monotonic(self) -> float:
            return clock.monotonic()

    base = api.opened.base
    request = _request({"cookie": f"{COOKIE}={admin_cookie}"})
    cookies = Cookies("console", secure=True)
    assert Sessions(base.vault, clock, base.dice, cookies).of(request) is not None
    assert Sessions(base.vault, Later(), base.dice, cookies).of(request) is None


async def test_a_made_up_cookie_is_none(api: Api) -> None:
    for text in ("x", "=", "AAAA", "djE6azE6" + "A" * 80, "\xe9", "A" * 5000):
        header = f"{COOKIE}={text}".encode()
        answer = await visitor(api).client.get("/console", headers={b"cookie": header})
        assert answer.status_code == 303, text


async def test_signing_out_ends_it_in_this_browser(admin: Visitor) -> None:
    answer = await admin.send("/console/sign-out")

    assert answer.headers["location"] == "/console/sign-in"
    assert (await admin.client.get("/console")).status_code == 303


async def test_forms_of_other_sites_do_nothing(api: Api, admin: Visitor) -> None:
    subscription = await api.subscribe()
    path = f"/console/subscriptions/{subscription['id']}/pause"
    data = {"token": (await admin.get("/console")).token}
    stranger = visitor(api)

    for headers in FOREIGN:
        answer = await admin.client.post(path, data=data, headers=headers)
        assert answer.status_code == 403, headers
        signed = await stranger.client.post(
            "/console/sign-in", data={"key": ADMIN}, headers=headers
        )
        assert (signed.status_code, "set-cookie" in signed.headers) == (403, False)

    assert (await api.get(f"/v1/subscriptions/{subscription['id']}"))["status"] == "active"


async def test_a_form_without_the_sessions_token_does_nothing(api: Api, admin: Visitor) -> None:
    subscription = await api.subscribe()
    other = (await (await administrator(api)).get("/console")).token
    path = f"/console/subscriptions/{subscription['id']}/pause"

    for data in ({"none": ""}, {"token": ""}, {"token": "x"}, {"token": "é"}, {"token": other}):
        assert (await admin.client.post(path, data=data, headers=OWN)).status_code == 403

    assert (await api.get(f"/v1/subscriptions/{subscription['id']}"))["status"] == "active"


async def test_an_older_browser_that_names_only_the_origin_is_served(
    api: Api, admin: Visitor
) -> None:
    subscription = await api.subscribe()
    token = (await admin.get("/console")).token

    answer = await admin.client.post(
        f"/console/subscriptions/{subscription['id']}/pause",
        data={"token": token},
        headers={"origin": OWN["origin"]},
    )

    assert answer.status_code == 303


async def test_colours_are_chosen_without_a_session(api: Api) -> None:
    stranger = visitor(api)
    form = {"theme": "dark", "next": "/console/sign-in"}
    answer = await stranger.client.post("/console/theme", data=form, headers=OWN)

    assert answer.headers["location"] == "/console/sign-in"
    assert 'data-theme="dark"' in (await stranger.client.get("/console/sign-in")).text


async def test_with_plain_http_the_cookie_is_one_that_browsers_take(api: Api) -> None:
    base = api.opened.base
    cookies = Cookies("console", secure=False)
    sessions = Sessions(base.vault, base.clock, base.dice, cookies)
    _, header = sessions.kept(sessions.begin(ADMIN))

    assert header.startswith("ringback-console=")
    assert "Secure" not in header


def _request(headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})
