"""The lab's own servers and clock: real, on free ports, ended by their handles."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.lab.processes import LabError, Program, children
from service.lab.servers import Postgres, Valkey, package
from service.lab.torture.clock import JumpingClock, set_offset
from service.runtime.clock import SystemClock


def test_a_missing_package_is_told_with_its_remedy() -> None:
    with pytest.raises(LabError, match=r"not-there is not installed.*pip install not-there"):
        package("not_there", "not-there")


def test_valkey_starts_flushes_and_comes_back_empty(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    try:
        valkey.start()
        first = valkey.program.pid
        valkey.flush()
        valkey.program.kill()
        assert not valkey.program.is_running
        valkey.start()
        assert valkey.program.pid != first
    finally:
        valkey.program.kill()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("lab") / "postgres.log")
    server.install()
    server.start()
    yield server
    server.remove()


def test_postgres_keeps_what_it_committed_over_a_crash(postgres: Postgres) -> None:
    postgres.create("kept")
    postgres.sql("CREATE TABLE t (n int)", "kept")
    postgres.sql("INSERT INTO t VALUES (42)", "kept")

    postgres.crash()
    assert not postgres.program.is_running
    postgres.start()

    assert postgres.sql("SELECT n FROM t", "kept") == "42"
    postgres.terminate()
    assert postgres.sql("SELECT count(*) FROM t", "kept") == "1"


def test_a_paused_postgres_takes_connections_and_answers_nothing(postgres: Postgres) -> None:
    before = [postgres.program.pid, *children(postgres.program.pid)]
    assert len(before) > 3
    asking = ThreadPoolExecutor(1)
    with postgres.paused():
        end = time.monotonic() + 10
        while any(state(pid) not in STOPPED for pid in before):
            assert time.monotonic() < end, {pid: state(pid) for pid in before}
        answer = asking.submit(postgres.sql, "SELECT 42")
        with pytest.raises(TimeoutError):
            answer.result(1.0)
    assert answer.result(30.0) == "42"
    assert "T" not in {state(pid) for pid in before}
    asking.shutdown()


# T is stopped. Z has ended, as one that answered the test before may just do: who would collect
# it is stopped, so it stays. X: it was collected meanwhile.
STOPPED = ("T", "Z", "X")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_a_program_is_ended_by_its_handle(sleeper: Program) -> None:
    with pytest.raises(LabError):
        _ = sleeper.pid
    sleeper.spawn()
    running = [sleeper.is_running]
    assert sleeper.stop(10.0) == -signal.SIGTERM
    running.append(sleeper.is_running)
    sleeper.spawn()
    with pytest.raises(LabError, match="does not end"):
        sleeper.ended(0.01)
    assert [*running, sleeper.is_running] == [True, False, False]


def test_the_clock_jumps_for_all_who_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    set_offset(file, 0)
    clock, real = JumpingClock(file), SystemClock()
    assert abs(clock.now() - real.now()) < 5_000

    set_offset(file, -3_600_000)
    assert abs(clock.now() - real.now() + 3_600_000) < 5_000
    assert abs(clock.monotonic() - real.monotonic()) < 5
    set_offset(file, 3_600_000)
    assert abs(clock.now() - real.now() - 3_600_000) < 5_000
