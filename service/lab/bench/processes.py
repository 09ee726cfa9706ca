"""Processes: how they are started, and what the kernel says that they used."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import service
from service.lab.bench.faults import BenchError

HOST: Final = "127.0.0.1"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Fields of ``/proc/PID/stat`` behind the command's name: user and system time.
_TIMES: Final = slice(11, 13)
_STOP_SECONDS: Final = 20.0


class Cpu(NamedTuple):
    """Seconds of processor time that a process used, all its threads included."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.system


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings of the service and no others."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK")}
    home = str(Path(service.__file__).parents[1])
    path = os.pathsep.join(filter(None, (home, inherited.get("PYTHONPATH"))))
    return {**inherited, "PYTHONPATH": path, **settings}


def spawn(
    arguments: Sequence[str], folder: Path, settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start ``python -m`` with these arguments in ``folder``; ``log`` gets what it says."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,  # Ctrl-C is the benchmark's, which then stops all in order
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; it has ended when this returns."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def cpu(pid: int) -> Cpu:
    """What a process used since it was started."""
    # the command's name may hold blanks and brackets
    fields = _read(pid, "stat").rpartition(")")[2].split()
    user, system = (int(field) / _TICKS for field in fields[_TIMES])
    return Cpu(user, system)


def memory(pid: int, field: str = "VmRSS") -> int:
    """KiB of memory that a process has resident; ``VmHWM``: that it had at most."""
    found = re.search(rf"^{field}:\s+(\d+) kB", _read(pid, "status"), re.MULTILINE)
    if found is None:
        raise BenchError(f"The kernel does not say how much memory process {pid} has.")
    return int(found[1])


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError as error:
        said = "a process is gone, or this is not Linux"
        raise BenchError(f"/proc/{pid}/{name} cannot be read: {said} ({error}).") from error
