"""The service as a process of its own: started, killed, stopped, started again."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx

ROOT: Final = Path(__file__).parents[2]
#: What Python runs.
SERVICE: Final = ("-m", "service")

#: For receivers on this machine, and retries within a test's time: nothing waits for a circuit.
LOCAL: Final = {
    "RINGBACK_ALLOW_HTTP": "true",
    "RINGBACK_ALLOW_TARGETS": "127.0.0.0/8",
    "RINGBACK_RETRY_SCHEDULE": "0,1,1",
    "RINGBACK_BREAKER": "off",
}

#: Below what systems hand out to outgoing connections: else one of these could sit on our port
#: while the service is down.
_PORTS: Final = (20_000, 32_000)
_POLL: Final = 0.01
_TRIES: Final = 5
_NO_PORT: Final = "Cannot listen on"


class ServerDiedError(AssertionError):
    """The service did not become ready, or was gone when it should not be; with what it said."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """A clean environment with these settings; nothing of the tests' own but their authorities."""
    kept = {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


def ringback(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None, timeout: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line in ``folder`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    """A port nobody listens on now; whoever starts there tries again when that has changed."""
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311  any will do
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(slots=True)
class Server:
    """``ringback serve`` in ``folder``; its database and keys stay there between starts.

    Attributes:
        settings: ``RINGBACK_*`` variables; the port is chosen here.
        program: what Python runs; the service, or one around it.
        arguments: what stands behind ``ringback serve``.
        log_name: the file in ``folder`` that gets what it says.
        start_seconds: how long each start took until ``/readyz`` said yes.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=lambda: LOCAL)
    arguments: Sequence[str] = ()
    port: int = 0
    program: tuple[str, ...] = SERVICE
    log_name: str = "server.log"
    start_seconds: list[float] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.folder / "data" / "ringback.db"

    @property
    def admin_key(self) -> str:
        """A key with every scope."""
        given = self.settings.get("RINGBACK_ADMIN_KEY")
        return given or (self.folder / "data" / "admin.key").read_text().strip()

    @property
    def output(self) -> str:
        """All it said, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The running process's id."""
        if self._process is None:
            raise ServerDiedError("The service is not running.")
        return self._process.pid

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.program, "serve", *self.arguments],
                cwd=self.folder,
                env=environment({**self.settings, "RINGBACK_PORT": str(self.port)}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            self.port = self.port or free_port()
            if self._started(timeout):
                return
            self.port = 0
        raise ServerDiedError(f"No port could be listened on.\n{self.output}")

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up. Nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for nothing."""
        os.kill(self.pid, number)

    def stop(self, by: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Ask it to stop; the exit code."""
        self.send(by)
        return self.wait(timeout)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end after a signal; the exit code."""
        if self._process is None:
            raise ServerDiedError("The service is not running.")
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerDiedError(f"It did not stop.\n{self.output}") from None
        finally:
            self.kill()

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same port and folder."""
        self.kill()
        self.start()

    def client(self, **more: Any) -> httpx.AsyncClient:  # noqa: ANN401  httpx's own arguments
        """A client that may do everything."""
        key = {"authorization": f"Bearer {self.admin_key}"}
        return httpx.AsyncClient(base_url=self.url, headers=key, timeout=20.0, **more)

    @property
    def _log(self) -> Path:
        return self.folder / self.log_name

    def _started(self, timeout: float) -> bool:
        """Start once; ``False`` when another took the port first."""
        begun = time.monotonic()
        said = len(self.output)
        process = self.spawn()
        while time.monotonic() - begun < timeout:
            if process.poll() is not None:
                return self._died(said)
            if self._is_ready(said):
                self.start_seconds.append(time.monotonic() - begun)
                return True
            time.sleep(_POLL)
        self.kill()
        raise ServerDiedError(f"Not ready after {timeout} s.\n{self.output[said:]}")

    def _is_ready(self, said: int) -> bool:
        # the greeting comes after the port is ours; before, another's service could answer there
        if f" on {self.url}" not in self.output[said:]:
            return False
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def _died(self, said: int) -> bool:
        code = self._process.returncode if self._process else None
        self._process = None
        if _NO_PORT in self.output[said:]:
            return False
        raise ServerDiedError(f"It ended with exit code {code}.\n{self.output[said:]}")
