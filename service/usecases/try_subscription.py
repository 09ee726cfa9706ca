"""Test a subscription: one signed event made for it alone, sent once; nothing waits or retries."""

from dataclasses import dataclass
from typing import Final

from service.domain import attempt_log
from service.domain.delivery import Trigger
from service.domain.errors import Refusal
from service.domain.ids import DeliveryRef
from service.ports import AttemptView, ManageStore, Principal, Sender
from service.usecases.asking import Asking
from service.usecases.compose import Composer
from service.usecases.lone_event import lone_event
from service.usecases.making import Maker

TEST_TYPE: Final = "webhook.test"

_DATA: Final = {"message": "This is a test of your webhook; nothing else happened."}


@dataclass(frozen=True, slots=True)
class Trial:
    """A test event that was sent, and what came of it."""

    ref: DeliveryRef
    event: bytes
    attempt: AttemptView


class TrySubscription:
    """Sends test events, to paused and disabled subscriptions as well."""

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

    async def send(self, who: Principal, name: str) -> Trial | Refusal:
        """Send one test event; a receiver that refuses it is an answer too, not a refusal."""
        with self._asking.one(who.tenant_id) as refusal:
            return await self._sent(who, name) if refusal is None else refusal

    async def _sent(self, who: Principal, name: str) -> Trial | Refusal:
        lane = await self._store.reveal(
            who.tenant_id, name, who.key_id, action="subscription.tested"
        )
        if isinstance(lane, Refusal):
            return lane
        claimed = lone_event(self._maker, lane.subscription, TEST_TYPE, {"data": _DATA})
        started_at = self._maker.clock.now()
        request = self._composer.compose(lane, claimed)
        outcome = await self._sender.send(request)
        status_code, error_class, message = attempt_log.error_of(outcome)
        masked = frozenset(each.lower() for each in lane.subscription.header_names)
        attempt = AttemptView(
            number=1,
            trigger=Trigger.MANUAL,
            started_at=started_at,
            duration_ms=outcome.timing.total,
            status_code=status_code,
            error_class=error_class,
            message=message,
            next_attempt_at=None,
            detail=attempt_log.detail(request, outcome, masked),
        )
        return Trial(claimed.ref, claimed.body, attempt)
