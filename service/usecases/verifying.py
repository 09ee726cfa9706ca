"""Verify a URL: its receiver is asked before anything is stored, and no transaction is open then.

Whoever asks waits for the receiver, at most as long as a delivery to it would.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from service.domain import attempt_log, verification
from service.domain.certificates import TlsIdentity
from service.domain.errors import Fault, Refusal, invalid
from service.domain.outcome import Outcome
from service.domain.subscription import Secret, Signing, Subscription, Verification, changed
from service.domain.verification import Consent
from service.ports import Lane, ManageStore, NewSubscription, Once, Principal, Replayed, Sender
from service.usecases.asking import Asking
from service.usecases.compose import Composer
from service.usecases.lone_event import lone_event
from service.usecases.making import Maker

#: What a subscription becomes; or why not.
Change = Callable[[Subscription], Subscription | Refusal]

_NAME: Final = "verification"


class Verifier:
    """Judges URLs by their text, and by what their receivers say."""

    def __init__(
        self,
        store: ManageStore,
        sender: Sender,
        composer: Composer,
        maker: Maker,
        asking: Asking,
    ) -> None:
        self._store = store
        self._sender = sender
        self._composer = composer
        self._maker = maker
        self._asking = asking

    def check_url(self, url: str) -> str | None:
        """Why this URL may not be called, in words; ``None`` when it may. Asks nobody."""
        return self._sender.check_url(url)

    def check_identity(self, identity: TlsIdentity) -> str | None:
        """Why TLS does not take this identity, in words; ``None`` when it does."""
        return self._sender.check_identity(identity)

    async def named(self, tenant_id: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """The members with the tenant's own way of verification where they have ``None``."""
        if _NAME not in members or members[_NAME] is not None:
            return members
        return {**members, _NAME: await self._store.default_verification(tenant_id)}

    async def agreed(
        self, who: Principal, new: NewSubscription, once: Once | None
    ) -> NewSubscription | Refusal | Replayed:
        """The new subscription with what its receiver agreed to, where it had to be asked."""
        wanted = new.subscription
        if wanted.verification is Verification.NONE:
            return new
        kept = None if once is None else await self._store.replayed(who.tenant_id, once)
        if kept is not None:
            return kept
        secret = Secret(
            version=1,
            sealed=new.secret,
            created_at=wanted.created_at,
            sealed_key=new.key and new.key.sealed,
            public_key=new.key and new.key.public,
        )
        asked = await self._ask(who, Lane(wanted, (secret,)))
        return asked if isinstance(asked, Refusal) else replace(new, subscription=asked)

    async def checked(
        self, who: Principal, name: str, change: Change, *, named: bool
    ) -> Change | Refusal:
        """The change together with what the receiver agreed to, where it had to be asked.

        ``named``: the change says how to verify; then the receiver is asked in any case.
        """
        lane = await self._store.lane(who.tenant_id, name)
        if isinstance(lane, Refusal):
            return lane
        wanted = change(lane.subscription)
        if isinstance(wanted, Refusal):
            return wanted
        asked: Subscription | Refusal | None = None
        if verification.is_due(lane.subscription, wanted, named=named):
            asked = await self._ask(who, Lane(wanted, lane.secrets))
        if isinstance(asked, Refusal):
            return asked
        return _with_consent(change, asked)

    async def _ask(self, who: Principal, lane: Lane) -> Subscription | Refusal:
        with self._asking.one(who.tenant_id) as refusal:
            if refusal is not None:
                return refusal
            outcome, said = await self._answered(lane)
        wanted = lane.subscription
        await self._note(who, wanted, outcome, agreed=isinstance(said, Consent))
        if isinstance(said, str):
            return invalid(Fault("/url", said))
        now = self._maker.clock.now()
        return changed(wanted, verified_at=now, allowed_per_minute=said.per_minute)

    async def _answered(self, lane: Lane) -> tuple[Outcome, Consent | str]:
        """Ask, and judge the answer; no transaction is open."""
        if lane.subscription.verification is Verification.CHALLENGE:
            return await self._challenged(lane)
        request = self._composer.compose_permission(lane)
        outcome = await self._sender.send(request)
        wanted = verification.wanted_rate(lane.subscription)
        return outcome, verification.judge_permission(outcome, self._composer.origin, wanted)

    async def _challenged(self, lane: Lane) -> tuple[Outcome, Consent | str]:
        challenge = self._maker.dice.bytes(verification.CHALLENGE_BYTES).hex()
        # there is no event to fetch, and a key not yet made is known to nobody
        signing = _present(lane)
        subscription = changed(lane.subscription, payload="full", signing=signing)
        members = {"challenge": challenge}
        event = lone_event(self._maker, subscription, verification.CHALLENGE_TYPE, members)
        request = self._composer.compose_unstored(Lane(subscription, lane.secrets), event)
        outcome = await self._sender.send(request)
        return outcome, verification.judge_challenge(outcome, challenge)

    async def _note(
        self, who: Principal, wanted: Subscription, outcome: Outcome, *, agreed: bool
    ) -> None:
        # the host only, and no word of the answer: the rest may hold secrets
        host, way = urlsplit(wanted.url).hostname, wanted.verification.value
        status, error, _ = attempt_log.error_of(outcome)
        detail = {"host": host, _NAME: way, "statusCode": status, "errorClass": error}
        told = json.dumps({name: value for name, value in detail.items() if value is not None})
        action = "verified" if agreed else "verification_failed"
        await self._store.note(who, f"subscription.{action}", wanted.id, told)


def _present(lane: Lane) -> Signing:
    """What can sign now: the key that a change asks for is made together with the change."""
    has_key = lane.secrets[0].sealed_key is not None
    return lane.subscription.signing if has_key else Signing.HMAC


def _with_consent(change: Change, asked: Subscription | None) -> Change:
    def checked(now: Subscription) -> Subscription | Refusal:
        wanted = change(now)
        if isinstance(wanted, Refusal):
            return wanted
        return verification.settled(now, wanted, asked)

    return checked
