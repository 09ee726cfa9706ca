"""A little of what ``make watch-test`` does much of."""

from pathlib import Path

import pytest

from service.lab.bench.hosting import EMBEDDED, running
from service.lab.bench.watchers import Plan, milliseconds, run, table

pytestmark = pytest.mark.anyio


async def test_every_event_reaches_every_watcher(tmp_path: Path) -> None:
    with running(EMBEDDED, tmp_path) as service:
        figures = await run(Plan(watchers=200, events=5, every=0.1), service)

    assert figures.reached == 1000, table(figures)
    assert figures.is_whole
    assert figures.p50_ms <= figures.p99_ms <= figures.max_ms < 5000
    assert figures.kib_per_watcher < 200, table(figures)


def test_shares_of_the_late() -> None:
    late = [number / 1000 for number in range(1, 101)]
    assert [milliseconds(late, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert milliseconds([0.002], 0.5) == 2.0
    assert milliseconds([], 0.5) == 0.0
