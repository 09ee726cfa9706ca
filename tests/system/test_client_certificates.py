"""Certificates from outside: receivers that want to know who calls, and own authorities."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.asymmetric import verifies
from tests.support.authority import Authority, Pair
from tests.support.blackbox import Blackbox, blackbox, verify
from tests.support.receiver import Receiver
from tests.support.server import LOCAL, Server, ringback
from tests.system.conftest import StartServer

ROOT = Authority.make("Receivers")
ACME = ROOT.client("acme")
NEW_RING = "k2:" + "Mg" * 21 + "I="


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Receiver]:
    """A receiver that talks to clients of its authority only."""
    async with Receiver(tls=ROOT.requiring(ROOT.server(), tmp_path)) as receiver:
        yield receiver


def identity(pair: Pair = ACME) -> dict[str, str]:
    return {
        "clientCertificate": pair.certificate,
        "clientKey": pair.key,
        "caCertificate": ROOT.pem,
    }


async def attempted(api: Blackbox, subscription: dict[str, Any]) -> dict[str, Any]:
    """The one attempt of its one delivery, as soon as it is dead."""
    delivery = await api.delivery(subscription, "dead")
    attempt: dict[str, Any] = delivery["attempts"][0]
    return attempt


async def test_a_delivery_shows_its_certificate(api: Blackbox, strict: Receiver, kind: str) -> None:
    made = await api.subscribe(strict.url("/"), operationTypes=[kind], **identity())
    await api.event("op-" + kind, "a", operationType=kind)

    (request,) = await strict.wait_for(1)
    verify(made["secret"], request)
    await api.deliveries(made, 1, "delivered")
    trial = await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    assert trial["statusCode"] == 200


@pytest.mark.parametrize("members", [{}, identity(Authority.make("Others").client())])
async def test_without_the_right_one_tls_fails(
    api: Blackbox, strict: Receiver, kind: str, members: dict[str, str]
) -> None:
    known = await api.subscribe(strict.url("/known"), operationTypes=[kind], **identity())
    made = await api.subscribe(
        strict.url("/"),
        operationTypes=[kind],
        retrySchedule=[0],
        **{"caCertificate": ROOT.pem, **members},
    )
    await api.event("op-" + kind, "a", operationType=kind)

    attempt = await attempted(api, made)
    assert attempt["errorClass"] == "tls"
    assert attempt["message"]
    await api.deliveries(known, 1, "delivered")
    assert [each.path for each in strict.requests] == ["/known"]
    trial = await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)
    assert trial["errorClass"] == "tls"


async def test_an_own_authority_is_trusted_by_its_subscription_only(
    api: Blackbox, strict: Receiver, kind: str
) -> None:
    members = {"clientCertificate": ACME.certificate, "clientKey": ACME.key}
    made = await api.subscribe(strict.url("/"), operationTypes=[kind], retrySchedule=[0], **members)
    await api.subscribe(strict.url("/"), **identity())
    await api.event("op-" + kind, "a", operationType=kind)

    attempt = await attempted(api, made)
    assert attempt["errorClass"] == "tls"
    assert "certificate was not accepted" in attempt["message"]


async def test_certificates_are_changed_and_removed(
    api: Blackbox, strict: Receiver, kind: str
) -> None:
    made = await api.subscribe(
        strict.url("/"), operationTypes=[kind], retrySchedule=[0], caCertificate=ROOT.pem
    )
    path = f"/v1/subscriptions/{made['id']}"

    async def trial(body: dict[str, Any]) -> Any:  # noqa: ANN401  any JSON
        changed = await api.http.patch(path, json=body)
        assert changed.status_code == 200, changed.text
        return (await api.post(f"{path}/test", None, 200)).get("errorClass")

    assert await trial({}) == "tls"
    assert await trial({"clientCertificate": ACME.certificate, "clientKey": ACME.key}) is None
    renewed = ROOT.client("acme")
    assert await trial({"clientCertificate": renewed.certificate, "clientKey": renewed.key}) is None
    assert await trial({"clientCertificate": None}) == "tls"
    assert len(strict.requests) == 2
    assert len({each.connection for each in strict.requests}) == 2


async def test_a_certificate_that_has_expired_is_the_receivers_to_judge(
    api: Blackbox, strict: Receiver, kind: str
) -> None:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    short = ROOT.client("short", end=dt.timedelta(seconds=3))
    made = await api.subscribe(
        strict.url("/"), operationTypes=[kind], retrySchedule=[0], **identity(short)
    )
    shown = dt.datetime.fromisoformat(made["clientCertificate"]["notAfter"])
    assert abs(shown - end) < dt.timedelta(seconds=3)
    while dt.datetime.now(dt.UTC) <= shown + dt.timedelta(seconds=1):  # noqa: ASYNC110  the clock tells nobody
        await asyncio.sleep(0.1)
    await api.event("op-" + kind, "a", operationType=kind)

    assert (await attempted(api, made))["errorClass"] == "tls"
    assert strict.requests == []
    path = f"/v1/subscriptions/{made['id']}"
    answer = await api.http.patch(path, json={"clientKey": short.key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/clientCertificate"
    assert "expired at" in answer.json()["errors"][0]["detail"]
    answer = await api.http.patch(path, json={"caCertificate": None, "description": "x"})
    assert answer.status_code == 200


async def test_keys_are_stored_encrypted_and_shown_nowhere(
    start_server: StartServer, strict: Receiver
) -> None:
    server = start_server()
    key = {"idempotency-key": "once"}
    body = {"url": strict.url("/"), "signing": "both", **identity()}
    async with blackbox(server) as api:
        made = (await api.http.post("/v1/subscriptions", json=body, headers=key)).json()
        path = f"/v1/subscriptions/{made['id']}"
        await api.event("op-1", "STARTED")
        delivery = await api.delivery(made, "delivered")
        answers = [
            made,
            delivery,
            await api.get(path),
            await api.get("/v1/subscriptions"),
            await api.get(f"{path}/secret"),
            await api.post(f"{path}/test", None, 200),
            await api.get("/v1/audit-log"),
        ]
        api.made.clear()
    assert server.stop() == 0

    text = json.dumps(answers) + server.output
    stored = b"".join(each.read_bytes() for each in server.database.parent.glob("ringback.db*"))
    for line in ACME.key.splitlines()[1:-1]:
        assert line not in text
        assert line.encode() not in stored
    assert "BEGIN" not in text
    assert made["clientCertificate"]["subject"] == "CN=acme"
    await check_rekeyed(server, strict, made)


async def check_rekeyed(server: Server, strict: Receiver, made: dict[str, Any]) -> None:
    """With another encryption key alone everything still opens."""
    keys = server.folder / "data" / "encryption.keys"
    both = f"{NEW_RING},{keys.read_text().strip()}"
    done = ringback(server.folder, "rekey", settings={"RINGBACK_ENCRYPTION_KEYS": both})
    assert (done.returncode, done.stderr) == (0, "")
    keys.unlink()
    server.settings = {**LOCAL, "RINGBACK_ENCRYPTION_KEYS": NEW_RING}
    await asyncio.to_thread(server.start)
    async with blackbox(server) as api:
        before = len(strict.requests)
        await api.event("op-2", "STARTED")
        request = (await strict.wait_for(before + 1))[-1]
        verify(made["secret"], request)
        assert verifies(made["publicKey"], request)
