"""A little of what ``python -m tests.system.watchers`` does much of."""

from pathlib import Path

import pytest

from tests.system.watchers import Plan, milliseconds, run, table

pytestmark = pytest.mark.anyio


async def test_every_event_reaches_every_watcher(tmp_path: Path) -> None:
    figures = await run(Plan(watchers=200, events=5, every=0.1, folder=tmp_path))

    assert (figures.reached, figures.missed) == (1000, 0), table(figures)
    assert (figures.refused, figures.astray) == (0, 0)
    assert figures.p50_ms <= figures.p99_ms <= figures.max_ms < 5000
    assert figures.kib_per_watcher < 200, table(figures)


def test_shares_of_the_late() -> None:
    late = [number / 1000 for number in range(1, 101)]
    assert [milliseconds(late, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert milliseconds([0.002], 0.5) == 2.0
    assert milliseconds([], 0.5) == 0.0
