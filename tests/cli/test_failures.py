"""What `main` says and exits with when a command raises."""

import sys

import pytest
import typer

from service.cli import app as command_line
from service.cli.app import main
from service.ports import StoreInUseError, StoreUnavailableError
from service.settings import SettingsError

WHERE = "`python -X dev -m service` in its place shows where"


def outcome(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Exit code and stderr of a command that raises."""
    broken = typer.Typer(pretty_exceptions_enable=False)

    @broken.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", broken)
    monkeypatch.setattr(sys, "argv", ["ringback"])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SettingsError(("It is wrong.",)), 2, "The settings cannot be used:\n  It is wrong.\n"),
        (StoreUnavailableError("It is away."), 1, "It is away.\n"),
        (StoreInUseError("Somebody has it."), 5, "Somebody has it.\n"),
        (PermissionError(13, "Denied", "data"), 1, "[Errno 13] Denied: 'data'\n"),
        (KeyError("id"), 1, f"unexpected KeyError: 'id' ({WHERE})\n"),
        (
            ValueError("\u202egnp\x1b[1m"),
            1,
            rf"unexpected ValueError: \u202egnp\x1b[1m ({WHERE})" + "\n",
        ),
        (StoreUnavailableError("\u2066db\x9b"), 1, r"\u2066db\x9b" + "\n"),
    ],
)
def test_a_failure_is_told_in_words_with_its_exit_code(
    error: Exception,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert outcome(error, monkeypatch, capsys) == (code, f"ringback: {text}")
