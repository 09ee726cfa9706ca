"""A stranger's path, timed: from a clone to the first webhook that their own receiver verified.

    python -m tests.system.stranger [--here]

Clones what stands here, changes included, into a folder that is thrown away, and types there, in an
environment without settings and with a home of its own, what the README tells a stranger to type.
The receiver is the stranger's: a program of their own, that knows nothing but a secret and how
Standard Webhooks are verified. Prints the seconds of each step; the exit code is 1 when the webhook
did not arrive and verify. ``--here`` leaves out clone and installation: what is installed serves.
"""

import argparse
import base64
import hashlib
import hmac
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import create_server
from threading import Thread
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "whsec_bm1BXcxvWdMCXy4rPRgpg1MEOVvHU/2UKdZQ6ZDCd+I="  # noqa: S105  the README shows it
#: The README's block ``sh stranger``: the first runs on, the others follow in another terminal.
COMMANDS: Final = (
    "make run",
    f".venv/bin/ringback subscription create http://127.0.0.1:9000/hook --secret '{SECRET}'",
    ".venv/bin/ringback event send COMPLETED --operation job-1 --wait",
)
#: More are too many.
MOST: Final = 3
#: Seconds: for the installation, which fetches from a registry, and for everything else.
_INSTALLING: Final = 900.0
_PATIENCE: Final = 60.0
#: What is of the machine, not of the person: where programs are and how the registry is reached.
_KEPT: Final = re.compile(
    r"PATH|LANG|TZ|.*_proxy|.*(CERT|CA_BUNDLE|CAINFO).*|(PIP|UV)_.*", re.IGNORECASE
)


class StrangerError(Exception):
    """The path does not lead there; the text says where it ended."""


@dataclass(slots=True)
class Receiver:
    """The stranger's own program."""

    arrived: "queue.Queue[bool]" = field(default_factory=queue.Queue)
    port: int = 0

    def is_genuine(self, headers: dict[str, str], body: bytes) -> bool:
        """Verify a delivery by nothing but the secret."""
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        given = headers["webhook-signature"].split()
        return any(hmac.compare_digest(each, f"v1,{expected}") for each in given)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive, until the end."""
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                found = {name.lower(): value for name, value in self.headers.items()}
                is_genuine = receiver.is_genuine(found, body)
                self.send_response(204 if is_genuine else 401)
                self.end_headers()
                receiver.arrived.put(is_genuine)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with HTTPServer(("127.0.0.1", 0), Hook) as server:
            self.port = server.server_port
            thread = Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


@dataclass(slots=True)
class Way:
    """The way so far.

    Attributes:
        seconds: of each step.
        typed: the commands that it took.
    """

    folder: Path
    environ: dict[str, str]
    url: str
    receiver: Receiver
    here: bool
    seconds: dict[str, float] = field(default_factory=dict)
    typed: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        begun = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begun
        print(f"{self.seconds[name]:8.1f} s  {name}", flush=True)  # noqa: T201  its output

    def words(self, command: str) -> str:
        """What is typed, with the port of the receiver; with ``here`` what stands for it."""
        self.typed += 1
        typed = command.replace("9000", str(self.receiver.port))
        if not self.here:
            return typed
        serves = f"exec {sys.executable} -m service serve"
        return typed.replace("make run", serves).replace(
            ".venv/bin/ringback", f"{sys.executable} -m service"
        )


def clone(folder: Path) -> None:
    """What stands here, and what was changed since the last commit."""
    git = ("git", "-C", str(ROOT))
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    changes = subprocess.run([*git, "diff", "--binary", "HEAD"], check=True, capture_output=True)
    if changes.stdout:
        subprocess.run(["git", "-C", str(folder), "apply", "-"], input=changes.stdout, check=True)


@contextmanager
def serving(way: Way, command: str) -> Iterator[None]:
    """The first command, which runs on; ready when the service says so."""
    log = way.folder.parent / "serving.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", way.words(command)],
            cwd=way.folder,
            env=way.environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await_ready(way, process, log)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_PATIENCE)


def await_ready(way: Way, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the service answers that it is ready."""
    end = time.monotonic() + (_PATIENCE if way.here else _INSTALLING)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(f"{way.url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise StrangerError(f"The service did not become ready.\n{log.read_text(errors='replace')}")


def run(way: Way, command: str) -> None:
    """Type a command and wait for its end."""
    done = subprocess.run(
        ["sh", "-c", way.words(command)],
        cwd=way.folder,
        env=way.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    if done.returncode != 0:
        raise StrangerError(f"$ {command}\n{done.stdout}{done.stderr}")


def free_port() -> int:
    """A port nobody listens on now."""
    with create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def prepared(above: Path, receiver: Receiver, *, here: bool) -> Way:
    """A folder and an environment in which nobody has been before."""
    (above / "home").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kept = {name: text for name, text in os.environ.items() if _KEPT.fullmatch(name)}
    # the usual port may be taken here; a stranger sets neither of these
    own = {"HOME": str(above / "home"), "RINGBACK_PORT": str(port), "RINGBACK_URL": url}
    if here:  # what `make run` sets, and where the service is
        own |= {"PYTHONPATH": str(ROOT), "RINGBACK_ALLOW_HTTP": "true"}
        own |= {"RINGBACK_ALLOW_TARGETS": "127.0.0.0/8,::1/128"}
    return Way(above / "ringback", {**kept, **own}, url, receiver, here)


def walk(commands: Sequence[str] = COMMANDS, *, here: bool = False) -> dict[str, float]:
    """Go the way; the seconds of each step.

    Raises:
        StrangerError: it does not lead to a webhook that verifies, or takes too many commands.
    """
    receiver = Receiver()
    with ExitStack() as opened:
        above = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        opened.enter_context(receiver.listening())
        way = prepared(above, receiver, here=here)
        begun = time.monotonic()
        with way.step("clone" if not here else "empty folder"):
            way.folder.mkdir() if here else clone(way.folder)
        first, *others = commands
        with way.step(f"$ {first}"):
            opened.enter_context(serving(way, first))
        for command in others:
            with way.step(f"$ {command}"):
                run(way, command)
        judge(way)
        way.seconds["all"] = time.monotonic() - begun
        print(f"{way.seconds['all']:8.1f} s  all, in {way.typed} commands")  # noqa: T201  its output
    return way.seconds


def judge(way: Way) -> None:
    """Whether it came to what it was for."""
    try:
        is_genuine = way.receiver.arrived.get(timeout=_PATIENCE)
    except queue.Empty:
        raise StrangerError("No webhook arrived.") from None
    if not is_genuine:
        raise StrangerError("The webhook does not verify.")
    if way.typed > MOST:
        raise StrangerError(f"It took {way.typed} commands; more than {MOST} are too many.")


def main() -> int:
    """Go the way that the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--here", action="store_true", help="serve what is installed here")
    try:
        walk(here=parser.parse_args().here)
    except StrangerError as error:
        print(error, file=sys.stderr)  # noqa: T201  its output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
