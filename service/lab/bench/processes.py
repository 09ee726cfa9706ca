"""Processes: how they are started, and what the kernel says that they used."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import service
from service.lab.bench.faults import BenchError

HOST: Final = "127.0.0.1"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Fields of ``/proc/PID/stat`` behind the command's name: the parent; user and system time, then
#: those of children that have ended.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_STOP_SECONDS: Final = 20.0


class Cpu(NamedTuple):
    """Seconds of processor time that a process used, its threads and ended children included."""

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
    user, system, past_user, past_system = (int(each) / _TICKS for each in _stat(pid)[_TIMES])
    return Cpu(user + past_user, system + past_system)


def cpu_of(pids: Iterable[int]) -> float:
    """Seconds that processes used; what a child used that ended just now is its parent's."""
    used = 0.0
    *rest, first = reversed(tuple(pids))
    for pid in rest:
        with suppress(BenchError):
            used += cpu(pid).total
    return used + cpu(first).total


def family(pid: int) -> tuple[int, ...]:
    """A process and its children."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(BenchError):
                if int(_stat(int(each.name))[_PARENT]) == pid:
                    found.append(int(each.name))
    return (pid, *found)


def _stat(pid: int) -> list[str]:
    # the command's name may hold blanks and brackets
    return _read(pid, "stat").rpartition(")")[2].split()


def own_memory(pids: Iterable[int]) -> float:
    """MiB that processes have resident; what they share is counted once."""
    found = 0
    for pid in pids:
        with suppress(BenchError):
            shares = re.search(r"^Pss:\s+(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)
            found += int(shares[1]) if shares else 0
    return found / 1024


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
