"""`ringback listen` and the tails: as processes of their own, ended as people end them."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty, Queue
from random import Random

import pytest
from anyio import to_thread

from service.cli import exact
from service.cli.client import Api, Json
from service.cli.following import operation_events
from service.domain.signature import key_bytes, verify_standard
from tests.cli.conftest import Receiver, Shop
from tests.cli.test_remote import created
from tests.support.cutting import CuttingProxy
from tests.support.server import environment
from tests.support.terminal import Terminal

SECONDS = 20.0


class Running:
    """A command that goes on until it is ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._out, self._err = self._queue(process.stdout), self._queue(process.stderr)

    def line(self) -> str:
        """The next line of data."""
        return self._next(self._out)

    def json(self) -> Json:
        """The next line of data, from JSON."""
        return exact.loads(self.line())

    def says(self, words: str) -> str:
        """The next line of talk with these words."""
        while words not in (line := self._next(self._err)):
            pass
        return line

    def end(self, by: signal.Signals = signal.SIGINT) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(by)
        return self.process.wait(SECONDS)

    def _next(self, lines: Queue[str]) -> str:
        try:
            return lines.get(timeout=SECONDS)
        except Empty:
            raise AssertionError("Nothing more was said.") from None

    @staticmethod
    def _queue(stream: object) -> Queue[str]:
        lines: Queue[str] = Queue()

        def read() -> None:
            for line in stream:  # type: ignore[attr-defined]  # a pipe's text
                lines.put(line.rstrip("\n"))

        threading.Thread(target=read, daemon=True).start()
        return lines


@contextmanager
def started(shop: Shop, *typed: str) -> Iterator[Running]:
    environ = environment({"RINGBACK_URL": shop.url, "RINGBACK_API_KEY": shop.key})
    with subprocess.Popen(
        [sys.executable, "-m", "service", *typed, "--tenant", shop.tenant],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def test_it_subscribes_verifies_fails_first_and_tidies_up(shop: Shop) -> None:
    run = shop.terminal()
    with started(shop, "listen", "--subscribe", "--fail-first", "1", "-o", "jsonl") as listening:
        listening.says("Subscribed")
        send = ("event", "send", "note", "--operation", "o", "--data", "1.10", "--wait")
        sent = run(*send, "-o", "jsonl")
        first, second = listening.json(), listening.json()
        assert listening.end() == 130
        listening.says("Removed")

    assert [line["status"] for line in sent.lines] == ["delivered"]
    assert (first["answer"], second["answer"]) == ("500", "204")
    assert {first["signature"], second["signature"]} == {"verified"}
    assert (second["event"], second["attempt"]) == ("note", "2")
    assert second["body"]["data"] == "1.10"
    assert run("subscription", "list", "-o", "jsonl").lines == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_however_it_is_ended_its_subscription_goes(number: signal.Signals, shop: Shop) -> None:
    with started(shop, "listen", "--subscribe", "--events", "a,b.*") as listening:
        listening.says("Subscribed")
        (made,) = shop.terminal()("subscription", "list", "-o", "jsonl").lines
        assert listening.end(number) == 130

    assert made["eventTypes"] == ["a", "b.*"]
    assert shop.terminal()("subscription", "list", "-o", "jsonl").lines == []


def test_it_says_how_to_remove_what_it_could_not(shop: Shop) -> None:
    admin = Terminal(shop.terminal().environ)
    scopes = ("--scopes", "subscriptions:write", "--of", shop.tenant)
    key = admin("key", "create", "short-lived", *scopes, "-o", "json").json
    theirs = Shop(shop.url, key["key"], "")
    with started(theirs, "listen", "--subscribe") as listening:
        name = listening.says("Subscribed").split()[1].rstrip(".")
        admin("key", "revoke", key["id"], "--yes")
        assert listening.end() == 130
        said = listening.says("is not removed")

    assert f"ringback subscription delete {name} --yes" in said


def test_it_forwards_what_came_and_answers_what_that_answers(
    shop: Shop, receivers: Callable[[int], Receiver]
) -> None:
    run, behind = shop.terminal(), receivers(202)
    secret = "a secret of mine"  # noqa: S105  made up for this test
    with started(
        shop,
        *("listen", "--forward", behind.url, "--secret", secret, "--count", "2"),
    ) as listening:
        url = listening.says("Listening").split()[2]
        made = run("subscription", "create", url, "--secret", secret, "-o", "json").json
        assert run("subscription", "test", made["id"]).code == 0
        assert "verified\t-> 202\tforwarded in" in listening.line()
        behind.status = 418
        assert run("subscription", "test", made["id"], "-o", "json").json["statusCode"] == "418"
        assert listening.process.wait(SECONDS) == 0

    (arrived, _) = behind.requests
    assert arrived.path == "/hook"
    keys = [key_bytes(secret)]
    assert verify_standard(keys, arrived.headers, arrived.body, int(time.time())) is None


def test_what_does_not_verify_is_refused_and_not_forwarded(
    shop: Shop, receivers: Callable[[int], Receiver]
) -> None:
    run, behind = shop.terminal(), receivers(204)
    with started(
        shop,
        *("listen", "--forward", str(behind.server_port), "--secret", "another secret"),
        *("-o", "jsonl", "--count", "1"),
    ) as listening:
        made = created(run, listening.says("Listening").split()[2])
        assert run("subscription", "test", made).code == 1
        told = listening.json()

    assert (told["signature"], told["answer"]) == ("no-match", "401")
    assert behind.requests == []


def test_where_nobody_takes_what_is_forwarded_it_answers_502(shop: Shop) -> None:
    run = shop.terminal()
    with started(shop, "listen", "--forward", "http://127.0.0.1:1/", "--count", "1") as listening:
        made = created(run, listening.says("Listening").split()[2])
        listening.says("signatures are not checked")
        assert run("subscription", "test", made, "-o", "json").json["statusCode"] == "502"
        assert "not checked\t-> 502\tnot forwarded: " in listening.line()


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (("--forward", "example.com"), 2),
        (("--forward", "http://h:99999"), 2),
        (("--secret", "short"), 2),
        (("--port", "70000"), 2),
        (("--subscribe", "--events", "!"), 2),
    ],
)
def test_what_cannot_be_listened_with_is_told(
    typed: tuple[str, ...], code: int, run: Terminal
) -> None:
    done = run("listen", *typed)

    assert (done.code, done.out) == (code, "")


def test_a_port_that_is_taken_is_told(run: Terminal, receivers: Callable[[int], Receiver]) -> None:
    done = run("listen", "--port", str(receivers(204).server_port))

    assert done.code == 5
    assert "Give another --port" in done.err


def test_events_and_deliveries_are_told_as_they_happen(
    shop: Shop, receivers: Callable[[int], Receiver]
) -> None:
    run = shop.terminal()
    run("event", "send", "earlier", "--operation", "o")
    created(run, receivers(204).url)
    with (
        started(shop, "event", "tail", "--type", "note.*", "-o", "jsonl") as events,
        started(shop, "delivery", "tail", "--since", "1m", "-o", "jsonl", "--count", "1") as moves,
    ):
        events.says("Waiting")
        moves.says("Waiting")
        for kind in ("other", "note.a", "note.b"):
            run("event", "send", kind, "--operation", "o", "--wait")
        assert [events.json()["type"], events.json()["type"]] == ["note.a", "note.b"]
        assert moves.json()["eventType"] in ("other", "note.a", "note.b")
        assert moves.process.wait(SECONDS) == 0
        assert events.end() == 130


@pytest.mark.anyio
async def test_a_follower_goes_on_where_it_was_cut_off(shop: Shop) -> None:
    run = shop.terminal()
    kinds = ["STARTED", *(f"note.{number}" for number in range(9)), "COMPLETED"]
    for kind in kinds:
        run("event", "send", kind, "--operation", "o")

    def follow(url: str) -> list[str]:
        with closing(Api(url, shop.key, shop.tenant, SECONDS)) as api:
            return [event["type"] for event in operation_events(api, "o")]

    port, chance = int(shop.url.rpartition(":")[2]), Random(7)  # noqa: S311  the same each time
    async with CuttingProxy(port, chance, (900, 1_200)) as proxy:
        assert await to_thread.run_sync(follow, proxy.url) == kinds
        assert proxy.cuts > 1


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    asked = {
        "_RINGBACK_COMPLETE": "complete_bash",
        "COMP_WORDS": "ringback dead-letter re",
        "COMP_CWORD": "2",
    }
    script = "import sys; sys.argv = ['ringback']; from service.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment(asked), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["replay"]
    assert list(tmp_path.iterdir()) == []
    for shell in ("bash", "zsh", "fish"):
        assert "_RINGBACK_COMPLETE" in Terminal()("completion", shell).out
    assert Terminal()("completion", "csh").code == 2
