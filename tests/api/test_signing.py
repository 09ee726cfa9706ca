"""What signs a subscription's deliveries: chosen, changed, rotated, shown."""

import base64
from typing import Any

import pytest

from service.domain.signature import key_bytes, verify_body, verify_standard
from tests.support.api import Api, pointers, problem
from tests.support.asymmetric import entries, verifies
from tests.support.receiver import Received, Receiver

PATH = "/v1/subscriptions"


async def patched(api: Api, made: dict[str, Any], **members: object) -> dict[str, Any]:
    answer = await api.call("PATCH", f"{PATH}/{made['id']}", members)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def tried(api: Api, made: dict[str, Any], receiver: Receiver) -> Received:
    """The request of a test event."""
    await api.post(f"{PATH}/{made['id']}/test", None, 200)
    return receiver.requests[-1]


@pytest.mark.parametrize("signing", ["ed25519", "both"])
async def test_the_public_key_is_shown(api: Api, signing: str) -> None:
    made = await api.subscribe(signing=signing)

    assert len(base64.b64decode(made["publicKey"].removeprefix("whpk_"))) == 32
    assert made["secret"].startswith("whsec_")
    shown = await api.get(f"{PATH}/{made['id']}")
    assert (shown["signing"], shown["publicKey"]) == (signing, made["publicKey"])
    assert "secret" not in shown
    assert (await api.get(PATH))["data"] == [shown]


async def test_no_two_keys_are_the_same(api: Api) -> None:
    keys = {(await api.subscribe(signing="ed25519"))["publicKey"] for _ in range(5)}

    assert len(keys) == 5


@pytest.mark.parametrize("given", [{}, {"signing": "hmac"}, {"signing": None}])
async def test_secrets_sign_by_default(api: Api, given: dict[str, Any]) -> None:
    made = await api.subscribe(**given)

    assert made["signing"] == "hmac"
    assert "publicKey" not in made


@pytest.mark.parametrize("given", ["rsa", "ED25519", "", 1, True, ["hmac"], {}])
async def test_other_ways_are_refused(api: Api, given: object) -> None:
    made = await api.subscribe()
    body = {"url": made["url"], "signing": given}
    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{made['id']}")):
        refused = problem(await api.call(method, path, body), 422, "invalid")
        assert pointers(refused) == ["/signing"]
        assert refused["errors"][0]["detail"] == "must be 'hmac' or 'ed25519' or 'both'"


@pytest.mark.parametrize("prefix", ["whsk_", "whpk_"])
async def test_private_keys_are_made_here_only(api: Api, prefix: str) -> None:
    secret = prefix + base64.b64encode(b"k" * 32).decode()
    body = {"url": "https://example.com", "signing": "ed25519", "secret": secret}
    refused = problem(await api.call("POST", PATH, body), 422, "invalid")

    assert pointers(refused) == ["/secret"]
    assert "Ringback makes these itself" in refused["errors"][0]["detail"]


async def test_a_change_makes_a_key_and_keeps_it(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url())
    both = await patched(api, made, signing="both")
    key = both["publicKey"]
    assert (await patched(api, made, signing="ed25519"))["publicKey"] == key
    assert (await patched(api, made, description="x"))["publicKey"] == key
    assert verifies(key, await tried(api, made, receiver))
    back = await patched(api, made, signing=None)
    assert back["signing"] == "hmac"
    assert "publicKey" not in back
    assert entries(await tried(api, made, receiver)) == ["v1"]
    assert (await patched(api, made, signing="ed25519"))["publicKey"] == key


async def test_a_change_that_is_refused_makes_no_key(api: Api) -> None:
    made = await api.subscribe()
    body = {"signing": "ed25519", "url": "http://10.0.0.1/"}
    problem(await api.call("PATCH", f"{PATH}/{made['id']}", body), 422, "invalid")

    assert (await api.get(f"{PATH}/{made['id']}"))["signing"] == "hmac"
    assert (await api.get("/.well-known/jwks.json"))["keys"] == []
    assert "publicKey" not in (await api.get(f"{PATH}/{made['id']}/secret"))["secrets"][0]


@pytest.mark.parametrize("signing", ["ed25519", "both"])
async def test_a_rotation_rotates_keys_too(api: Api, receiver: Receiver, signing: str) -> None:
    made = await api.subscribe(receiver.url(), signing=signing)
    path = f"{PATH}/{made['id']}"
    rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 60}, 200)
    assert rotated["publicKey"] != made["publicKey"]
    assert rotated["secret"] != made["secret"]

    request = await tried(api, made, receiver)
    assert verifies(made["publicKey"], request)
    assert verifies(rotated["publicKey"], request)
    versions = ["v1a", "v1a"] if signing == "ed25519" else ["v1", "v1", "v1a", "v1a"]
    assert entries(request) == versions
    revealed = await api.get(f"{path}/secret")
    assert [each["publicKey"] for each in revealed["secrets"]] == [
        rotated["publicKey"],
        made["publicKey"],
    ]
    now = int(request.headers["webhook-timestamp"])
    for secret in (made["secret"], rotated["secret"]):
        fault = verify_standard([key_bytes(secret)], request.headers, request.body, now)
        assert (fault is None) == (signing == "both")


async def test_without_overlap_the_old_key_is_gone_at_once(api: Api, receiver: Receiver) -> None:
    made = await api.subscribe(receiver.url(), signing="ed25519")
    path = f"{PATH}/{made['id']}"
    rotated = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 0}, 200)

    request = await tried(api, made, receiver)
    assert entries(request) == ["v1a"]
    assert verifies(rotated["publicKey"], request)
    assert not verifies(made["publicKey"], request)
    assert len((await api.get("/.well-known/jwks.json"))["keys"]) == 1


async def test_a_key_that_comes_during_an_overlap_signs_at_once(
    api: Api, receiver: Receiver
) -> None:
    made = await api.subscribe(receiver.url())
    await api.post(f"{PATH}/{made['id']}/rotate-secret", {"overlapSeconds": 60}, 200)
    both = await patched(api, made, signing="both")

    request = await tried(api, made, receiver)
    assert entries(request) == ["v1", "v1", "v1a"]
    assert verifies(both["publicKey"], request)


async def test_a_rotation_while_no_key_signs_leaves_the_next_to_be_made(
    api: Api, receiver: Receiver
) -> None:
    made = await api.subscribe(receiver.url(), signing="ed25519")
    await patched(api, made, signing="hmac")
    rotated = await api.post(f"{PATH}/{made['id']}/rotate-secret", {"overlapSeconds": 60}, 200)
    assert "publicKey" not in rotated
    again = await patched(api, made, signing="ed25519")
    assert again["publicKey"] != made["publicKey"]

    request = await tried(api, made, receiver)
    assert entries(request) == ["v1a", "v1a"]
    assert verifies(again["publicKey"], request)


async def test_a_secret_of_ones_own_beside_a_key(api: Api, receiver: Receiver) -> None:
    own = "a secret of ours"
    made = await api.subscribe(receiver.url(), signing="both", secret=own)

    request = await tried(api, made, receiver)
    assert made["secret"] == own
    signature = request.headers["x-webhook-signature"]
    assert verify_body(key_bytes(own), signature, request.body) is None


async def test_a_repeated_creation_shows_the_same_key(api: Api) -> None:
    body = {"url": "https://example.com/hook", "signing": "both"}
    once = {"idempotency-key": "once"}
    first, again = [await api.call("POST", PATH, body, headers=once) for _ in range(2)]

    assert first.content == again.content
    assert len((await api.get("/.well-known/jwks.json"))["keys"]) == 1


async def test_callbacks_of_operations_are_signed_by_their_secret(
    api: Api, receiver: Receiver
) -> None:
    body = {"type": "job", "webhook": {"url": receiver.url()}}
    made = await api.post("/v1/operations", body)
    await api.post(f"/v1/operations/{made['operationId']}/events", {"type": "COMPLETED"})
    await api.deliver()

    (request,) = await receiver.wait_for(1)
    assert entries(request) == ["v1"]
    webhook = {**body, "webhook": {"url": receiver.url(), "signing": "ed25519"}}
    refused = problem(await api.call("POST", "/v1/operations", webhook), 422, "invalid")
    assert pointers(refused) == ["/webhook/signing"]


async def test_a_callback_that_was_changed_is_inherited_as_it_is(
    api: Api, receiver: Receiver
) -> None:
    body = {"type": "job", "webhook": {"url": receiver.url(), "events": ["FAILED"]}}
    made = await api.post("/v1/operations", body)
    own = await patched(api, {"id": made["webhook"]["subscriptionId"]}, signing="both")
    failure = {"type": "FAILED", "error": {"title": "no", "retryable": True}}
    await api.post(f"/v1/operations/{made['operationId']}/events", failure)
    second = await api.post(f"/v1/operations/{made['operationId']}/retry")
    await api.post(f"/v1/operations/{second['operationId']}/events", failure)
    await api.deliver()

    for request in await receiver.wait_for(2):
        assert entries(request) == ["v1", "v1a"]
        assert verifies(own["publicKey"], request)
    assert len((await api.get("/.well-known/jwks.json"))["keys"]) == 1  # the same for both


async def test_the_audit_log_tells_of_it(api: Api) -> None:
    made = await api.subscribe()
    await patched(api, made, signing="ed25519")
    newest = (await api.get("/v1/audit-log?limit=1"))["data"][0]

    assert newest["action"] == "subscription.changed"
    assert newest["detail"] == {"changed": ["signing", "public_key"]}
