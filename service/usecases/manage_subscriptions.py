"""Subscriptions as their owners handle them: make, change, pause, resume, delete, secrets, test.

Secrets and the values of headers are sealed before they reach the store.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, overload

from service.domain import times
from service.domain.attempt_log import MASK
from service.domain.errors import Fault, Refusal, conflict, invalid
from service.domain.request import header_faults
from service.domain.signature import SEED_BYTES, new_secret, secret_fault
from service.domain.subscription import (
    Secret,
    Signing,
    Subscription,
    SubscriptionStatus,
    Verification,
    changed,
    headers_context,
    key_context,
    secret_context,
)
from service.ports import (
    ManageStore,
    NewKey,
    NewSubscription,
    Once,
    Principal,
    Replayed,
    Rotation,
    SealedKey,
    Vault,
    Waker,
)
from service.usecases.certificates import Certificates, Given, plain_fault
from service.usecases.making import Maker
from service.usecases.verifying import Change, Verifier

T = TypeVar("T")

#: Bytes of chance in a secret made here (Standard Webhooks: 24 to 64).
_SECRET_BYTES: Final = 32
#: What a subscription is without a word about it.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "event_types": ("*",),
    "operation_types": (),
    "payload": "full",
    "ordering": "none",
    "signing": Signing.HMAC,
    "verification": Verification.NONE,
}
#: Members by which the receiver may come to be asked whether it agrees.
_ASKED_ABOUT: Final = frozenset({"url", "verification"})


@dataclass(frozen=True, slots=True)
class SubscriptionInput:
    """What its owner says of a subscription. A member that is ``None`` takes its default."""

    #: Members of :class:`Subscription` by name, apart from the headers.
    members: Mapping[str, Any]
    #: Header values by name; ``None`` when nothing is said of them.
    headers: Mapping[str, str] | None = None
    secret: str | None = None
    #: Certificates, as far as something is said of them.
    tls: Given = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class WithSecret:
    """A subscription and the secret that may be shown this once."""

    subscription: Subscription
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A subscription without faults, sealed, and its secret in plain text."""

    new: NewSubscription
    secret: str = field(repr=False)
    #: Whether it was made here.
    secret_is_new: bool


@dataclass(frozen=True, slots=True)
class OpenSecret:
    """A secret in plain text, and since when and until when it signs."""

    text: str = field(repr=False)
    secret: Secret


class ManageSubscriptions:
    """Everything that changes a subscription."""

    def __init__(
        self, store: ManageStore, verifier: Verifier, vault: Vault, waker: Waker, maker: Maker
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._vault = vault
        self._waker = waker
        self._maker = maker
        self._certificates = Certificates(vault, verifier.check_identity, maker.clock)

    async def create(
        self, who: Principal, given: SubscriptionInput, once: Once | None
    ) -> WithSecret | Refusal | Replayed:
        """Make a subscription with the secret given, or with a new one; its receiver agreed."""
        members = {"verification": None, **given.members}
        given = replace(given, members=await self._verifier.named(who.tenant_id, members))
        prepared = self.prepare(who.tenant_id, given)
        if not isinstance(prepared, Prepared):
            return invalid(*prepared)
        new = await self._verifier.agreed(who, prepared.new, once)
        if not isinstance(new, NewSubscription):
            return new
        secret = prepared.secret
        made = await self._store.create_subscription(new, who.key_id, _shown(once, secret))
        return WithSecret(made, secret) if isinstance(made, Subscription) else made

    def prepare(self, tenant_id: str, given: SubscriptionInput) -> Prepared | list[Fault]:
        """A subscription as it is to be made, with the secret given or with a new one."""
        now, _, name = self._maker.name("sub")
        bare = Subscription(
            no=0,
            id=name,
            tenant_id=tenant_id,
            url=given.members["url"],
            created_at=now,
            updated_at=now,
        )
        subscription = self._applied(bare, given, {})
        if not isinstance(subscription, Subscription):
            return subscription
        secret = self._new_secret() if given.secret is None else given.secret
        sealed = self._vault.seal(secret.encode(), secret_context(name, 1))
        key = self._new_key(name)(1) if subscription.signing.by_key else None
        new = NewSubscription(subscription, sealed, key)
        return Prepared(new, secret, secret_is_new=given.secret is None)

    def reseal(self, sealed: bytes, context: str, other: str) -> bytes:
        """What is sealed in one context, sealed in another."""
        return self._vault.seal(self._vault.open(sealed, context), other)

    async def change(
        self, who: Principal, name: str, given: SubscriptionInput, version: int | None = None
    ) -> Subscription | Refusal:
        """Change the members that were given; ``None`` resets one to its default.

        With ``version`` nothing is changed in a subscription that is another one by now.
        """
        members = await self._verifier.named(who.tenant_id, given.members)
        given = replace(given, members=members)

        def apply(now: Subscription) -> Subscription | Refusal:
            if version not in (None, now.version):
                return _changed_meanwhile(name)
            masked = MASK in (given.headers or {}).values()
            known = self._headers_of(now) if masked else {}
            after = self._applied(now, given, known)
            return after if isinstance(after, Subscription) else invalid(*after)

        change: Change | Refusal = apply
        if _ASKED_ABOUT & members.keys():
            named = "verification" in members
            change = await self._verifier.checked(who, name, apply, named=named)
        if isinstance(change, Refusal):
            return change
        key, action = self._new_key(name), "subscription.changed"
        return await self._store.change_subscription(
            who.tenant_id, name, change, who.key_id, action, key
        )

    async def pause(self, who: Principal, name: str) -> Subscription | Refusal:
        """Let deliveries be made and wait."""
        return await self._store.change_subscription(
            who.tenant_id, name, _paused, who.key_id, "subscription.paused"
        )

    async def resume(self, who: Principal, name: str) -> Subscription | Refusal:
        """Send again, whatever kept it from it: a pause, a hold, its circuit, being disabled."""
        resumed = await self._store.resume_subscription(who.tenant_id, name, who.key_id)
        if isinstance(resumed, Subscription):
            self._waker.wake([resumed.no])
        return resumed

    async def delete(self, who: Principal, name: str) -> Refusal | None:
        """Delete it; what waits for it becomes dead letters."""
        return await self._store.delete_subscription(who.tenant_id, name, who.key_id)

    @overload
    async def rotate(self, who: Principal, name: str, overlap: float) -> WithSecret | Refusal: ...
    @overload
    async def rotate(
        self, who: Principal, name: str, overlap: float, once: Once | None
    ) -> WithSecret | Refusal | Replayed: ...
    async def rotate(
        self, who: Principal, name: str, overlap: float, once: Once | None = None
    ) -> WithSecret | Refusal | Replayed:
        """Give it a new secret; the present one goes on signing for ``overlap`` seconds."""
        secret = self._new_secret()

        def seal(version: int) -> bytes:
            return self._vault.seal(secret.encode(), secret_context(name, version))

        rotation = Rotation(seal, times.seconds(overlap), self._new_key(name))
        rotated = await self._store.rotate_secret(
            who.tenant_id, name, rotation, who.key_id, _shown(once, secret)
        )
        return WithSecret(rotated, secret) if isinstance(rotated, Subscription) else rotated

    async def reveal(self, who: Principal, name: str) -> list[OpenSecret] | Refusal:
        """The secrets that sign now, newest first; the audit log keeps who saw them."""
        lane = await self._store.reveal(who.tenant_id, name, who.key_id)
        if isinstance(lane, Refusal):
            return lane
        return [OpenSecret(self._opened(name, secret), secret) for secret in lane.secrets]

    def _opened(self, name: str, secret: Secret) -> str:
        return self._vault.open(secret.sealed, secret_context(name, secret.version)).decode()

    def _new_secret(self) -> str:
        return new_secret(self._maker.dice.bytes(_SECRET_BYTES))

    def _new_key(self, name: str) -> NewKey:
        """Makes private keys of a subscription, where they are needed."""

        def make(version: int) -> SealedKey:
            return self._vault.new_key(
                self._maker.dice.bytes(SEED_BYTES), key_context(name, version)
            )

        return make

    def _faults(self, given: SubscriptionInput, known: Mapping[str, str]) -> list[Fault]:
        """What the shapes alone do not show."""
        faults = []
        url = given.members.get("url")
        url_fault = None if url is None else self._verifier.check_url(url)
        if url_fault is not None:
            faults.append(Fault("/url", url_fault))
        text_fault = None if given.secret is None else secret_fault(given.secret)
        if text_fault is not None:
            faults.append(Fault("/secret", text_fault))
        if given.headers is not None:
            faults += _masked_faults(given.headers, known)
            faults += header_faults(given.headers)
        return faults

    def _applied(
        self, now: Subscription, given: SubscriptionInput, known: Mapping[str, str]
    ) -> Subscription | list[Fault]:
        """The subscription with what is given; or everything that is wrong with that."""
        faults = self._faults(given, known)
        tls = self._certificates.changed(now, given.tls)
        if faults or isinstance(tls, list):
            return faults + (tls if isinstance(tls, list) else [])
        members = {k: _DEFAULTS.get(k) if v is None else v for k, v in given.members.items()}
        if given.headers is not None:
            members |= self._sealed(now.id, given.headers, known)
        after = changed(now, **members, **tls)
        fault = plain_fault(after)
        return after if fault is None else [fault]

    def _sealed(
        self, name: str, headers: Mapping[str, str], known: Mapping[str, str]
    ) -> dict[str, object]:
        pairs = [(k, known[k.lower()] if v == MASK else v) for k, v in headers.items()]
        plain = json.dumps(pairs).encode()
        sealed = self._vault.seal(plain, headers_context(name)) if pairs else None
        return {"headers": sealed, "header_names": tuple(headers)}

    def _headers_of(self, now: Subscription) -> dict[str, str]:
        if now.headers is None:
            return {}
        pairs = json.loads(self._vault.open(now.headers, headers_context(now.id)))
        return {name.lower(): value for name, value in pairs}


def _masked_faults(headers: Mapping[str, str], known: Mapping[str, str]) -> list[Fault]:
    """Faults of values as they are shown: what was read may be sent back, and then stays."""
    return [
        Fault("/headers", f"{name!r} has the masked value, and there is none to keep; send its own")
        for name, value in headers.items()
        if value == MASK and name.lower() not in known
    ]


def _changed_meanwhile(name: str) -> Refusal:
    return conflict(f"Subscription {name!r} was changed meanwhile. Read it again, then decide.")


def _paused(now: Subscription) -> Subscription | Refusal:
    if now.status is SubscriptionStatus.DISABLED:
        return conflict(
            f"Subscription {now.id!r} is disabled ({now.disabled_reason}) and takes no events. "
            "Resume it first, or leave it.",
            currentStatus=now.status.value,
        )
    return changed(now, status=SubscriptionStatus.PAUSED)


def _shown(once: Once | None, secret: str) -> Once | None:
    """The answer to be kept holds the secret, which the store itself never sees open."""
    if once is None:
        return None

    def render(made: Subscription) -> bytes | None:
        return once.render(WithSecret(made, secret))

    return Once(once.key, once.fingerprint, render)
