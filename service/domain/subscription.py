"""A subscription: where events go, which ones, and how."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal

import msgspec

from service.domain.errors import Refusal, conflict

#: Secrets that may sign at once: each makes every request longer, and takes its time.
MAX_SECRETS: Final = 10


class SubscriptionStatus(StrEnum):
    """Whether a subscription takes and sends deliveries."""

    ACTIVE = "active"
    PAUSED = "paused"  # deliveries are made and wait
    DISABLED = "disabled"  # matches nothing


class Signing(StrEnum):
    """What signs ``webhook-signature``."""

    HMAC = "hmac"
    ED25519 = "ed25519"
    BOTH = "both"

    @property
    def by_secret(self) -> bool:
        """Whether the secret signs."""
        return self is not Signing.ED25519

    @property
    def by_key(self) -> bool:
        """Whether a private key signs."""
        return self is not Signing.HMAC


class Verification(StrEnum):
    """How it is made sure, before anything is sent to a URL, that it wants to be sent to."""

    NONE = "none"
    CHALLENGE = "challenge"
    CLOUDEVENTS = "cloudevents"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook subscription. Times are ms; ``headers`` is sealed: users put tokens there.

    ``tls`` is sealed too: a client certificate with its key and authorities of the owner's own.
    """

    no: int
    id: str
    tenant_id: str
    url: str
    event_types: tuple[str, ...] = ("*",)
    operation_types: tuple[str, ...] = ()
    operation_id: str | None = None
    description: str | None = None
    headers: bytes | None = None
    header_names: tuple[str, ...] = ()
    payload: Literal["full", "thin"] = "full"
    timeout_seconds: float | None = None
    retry_schedule: tuple[float, ...] | None = None
    max_concurrency: int | None = None
    rate_limit_per_second: float | None = None
    #: ``operation``: the events of one operation go one after the other.
    ordering: Literal["none", "operation"] = "none"
    metadata: bytes | None = None
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    disabled_reason: str | None = None
    hold_until: int = 0
    signing: Signing = Signing.HMAC
    #: The Ed25519 public key beside the newest secret, as Standard Webhooks writes it.
    public_key: str | None = None
    verification: Verification = Verification.NONE
    #: When the receiver agreed to be sent to.
    verified_at: int | None = None
    #: Deliveries per minute that the receiver agreed to, where it said.
    allowed_per_minute: int | None = None
    tls: bytes | None = None
    #: What may be shown of the certificates, as JSON.
    tls_facts: bytes | None = None
    created_at: int
    updated_at: int
    #: Grows with every change: what was derived from an older version is stale.
    version: int = 1

    @property
    def rate(self) -> float | None:
        """Sends per second by its own limit and by what its receiver agreed to, where limited."""
        allowed = self.allowed_per_minute
        limits = (self.rate_limit_per_second, None if allowed is None else allowed / 60)
        return min((each for each in limits if each is not None), default=None)


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """One signing secret of a subscription, sealed, and the private key beside it, if any."""

    version: int
    sealed: bytes
    created_at: int
    #: Past this it no longer signs; ``None`` for the newest.
    expires_at: int | None = None
    sealed_key: bytes | None = None
    public_key: str | None = None


def refuse_rotation(name: str, secrets: Iterable[Secret], overlap: int, now: int) -> Refusal | None:
    """Why there may be no new secret whose predecessor signs for ``overlap`` ms beside it."""
    until = (now + overlap if each.expires_at is None else each.expires_at for each in secrets)
    if sum(at > now for at in until) < MAX_SECRETS:
        return None
    return conflict(
        f"Of subscription {name!r} {MAX_SECRETS} secrets would go on signing beside the new one. "
        "Wait until the overlap of one is over; or, with overlapSeconds 0, let the present one end."
    )


def secret_context(subscription_id: str, version: int) -> str:
    """What a sealed secret is bound to."""
    return f"subscription_secrets/{subscription_id}/{version}"


def key_context(subscription_id: str, version: int) -> str:
    """What a sealed private key is bound to."""
    return f"subscription_secrets/{subscription_id}/{version}/key"


def tls_context(subscription_id: str) -> str:
    """What a sealed TLS identity is bound to."""
    return f"subscriptions/{subscription_id}/tls"


def headers_context(subscription_id: str) -> str:
    """What sealed custom headers are bound to."""
    return f"subscriptions/{subscription_id}/headers"


def resumed(subscription: Subscription) -> Subscription:
    """The subscription taking deliveries again: neither paused, held nor disabled."""
    status = SubscriptionStatus.ACTIVE
    return changed(subscription, status=status, disabled_reason=None, hold_until=0)


def changed(subscription: Subscription, **members: object) -> Subscription:
    """The subscription with other members; the store gives it its new version and time."""
    return msgspec.structs.replace(subscription, **members)
