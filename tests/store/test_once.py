"""Answers kept for an Idempotency-Key, and how they are forgotten."""

import pytest

from service.store import once, schema
from service.store.database import Database, Tx
from tests.support.clock import FakeClock
from tests.support.world import World

pytestmark = pytest.mark.anyio

_RETENTION = 30 * 24 * 3600 * 1000


async def keep(database: Database, tenant: str, count: int, at: int) -> None:
    async def job(tx: Tx) -> None:
        answers = [(tenant, f"{at}-{number}", b"print", b"answer", at) for number in range(count)]
        await once.keep_answers(tx, answers)

    await database.write(job)


async def test_answers_nobody_asks_for_again_are_forgotten_batch_by_batch(
    world: World, clock: FakeClock
) -> None:
    database, sweep = world.database, world.sweep
    await keep(database, "default", 700, clock.at)
    await keep(database, "other", 1, clock.at)
    clock.advance(once.LIFETIME - 1)
    assert await sweep.forget(_RETENTION) == 0
    await keep(database, "default", 1, clock.at)
    clock.advance(1)
    forgotten = 0
    while batch := await sweep.forget(_RETENTION):
        assert batch <= 500
        forgotten += batch
    assert forgotten == 701
    assert [row["tenant_id"] for row in await world.rows(schema.idempotency_keys)] == ["default"]
