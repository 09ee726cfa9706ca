"""A stranger's path in its short form; `make stranger` goes all of it, from a clone."""

import pytest

from tests.system import stranger
from tests.system.stranger import COMMANDS, MOST, StrangerError


def test_a_stranger_gets_a_webhook_that_verifies() -> None:
    seconds = stranger.walk(here=True)

    assert list(seconds)[1:-1] == [f"$ {command}" for command in COMMANDS]
    assert len(COMMANDS) <= MOST


def test_too_many_commands_are_seen() -> None:
    with pytest.raises(StrangerError, match="It took 4 commands"):
        stranger.walk([*COMMANDS, "true"], here=True)


def test_another_secret_is_seen() -> None:
    first, subscribe, send = COMMANDS
    other = subscribe.replace(stranger.SECRET, "another secret")

    with pytest.raises(StrangerError):
        stranger.walk([first, other, f"{send} || true"], here=True)
