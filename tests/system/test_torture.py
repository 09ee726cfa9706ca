"""A minute of what ``make torture`` does for longer: the real service, real sockets, real kills."""

from pathlib import Path

import pytest

from service.lab.torture.plan import Mode, Plan
from service.lab.torture.report import as_table
from service.lab.torture.running import run

pytestmark = pytest.mark.anyio


async def test_tortured_nothing_accepted_is_lost(tmp_path: Path) -> None:
    plan = Plan(Mode.EMBEDDED, seed=7, events=1_000, kills=6, quick=True)

    result = await run(plan, tmp_path)

    figures = result.figures
    assert result.violations == [], as_table(result)
    assert figures.kills >= 6
    assert figures.accepted >= 1_000
    assert figures.pairs == figures.delivered + figures.dead
    assert figures.faults.keys() >= set(plan.amounts())


@pytest.mark.timeout(400)
async def test_several_processes_tortured_lose_nothing_either(tmp_path: Path) -> None:
    plan = Plan(Mode.DISTRIBUTED, seed=7, events=500, kills=4, quick=True)

    result = await run(plan, tmp_path)

    figures = result.figures
    assert result.violations == [], as_table(result)
    assert figures.accepted >= 500
    assert figures.pairs == figures.delivered + figures.dead
    assert figures.faults.keys() >= set(plan.amounts())


async def test_without_faults_nothing_comes_twice(tmp_path: Path) -> None:
    result = await run(Plan(Mode.EMBEDDED, seed=8, events=500, kills=0), tmp_path)

    figures = result.figures
    assert result.violations == [], as_table(result)
    assert figures.accepted >= 500
    assert (figures.duplicated, figures.indeterminate, figures.refused) == (0, 0, 0)
