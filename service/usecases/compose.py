"""From a claimed delivery to the signed request that leaves."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from service.domain import request as requests
from service.domain import trace, verification
from service.domain.certificates import unpacked
from service.domain.ids import delivery_id, drawn
from service.domain.request import Envelope, OutboundRequest, SigningKeys, Target
from service.domain.signature import Sign, key_bytes
from service.domain.subscription import (
    Subscription,
    Verification,
    headers_context,
    key_context,
    secret_context,
    tls_context,
)
from service.ports import Claimed, Clock, Dice, Lane, Vault


@dataclass(frozen=True, slots=True)
class Wire:
    """How requests look apart from their events."""

    user_agent: str
    public_url: str
    #: Seconds for one attempt, where the subscription says nothing.
    timeout: float

    @property
    def origin(self) -> str:
        """The sender's DNS name, by which receivers agree to its requests."""
        return verification.origin_of(self.public_url)


class Composer:
    """Builds requests; remembers the opened keys of a lane for as long as others remember it."""

    def __init__(self, vault: Vault, clock: Clock, dice: Dice, wire: Wire) -> None:
        self._vault = vault
        self._clock = clock
        #: For the trace and the span of each request.
        self._random = drawn(dice.bytes, 24)
        self._wire = wire
        self._opened = WeakKeyDictionary[Lane, tuple[SigningKeys, Target]]()

    @property
    def origin(self) -> str:
        """See :attr:`Wire.origin`."""
        return self._wire.origin

    def compose(self, lane: Lane, claimed: Claimed) -> OutboundRequest:
        """The request of one attempt, stamped with this moment."""
        return self._built(self._open(lane), lane, claimed)

    def compose_unstored(self, lane: Lane, claimed: Claimed) -> OutboundRequest:
        """The same for a subscription as it may come to be, of which nothing is remembered."""
        return self._built((self._keys(lane), self._target(lane)), lane, claimed)

    def compose_permission(self, lane: Lane) -> OutboundRequest:
        """Ask whether the subscription's receiver takes what is sent to it."""
        target = self._identified(self._target(lane), lane.subscription)
        wanted = verification.wanted_rate(lane.subscription)
        return verification.permission_request(target, self._wire.user_agent, wanted)

    def _built(
        self, opened: tuple[SigningKeys, Target], lane: Lane, claimed: Claimed
    ) -> OutboundRequest:
        keys, target = opened
        random = next(self._random)
        return requests.build(
            Envelope(
                event_id=claimed.event_id,
                event_type=claimed.event_type,
                operation_id=claimed.operation_id,
                sequence=claimed.sequence,
                body=self._body(lane, claimed),
                delivery_id=delivery_id(claimed.ref),
                attempt=claimed.attempt,
            ),
            keys,
            self._identified(target, lane.subscription),
            timestamp=self._clock.now() // 1000,
            user_agent=self._wire.user_agent,
            traceparent=trace.next_traceparent(
                trace.of_body(claimed.body), random[:16], random[16:]
            ),
        )

    def _body(self, lane: Lane, claimed: Claimed) -> bytes:
        if lane.subscription.payload == "full":
            return claimed.body
        url = f"{self._wire.public_url}/v1/events/{claimed.event_id}"
        return requests.thin(claimed.body, url)

    def _open(self, lane: Lane) -> tuple[SigningKeys, Target]:
        known = self._opened.get(lane)
        if known is None:
            known = self._opened[lane] = self._keys(lane), self._target(lane)
        return known

    def _keys(self, lane: Lane) -> SigningKeys:
        signing = lane.subscription.signing
        current = tuple(self._secrets(lane)) if signing.by_secret else ()
        signers = tuple(self._signers(lane)) if signing.by_key else ()
        return SigningKeys(current, current[-1] if current else None, signers)

    def _secrets(self, lane: Lane) -> Iterator[bytes]:
        name = lane.subscription.id
        for secret in lane.secrets:
            opened = self._vault.open(secret.sealed, secret_context(name, secret.version))
            yield key_bytes(opened.decode())

    def _signers(self, lane: Lane) -> Iterator[Sign]:
        name = lane.subscription.id
        for secret in lane.secrets:
            if secret.sealed_key is not None:
                yield self._vault.signer(secret.sealed_key, key_context(name, secret.version))

    def _target(self, lane: Lane) -> Target:
        subscription = lane.subscription
        headers: tuple[tuple[str, str], ...] = ()
        if subscription.headers is not None:
            opened = self._vault.open(subscription.headers, headers_context(subscription.id))
            headers = tuple((name, value) for name, value in json.loads(opened))
        timeout = subscription.timeout_seconds or self._wire.timeout
        agreed = subscription.verification is Verification.CLOUDEVENTS
        origin = self._wire.origin if agreed else None
        return Target(subscription.url, headers, timeout, origin=origin)

    def _identified(self, target: Target, subscription: Subscription) -> Target:
        """The target with its certificates, which are too large to be remembered."""
        if subscription.tls is None:
            return target
        opened = self._vault.open(subscription.tls, tls_context(subscription.id))
        return replace(target, tls=unpacked(opened))
