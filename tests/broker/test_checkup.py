"""What a Redis that answers and takes no wakes is found to be."""

import pytest

from service.broker import checkup
from service.runtime.clock import SystemClock
from tests.support.valkey import Valkey, client


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("PING", ""),
        ("REPLICAOF 127.0.0.1 1", "read only replica"),
        ("CONFIG SET maxmemory 1", "maxmemory"),
        ("ACL SETUSER default -@write", "permissions"),
    ],
)
def test_it_is_tried_whether_it_takes_a_wake(valkey: Valkey, command: str, said: str) -> None:
    with client(valkey.url) as asked:
        asked.execute_command(*command.split())
        health = checkup.ask(valkey.url, SystemClock())
        left = asked.dbsize()

    assert isinstance(health, checkup.Health)
    assert (said in health.refusal, bool(health.refusal)) == (True, bool(said))
    assert left == 0
