"""What is remembered of how to send, where many subscriptions take turns."""

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef
from service.domain.subscription import Secret, Subscription
from service.ports import Claimed, Lane
from service.usecases.compose import Composer, Wire
from tests.support.clock import FakeClock
from tests.support.dice import SeededDice
from tests.support.sending import OpenVault

#: Subscriptions that have something due in turn.
MANY = 10_000


class CountingVault(OpenVault):
    """Counts what it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    def open(self, sealed: bytes, context: str) -> bytes:
        self.opened += 1
        return super().open(sealed, context)


def lane_of(no: int) -> Lane:
    subscription = Subscription(
        no=no,
        id=f"sub_{no}",
        tenant_id="default",
        url="https://receiver.example/",
        created_at=0,
        updated_at=0,
    )
    return Lane(subscription, (Secret(version=1, sealed=b"sealed", created_at=0),))


def claimed_of(lane: Lane) -> Claimed:
    return Claimed(
        tenant_id="default",
        subscription_id=lane.subscription.id,
        ref=DeliveryRef(1, lane.subscription.no),
        token=1,
        attempt=1,
        step=1,
        trigger=Trigger.SCHEDULE,
        event_id="evt_1",
        event_type="STARTED",
        operation_id=None,
        sequence=None,
        body=b"{}",
    )


def test_secrets_are_opened_once_though_ten_thousand_take_turns(clock: FakeClock) -> None:
    vault = CountingVault()
    wire = Wire("Ringback/test", "http://ringback.test", 20.0)
    composer = Composer(vault, clock, SeededDice(), wire)
    lanes = [lane_of(no) for no in range(MANY)]

    for lane in (*lanes, *lanes):
        composer.compose(lane, claimed_of(lane))

    assert vault.opened == MANY
