"""The command line as people and scripts meet it: output, exit codes, messages."""

import json
import os
import pty
import resource
import subprocess
import sys
from collections.abc import Mapping

import pytest

from service import __version__
from service.settings import load


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The inherited environment with these as its only RINGBACK_* variables."""
    others = {name: text for name, text in os.environ.items() if not name.startswith("RINGBACK_")}
    return {**others, "COLUMNS": "80", **variables}


def ringback(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=environment(environ or {}),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_version() -> None:
    done = ringback("version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"ringback {__version__}\n", "")


def test_help_names_every_command() -> None:
    done = ringback("--help")

    assert done.returncode == 0
    commands = "serve migrate rekey demo bench torture config doctor openapi version"
    commands += " listen replay sign verify health export prune completion"
    commands += " event operation subscription delivery dead-letter key"
    for command in commands.split():
        assert f"\n  {command} " in done.stdout


def test_torture_names_the_faults_it_knows() -> None:
    done = ringback("torture", "--without", "clock,floods")

    assert done.returncode == 2
    assert "unknown: floods; there are kill" in " ".join(done.stderr.split())


def test_help_answers_at_once() -> None:
    """In twice of what the library for command lines takes to be read: 0.1 s of a machine of today.

    Of the processor, which other tests share; the best of each, in turns, until that shows it.
    """

    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *command], env=environment({}), capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours, library = [], []
    for _ in range(10):
        ours.append(seconds("-m", "service", "--help"))
        library.append(seconds("-c", "import typer"))
        if min(ours) < 2 * min(library):
            return
    pytest.fail(f"it took {min(ours):.3f} s, reading the library {min(library):.3f} s")


def test_config_is_tab_separated_when_piped() -> None:
    done = ringback("config", environ={"RINGBACK_PORT": "9000"})

    lines = [tuple(line.split("\t")) for line in done.stdout.splitlines()]
    assert lines == [tuple(row) for row in load({"RINGBACK_PORT": "9000"}).describe()]
    assert done.stderr == ""


def test_config_is_a_table_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs) as terminal:
        subprocess.run(
            [sys.executable, "-m", "service", "config"],
            env=environment({"RINGBACK_PORT": "9000"}),
            stdout=terminal,
            check=True,
        )
        shown = screen.read(4096).decode()

    assert "\nRINGBACK_PORT " in shown.replace("\r", "")
    assert "\t" not in shown


def test_config_as_json_masks_secrets() -> None:
    done = ringback("config", "-o", "json", environ={"RINGBACK_ADMIN_KEY": "hunter2"})

    rows = {row.pop("name"): row for row in json.loads(done.stdout)}
    assert rows["RINGBACK_ADMIN_KEY"]["value"] == "********"
    assert rows["RINGBACK_ADMIN_KEY"]["origin"] == "environment"
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("keys", ["k1:c2hvcnQ=", "c2hvcnQ=", "k1:!"])
def test_config_takes_no_keys_that_the_start_would_refuse(keys: str) -> None:
    done = ringback("config", environ={"RINGBACK_ENCRYPTION_KEYS": keys})

    assert (done.returncode, done.stdout) == (2, "")
    assert "RINGBACK_ENCRYPTION_KEYS: " in done.stderr
    assert keys not in done.stderr


def test_openapi_prints_the_document_of_the_public_url() -> None:
    done = ringback("openapi", environ={"RINGBACK_PUBLIC_URL": "https://hooks.example"})

    document = json.loads(done.stdout)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "https://hooks.example"}]
    assert "https://ringback.example" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["serve", "migrate", "rekey", "config", "openapi"])
def test_bad_settings_are_explained_and_exit_2(command: str) -> None:
    done = ringback(command, environ={"RINGBACK_PROT": "1", "RINGBACK_PORT": "x"})

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "ringback: The settings cannot be used:\n"
        "  RINGBACK_PROT is not a setting; did you mean RINGBACK_PORT?\n"
        "  RINGBACK_PORT: 'x' is not usable; give a whole number from 1 to 65535.\n"
    )


@pytest.mark.parametrize("roles", ["api,sender", "", "API"])
def test_unknown_roles_exit_2_and_name_the_allowed_ones(roles: str) -> None:
    done = ringback("serve", "--roles", roles)

    assert done.returncode == 2
    assert "allowed are api, worker, sweeper" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["dance"], ["serve", "--fast"], ["config", "-o", "xml"], []])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    done = ringback(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
