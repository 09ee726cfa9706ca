"""The subscription as it is shown (contract, section 4.3)."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.domain import times
from service.domain.attempt_log import MASK
from service.domain.certificates import CertificateFacts, read_facts
from service.domain.subscription import Subscription
from service.usecases.manage_subscriptions import OpenSecret


class SubscriptionOut(
    msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True
):
    """A subscription. The values of its headers and its secrets are never shown here."""

    id: str
    url: str
    event_types: tuple[str, ...]
    operation_types: tuple[str, ...] = ()
    operation_id: str | None = None
    description: str | None = None
    headers: dict[str, str] | None = None
    payload: str
    ordering: str
    signing: str
    public_key: str | None = None
    client_certificate: CertificateFacts | None = None
    ca_certificate: tuple[CertificateFacts, ...] = ()
    verification: str
    verified_at: str | None = None
    allowed_rate_per_minute: int | None = None
    timeout_seconds: float | None = None
    retry_schedule: tuple[float, ...] | None = None
    max_concurrency: int | None = None
    rate_limit_per_second: float | None = None
    metadata: Raw | UnsetType = UNSET
    status: str
    disabled_reason: str | None = None
    created_at: str
    updated_at: str
    secret: str | None = None


class SecretOut(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A secret, the public key of the private key beside it, and until when they sign."""

    secret: str
    created_at: str
    expires_at: str | None = None
    public_key: str | None = None


class SecretsOut(msgspec.Struct, frozen=True):
    """The secrets of a subscription, newest first; the first one again as ``secret``."""

    id: str
    secret: str
    secrets: list[SecretOut]


def shown(subscription: Subscription, secret: str | None = None) -> SubscriptionOut:
    """The subscription; with its secret where that is shown this once."""
    names = subscription.header_names
    metadata, verified_at = subscription.metadata, subscription.verified_at
    tls = read_facts(subscription.tls_facts)
    return SubscriptionOut(
        id=subscription.id,
        url=subscription.url,
        event_types=subscription.event_types,
        operation_types=subscription.operation_types,
        operation_id=subscription.operation_id,
        description=subscription.description,
        headers=dict.fromkeys(names, MASK) if names else None,
        payload=subscription.payload,
        ordering=subscription.ordering,
        signing=subscription.signing.value,
        public_key=subscription.public_key if subscription.signing.by_key else None,
        client_certificate=tls.client_certificate,
        ca_certificate=tls.ca_certificate,
        verification=subscription.verification.value,
        verified_at=None if verified_at is None else times.render(verified_at),
        allowed_rate_per_minute=subscription.allowed_per_minute,
        timeout_seconds=subscription.timeout_seconds,
        retry_schedule=subscription.retry_schedule,
        max_concurrency=subscription.max_concurrency,
        rate_limit_per_second=subscription.rate_limit_per_second,
        metadata=UNSET if metadata is None else Raw(metadata),
        status=subscription.status.value,
        disabled_reason=subscription.disabled_reason,
        created_at=times.render(subscription.created_at),
        updated_at=times.render(subscription.updated_at),
        secret=secret,
    )


def secrets_shown(name: str, opened: list[OpenSecret]) -> SecretsOut:
    """The secrets of a subscription in plain text."""
    secrets = [
        SecretOut(
            secret=each.text,
            created_at=times.render(each.secret.created_at),
            expires_at=(
                None if each.secret.expires_at is None else times.render(each.secret.expires_at)
            ),
            public_key=each.secret.public_key,
        )
        for each in opened
    ]
    return SecretsOut(name, secrets[0].secret, secrets)
