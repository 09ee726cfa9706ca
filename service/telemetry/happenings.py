"""What the log says of deliveries: a line for each attempt that failed, and for what follows.

Good attempts are counted, and kept in the store: a line for each would cost more than the rest.
"""

import logging
from collections.abc import Sequence
from typing import Any

from service.domain import times
from service.domain.few import MOST, Few
from service.domain.ids import delivery_id
from service.domain.outcome import Outcome, Responded
from service.domain.retry import Dead, Delivered, RetryAfter
from service.ports import Claim, Claimed, Clock, DeliverStore, LaneQuota, Settled, Settlement

_logger = logging.getLogger("ringback.deliveries")


class ToldDeliveries:
    """See :class:`service.ports.DeliverStore`; what failed is told when it is settled."""

    def __init__(self, store: DeliverStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._few = Few(MOST)

    async def claim(self, quotas: Sequence[LaneQuota], lease: int) -> Claim:
        """Lease due deliveries."""
        return await self._store.claim(quotas, lease)

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was not sent."""
        await self._store.release(claimed)

    async def settle(self, results: Sequence[Settlement]) -> Settled:
        """Write results; tell of those that are not good."""
        settled = await self._store.settle(results)
        for each in results:
            if not isinstance(each.verdict, Delivered):
                self._tell(each)
        if settled.opened or settled.recovered or settled.disabled:
            self._tell_of_receivers(settled, results)
        return settled

    def _tell(self, result: Settlement) -> None:
        if not _logger.isEnabledFor(logging.INFO):
            return
        untold = self._few.through(self._clock.monotonic())
        if untold is not None:
            facts = {**_facts(result), "untold": untold or None}
            said = "delivery dead" if isinstance(result.verdict, Dead) else "attempt failed"
            extra = {name: value for name, value in facts.items() if value is not None}
            _logger.info(said, extra=extra)

    def _tell_of_receivers(self, settled: Settled, results: Sequence[Settlement]) -> None:
        """Rare, and what an operator looks for: none of these lines is left out."""
        claimed = {each.claimed.ref.subscription_no: each.claimed for each in results}
        for lane, until in settled.opened.items():
            told = {**_receiver(claimed[lane]), "until": times.render(until)}
            _logger.warning("circuit opened", extra=told)
        for lane in settled.recovered:
            _logger.info("circuit closed", extra=_receiver(claimed[lane]))
        for lane, reason in settled.disabled.items():
            told = {**_receiver(claimed[lane]), "reason": reason.value}
            _logger.warning("subscription disabled", extra=told)


def _facts(result: Settlement) -> dict[str, Any]:
    """What is known of it, by name; no secret, and nothing that a receiver wrote."""
    claimed, verdict = result.claimed, result.verdict
    return {
        "delivery": delivery_id(claimed.ref),
        **_receiver(claimed),
        "event_id": claimed.event_id,
        "type": claimed.event_type,
        "operation": claimed.operation_id,
        "attempt": claimed.attempt,
        "trigger": claimed.trigger.value,
        **_outcome(result.outcome),
        "retry_ms": verdict.delay_ms if isinstance(verdict, RetryAfter) else None,
        "reason": verdict.reason.value if isinstance(verdict, Dead) else None,
    }


def _receiver(claimed: Claimed) -> dict[str, str]:
    return {"subscription": claimed.subscription_id, "tenant": claimed.tenant_id}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    ms = round(outcome.timing.total, 1)
    if isinstance(outcome, Responded):
        return {"status": outcome.status, "ms": ms}
    return {"error": outcome.error.value, "detail": outcome.message, "ms": ms}
