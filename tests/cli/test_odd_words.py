"""What people type that is none of what was asked for: told in words, and never sent."""

import os
import subprocess
import sys
from unittest.mock import patch

import pytest

from tests.support.terminal import Terminal


@pytest.mark.parametrize("name", ["", ".", "..", "../subscriptions", "a b", "a?b", "\udcff"])
@pytest.mark.parametrize(
    "command",
    [("operation", "get"), ("subscription", "delete", "--yes"), ("dead-letter", "replay")],
    ids=" ".join,
)
def test_what_is_no_id_leads_nowhere(run: Terminal, command: tuple[str, ...], name: str) -> None:
    done = run(*command, name)

    assert done.code == 4
    assert "is no id: those are 1 to 64 letters" in done.err


@pytest.mark.parametrize("option", ["--key", "--tenant"])
@pytest.mark.parametrize("text", ["schlüssel", "a\nb", "\udcff"])
def test_what_no_header_can_hold_is_told_by_its_option(
    run: Terminal, option: str, text: str
) -> None:
    done = Terminal(run.environ)("event", "list", option, text)

    assert done.code == 2
    assert option in done.err
    assert "unexpected" not in done.err


def test_the_line_end_of_a_file_is_no_part_of_a_key(run: Terminal) -> None:
    key = run.environ["RINGBACK_API_KEY"]

    assert run("event", "list", "--key", f"{key}\r\n").code == 0


def test_a_service_that_speaks_no_tls_is_told_by_that(run: Terminal) -> None:
    url = run.environ["RINGBACK_URL"].replace("http://", "https://")
    done = Terminal()("event", "list", "--url", url, "--key", "k")

    assert done.code == 6
    assert "http:// or https://" in done.err


@pytest.mark.parametrize(("stopped", "code"), [(KeyboardInterrupt, 130), (EOFError, 1)])
def test_a_question_that_is_left_open_does_nothing(
    run: Terminal, stopped: type[BaseException], code: int
) -> None:
    manned = Terminal(run.environ, run.arguments, is_manned=True)
    with patch("typer._click.termui.visible_prompt_func", side_effect=stopped):
        done = manned("operation", "cancel", "job-1")

    assert done.code == code
    assert "Nothing was done." in done.err


def test_output_that_was_closed_is_no_fault() -> None:
    typed = [sys.executable, "-m", "service", "config"]
    shell = f"exec {' '.join(typed)} <&- >&-"
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK")}
    done = subprocess.run(["sh", "-c", shell], capture_output=True, env=kept, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
