"""A stranger's path in its short form; `make stranger` goes all of it, from a clone."""

from pathlib import Path

import pytest

from tests.system import stranger
from tests.system.stranger import COMMANDS, MOST, Receiver, StrangerError, Way


def test_a_stranger_gets_a_webhook_that_verifies() -> None:
    seconds = stranger.walk(here=True)

    assert list(seconds)[1:-1] == [f"$ {command}" for command in COMMANDS]
    assert len(COMMANDS) <= MOST


def test_too_many_commands_are_seen(tmp_path: Path) -> None:
    way = Way(tmp_path, {}, "", Receiver(), here=True, typed=MOST)
    way.receiver.arrived.put(True)  # noqa: FBT003  it was genuine
    stranger.judge(way)

    way.receiver.arrived.put(True)  # noqa: FBT003  as above
    way.words("true")
    with pytest.raises(StrangerError, match="It took 4 commands"):
        stranger.judge(way)


def test_another_secret_is_seen() -> None:
    first, subscribe, send = COMMANDS
    other = subscribe.replace(stranger.SECRET, "another secret")

    with pytest.raises(StrangerError, match="does not verify"):
        stranger.walk([first, other, send.removesuffix(" --wait")], here=True)
