"""README.md is true: its commands run as printed, its tables say what the code says."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast
from unittest.mock import MagicMock

import pytest
import typer
from starlette.routing import Route, WebSocketRoute

from service.api import ApiSettings, Services, create_app
from service.cli import demo
from service.cli.app import app
from service.cli.demo_receiver import Receiver
from service.domain.signature import key_bytes, sign_body, sign_standard
from service.settings import load
from service.web import problems
from tests.readme.conftest import DEVELOPMENT, Running, in_background, started
from tests.support import readme

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on PATH")


def until_printed(lines: IO[str], *wanted: str) -> str:
    end = time.monotonic() + 10
    said = ""
    while time.monotonic() < end:
        said += lines.read()
        if all(each in said for each in wanted):
            return said
        time.sleep(0.05)
    raise AssertionError(f"not printed: {wanted}; printed: {said}")


@needs_curl
def test_the_first_webhook_arrives(tmp_path: Path) -> None:
    quickstart = "sleep 1\n".join(readme.blocks("quickstart"))  # as long as a person takes

    with started(tmp_path) as running:
        ports = {"8080": running.port, "9000": readme.free_port()}
        receiver = readme.with_ports(readme.block("quickstart-receiver"), ports)
        with in_background(["sh", "-c", receiver], running.folder, ports["9000"]) as lines:
            answers = running.sh(readme.with_ports(quickstart, ports))
            arrived = until_printed(lines, '"operationId":"job-1"')

    assert '"secret":"whsec_' in answers
    assert '"duplicate":false' in answers
    assert answers.count('"operationId":"job-1"') == 2
    assert '"status":"delivered"' in answers
    assert "webhook-signature: v1," in arrived
    assert "x-webhook-event: COMPLETED" in arrived


@needs_curl
def test_every_example_works_as_printed(running: Running, receiver: Receiver) -> None:
    reports = receiver.open("/reports")
    ports = {"8080": running.port, "9000": receiver.server_port, "9001": readme.free_port()}
    script = "\n".join(readme.blocks("examples"))

    said = running.sh(readme.with_ports(script, ports))

    refused = re.findall(r"/problems/([a-z-]+)", said)
    assert refused in ([], ["conflict"])  # a replay that was over before it was cancelled
    assert said.count('"duplicate":true') == 1
    assert said.lower().count("idempotency-replayed: true") == 1
    assert '"total":12345678901234567890.1234567' in re.sub(r"\s", "", said)
    assert '"reason":"attempts_exhausted"' in said
    assert '"dryRun":true' in said
    assert '"status":"missing"' in said
    arrival = reports.next(5)
    assert arrival is not None
    assert arrival.event_type == "webhook.test"


def test_make_run_allows_what_the_examples_need() -> None:
    makefile = (readme.ROOT / "Makefile").read_text()

    for name, text in DEVELOPMENT.items():
        assert f"export {name}={text};" in makefile


def test_the_readme_and_the_demo_give_the_same_lines() -> None:
    shown = [line for line in demo.NEXT if line]

    assert [line for line in shown if f"{line}\n" not in readme.TEXT] == []


def test_the_request_that_is_shown_verifies_with_the_secret_that_is_shown() -> None:
    head, _, body = readme.block("request").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    secret = re.search(r"whose secret is `(\S+)`", readme.TEXT)
    assert secret is not None
    key, sent = key_bytes(secret[1]), body.strip().encode()

    assert headers["x-webhook-signature"] == sign_body(key, sent)
    assert headers["webhook-signature"] == sign_standard(
        [key], headers["webhook-id"], int(headers["webhook-timestamp"]), sent
    )


def test_the_table_of_settings_is_the_codes() -> None:
    assert readme.table("settings") == [
        f"| `{row.name}` | {f'`{row.value}`' if row.value else 'none'} | {row.meaning} |"
        for row in load({}).describe()
    ]


def test_the_table_of_problems_is_the_codes() -> None:
    assert readme.table("problems") == [
        f"| `{kind}` | {how.status} | {how.title} | {how.advice.replace('<', '&lt;')} |"
        for kind, how in problems.TABLE.items()
    ]


def addresses() -> Iterator[tuple[str, str, str]]:
    """Method, path and scope of everything that the application answers."""
    services = MagicMock()  # nothing is asked of it: the routes are only looked at
    services.settings = ApiSettings("http://127.0.0.1:8080", 1, 0, ())
    for route in create_app(cast("Services", services)).routes:
        if isinstance(route, WebSocketRoute):
            continue  # its address answers plain HTTP too, and so is among the others
        assert isinstance(route, Route)
        for method, action in vars(route.endpoint)["_actions"].items():
            if method != "HEAD":
                yield method, route.path, action.scope.value if action.scope else "none"


def test_the_table_of_addresses_is_the_apps() -> None:
    cells = [[cell.strip(" `") for cell in row.split("|")] for row in readme.table("routes")]
    printed = [(method, path, scope) for _, method, path, scope, *_ in cells]

    assert sorted(printed) == sorted(addresses())


def test_every_link_leads_somewhere() -> None:
    inside = {target for target in readme.links() if target.startswith("#")}
    files = {target for target in readme.links() if "://" not in target} - inside

    assert inside - {f"#{anchor}" for anchor in readme.anchors()} == set()
    assert {target for target in files if not (readme.ROOT / target).exists()} == set()


def test_the_targets_of_make_and_the_commands_are_there() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (readme.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    targets = set(re.findall(r"^\| `make ([a-z-]+)", readme.TEXT, re.MULTILINE))
    commands = set(re.findall(r"^\| `ringback ([a-z-]+)", readme.TEXT, re.MULTILINE))

    assert {"run", "test"} <= targets <= set(phony[1].split())
    assert commands == set(typer.main.get_group(app).commands)
