"""Commands that need the SQLite file for themselves, beside a service that has it."""

import pytest

from service.cli.exits import Exit
from tests.support.server import Server, free_port, ringback


@pytest.mark.parametrize("command", ["prune --yes", "prune --dry-run", "rekey", "serve"])
def test_beside_a_running_service_the_state_forbids_it(service: Server, command: str) -> None:
    settings = {"RINGBACK_PORT": str(free_port())}
    done = ringback(service.folder, *command.split(), settings=settings)

    assert (done.returncode, done.stdout) == (Exit.CONFLICT, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("ringback: Another Ringback process has ")
    assert str(service.database) in said or "data/ringback.db" in said
    assert "Stop that one, then run this again" in said
    assert "RINGBACK_DATABASE_URL" in said
