"""The benchmark over what grows: its stores, its modes, its plot."""

import dataclasses
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.ids import key_floor
from service.lab.bench import filling, listing, polling, scaling, session, throughput
from service.lab.bench.board import Slot
from service.lab.bench.databases import SqliteStore, fill
from service.lab.bench.faults import BenchError
from service.lab.bench.hosting import EMBEDDED, with_workers
from service.lab.bench.measuring import Look, Window
from service.lab.bench.modes import MODES
from service.lab.bench.plotting import Panel, svg
from service.lab.bench.processes import cpu, cpu_of, family
from tests.support.world import migrated_file

pytestmark = pytest.mark.anyio

TINY = dataclasses.replace(
    session.QUICK, warm_seconds=0.2, seconds=0.5, watchers=20, listed=1_000, requests=1
)
SVG = "{http://www.w3.org/2000/svg}"
SINCE = 1_750_000_000_000
TWENTY_COMMITS = (
    "DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$"
)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[session.Session]:
    async with session.opened(EMBEDDED, TINY, tmp_path) as opened:
        yield opened


# --- stores


def filled(folder: Path, count: int) -> Path:
    path = folder / "data" / "ringback.db"
    path.parent.mkdir()
    path.write_bytes(migrated_file())
    fill(SqliteStore(folder), filling.mixture, count, SINCE, first_no=1)
    return path


def test_each_delivery_that_was_filled_in_is_whole(tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled(tmp_path, 2_000))) as file:

        def count(text: str) -> int:
            return int(file.execute(f"SELECT count(*) FROM {text}").fetchone()[0])  # noqa: S608  the test's own

        pair = "USING (event_key, subscription_no)"
        whole = ("events", "event_ids", "operations WHERE sequence = 4", "delivery_queue")
        assert [count(text) for text in whole] == [2_000, 2_000, 500, 100]
        assert count("deliveries") == count("attempts") == 1_900
        assert count(f"deliveries JOIN attempts {pair}") == 1_900
        assert count(f"deliveries JOIN dead_letters {pair} WHERE status = 'dead'") == 100
        assert count(f"delivery_queue JOIN deliveries {pair}") == 0
        assert count("events WHERE json_valid(CAST(body AS TEXT))") == 2_000
        assert count(f"events WHERE key < {key_floor(SINCE)}") == 0


async def test_lists_are_timed(opened: session.Session) -> None:
    found = dict(await listing.row(opened))

    slowest, count = found.pop("slowest p95"), found.pop("listed")
    assert count == 1_000
    assert len(found) > 60
    assert slowest == max(found.values())


async def test_polls_are_all_answered(opened: session.Session) -> None:
    found = await polling.row(opened)

    assert found["poll cpu"] > 0


# --- modes


async def test_a_little_of_the_real_thing_on_both_servers(tmp_path: Path) -> None:
    with MODES["distributed"](tmp_path) as mode:
        async with session.opened(mode, TINY, tmp_path) as opened:
            found = await throughput.deliveries(opened)
        store = mode.store(opened.installed)
        assert store.slow_down(100.0) == 0
        store.run(["CREATE TABLE t (n int)"])
        begun = time.monotonic()
        store.run([TWENTY_COMMITS])
        assert time.monotonic() - begun >= 20 * 0.1

    parts = ("api", "worker", "postgres", "redis")
    assert all(found[f"{name} cpu"] >= 0 for name in parts)
    assert found["service cpu"] == pytest.approx(sum(found[f"{name} cpu"] for name in parts))
    assert 0 < found["commits each"] < found["statements each"] < found["all statements each"]
    assert found["postgres memory"] > 0


def test_more_workers_leave_the_sweeping_to_the_first() -> None:
    roles = with_workers(dataclasses.replace(EMBEDDED, roles={"worker": "worker,sweeper"}), 3).roles

    assert list(roles.values()) == ["worker,sweeper", "worker", "worker"]


def test_a_family_is_counted_together() -> None:
    parent = 1

    assert parent in family(parent)
    assert cpu_of(family(parent)) >= cpu(parent).total
    # one that ended is its parent's
    assert cpu_of((parent, 2**22 + 1)) >= cpu(parent).total


async def test_a_tool_without_time_left_is_no_figure(opened: session.Session) -> None:
    counts = dict.fromkeys(Slot, 0)
    idle = dict.fromkeys(("generator", "receiver"), 0.0)
    busy = Window(Look(0.0, idle, counts), Look(10.0, {**idle, "generator": 9.5}, counts))

    with pytest.raises(BenchError, match="is the bottleneck"):
        opened.cpu_values(busy, {}, Slot.RECEIVED)


# --- what grows


def point(axis: str, mode: str, step: int, *costs: float) -> scaling.Point:
    rounds = [
        {"service cpu": cost, "rate": 1.0, "statements each": 1.0, "p99": 2.0} for cost in costs
    ]
    return scaling.Point(axis, mode, step, rounds)


POINTS = (
    point("store", "embedded", 10_000, 100.0, 120.0, 110.0),
    point("store", "distributed", 10_000, 200.0),
    point("large-store", "embedded", 10_000_000, 115.0),
    point("workers", "distributed", 1, 205.0),
)


def test_what_takes_long_has_to_be_asked_for() -> None:
    assert list(scaling.chosen(())) == ["store", "subscriptions", "workers"]
    assert list(scaling.chosen(["large-store"])) == ["large-store"]
    with pytest.raises(BenchError, match="Nothing grows by x"):
        scaling.chosen(["x"])


def test_a_panel_has_a_line_for_each_mode() -> None:
    store, workers = scaling.panels(POINTS)

    assert store.steps == [10_000, 10_000_000]
    assert store.lines == {
        "embedded": {10_000: 110.0, 10_000_000: 115.0},
        "distributed": {10_000: 200.0},
    }
    assert workers.lines == {"distributed": {1: 205.0}}
    assert "10,000,000" in scaling.table(POINTS)
    assert scaling.document(POINTS)[0]["step"] == 10_000


def test_the_plot_says_what_it_shows() -> None:
    picture = svg("How it scales", "a & b", scaling.panels(POINTS))
    root = ET.fromstring(picture)  # noqa: S314  our own
    words = [each.text for each in root.iter(f"{SVG}text")]

    for wanted in ("a & b", "embedded", "distributed", "The store grows", "10 k", "10 M"):
        assert wanted in words
    assert words.count("CPU µs per delivery") == 2
    assert "worker processes" in words
    assert "prefers-color-scheme:dark" in picture


@given(st.lists(st.floats(0.01, 1e7), min_size=1, max_size=5))
def test_no_mark_is_outside_of_its_panel(values: list[float]) -> None:
    line = dict(enumerate(values, 1))
    root = ET.fromstring(svg("t", "a", [Panel("p", "x", "y", list(line), {"one": line})]))  # noqa: S314  our own
    marks = list(root.iter(f"{SVG}circle"))

    assert len(marks) == len(values) + 1
    for each in marks[1:]:
        assert 56 <= float(each.get("cx", "0")) <= 304
        assert 33.9 <= float(each.get("cy", "0")) <= 228.1
