"""Programs that the lab starts: each is ended by the handle it was started with, and no other."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import service

#: The folder that the package ``service`` is in.
HOME: Final = Path(service.__file__).parents[1]
HOST: Final = "127.0.0.1"
#: Below what systems hand out to outgoing connections: else one of these could sit on a port while
#: the program that owns it is down.
_PORTS: Final = (20_000, 32_000)


class LabError(Exception):
    """Something of the lab's own did not work; the message says what, and what to do."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311  any will do
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def children(pid: int) -> list[int]:
    """The processes that a process of ours started and that are there now; for Linux."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it is gone
            # after the name, which may hold anything: its state and its parent
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process of ours and those that it started, stopped by SIGSTOP."""
    halted = [pid]
    os.kill(pid, signal.SIGSTOP)  # first, since it is the one that makes others
    try:
        for child in children(pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                halted.append(child)
        yield
    finally:
        for each in reversed(halted):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What a process of ours may know: these settings, and none of the caller's ``RINGBACK_*``."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK")}
    path = os.pathsep.join(filter(None, (str(HOME), inherited.get("PYTHONPATH"))))
    return {**inherited, "PYTHONPATH": path, **settings}


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", name, *arguments]


@dataclass(slots=True)
class Program:
    """A program that can be started again and again; what it says goes to ``log``.

    Attributes:
        identity: whom to run it as, in the words of :class:`subprocess.Popen`.
    """

    command: Sequence[str]
    folder: Path
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of its process."""
        if self._process is None:
            raise LabError(f"{self.command[0]} is not running.")
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; ``None`` while it has not, or where it was killed by us."""
        return None if self._process is None else self._process.poll()

    @property
    def said(self) -> str:
        """All it said, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def spawn(self) -> None:
        """Start it, and wait for nothing."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  the lab names what it starts
                self.command,
                cwd=self.folder,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is the lab's, which then ends everything in order
                **self.identity,
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, in whatever state it is. Nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ended(self, patience: float) -> int:
        """Wait until it ends by itself, ``patience`` seconds at most; its exit code."""
        if self._process is None:
            raise LabError(f"{self.command[0]} is not running.")
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(self.command)} does not end.") from None
        finally:
            self.kill()

    def stop(self, patience: float, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and kill it after ``patience`` seconds; its exit code."""
        self.send(by)
        return self.ended(patience)
