"""The broker that carries wakes: Dramatiq's, in this process."""

from service.broker.in_process import InProcessBroker
from service.broker.waker import ACTOR, QUEUE, BrokerWaker

__all__ = ["ACTOR", "QUEUE", "BrokerWaker", "InProcessBroker"]
