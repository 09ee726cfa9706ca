"""The demo's service: the real one, as a process of its own, on a folder that is thrown away."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

import service

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
_LOOK_EVERY: Final = 0.05
#: Another program may take the free port between the look and the start.
_TRIES: Final = 3
#: How the service says so.
_TAKEN: Final = "Cannot listen on"
_LOG_LINES: Final = 8


class DemoError(Exception):
    """Something was not seen as it should have been; the message says what."""


class Api:
    """The few calls that the demo makes, with the key that the service made for itself."""

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self._client = httpx.Client(
            base_url=base,
            headers={"authorization": f"Bearer {key}"},
            timeout=10.0,
            trust_env=False,  # no proxy stands before the loopback
        )

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401  JSON is what it is
        """What is there."""
        return self._read(self._client.get(path, params=query))

    def post(self, path: str, body: bytes = b"{}") -> Any:  # noqa: ANN401  JSON is what it is
        """What came of sending a JSON text."""
        headers = {"content-type": "application/json"}
        return self._read(self._client.post(path, content=body, headers=headers))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @staticmethod
    def _read(answer: httpx.Response) -> Any:  # noqa: ANN401  JSON is what it is
        if not answer.is_success:
            asked = f"{answer.request.method} {answer.request.url.path}"
            raise DemoError(f"{asked} was answered {answer.status_code}: {answer.text}")
        return answer.json()


@contextmanager
def running(target: str) -> Iterator[Api]:
    """A service that may call ``target`` (host:port); its process and its folder go at the end."""
    with tempfile.TemporaryDirectory(prefix="ringback-demo-") as folder:
        process, base = _start(Path(folder), target)
        try:
            api = Api(base, (Path(folder) / "admin.key").read_text().strip())
            try:
                yield api
            finally:
                api.close()
        finally:
            _stop(process)


def _start(folder: Path, target: str) -> tuple[subprocess.Popen[bytes], str]:
    log = folder / "service.log"
    words = ""
    for _ in range(_TRIES):
        port = _free_port()
        process = _spawn(folder, log, port, target)
        try:
            if _is_ready(process, f"http://{_HOST}:{port}"):
                return process, f"http://{_HOST}:{port}"
        except BaseException:
            _stop(process)
            raise
        _stop(process)
        words = log.read_text(errors="replace").strip()
        if _TAKEN not in words:
            break
    last = "\n".join(words.splitlines()[-_LOG_LINES:])
    raise DemoError(f"The service did not start. Its last words:\n{last or '(none)'}")


def _spawn(folder: Path, log: Path, port: int, target: str) -> subprocess.Popen[bytes]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK")}
    home = str(Path(service.__file__).parents[1])
    path = os.pathsep.join(filter(None, (home, inherited.get("PYTHONPATH"))))
    own = {
        "PYTHONPATH": path,
        "RINGBACK_HOST": _HOST,
        "RINGBACK_PORT": str(port),
        "RINGBACK_DATABASE_URL": f"sqlite:///{folder / 'ringback.db'}",
        "RINGBACK_ALLOW_HTTP": "true",
        "RINGBACK_ALLOW_TARGETS": target,
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "service", "serve"],
            cwd=folder,
            env={**inherited, **own},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is the demo's, which then stops the service in order
        )


def _is_ready(process: subprocess.Popen[bytes], base: str) -> bool:
    end = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=base, timeout=1.0, trust_env=False) as client:
        while process.poll() is None and time.monotonic() < end:
            try:
                if client.get("/readyz").is_success:
                    return True
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(_LOOK_EVERY)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as listener:
        return int(listener.getsockname()[1])
