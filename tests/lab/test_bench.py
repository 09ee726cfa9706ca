"""The benchmark tells the truth: what it counts, what is late to it, what it will not report."""

import asyncio
import dataclasses
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from service.lab.bench import session, stamps, throughput
from service.lab.bench.board import Board, Slot
from service.lab.bench.counted import counting, is_frame
from service.lab.bench.databases import SqliteStore
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Target, target, unit
from service.lab.bench.hosting import EMBEDDED
from service.lab.bench.processes import cpu, memory
from service.lab.bench.reporting import Report, document, figures, table
from service.lab.bench.rows import ROWS, chosen
from service.lab.bench.shares import shares
from service.lab.bench.storing import check_recorded
from tests.support.server import ringback
from tests.support.streams import StreamServer

pytestmark = pytest.mark.anyio

TINY = dataclasses.replace(session.QUICK, warm_seconds=0.2, seconds=0.5, paced_seconds=0.5)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[session.Session]:
    async with session.opened(EMBEDDED, TINY, tmp_path) as opened:
        yield opened


# --- what is counted


def test_a_stamp_survives_its_journey() -> None:
    event = stamps.event(b"r1", 7, 123_456)

    assert len(event) == stamps.EVENT_BYTES
    assert json.loads(event)["operationId"] == f"r1-{7 // stamps.PER_OPERATION:010d}"
    assert stamps.read(b'{"sequence":1,"data":' + event + b"}") == (7, 123_456)
    assert stamps.read(b"{}") is None


def test_a_board_is_shared(tmp_path: Path) -> None:
    mine = Board.make(tmp_path / "board")
    theirs = Board(tmp_path / "board")

    theirs.add(Slot.POSTED, 3)
    theirs.add(Slot.COMMITS)

    assert [mine[slot] for slot in Slot] == [3, 0, 0, 0, 0, 0, 1]


def test_statements_are_told_from_their_frames(tmp_path: Path) -> None:
    board = Board.make(tmp_path / "board")
    seen = counting(board, 0)

    for text in ("BEGIN IMMEDIATE", "SAVEPOINT job", "SELECT 1", "RELEASE job", "COMMIT"):
        seen(text, ())

    assert (board[Slot.STATEMENTS], board[Slot.WORK], board[Slot.COMMITS]) == (5, 1, 1)
    assert not is_frame("INSERT INTO releases VALUES (1)")


def test_a_share_is_given_only_where_there_is_enough_beyond_it() -> None:
    assert shares(range(1000, 101_000, 1000)) == {"p50": 50.0}
    assert shares(range(1, 2001)) == {"p50": 1.0, "p99": 1.98, "p999": 1.998}
    assert shares([]) == {}


def test_processes_are_looked_at() -> None:
    pid = os.getpid()

    assert cpu(pid).total > 0
    assert 1000 < memory(pid) <= memory(pid, "VmHWM")
    with pytest.raises(BenchError, match="a process is gone"):
        cpu(2**22 + 1)


# --- what is late


async def stalling(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stalled: asyncio.Event
) -> None:
    """Answers at once, but for nothing at all until ``stalled`` is set."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        await stalled.wait()
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")


async def test_what_a_stall_holds_up_is_late_from_when_it_was_to_be_sent(
    opened: session.Session,
) -> None:
    gate = asyncio.Event()
    server = StreamServer(lambda reader, writer: stalling(reader, writer, gate))
    port = await server.start()

    route = {"port": port, "key": "k"}
    await opened.generator.ask("open", route=route, connections=2, rate=100)
    await asyncio.sleep(1.0)
    gate.set()
    await asyncio.sleep(0.3)
    answer = await opened.generator.ask("stop")
    await server.stop()

    # with two connections a closed loop would have seen two late requests
    assert answer["posted"] > 50
    assert answer["answered"]["p50"] > 250
    assert answer["late"]["p50"] > 250


# --- what is no figure


async def test_deliveries_that_are_not_recorded_are_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.lab.bench.storing._PATIENCE", 0.1)
    path = tmp_path / "data" / "ringback.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE deliveries (event_key, status)")
        file.execute("CREATE TABLE attempts (event_key)")
        file.execute("CREATE TABLE delivery_queue (event_key)")
        file.execute("INSERT INTO deliveries VALUES (1, 'delivered')")
        file.execute("INSERT INTO attempts VALUES (1)")
        file.commit()

    await check_recorded(SqliteStore(tmp_path), 0, 1)
    with pytest.raises(BenchError, match="should have"):
        await check_recorded(SqliteStore(tmp_path), 0, 2)


def test_answers_that_refuse_are_no_figure() -> None:
    session.check_answers({"202": 10})
    with pytest.raises(BenchError, match="'503': 1"):
        session.check_answers({"202": 10, "503": 1})


def test_a_row_brings_what_it_is_compared_with() -> None:
    assert list(chosen(["naive"])) == ["deliveries", "naive"]
    assert list(chosen([])) == list(ROWS)
    with pytest.raises(BenchError, match="no row x"):
        chosen(["x"])


@pytest.mark.parametrize(("value", "verdict"), [(3_999, "missed"), (4_000, "must"), (7_000, "aim")])
def test_more_is_better_for_a_rate(value: float, verdict: str) -> None:
    asked = target("embedded", "deliveries", "rate")

    assert asked is not None
    assert asked.verdict(value) == verdict


def test_less_is_better_for_a_time() -> None:
    asked = Target(15, 6)

    assert [asked.verdict(value) for value in (6, 15, 16)] == ["aim", "must", "missed"]
    assert target("embedded", "tools", "rate") is None


def test_the_report_has_medians_and_spread() -> None:
    rounds = [{"deliveries": {"rate": rate, "p50": 2.0}} for rate in (3000.0, 5000.0, 4500.0)]
    found = figures("embedded", rounds)
    report = Report(
        "embedded", quick=True, machine={"cores": 2}, figures=found, failures={"x": "y"}
    )

    text, facts = table(report), document(report)

    assert "4,500 /s" in text
    assert "3,000..5,000" in text
    assert "x: no figures: y" in text
    assert facts["figures"][0] == {
        "row": "deliveries",
        "figure": "rate",
        "unit": "/s",
        "median": 4500.0,
        "values": [3000.0, 5000.0, 4500.0],
        "target": {"must": 4000, "aim": 7000, "more": True},
        "reached": "must",
    }


def test_units_go_by_the_kind_of_figure() -> None:
    assert [unit(name) for name in ("service cpu", "commits each", "p99", "cpu")] == [
        "us each",
        "",
        "ms",
        "%",
    ]


# --- a run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--row", "nothing"), "There is no row nothing; there are tools, start, deliveries"),
        (("--mode", "other"), "There is no mode other; there are embedded, distributed."),
    ],
)
def test_what_there_is_not_is_named(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = ringback(tmp_path, "bench", *arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


async def test_a_little_of_the_real_thing(opened: session.Session) -> None:
    tools = await throughput.tools_alone(opened)
    found = await throughput.deliveries(opened)

    assert tools["rate"] > 0
    assert found["rate"] > 0
    # not by the rates: each load has its own share of a machine where other tests run
    assert tools["generator cpu"] + tools["receiver cpu"] < found["service cpu"]
    assert found["service cpu"] > found["receiver cpu"]
    assert 0 < found["commits each"] < found["statements each"] < found["all statements each"]
    # an event has statements of its own where little is going on, and else a share in them
    assert 0.1 < found["statements each"] < 30
