"""Signatures from outside: by secrets, by private keys, and while both are rotated under load."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.asymmetric import entries, text_of, verifies
from tests.support.blackbox import Blackbox, verify_body
from tests.support.receiver import Received, Receiver

#: Seconds for which both sign.
OVERLAP = 2.0
#: Events in one request, and requests under way at once.
BATCH, PRODUCERS = 5, 4


async def keys_of(api: Blackbox, subscription: dict[str, Any]) -> list[str]:
    """The public keys of a subscription, as anybody may get them."""
    path = "/.well-known/jwks.json"
    found = await api.http.get(
        path, params={"subscriptionId": subscription["id"]}, headers={"authorization": ""}
    )
    assert found.status_code == 200, found.text
    return [text_of(each) for each in found.json()["keys"]]


async def test_a_private_key_signs_instead_of_the_secret(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    made = await api.subscribe(receiver.url("/"), operationTypes=[kind], signing="ed25519")
    await api.event("op-" + kind, "a", operationType=kind)
    await receiver.wait_for(1)
    await api.post(f"/v1/subscriptions/{made['id']}/test", None, 200)

    for request in await receiver.wait_for(2):
        assert entries(request) == ["v1a"]
        assert verifies(made["publicKey"], request)
        assert "x-webhook-signature" not in request.headers
    assert await keys_of(api, made) == [made["publicKey"]]


async def test_both_sign(api: Blackbox, receiver: Receiver, kind: str) -> None:
    made = await api.subscribe(receiver.url("/"), operationTypes=[kind], signing="both")
    await api.event("op-" + kind, "a", operationType=kind)

    (request,) = await receiver.wait_for(1)
    assert entries(request) == ["v1", "v1a"]
    assert verifies(made["publicKey"], request)
    Webhook(made["secret"]).verify(request.body, request.headers)
    verify_body(made["secret"], request)


async def test_a_running_receiver_changes_over(
    api: Blackbox, receiver: Receiver, kind: str
) -> None:
    made = await api.subscribe(receiver.url("/"), operationTypes=[kind])
    path, seen = f"/v1/subscriptions/{made['id']}", []
    assert await keys_of(api, made) == []
    for count, signing in enumerate(("hmac", "both", "ed25519", "hmac", "ed25519"), 1):
        changed = (await api.http.patch(path, json={"signing": signing})).json()
        assert changed["signing"] == signing
        await api.event("op-" + kind, "a", operationType=kind)
        request = (await receiver.wait_for(count))[-1]
        seen.append((entries(request), changed.get("publicKey")))

    key = seen[1][1]
    assert verifies(str(key), receiver.requests[-1])
    assert seen == [
        (["v1"], None),
        (["v1", "v1a"], key),
        (["v1a"], key),
        (["v1"], None),
        (["v1a"], key),
    ]


# --- rotation under load


@dataclass
class Load:
    """Events posted without pause; which of them after the rotation was answered."""

    api: Blackbox
    kind: str
    posted: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    rotated: bool = False
    over: bool = False

    async def run(self, number: int) -> None:
        event = {"operationType": self.kind, "type": "a"}
        batch = [{**event, "operationId": f"op-{self.kind}-{number}"}] * BATCH
        while not self.over:
            is_late = self.rotated
            ids = {each["id"] for each in (await self.api.post("/v1/events", batch))["data"]}
            self.posted |= ids
            self.late |= ids if is_late else set()


@dataclass(frozen=True)
class Credentials:
    """What a receiver verifies with that knows of one version only."""

    signing: str
    secret: str
    public_key: str | None

    def fit(self, request: Received) -> bool:
        """Whether everything that is signed verifies."""
        by_secret = self.signing == "ed25519" or _fits(self.secret, request)
        return by_secret and (self.public_key is None or verifies(self.public_key, request))


def _fits(secret: str, request: Received) -> bool:
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.parametrize("signing", ["hmac", "ed25519", "both"])
async def test_rotation_under_load(
    api: Blackbox, receiver: Receiver, kind: str, signing: str
) -> None:
    made = await api.subscribe(receiver.url("/"), operationTypes=[kind], signing=signing)
    load = Load(api, kind)
    async with asyncio.TaskGroup() as tasks:
        for number in range(PRODUCERS):
            tasks.create_task(load.run(number))
        await receiver.wait_for(50)
        asked = time.time()
        path = f"/v1/subscriptions/{made['id']}/rotate-secret"
        rotated = await api.post(path, {"overlapSeconds": OVERLAP}, 200)
        load.rotated = True
        old = Credentials(signing, made["secret"], made.get("publicKey"))
        new = Credentials(signing, rotated["secret"], rotated.get("publicKey"))
        await until(receiver, lambda request: not old.fit(request), OVERLAP + 15)
        load.over = True
    await api.deliveries(made, len(load.posted), "delivered", timeout=30)

    assert {each.headers["webhook-id"] for each in receiver.requests} == load.posted
    checked = check(receiver.requests, load, (old, new), asked + OVERLAP)
    assert checked["both"] >= 50, checked
    assert checked["new"] >= 1, checked
    if signing != "hmac":
        assert old.public_key != new.public_key
        assert await keys_of(api, made) == [new.public_key]


async def until(receiver: Receiver, holds: Callable[[Received], bool], patience: float) -> None:
    """Wait for a request of which it holds."""
    deadline, seen = time.monotonic() + patience, 0
    while True:
        seen = len(await receiver.wait_for(seen + 1, patience))
        if holds(receiver.requests[seen - 1]):
            return
        assert time.monotonic() < deadline


def check(
    requests: list[Received], load: Load, by: tuple[Credentials, Credentials], end: float
) -> dict[str, int]:
    """How many verify by which; not one of them by neither, or too early not by both."""
    old, new = by
    found = {"old": 0, "both": 0, "new": 0}
    for request in requests:
        fits = (old.fit(request), new.fit(request))
        assert any(fits), request.headers
        if request.wall < end:  # whoever knows the old one only is served until the overlap ends
            assert fits[0], request.headers
            if signature := request.headers.get("x-webhook-signature"):
                assert signature.startswith("sha256=")
                verify_body(old.secret, request)
        if request.headers["webhook-id"] in load.late:  # whoever knows the new one, from then on
            assert fits[1], request.headers
        found["both" if all(fits) else "old" if fits[0] else "new"] += 1
    return found
