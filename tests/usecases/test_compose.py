"""What is remembered of how to send, where many subscriptions take turns."""

import tracemalloc
import weakref
from typing import Any

import pytest

from service.domain.delivery import Trigger
from service.domain.ids import DeliveryRef
from service.domain.subscription import Subscription
from service.ports import Claimed, Lane
from service.store.lane_memory import LaneMemory
from service.store.rows import json_bytes, subscription_row
from service.store.statements import Row
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


def rows_of(no: int, url: str = "https://receiver.example/", **members: Any) -> list[Row]:  # noqa: ANN401  members of many types
    subscription = Subscription(
        no=no,
        id=f"sub_{no}",
        tenant_id="default",
        url=url,
        created_at=0,
        updated_at=0,
        **members,
    )
    return [(*subscription_row(subscription), 1, b"sealed", 0, None, None, None)]


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


@pytest.fixture
def vault() -> CountingVault:
    return CountingVault()


@pytest.fixture
def composer(vault: CountingVault, clock: FakeClock) -> Composer:
    wire = Wire("Ringback/test", "http://ringback.test", 20.0)
    return Composer(vault, clock, SeededDice(), wire)


def test_secrets_are_opened_once_though_ten_thousand_take_turns(
    vault: CountingVault, composer: Composer
) -> None:
    memory = LaneMemory()
    for no in (*range(MANY), *range(MANY)):
        lane = memory.read(rows_of(no))
        composer.compose(lane, claimed_of(lane))

    assert vault.opened == MANY


def test_nothing_is_opened_for_longer_than_its_lane_is_remembered(composer: Composer) -> None:
    memory = LaneMemory()
    lane = memory.read(rows_of(1))
    composer.compose(lane, claimed_of(lane))
    gone = weakref.ref(lane)
    del lane
    assert gone() is not None
    memory.forget([1])
    assert gone() is None


def test_what_is_opened_of_a_lane_is_not_taken_for_another_of_the_same_version(
    composer: Composer,
) -> None:
    memory = LaneMemory()
    for url in ("https://first.example/", "https://second.example/", "https://first.example/"):
        lane = memory.read(rows_of(1, url))
        assert composer.compose(lane, claimed_of(lane)).url == url
    lane = memory.read(rows_of(1))
    assert lane != Lane(lane.subscription, lane.secrets), "what is opened is found by which it is"


def test_what_is_opened_is_weighed_too(clock: FakeClock) -> None:
    class Plain(OpenVault):
        def open(self, sealed: bytes, context: str) -> bytes:
            is_secret = "headers" not in context
            return super().open(sealed, context) if is_secret else bytes(bytearray(sealed))

    composer = Composer(Plain(), clock, SeededDice(), Wire("Ringback/test", "", 20.0))
    memory = LaneMemory()
    tracemalloc.start()
    try:
        for no in range(1_000):
            headers = json_bytes([(f"x-{each}", f"{no}" * 1_000) for each in range(20)])
            lane = memory.read(rows_of(no, headers=headers))
            composer.compose(lane, claimed_of(lane))
        assert 20 * 1024 * 1024 < tracemalloc.get_traced_memory()[0] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()
