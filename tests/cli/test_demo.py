"""`ringback demo` as people meet it: what it shows, how long it takes, what it leaves behind."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from service.cli import demo
from service.cli.demo_receiver import listening
from service.cli.demo_service import DemoError
from service.domain.signature import new_secret
from tests.cli.test_commands import environment

COMMAND = [sys.executable, "-m", "service", "demo"]
ROOT = Path(__file__).parents[2]
FEW_LINES = """
from service.cli.demo_screen import Screen
screen = Screen()
screen.title("1")
screen.seen("seen")
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


def surroundings(folder: Path, **variables: str) -> dict[str, str]:
    """The environment, with a temporary folder in which nothing may be left."""
    kept = environment({"TMPDIR": str(folder), **variables})
    return {name: text for name, text in kept.items() if name != "NO_COLOR" or name in variables}


def row(text: str, *cells: str) -> bool:
    """Whether a line holds these cells in this order, and nothing between them but blanks."""
    return re.search(r" +".join(map(re.escape, cells)), text) is not None


def on_a_terminal(environ: dict[str, str]) -> str:
    """What a terminal gets to see of a few lines."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs) as terminal:
        subprocess.run(
            [sys.executable, "-c", FEW_LINES], env=environ, stdout=terminal, cwd=ROOT, check=True
        )
        return screen.read(4096).decode()


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        COMMAND, env=surroundings(folder), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def children(process: subprocess.Popen[str]) -> list[Path]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [Path("/proc") / number for number in listed.split()]


def test_it_shows_delivery_retry_dead_letter_and_replay(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        COMMAND, env=surroundings(tmp_path), capture_output=True, text=True, check=False, cwd=ROOT
    )
    seconds = time.monotonic() - began

    assert (done.returncode, done.stderr) == (0, "")
    assert seconds < 60
    said = done.stdout
    for number, event in enumerate(("STARTED", "STATUS_UPDATE", "COMPLETED"), 1):
        assert row(said, event, "report-7", str(number), "1", "204", "✓", "verified")
    for attempt, after in ((1, "at once"), (2, ""), (3, "")):
        assert row(said, "COMPLETED", "report-7", "3", str(attempt), "503", "✓", "verified", after)
    assert row(said, "attempts_exhausted", "3", "attempts")
    assert row(said, "COMPLETED", "report-7", "3", "4", "204", "✓", "verified")
    assert "the dead letter is resolved" in said
    assert "3 events, 4 deliveries, all delivered." in said
    assert "make run" in said
    assert said.count("curl ") == 2
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_colour(tmp_path: Path) -> None:
    said = on_a_terminal(surroundings(tmp_path, TERM="xterm-256color"))

    assert "✓" in said
    assert COLOUR.search(said)


def test_no_color_is_honoured(tmp_path: Path) -> None:
    said = on_a_terminal(surroundings(tmp_path, TERM="xterm-256color", NO_COLOR="1"))

    assert "✓" in said
    assert not COLOUR.search(said)


def test_an_old_terminal_gets_signs_it_knows(tmp_path: Path) -> None:
    said = on_a_terminal(surroundings(tmp_path, TERM="vt100", PYTHONIOENCODING="ascii"))

    assert "+ \x1b" in said or "+ seen" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    with started(tmp_path) as process:
        assert process.stdout
        for line in process.stdout:
            if "Delivered" in line:
                break
        services = children(process)
        process.send_signal(number)
        rest = process.stdout.read()

    assert process.returncode == 130
    assert "Nothing is left behind" in rest
    assert len(services) == 1
    assert not any(service.exists() for service in services)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_is_said_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: str) -> nullcontext[None]:
        raise DemoError("The service did not start.")

    monkeypatch.setattr(demo, "running", broken)

    assert demo.run() == 1
    assert "✗  The service did not start." in capsys.readouterr().out


def test_what_nobody_signed_does_not_verify() -> None:
    with listening() as receiver:
        inbox = receiver.open("/hook")
        inbox.secret = new_secret(bytes(32))

        assert inbox.take({}, b"{}").value == 401
        arrival = inbox.next(0)
        assert arrival is not None
        assert arrival.fault == "missing-header"
