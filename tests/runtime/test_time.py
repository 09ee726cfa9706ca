"""By which clock a process goes: where several work with one database, by that of its server."""

import base64
from collections.abc import Iterator

import pytest

from service.domain.ids import key_time
from service.ports import Clock, Principal, ReplayPlan, ReplayRun, Retried
from service.runtime.clock import SystemClock
from service.runtime.wiring import Outside, open_service
from service.settings import load
from service.usecases.manage_operations import Created, NewOperation
from tests.support.postgres import Databases
from tests.support.world import event

pytestmark = pytest.mark.anyio

HOUR = 3_600_000
#: Milliseconds in which all of this is done.
PATIENCE = 60_000
WHO = Principal("key_test", "default", frozenset())


class _Wrong(SystemClock):
    """The clock of a machine that shows another zone's time."""

    def __init__(self, off: int) -> None:
        self._off = off

    def now(self) -> int:
        return super().now() + self._off


class _Elsewhere(Outside):
    def __init__(self, off: int) -> None:
        self._off = off

    def clock(self) -> Clock:
        return _Wrong(self._off)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.database() as url:
        yield url


@pytest.mark.parametrize("off", [2 * HOUR, -2 * HOUR])
async def test_what_a_machine_makes_whose_clock_is_wrong_is_of_the_time_of_all(
    url: str, off: int
) -> None:
    settings = load(
        {
            "RINGBACK_DATABASE_URL": url,
            "RINGBACK_TRUST_DATABASE": "true",  # that of the tests never syncs
            "RINGBACK_ENCRYPTION_KEYS": "k1:" + base64.b64encode(b"k" * 32).decode(),
        }
    )
    async with open_service(settings, outside=_Elsewhere(off)) as opened:
        now = SystemClock().now()
        made = await opened.operations.create(WHO, NewOperation("report", "op"), None)
        failed = event("op", "FAILED", error=b'{"title":"no","retryable":true}')
        await opened.accept.events("default", [failed])
        again = await opened.operations.retry(WHO, "op", None)
        replay = await opened.replays.start(WHO, ReplayPlan("dead_letters", "dead", 0, now))
        key = opened.base.keys.next(0)

    assert isinstance(made, Created)
    assert isinstance(again, Retried)
    assert isinstance(replay, ReplayRun)
    for operation in (made.described.operation, again.operation, replay.operation):
        assert abs(operation.created_at - now) < PATIENCE
        assert abs(key_time(operation.key) - now) < PATIENCE
    assert abs(key_time(key) - now) < PATIENCE  # nor are the keys to come of another time
