"""Certificates of subscriptions: registered with reasons, changed half by half, shown as facts."""

import base64
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, opened_api, pointers, problem
from tests.support.authority import Authority, Pair
from tests.support.receiver import Receiver

PATH = "/v1/subscriptions"
URL = "https://example.com/hook"
ROOT, OTHER = Authority.make("Root"), Authority.make("Other")
ACME, ZETA = ROOT.client("acme"), ROOT.client("zeta")
OLD = ROOT.client("old", end=-dt.timedelta(days=1))
CA = {"caCertificate": ROOT.pem}


def client(pair: Pair = ACME) -> dict[str, str]:
    return {"clientCertificate": pair.certificate, "clientKey": pair.key}


def subjects(shown: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Whose certificates are shown: the client's, the authorities'."""
    own = shown.get("clientCertificate")
    return own and own["subject"], [each["subject"] for each in shown.get("caCertificate", [])]


async def patched(api: Api, made: dict[str, Any], **members: object) -> dict[str, Any]:
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", members)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found == await api.get(f"{PATH}/{made['id']}")
    return found


async def refused(api: Api, made: dict[str, Any], **members: object) -> dict[str, Any]:
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", members)
    return problem(answer, 422, "invalid")


async def test_only_facts_are_shown(api: Api) -> None:
    made = await api.subscribe(URL, **client(), caCertificate=ROOT.pem + OTHER.pem)

    assert subjects(made) == ("CN=acme", ["CN=Root", "CN=Other"])
    assert set(made["clientCertificate"]) == {"subject", "notAfter", "fingerprint"}
    assert "clientKey" not in made
    listed = await api.call("GET", PATH)
    assert listed.json()["data"][0]["clientCertificate"] == made["clientCertificate"]
    assert "BEGIN" not in listed.text


@pytest.mark.parametrize("members", [client(), CA], ids=["client", "authority"])
async def test_one_goes_without_the_other(api: Api, members: dict[str, str]) -> None:
    made = await api.subscribe(URL, **members)

    assert set(members) - {"clientKey"} == {"clientCertificate", "caCertificate"} & set(made)


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"clientCertificate": ACME.certificate}, ["/clientKey"]),
        ({"clientKey": ACME.key}, ["/clientCertificate"]),
        ({**client(), "clientKey": ZETA.key}, ["/clientKey"]),
        (client(OLD), ["/clientCertificate"]),
        ({"caCertificate": "no"}, ["/caCertificate"]),
        ({"caCertificate": 7, "clientKey": []}, ["/caCertificate", "/clientKey"]),
        (
            {"clientCertificate": "a", "clientKey": "b", "caCertificate": "c"},
            ["/caCertificate", "/clientCertificate", "/clientKey"],
        ),
        (
            {"clientCertificate": "a", "clientKey": ACME.key, "headers": {"host": "x"}},
            ["/clientCertificate", "/headers/host"],
        ),
        ({**client(), "url": "http://127.0.0.1:9/"}, ["/url"]),
        ({**CA, "url": "HTTP://127.0.0.1:9/"}, ["/url"]),
    ],
)
async def test_faults_of_certificates(api: Api, members: dict[str, Any], where: list[str]) -> None:
    document = problem(await api.call("POST", PATH, {"url": URL, **members}), 422, "invalid")

    assert pointers(document) == where
    assert ACME.key[40:80] not in str(document)
    assert (await api.get(PATH))["data"] == []


async def test_halves_are_changed_by_themselves(api: Api) -> None:
    made = await api.subscribe(URL)
    assert subjects(await patched(api, made, **client())) == ("CN=acme", [])
    assert subjects(await patched(api, made, **CA)) == ("CN=acme", ["CN=Root"])
    assert subjects(await patched(api, made, **client(ZETA))) == ("CN=zeta", ["CN=Root"])
    assert subjects(await patched(api, made, caCertificate=OTHER.pem)) == (
        "CN=zeta",
        ["CN=Other"],
    )
    assert subjects(await patched(api, made, description="x")) == ("CN=zeta", ["CN=Other"])
    assert subjects(await patched(api, made, clientCertificate=None)) == (None, ["CN=Other"])
    assert subjects(await patched(api, made, caCertificate=None)) == (None, [])


async def test_a_renewed_certificate_may_keep_its_key(api: Api) -> None:
    key = ROOT.client("acme")
    made = await api.subscribe(URL, **client(key))
    renewed = ROOT.client("renewed", key=key.private())

    assert subjects(await patched(api, made, clientCertificate=renewed.certificate))[0] == (
        "CN=renewed"
    )
    assert pointers(await refused(api, made, clientCertificate=ZETA.certificate)) == ["/clientKey"]
    assert pointers(await refused(api, made, clientKey=ZETA.key)) == ["/clientKey"]


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"clientKey": None}, ["/clientKey"]),
        ({"clientCertificate": None, "clientKey": ACME.key}, ["/clientCertificate"]),
        ({"url": "http://127.0.0.1:9/"}, ["/url"]),
    ],
)
async def test_a_half_half_is_refused(api: Api, members: dict[str, Any], where: list[str]) -> None:
    made = await api.subscribe(URL, **client(), **CA)

    assert pointers(await refused(api, made, **members)) == where
    assert subjects(await api.get(f"{PATH}/{made['id']}")) == ("CN=acme", ["CN=Root"])


async def test_nulls_are_nothing(api: Api) -> None:
    nothing = dict.fromkeys(("clientCertificate", "clientKey", "caCertificate"))
    made = await api.subscribe(URL, **nothing)
    assert subjects(made) == (None, [])
    await patched(api, made, **client(), **CA)
    assert subjects(await patched(api, made, **nothing)) == (None, [])
    assert (await patched(api, made, url="http://127.0.0.1:9/"))["url"] == "http://127.0.0.1:9/"


async def test_what_tls_does_not_take_is_told(api: Api) -> None:
    weak = Authority.weak(ROOT)
    leaf = weak.client()
    given = {"clientCertificate": leaf.certificate + weak.pem, "clientKey": leaf.key}
    document = problem(await api.call("POST", PATH, {"url": URL, **given}), 422, "invalid")

    assert document["errors"] == [
        {"pointer": "/clientCertificate", "detail": "TLS does not take it: ca key too small."}
    ]


async def test_every_way_of_sending_goes_by_the_same_identity(api: Api, tmp_path: Path) -> None:
    async with Receiver(tls=ROOT.requiring(ROOT.server(), tmp_path)) as receiver:
        made = await api.subscribe(receiver.url(), **client(), **CA)
        await api.post("/v1/operations/op_1/events", {"type": "a"})
        await api.deliver()
        attempt = await api.post(f"{PATH}/{made['id']}/test", None, 200)
        assert attempt["statusCode"] == 200
        assert [each.connection for each in receiver.requests] == [1, 1]


async def test_a_callback_that_was_changed_is_inherited_with_its_certificates(
    api: Api, tmp_path: Path
) -> None:
    async with Receiver(tls=ROOT.requiring(ROOT.server(), tmp_path)) as receiver:
        body = {"type": "job", "webhook": {"url": receiver.url(), "events": ["FAILED"]}}
        made = await api.post("/v1/operations", body)
        await patched(api, {"id": made["webhook"]["subscriptionId"]}, **client(), **CA)
        failure = {"type": "FAILED", "error": {"title": "no", "retryable": True}}
        await api.post(f"/v1/operations/{made['operationId']}/events", failure)
        second = await api.post(f"/v1/operations/{made['operationId']}/retry")
        await api.post(f"/v1/operations/{second['operationId']}/events", failure)
        await api.deliver()
        await receiver.wait_for(2)
    heir = await api.get(f"{PATH}/{second['webhook']['subscriptionId']}")
    assert subjects(heir) == ("CN=acme", ["CN=Root"])


async def test_certificates_whose_encryption_key_is_gone_can_be_replaced(
    database_path: Path,
) -> None:
    k1, k2 = (f"{kid}:{base64.b64encode(kid.encode() * 16).decode()}" for kid in ("k1", "k2"))
    made: dict[str, Any] = {}
    # the first and the last open, which is all that a start looks at
    for ring in (k2, f"{k1},{k2}", f"{k2},{k1}"):
        async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=ring) as api:
            subscription = await api.subscribe(URL, **client(), **CA)
            made = subscription if ring.startswith(k1) else made
    async with opened_api(database_path, RINGBACK_ENCRYPTION_KEYS=k2) as api:
        path = f"{PATH}/{made['id']}"
        document = problem(await api.call("PATCH", path, {"caCertificate": None}), 409, "conflict")
        assert "'k1', which is not on the key ring" in document["detail"]
        assert subjects(await patched(api, made, **client(ZETA), **CA)) == ("CN=zeta", ["CN=Root"])
