"""Commands that need the SQLite file for themselves, beside a service that has it."""

from collections.abc import Callable

import pytest

from service.cli.exits import Exit
from tests.support.server import Server, free_port, ringback

COMMANDS = ("prune --yes", "prune --dry-run", "rekey", "serve")


def by_default(_: Server) -> tuple[dict[str, str], str]:
    return {}, "data/ringback.db"


def in_full(service: Server) -> tuple[dict[str, str], str]:
    path = str(service.database)
    return {"RINGBACK_DATABASE_URL": f"sqlite:///{path}"}, path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("given", [by_default, in_full])
def test_beside_a_running_service_the_state_forbids_it(
    service: Server, given: Callable[[Server], tuple[dict[str, str], str]], command: str
) -> None:
    """The file is named as the settings do, so that one knows which of them to change."""
    settings, path = given(service)
    port = {"RINGBACK_PORT": str(free_port())}
    done = ringback(service.folder, *command.split(), settings={**settings, **port})

    assert done.returncode == Exit.CONFLICT
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"ringback: Another Ringback process has {path} open, ")
    assert "Stop that one, then run this again" in said
    assert "RINGBACK_DATABASE_URL" in said
