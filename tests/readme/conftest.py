"""A service as `make run` starts it, on a folder and a port of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from service.cli.demo_receiver import Receiver, listening
from tests.support import readme
from tests.support.programs import PATH

#: What `make run` sets where nothing else is set; a test holds the Makefile to it.
DEVELOPMENT = {
    "RINGBACK_ALLOW_HTTP": "true",
    "RINGBACK_ALLOW_TARGETS": "127.0.0.0/8,::1/128",
}


@dataclass(frozen=True)
class Running:
    """A service, and the folder that commands of the README run in."""

    folder: Path
    port: int
    client: httpx.Client

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        answer = self.client.post(path, json=body or {})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def get(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def sh(self, script: str, shell: str = "sh", **variables: str) -> str:
        """Run a script in the folder until it ends; what it printed."""
        done = subprocess.run(
            [shell, "-eu", "-c", script],
            cwd=self.folder,
            env={**surroundings(), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def surroundings() -> dict[str, str]:
    """The environment without settings, in which `python3` is the Python of the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK_")}
    return {**kept, "PATH": PATH, "NO_PROXY": "127.0.0.1"}


@contextmanager
def started(folder: Path) -> Iterator[Running]:
    """A service of its own in that folder."""
    port = readme.free_port()
    own = {"PYTHONPATH": str(readme.ROOT), "RINGBACK_PORT": str(port), **DEVELOPMENT}
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve"], cwd=folder, env={**surroundings(), **own}
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            until_ready(process, client)
            key = (folder / "data" / "admin.key").read_text().strip()
            client.headers["authorization"] = f"Bearer {key}"
            yield Running(folder, port, client)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("readme")) as running:
        yield running


def until_ready(process: subprocess.Popen[bytes], client: httpx.Client) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, "the service ended"
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    raise AssertionError("the service did not become ready")


@contextmanager
def in_background(
    command: list[str], folder: Path, port: int, **variables: str
) -> Iterator[IO[str]]:
    """A program that listens on a port, stopped with all that it started; what it prints."""
    said = folder / f"said-{port}"
    with said.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**surroundings(), **variables},
            stdout=out,
            start_new_session=True,
        )
    try:
        until_listening(process, port)
        with said.open() as lines:
            yield lines
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert process.poll() is None, "it ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver
