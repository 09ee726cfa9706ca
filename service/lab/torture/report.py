"""What came of a run, for people and for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from service.lab.torture.failpoints import Action, Spot
from service.lab.torture.running import Result
from service.lab.torture.scenarios import EXPECTED, Came

Steps = Mapping[tuple[Spot, Action], Came]
#: By the name of a database.
Tables = Mapping[str, Steps]

_ACTIONS: Final = {
    Action.EXIT: "exit",
    Action.SLEEP: "sleep beyond the lease",
    Action.RAISE: "raise",
}


def as_json(result: Result) -> str:
    """All figures, and every violation."""
    figures = {
        **asdict(result.figures),
        "most_duplicates": result.figures.most_duplicates,
        "violations": list(result.violations),
    }
    return json.dumps(figures, indent=2)


def as_table(result: Result) -> str:
    """The figures under their names, the equation, and every violation."""
    figures = asdict(result.figures)
    faults, in_flight = figures.pop("faults"), figures.pop("in_flight")
    figures["duplicated"] = f"{figures['duplicated']}, at most {result.figures.most_duplicates}"
    width = max(map(len, figures))
    lines = [f"{name.replace('_', ' '):<{width}}  {value}" for name, value in figures.items()]
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())) or "none"
    where = ", ".join(f"{count} at {kind}" for kind, count in in_flight.items()) or "none"
    lines += [
        "",
        f"faults: {done}",
        f"in flight in the process at fault, each of which may come twice: {where}",
        "",
        "accepted x matching = delivered + pending + dead + cancelled",
        result.figures.equation,
        *(f"VIOLATION: {each}" for each in result.violations),
    ]
    return "\n".join(lines)


def steps_as_json(tables: Tables) -> str:
    """What came of each failpoint, and what was to come."""
    rows = [
        {
            "database": name,
            "spot": spot.value,
            "action": action.value,
            **found._asdict(),
            "expected": EXPECTED[name][spot, action]._asdict(),
        }
        for name, came in tables.items()
        for (spot, action), found in came.items()
    ]
    return json.dumps(rows, indent=2)


def steps_as_table(tables: Tables) -> str:
    """For each database duplicates and losses by spot and action, in Markdown that people read."""
    return "\n\n".join("\n".join(_table(name, came)) for name, came in tables.items())


def _table(name: str, came: Steps) -> list[str]:
    rows = [[f"{name}: duplicates, losses (expected)", *_ACTIONS.values()]]
    wanted = EXPECTED[name]
    rows += [
        [spot.value, *(_cell(came[spot, action], wanted[spot, action]) for action in _ACTIONS)]
        for spot in Spot
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return lines


def _cell(found: Came, expected: Came) -> str:
    said = f"{found.duplicates}, {found.losses} ({expected.duplicates}, {expected.losses})"
    return said if found == expected else f"{said} WRONG"
