"""What somebody typed is there to be copied when the form that held it was not taken."""

import re
from pathlib import Path
from typing import Final

import pytest

from service.console import layout
from service.console.typed import LABELS
from service.domain.api_keys import Scope
from service.ports import StoreUnavailableError
from service.usecases.manage_subscriptions import ManageSubscriptions
from tests.support.api import Api
from tests.support.authority import Authority
from tests.support.console import OWN, Document, Visitor, consumer, visitor

pytestmark = pytest.mark.anyio

PATH: Final = "/console/subscriptions"
TYPED: Final = {
    "url": "https://example.com/long?a=1&b=2",
    "description": "Shop & <b>Co</b>",
    "metadata": '{\r\n  "team": "shop"\r\n}',
}
HEADING: Final = "What you had typed"
#: Of fields whose texts are never shown again.
SECRETS: Final = {
    "secret": "a secret of one's own",
    "headers": "authorization: Bearer open-sesame",
    "clientKey": "-----BEGIN PRIVATE KEY-----",
    "clientCertificate": "-----BEGIN CERTIFICATE-----",
    "key": "rb_a_key",
    "link": "pl_a_link",
    "token": "a-token",
}


def shows(answer: Document) -> None:
    assert answer.says(HEADING)
    for text in TYPED.values():
        assert answer.says(" ".join(text.split()))
    assert "<b>Co" not in answer.html
    assert "\r" not in answer.html


async def test_a_form_of_an_older_session(admin: Visitor) -> None:
    answer = await admin.client.post(PATH, data={"token": "older", **TYPED}, headers=OWN)

    assert answer.status_code == 403
    shows(Document(answer.text))


async def test_a_form_of_nobody_known(api: Api) -> None:
    answer = await visitor(api).client.post(PATH, data=TYPED, headers=OWN)

    page = Document(answer.text)
    assert answer.status_code == 401
    shows(page)
    assert ("a", "_blank") in [(tag, had.get("target")) for tag, had in page.tags]


async def test_a_form_of_a_key_that_was_revoked(api: Api) -> None:
    key = await api.key(Scope.SUBSCRIPTIONS_WRITE, Scope.SUBSCRIPTIONS_READ)
    text = key["authorization"].removeprefix("Bearer ")
    guest = visitor(api)
    await guest.sign_in(text)
    assert (await api.call("DELETE", f"/v1/api-keys/{text}")).status_code == 204

    answer = await guest.client.post(PATH, data=TYPED, headers=OWN)

    assert answer.status_code == 401
    assert "set-cookie" in answer.headers
    shows(Document(answer.text))


async def test_a_form_that_the_key_may_not_send(api: Api) -> None:
    key = await api.key(Scope.SUBSCRIPTIONS_READ)
    guest = visitor(api)
    await guest.sign_in(key["authorization"].removeprefix("Bearer "))

    answer = await guest.send(PATH, TYPED)

    assert answer.status_code == 403
    shows(Document(answer.text))


async def test_a_form_that_the_store_did_not_take(
    admin: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(ManageSubscriptions, "create", away)
    answer = await admin.send(PATH, TYPED)

    assert answer.status_code == 503
    shows(Document(answer.text))


async def test_a_form_about_what_is_gone(admin: Visitor) -> None:
    answer = await admin.send(f"{PATH}/sub_none/edit", TYPED)

    assert answer.status_code == 404
    shows(Document(answer.text))


async def test_no_secret_comes_back(api: Api, admin: Visitor) -> None:
    key = Authority.make("Somebody's").server().key
    sent = {**TYPED, **SECRETS, "clientKey": key}

    for who in (admin, visitor(api)):
        answer = await who.client.post(PATH, data=sent, headers=OWN)
        page = Document(answer.text)
        shows(page)
        assert page.says("are left out")
        for text in (*SECRETS.values(), key.splitlines()[1]):
            assert text not in answer.text.replace("&#39;", "'"), text


async def test_a_form_of_another_site_is_not_repeated(api: Api, admin: Visitor) -> None:
    elsewhere = {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}

    for who in (admin, visitor(api)):
        for headers in (elsewhere, {}):
            answer = await who.client.post(PATH, data=TYPED, headers=headers)
            assert not Document(answer.text).says(HEADING)
            assert "example.com/long" not in answer.text


def test_every_field_that_is_typed_into_is_shown_or_left_out() -> None:
    folder = Path(layout.__file__).parent / "templates"
    pages = "".join(each.read_text("utf-8") for each in folder.glob("*.html"))
    fields = set(re.findall(r'fields\.(?:text|lines|pick)\(filled, "(\w+)"', pages))

    assert fields - LABELS.keys() == {
        *("secret", "headers", "clientKey", "clientCertificate", "caCertificate")
    }


async def test_a_button_has_nothing_to_copy(admin: Visitor) -> None:
    answer = await admin.client.post(f"{PATH}/sub_1/pause", data={"token": "older"}, headers=OWN)

    assert answer.status_code == 403
    assert not Document(answer.text).says(HEADING)


async def test_what_is_too_long_or_no_form_is_refused_as_before(api: Api) -> None:
    guest = visitor(api)
    long = await guest.client.post(PATH, data={"metadata": "x" * 70_000}, headers=OWN)
    other = await guest.client.post(PATH, json=TYPED, headers=OWN)

    for answer in (long, other):
        assert answer.status_code == 401
        assert not Document(answer.text).says(HEADING)


async def test_a_form_of_the_portal(api: Api) -> None:
    guest = await consumer(api)
    answer = await guest.client.post(
        "/portal/subscriptions", data={"token": "older", **TYPED}, headers=OWN
    )

    assert answer.status_code == 403
    shows(Document(answer.text))
