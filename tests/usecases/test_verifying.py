"""A receiver is asked before anything is stored, and only who wants that waits for it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.domain.errors import Refusal, RefusalKind
from service.domain.outcome import Outcome, Responded, Timing
from service.domain.signature import key_bytes, verify_body, verify_standard
from service.domain.subscription import Subscription, Verification
from service.ports import Principal
from service.store import schema
from service.usecases.asking import Asking
from service.usecases.compose import Composer, Wire
from service.usecases.deliver import Deliver, Pace
from service.usecases.making import Maker
from service.usecases.manage_subscriptions import (
    ManageSubscriptions,
    SubscriptionInput,
    WithSecret,
)
from service.usecases.try_subscription import Trial, TrySubscription
from service.usecases.verifying import Verifier
from service.vault.keyring import parse_key_ring
from tests.support.sending import ScriptedSender, Sent, Wakes, WatchedStore
from tests.support.world import World, answer, event, kept

pytestmark = pytest.mark.anyio

ME = Principal("key_1", "default", frozenset())
ORIGIN = "hooks.example.com"
ASK, AGREE, NONE = Verification.CHALLENGE, Verification.CLOUDEVENTS, Verification.NONE
RING = "k1:" + base64.b64encode(b"1" * 32).decode()
A, B, C = "https://a.example/hook", "https://b.example/hook", "https://c.example/hook"
#: As many as may be asked at once, for one tenant and for all.
OF_TENANT, IN_ALL = 16, 128


def echoing(sent: Sent) -> Outcome:
    """A receiver that agrees to everything, and takes every event."""
    if sent.method == "OPTIONS":
        origin = sent.headers["webhook-request-origin"]
        return answer(204, {"webhook-allowed-origin": origin, "webhook-allowed-rate": "600"})
    challenge = json.loads(sent.body).get("challenge", "")
    return Responded(200, (), challenge.encode(), body_cut=False, timing=Timing(1.0))


@dataclass
class Desk:
    """Subscriptions as their owners handle them, before receivers that a script stands for."""

    world: World
    sender: ScriptedSender = field(default_factory=lambda: ScriptedSender(echoing))

    def __post_init__(self) -> None:
        world = self.world
        vault = parse_key_ring(RING)
        maker = Maker(world.clock, world.dice, world.keys)
        wire = Wire("Ringback/test", f"https://{ORIGIN}", 20.0)
        composer = Composer(vault, world.clock, world.dice, wire)
        asked = (world.manage, self.sender, composer, maker, Asking())
        verifier = Verifier(*asked)
        self.trials = TrySubscription(*asked)
        self.manage = ManageSubscriptions(world.manage, verifier, vault, Wakes(), maker)
        self.store = WatchedStore(world.deliver)
        pace, chance = Pace(world.schedule, 30.0), (world.clock, world.dice)
        self.deliver = Deliver(self.store, self.sender, composer, chance, pace)

    async def create(self, url: str = A, *, who: Principal = ME, **members: Any) -> Any:  # noqa: ANN401  members and results of many types
        given = SubscriptionInput({"url": url, **members}, secret=None)
        return await self.manage.create(who, given, None)

    async def made(self, url: str = A, **members: Any) -> WithSecret:  # noqa: ANN401  as create
        made = await self.create(url, **members)
        assert isinstance(made, WithSecret), made
        return made

    async def change(self, name: str, **members: Any) -> Subscription | Refusal:  # noqa: ANN401  as create
        return await self.manage.change(ME, name, SubscriptionInput(members))

    async def stored(self) -> list[Subscription]:
        rows = await self.world.rows(schema.subscriptions)
        found = [await self.world.read.subscription("default", row["id"]) for row in rows]
        return [each for each in found if each is not None]

    async def noted(self) -> list[tuple[str, dict[str, Any]]]:
        """What was noted of receivers that were asked."""
        rows = await self.world.rows(schema.audit_log)
        return [
            (row["action"].removeprefix("subscription."), json.loads(row["detail"]))
            for row in rows
            if "verif" in row["action"]
        ]

    def asked(self) -> list[tuple[str, str]]:
        return [(each.method, each.url) for each in self.sender.sent]


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    desk = Desk(world)
    yield desk
    await desk.deliver.stop(0)


def refused(result: object, kind: RefusalKind = RefusalKind.INVALID) -> Refusal:
    assert isinstance(result, Refusal), result
    assert result.kind is kind
    return result


# --- a new subscription


@pytest.mark.parametrize(("way", "method"), [(ASK, "POST"), (AGREE, "OPTIONS")])
async def test_who_agrees_gets_a_subscription(desk: Desk, way: Verification, method: str) -> None:
    made = (await desk.made(verification=way)).subscription
    assert desk.asked() == [(method, A)]
    assert made.verified_at == desk.world.clock.now()
    assert made.allowed_per_minute == (600 if way is AGREE else None)
    assert await desk.stored() == [made]
    status = 204 if way is AGREE else 200
    detail = {"host": "a.example", "verification": way.value, "statusCode": status}
    assert await desk.noted() == [("verified", detail)]


@pytest.mark.parametrize("way", [ASK, AGREE])
async def test_who_does_not_gets_none(desk: Desk, way: Verification) -> None:
    desk.sender.script = lambda _: answer(404)
    refusal = refused(await desk.create(verification=way))
    (fault,) = refusal.faults
    assert fault.pointer == "/url"
    assert "answered 404" in fault.detail
    assert await desk.stored() == []
    ((action, detail),) = await desk.noted()
    assert action == "verification_failed"
    assert (detail["host"], detail["statusCode"]) == ("a.example", 404)


@pytest.mark.parametrize("way", [ASK, AGREE])
async def test_nothing_is_stored_and_nothing_locked_while_it_is_asked(
    desk: Desk, way: Verification
) -> None:
    desk.sender.hold(A)
    asking = asyncio.create_task(desk.create(verification=way))
    await desk.sender.wait_for(1)

    await desk.world.posted(event())  # the store's only writer is free
    assert await desk.stored() == []
    assert await desk.noted() == []

    desk.sender.let_go(A)
    assert isinstance(await asking, WithSecret)
    assert len(await desk.stored()) == 1


async def test_faults_are_found_before_anybody_is_asked(desk: Desk) -> None:
    given = SubscriptionInput({"url": A, "verification": ASK}, {"host": "x"}, "short")
    refusal = refused(await desk.manage.create(ME, given, None))
    assert [fault.pointer for fault in refusal.faults] == ["/secret", "/headers/host"]
    assert desk.asked() == []


async def test_a_challenge_is_signed_as_deliveries_are(desk: Desk) -> None:
    """Of several new ones each with its own secret, whole where deliveries are thin."""
    one = await desk.made(A, verification=ASK, payload="thin", timeout_seconds=2.5)
    two = await desk.made(B, verification=ASK)
    now = desk.world.clock.now() // 1000
    for made, sent in zip((one, two), desk.sender.sent, strict=True):
        key = key_bytes(made.secret)
        assert verify_standard([key], sent.headers, sent.body, now) is None
        assert verify_body(key, sent.headers["x-webhook-signature"], sent.body) is None
        body = json.loads(sent.body)
        assert body["type"] == sent.headers["x-webhook-event"] == "webhook.challenge"
        assert body["id"] == sent.headers["webhook-id"]
        assert len(bytes.fromhex(body["challenge"])) >= 16
    challenges = {json.loads(each.body)["challenge"] for each in desk.sender.sent}
    assert len(challenges) == 2
    assert [each.timeout for each in desk.sender.sent] == [2.5, 20.0]


async def test_permission_is_asked_for_at_the_rate_that_is_wanted(desk: Desk) -> None:
    await desk.made(verification=AGREE, rate_limit_per_second=2.5)
    await desk.made(verification=AGREE)
    rates = [each.headers.get("webhook-request-rate") for each in desk.sender.sent]
    assert rates == ["150", None]
    assert {each.headers["webhook-request-origin"] for each in desk.sender.sent} == {ORIGIN}
    assert {each.body for each in desk.sender.sent} == {b""}


async def test_what_was_done_once_is_not_asked_again(desk: Desk) -> None:
    given = SubscriptionInput({"url": A, "verification": ASK})
    for _ in range(2):
        await desk.manage.create(ME, given, kept())
    other = kept(fingerprint=b"g")
    refused(await desk.manage.create(ME, given, other), RefusalKind.IDEMPOTENCY_KEY_REUSED)
    assert desk.asked() == [("POST", A)]
    assert len(await desk.stored()) == 1


async def test_a_refusal_is_not_kept_as_an_answer(desk: Desk) -> None:
    given = SubscriptionInput({"url": A, "verification": ASK})
    desk.sender.script = lambda _: answer(500)
    refused(await desk.manage.create(ME, given, kept()))
    desk.sender.script = echoing
    assert isinstance(await desk.manage.create(ME, given, kept()), WithSecret)


# --- how many at once


async def asking(desk: Desk, tenant: str, count: int) -> list[asyncio.Task[Any]]:
    """So many that wait for a receiver which hangs."""
    before = len(desk.sender.sent)
    who = Principal("key_1", tenant, frozenset())
    tasks = [asyncio.create_task(desk.create(who=who, verification=ASK)) for _ in range(count)]
    await desk.sender.wait_for(before + count)
    return tasks


async def test_few_are_asked_at_once(desk: Desk) -> None:
    desk.sender.hold(A)
    waiting = await asking(desk, "default", OF_TENANT)
    refusal = refused(await desk.create(verification=ASK), RefusalKind.TOO_MANY_REQUESTS)
    assert refusal.retry_after
    assert isinstance(await desk.create(B), WithSecret)  # who is not asked waits for nobody

    for number in range(IN_ALL // OF_TENANT - 1):
        await desk.world.tenant(f"t{number}")
        waiting += await asking(desk, f"t{number}", OF_TENANT)
    await desk.world.tenant("last")
    last = Principal("key_1", "last", frozenset())
    refused(await desk.create(who=last, verification=ASK), RefusalKind.TOO_MANY_REQUESTS)

    desk.sender.let_go(A)
    assert all(isinstance(each, WithSecret) for each in await asyncio.gather(*waiting))
    assert isinstance(await desk.create(who=last, verification=ASK), WithSecret)


async def test_tests_are_asked_with_them(desk: Desk) -> None:
    tried = (await desk.made(B)).subscription.id
    desk.sender.hold(A)
    waiting = await asking(desk, "default", OF_TENANT)
    refused(await desk.trials.send(ME, tried), RefusalKind.TOO_MANY_REQUESTS)
    desk.sender.let_go(A)
    await asyncio.gather(*waiting)
    assert isinstance(await desk.trials.send(ME, tried), Trial)

    desk.sender.hold(B)
    sent = len(desk.sender.sent)
    trials = [asyncio.create_task(desk.trials.send(ME, tried)) for _ in range(OF_TENANT)]
    await desk.sender.wait_for(sent + OF_TENANT)
    refused(await desk.create(verification=ASK), RefusalKind.TOO_MANY_REQUESTS)
    refused(await desk.trials.send(ME, tried), RefusalKind.TOO_MANY_REQUESTS)
    desk.sender.let_go(B)
    assert all(isinstance(each, Trial) for each in await asyncio.gather(*trials))


async def test_who_gives_up_waiting_makes_room(desk: Desk) -> None:
    desk.sender.hold(A)
    waiting = await asking(desk, "default", OF_TENANT)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    desk.sender.let_go(A)
    assert isinstance(await desk.create(verification=ASK), WithSecret)
    assert len(await desk.stored()) == 1


# --- a change


async def test_another_url_is_asked_before_anything_changes(desk: Desk) -> None:
    made = (await desk.made(verification=ASK)).subscription
    desk.world.clock.advance(1_000)
    desk.sender.hold(B)
    changing = asyncio.create_task(desk.change(made.id, url=B))
    await desk.sender.wait_for(2)
    assert await desk.stored() == [made]

    desk.sender.let_go(B)
    after = await changing
    assert isinstance(after, Subscription)
    assert (after.url, after.verified_at) == (B, desk.world.clock.now())


async def test_one_who_does_not_agree_gets_nothing_and_the_other_everything(desk: Desk) -> None:
    """Also not by what the worker remembers of how to send."""
    made = await desk.made(verification=ASK)
    name = made.subscription.id
    desk.sender.script = lambda sent: answer(404) if sent.url == B else echoing(sent)
    refused(await desk.change(name, url=B))
    assert await desk.stored() == [made.subscription]

    await desk.world.posted(event())
    await desk.deliver.serve([made.subscription.no])
    await desk.store.wait_for(1)

    assert [url for _, url in desk.asked()] == [A, B, A]
    delivered = desk.sender.sent[-1]
    now = desk.world.clock.now() // 1000
    keys = [key_bytes(made.secret)]
    assert verify_standard(keys, delivered.headers, delivered.body, now) is None


async def test_what_does_not_concern_the_receiver_is_not_its_business(desk: Desk) -> None:
    made = (await desk.made(verification=ASK)).subscription
    for members in ({"description": "x"}, {"url": A}, {"event_types": ("a",)}):
        assert isinstance(await desk.change(made.id, **members), Subscription)
    assert desk.asked() == [("POST", A)]


async def test_to_name_the_way_is_to_ask_again(desk: Desk) -> None:
    made = (await desk.made(verification=AGREE)).subscription
    desk.sender.script = lambda _: answer(
        200, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "60"}
    )
    after = await desk.change(made.id, verification=AGREE)
    assert isinstance(after, Subscription)
    assert (made.allowed_per_minute, after.allowed_per_minute) == (600, 60)
    desk.sender.script = lambda _: answer(500)
    refused(await desk.change(made.id, verification=AGREE))
    refused(await desk.change(made.id, verification=ASK))
    assert await desk.stored() == [after]


async def test_who_is_not_to_be_asked_has_not_agreed(desk: Desk) -> None:
    made = (await desk.made(verification=AGREE)).subscription
    after = await desk.change(made.id, url=B, verification=NONE)
    assert isinstance(after, Subscription)
    assert (after.url, after.verification, after.rate) == (B, NONE, None)
    assert after.verified_at is None
    assert desk.asked() == [("OPTIONS", A)]


async def test_what_changed_meanwhile_stays(desk: Desk) -> None:
    made = (await desk.made(verification=ASK)).subscription
    desk.sender.hold(B)
    changing = asyncio.create_task(desk.change(made.id, url=B, description="mine"))
    await desk.sender.wait_for(2)
    other = await desk.change(made.id, verification=AGREE)
    desk.sender.let_go(B)

    refused(await changing, RefusalKind.CONFLICT)
    assert await desk.stored() == [other]


async def test_two_changes_that_do_not_meet_are_both_made(desk: Desk) -> None:
    made = (await desk.made(verification=ASK)).subscription
    desk.sender.hold(B)
    changing = asyncio.create_task(desk.change(made.id, url=B))
    await desk.sender.wait_for(2)
    await desk.change(made.id, description="theirs")
    desk.sender.let_go(B)

    after = await changing
    assert isinstance(after, Subscription)
    assert (after.url, after.description) == (B, "theirs")


async def test_one_deleted_meanwhile_is_gone(desk: Desk) -> None:
    made = (await desk.made(verification=ASK)).subscription
    desk.sender.hold(B)
    changing = asyncio.create_task(desk.change(made.id, url=B))
    await desk.sender.wait_for(2)
    assert await desk.manage.delete(ME, made.id) is None
    desk.sender.let_go(B)
    refused(await changing, RefusalKind.NOT_FOUND)
    refused(await desk.change(made.id, url=C), RefusalKind.NOT_FOUND)
    assert [url for _, url in desk.asked()] == [A, B]


async def test_while_secrets_rotate_both_sign_the_challenge(desk: Desk) -> None:
    made = await desk.made(verification=ASK)
    rotated = await desk.manage.rotate(ME, made.subscription.id, 60.0)
    assert isinstance(rotated, WithSecret)
    await desk.change(made.subscription.id, url=B)
    sent = desk.sender.sent[-1]
    now = desk.world.clock.now() // 1000
    for secret in (made.secret, rotated.secret):
        assert verify_standard([key_bytes(secret)], sent.headers, sent.body, now) is None


# --- what follows from it


async def test_deliveries_name_the_origin_that_was_agreed_to(desk: Desk) -> None:
    origins = {}
    for way, url in ((NONE, A), (ASK, B), (AGREE, C)):
        made = (await desk.made(url, verification=way)).subscription
        await desk.world.posted(event())
        await desk.deliver.serve([made.no])
    await desk.store.wait_for(3)
    for sent in desk.sender.sent:
        if sent.headers.get("x-webhook-event") == "note":
            origins[sent.url] = sent.headers.get("webhook-request-origin")
    assert origins == {A: None, B: None, C: ORIGIN}


@pytest.mark.parametrize("default", [NONE, ASK, AGREE])
async def test_who_says_nothing_gets_what_the_tenant_has(desk: Desk, default: Verification) -> None:
    await desk.world.sql("UPDATE tenants SET verification = ?", default.value)
    silent = await desk.made(A)
    null = await desk.made(B, verification=None)
    own = await desk.made(C, verification=NONE)
    found = [each.subscription.verification for each in (silent, null, own)]
    assert found == [default, default, NONE]
    assert {url for _, url in desk.asked()} == (set() if default is NONE else {A, B})
    reset = await desk.change(own.subscription.id, verification=None)
    assert isinstance(reset, Subscription)
    assert reset.verification is default
    assert (reset.verified_at is None) == (default is NONE)
