"""What processes tell each other: wakes for workers, notes for watchers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from service.broker import BrokerWaker, LoopBroker, make_broker
from service.ports import Dice, Waker
from service.pubsub import RunningBackplane, make_backplane

#: Bytes of the name by which a process knows its own notes.
_ORIGIN: Final = 8


@dataclass(frozen=True, slots=True)
class Messaging:
    """Over Redis, or within this process."""

    broker: LoopBroker
    waker: Waker
    backplane: RunningBackplane


@asynccontextmanager
async def open_messaging(redis_url: str, dice: Dice) -> AsyncIterator[Messaging]:
    """Make them; what is over Redis connects when it is used, so that it may come later."""
    broker = make_broker(redis_url)
    waker = BrokerWaker(broker)
    backplane = make_backplane(redis_url, dice.bytes(_ORIGIN).hex())
    try:
        yield Messaging(broker, waker, backplane)
    finally:
        await waker.close()
        await backplane.close()
        await broker.disconnect()
