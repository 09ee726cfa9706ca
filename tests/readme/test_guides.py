"""The guides are true: what they name is there, and what they tell to do works as printed."""

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest
import typer

from service.cli.app import app
from service.cli.demo_receiver import Receiver
from service.settings import load
from service.usecases.deliver import Pace
from tests.readme.conftest import Running, in_background, started, surroundings
from tests.support import prose, telling
from tests.support.deployment import DEPLOY, document
from tests.support.guides import FOLDER, LANGUAGES, PAGES, SIGNATURES, Language, homes
from tests.support.readme import ROOT
from tests.support.telling import Told

RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in document(DEPLOY / "prometheus" / "rules.yml")["groups"]
    for rule in group["rules"]
]
COMMAND: Final = re.compile(r"(?:^|[\s(`/])ringback ((?!_)[a-z][^\n`|)]*)", re.MULTILINE)
#: Programs of the pages in languages that run everywhere, and the tests that run them.
RUN_HERE: Final = {"post.py", "post.mjs", "inbox.py", "newest.py", "feed.py"}
#: Shell: what is run in order, what needs a terminal of its own, and what is for other machines.
SHELLS: Final = {"run", "terminal-1", "terminal-2", "verifying", "elsewhere"}

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH")


# --- what they name


def test_every_page_says_first_what_can_be_done_after_it() -> None:
    for name, page in PAGES.items():
        _, first, *_ = page.text.split("\n\n")
        assert first.startswith(("After this page you", "From here you")), name


def test_the_index_names_every_page_once() -> None:
    links = [target for target in PAGES["index"].links() if target.endswith(".md")]

    assert sorted(links) == sorted(f"{name}.md" for name in PAGES if name != "index")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere_in_the_repository_too(name: str) -> None:
    page = PAGES[name]
    assert [anchor for anchor, count in page.anchors().items() if count > 1] == []
    for target in page.links():
        file, _, anchor = target.partition("#")
        if "://" in target:
            assert target.startswith(("http://127.0.0.1:8080/", "https://")), target
            continue
        assert not file or (FOLDER / file).exists(), target
        there = PAGES[Path(file).stem] if file.endswith(".md") else page
        assert not anchor or anchor in there.anchors(), target


def test_every_alert_has_a_runbook_and_names_it() -> None:
    runbooks = PAGES["runbooks"]
    sections = {part.split("\n", 1)[0]: part for part in runbooks.text.split("\n## ")[1:]}
    alerts = [rule["alert"] for rule in RULES]

    assert [name for name in sections if name.startswith("Ringback")] == alerts
    for rule in RULES:
        parts = [f"**{part}.**" for part in ("Meaning", "Look here", "Do this")]
        places = [sections[rule["alert"]].index(part) for part in parts]
        assert places == sorted(places)
        _, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert anchor in runbooks.anchors()
        assert anchor == rule["alert"].lower()


def test_settings_that_are_named_are_there() -> None:
    known = {row.name for row in load({}).describe()} | {"RINGBACK_URL", "RINGBACK_API_KEY"}
    for name, page in PAGES.items():
        assert set(re.findall(r"\bRINGBACK_[A-Z_]+", page.text)) <= known, name


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(telling.told(tmp_path_factory.mktemp("told") / "ringback.db"))


def test_numbers_that_are_named_are_told(told: Told) -> None:
    known = told.keys() | {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
    named = {
        name: set(re.findall(r"\bringback_[a-z_]+", page.text)) for name, page in PAGES.items()
    }

    assert {name: found - known for name, found in named.items() if found - known} == {}
    assert named["runbooks"]


def test_limits_of_sends_that_are_named_are_the_workers() -> None:
    pace, scaling, runbooks = Pace((), 0), PAGES["scaling"].text, PAGES["runbooks"].text
    of_worker = re.findall(r"has (\d+) sends under way at most, and (\d+) of them", scaling)
    queue_old = runbooks.split("\n## RingbackQueueOld\n")[1].split("\n## ")[0]
    (raised,) = re.findall(r"--max-concurrency (\d+)", queue_old)

    assert of_worker == [(str(pace.slots), str(pace.per_lane))]
    assert set(re.findall(r"(\d+) sends|more than (\d+) for each", queue_old)) == {
        (str(pace.per_lane), ""),
        ("", str(pace.per_lane)),
    }
    # it holds for all workers together, of which two are told to be there: less would be a brake
    assert int(raised) > 2 * pace.per_lane


def test_files_that_are_named_are_there() -> None:
    for name, page in PAGES.items():
        for path in re.findall(r"`((?:deploy|service)/[\w./-]+)`", page.text):
            assert (ROOT / path).exists(), f"{name}: {path}"


def commands() -> Iterator[tuple[str, str]]:
    """Every command that a page names, in its text or its blocks."""
    for name, page in PAGES.items():
        for found in COMMAND.finditer(page.text.replace("\\\n", " ")):
            yield name, found[1].strip()


def fault_of(words: list[str]) -> str | None:
    """What the command line does not know of these words."""
    command: Any = typer.main.get_group(app)
    while (below := getattr(command, "commands", None)) and words and words[0][0] != "-":
        if words[0] not in below:
            return words[0]
        command = below[words.pop(0)]
    known = {option for each in command.params for option in each.opts} | {"--help"}
    return next((each for each in words if each.startswith("-") and each not in known), None)


def test_commands_that_are_named_are_there() -> None:
    found = list(commands())

    assert len(found) > 50
    for name, command in found:
        words = re.sub(r"'[^']*'", "TEXT", re.split(r"[;.,:] |[;.,:]$| \d?>", command)[0]).split()
        assert fault_of(words) is None, f"{name}: ringback {command}"


def test_a_command_that_is_not_there_would_be_seen() -> None:
    assert fault_of(["dead-letter", "resurrect"]) == "resurrect"
    assert fault_of(["replay", "--sinze", "1d"]) == "--sinze"
    assert fault_of(["replay", "--since", "1d"]) is None


# --- what they tell to do


def test_every_program_on_a_page_is_run_by_a_test() -> None:
    of_languages = {name for each in LANGUAGES for name in (*each.blocks, each.receiver)}
    named = {
        name
        for page in PAGES.values()
        for language, name, _ in page.fenced
        if language in {"python", "js"}
    }

    assert named - of_languages - RUN_HERE == {"verify_key.py", "verify_key.mjs", "vectors_test.py"}
    shells = {name for page in PAGES.values() for kind, name, _ in page.fenced if kind == "sh"}
    assert shells <= SHELLS


@contextmanager
def ringback(folder: Path) -> Iterator[None]:
    """The command, where both ways to call it find it."""
    for place in (folder / "ringback", folder / ".venv" / "bin" / "ringback"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m service "$@"\n'
        )
        place.chmod(0o755)
    yield


def do(running: Running, script: str, ports: dict[str, int] | None = None) -> str:
    """Run what a page says; what it printed."""
    text = prose.with_ports(script, {"8080": running.port, **(ports or {})})
    url = f"http://127.0.0.1:{running.port}"
    with ringback(running.folder):
        return running.sh(f"PATH=$PWD:$PATH\n{text}", RINGBACK_URL=url, NO_COLOR="1")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Not that of the README, whose operations have the same names."""
    with started(tmp_path_factory.mktemp("guides")) as running:
        yield running


@pytest.fixture
def alone(running: Running) -> Running:
    """A service that nobody has subscribed to."""
    for each in running.get("/v1/subscriptions?limit=200")["data"]:
        running.client.delete(f"/v1/subscriptions/{each['id']}")
    return running


def until(lines: IO[str], wanted: str) -> str:
    end = time.monotonic() + 20
    said = ""
    while time.monotonic() < end:
        said += lines.read()
        if wanted in said:
            return said
        time.sleep(0.05)
    raise AssertionError(f"not printed: {wanted}; printed: {said}")


@contextmanager
def listening(running: Running, command: str) -> Iterator[IO[str]]:
    """The second terminal, once it listens; what it prints."""
    said = running.folder / "terminal-2"
    url = f"http://127.0.0.1:{running.port}"
    with ringback(running.folder), said.open("w") as out:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=running.folder,
            env={**surroundings(), "RINGBACK_URL": url, "NO_COLOR": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        with said.open() as lines:
            until(lines, "Subscribed")
            yield lines
    finally:
        process.terminate()
        process.wait()


def test_the_first_delivery_in_three_commands(alone: Running, receiver: Receiver) -> None:
    page = PAGES["quickstart"]
    first, failing = page.blocks("terminal-2")
    send, send_again, look, subscribe = page.blocks("run")
    assert page.block("terminal-1") == "make run\n"

    with listening(alone, first) as lines:
        assert "delivered" in do(alone, send)
        assert "attempt 1\tverified" in until(lines, "204")
    with listening(alone, failing) as lines:
        assert "delivered" in do(alone, send_again)
        until(lines, "attempt 2\tverified")
        assert "\tdelivered\tCOMPLETED\t2\t" in do(alone, look)
    hook = receiver.open("/hook")
    answer = do(alone, subscribe, {"9000": receiver.server_port})
    name, hook.secret = re.findall(r"(?:sub|whsec)_\S+", answer)[:2]
    do(alone, f"ringback subscription test {name}")
    arrival = hook.next(10)
    assert arrival is not None
    assert arrival.fault is None


@pytest.mark.parametrize(
    ("name", "program"),
    [("post.py", "python3"), pytest.param("post.mjs", "node", marks=needs_node)],
)
def test_a_program_posts(alone: Running, name: str, program: str) -> None:
    file = alone.folder / name
    text = PAGES["quickstart"].block(name)
    file.write_text(prose.with_ports(text, {"8080": alone.port}))

    said = do(alone, f"RINGBACK_API_KEY=$(cat data/admin.key) {program} {name}")
    assert alone.get(f"/v1/events/{said.strip()}")["type"] == "COMPLETED"


@needs_curl
@pytest.mark.parametrize("name", ["following", "retries", "migrating", "runbooks"])
def test_a_page_works_as_printed(name: str, alone: Running, receiver: Receiver) -> None:
    receiver.open("/customer-7")
    ports = {"9000": receiver.server_port, "9001": prose.free_port()}

    said = do(alone, "\n".join(PAGES[name].blocks("run")), ports)
    expected = {
        "following": ("etag", '"sequence":3', "event: completed", '"ticket"'),
        "retries": ("attempts_exhausted", "would be sent again", "connect"),
        "migrating": ("paused", "active"),
        "runbooks": ("ready", "encryption keys"),
    }
    assert [each for each in expected[name] if each not in said.lower()] == []


def test_the_feed_is_read(alone: Running) -> None:
    alone.post("/v1/events", {"operationId": "fed", "type": "STARTED"})
    (alone.folder / "feed.py").write_text(PAGES["following"].block("feed.py"))

    said = do(alone, "RINGBACK_API_KEY=$(cat data/admin.key) python3 feed.py")
    assert re.match(r"[1-9]\d* events; come again behind \S+", said)


def test_an_event_is_kept_once_and_worked_on_once(tmp_path: Path) -> None:
    script = f"""{PAGES["receivers"].block("inbox.py")}
    handled = []
    try:
        work(database, lambda *_: 1 / 0)
    except ZeroDivisionError:
        work(database, lambda _, body: handled.append(body))
    work(database, lambda _, body: handled.append(body))
    database.close()
    print(handled)
"""
    assert python(script, tmp_path) == "[True, False, False]\n[b'{}']\n"


def test_the_newest_state_stays(tmp_path: Path) -> None:
    events = [{"operationId": "a", "sequence": number} for number in (1, 3, 2, 3)]
    script = f"""{PAGES["receivers"].block("newest.py")}
states = {{}}
for event in {events}:
    apply(states, event)
print(states["a"]["sequence"])
"""
    assert python(script, tmp_path) == "3\n"


def python(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_command_on_the_page_verifies(alone: Running) -> None:
    folder = alone.folder
    (folder / "body.json").write_text('{"id":"evt_1"}')
    (folder / "secret.txt").write_text("a secret that somebody chose\n")
    do(alone, "ringback sign body.json --secret @secret.txt > headers.txt")

    assert do(alone, SIGNATURES.block("verifying"))
    with pytest.raises(AssertionError):
        do(alone, f"echo >> body.json; {SIGNATURES.block('verifying')}")


@pytest.mark.parametrize(
    "language",
    [
        pytest.param(
            each, marks=pytest.mark.skipif(each.missing is not None, reason=str(each.missing))
        )
        for each in LANGUAGES
        if each.receiver
    ],
    ids=lambda language: language.name,
)
def test_a_receiver_of_the_page_takes_what_is_genuine(
    language: Language,
    alone: Running,
    tmp_path: Path,
) -> None:
    port, own = prose.free_port(), homes(tmp_path)
    language.write(tmp_path)
    text = prose.with_ports(SIGNATURES.block(language.receiver), {"9000": port})
    (tmp_path / language.receiver).write_text(text)
    if language.compile:
        environment = {**surroundings(), **own}
        subprocess.run(language.compile, cwd=tmp_path, env=environment, check=True)
    made = alone.post("/v1/subscriptions", {"url": f"http://127.0.0.1:{port}/hook"})
    command = [prose.with_ports(each, {"9000": port}) for each in language.serve]

    def tested() -> int:
        status: int = alone.post(f"/v1/subscriptions/{made['id']}/test")["statusCode"]
        return status

    with in_background(command, tmp_path, port, **own, WEBHOOK_SECRET=made["secret"]):
        assert tested() == 204
    with in_background(command, tmp_path, port, **own, WEBHOOK_SECRET="another secret"):  # noqa: S106 (not one)
        assert tested() == 401
