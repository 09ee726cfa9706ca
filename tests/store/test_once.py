"""Answers kept for an Idempotency-Key, and how they are forgotten."""

import pytest

from service.domain.ids import KeyMaker
from service.store import once, schema
from service.store.database import Database, Tx
from service.store.sweeping import SweepStore
from tests.store.conftest import Rows
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio

_RETENTION = 30 * 24 * 3600 * 1000


async def keep(database: Database, tenant: str, count: int, at: int) -> None:
    async def job(tx: Tx) -> None:
        answers = [(tenant, f"{at}-{number}", b"print", b"answer", at) for number in range(count)]
        await once.keep_answers(tx, answers)

    await database.write(job)


async def test_answers_nobody_asks_for_again_are_forgotten_batch_by_batch(
    database: Database, clock: FakeClock, keys: KeyMaker, rows: Rows
) -> None:
    await keep(database, "default", 700, clock.at)
    await keep(database, "other", 1, clock.at)
    clock.advance(once.LIFETIME - 1)
    sweep = SweepStore(database, keys)
    assert await sweep.forget(_RETENTION) == 0
    await keep(database, "default", 1, clock.at)
    clock.advance(1)
    forgotten = 0
    while batch := await sweep.forget(_RETENTION):
        assert batch <= 500
        forgotten += batch
    assert forgotten == 701
    assert [row["tenant_id"] for row in await rows(schema.idempotency_keys)] == ["default"]
