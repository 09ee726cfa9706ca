"""A failpoint at each step of the journey, with each action: the table of what comes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.lab.servers import Postgres
from service.lab.torture.failpoints import Action, Spot
from service.lab.torture.scenarios import EXPECTED, Ground, OnPostgres, OnSqlite, run

pytestmark = pytest.mark.anyio

#: ``postgresql`` as soon as the store has it.
DATABASES = ("sqlite",)


@pytest.fixture(params=DATABASES)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "sqlite":
        yield OnSqlite(tmp_path)
        return
    server = Postgres(tmp_path / "postgres.log")
    server.install()
    server.start()
    yield OnPostgres(server, tmp_path)
    server.remove()


def test_there_are_thirty_six() -> None:
    assert len(Spot) == 12
    assert len(Action) == 3
    assert len(EXPECTED) == 36
    assert sum(came.losses for came in EXPECTED.values()) == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("action", Action)
async def test_what_comes_of_every_failpoint(
    action: Action, ground: Ground, tmp_path: Path
) -> None:
    wanted = {each: came for each, came in EXPECTED.items() if each[1] is action}

    assert await run(wanted, ground, tmp_path) == wanted
