"""A failpoint at each step of the journey, with each action: the table of what comes of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.lab.torture.failpoints import Action, Spot
from service.lab.torture.plan import Mode
from service.lab.torture.report import steps_as_json, steps_as_table
from service.lab.torture.scenarios import EXPECTED, Came, Ground, ground, run

pytestmark = pytest.mark.anyio

MODES = {"SQLite": Mode.EMBEDDED, "PostgreSQL": Mode.DISTRIBUTED}


@pytest.fixture
def data(database: str, tmp_path: Path) -> Iterator[Ground]:
    with ground(MODES[database], tmp_path) as found:
        yield found


@pytest.mark.parametrize("database", MODES)
def test_there_are_thirty_six(database: str) -> None:
    assert len(Spot) == 12
    assert len(Action) == 3
    assert len(EXPECTED[database]) == 36
    assert sum(came.losses for came in EXPECTED[database].values()) == 0


@pytest.mark.parametrize("database", MODES)
@pytest.mark.parametrize("action", Action)
async def test_what_comes_of_every_failpoint(
    action: Action, database: str, data: Ground, tmp_path: Path
) -> None:
    wanted = {each: came for each, came in EXPECTED[database].items() if each[1] is action}

    assert await run(wanted, data, tmp_path) == wanted


def test_the_table_says_what_was_to_be_otherwise() -> None:
    found = {**EXPECTED["PostgreSQL"], (Spot.CLAIM_AFTER, Action.EXIT): Came(0, 2)}
    tables = {"SQLite": EXPECTED["SQLite"], "PostgreSQL": found}

    lines = steps_as_table(tables).splitlines()
    assert len(lines) == 14 + 1 + 14
    assert len({len(line) for line in lines[:14]}) == 1
    (wrong,) = [line for line in lines if "WRONG" in line]
    assert wrong.startswith("| after the claim ")
    assert wrong in lines[15:]
    assert "| 0, 2 (0, 0) WRONG |" in wrong
    assert len(json.loads(steps_as_json(tables))) == 72
