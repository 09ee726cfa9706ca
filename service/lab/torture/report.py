"""What came of a run, for people and for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from service.lab.torture.failpoints import Action, Spot
from service.lab.torture.running import Result
from service.lab.torture.scenarios import EXPECTED, Came

Steps = Mapping[tuple[Spot, Action], Came]


def as_json(result: Result) -> str:
    """All figures, and every violation."""
    figures = {**asdict(result.figures), "violations": list(result.violations)}
    return json.dumps(figures, indent=2)


def as_table(result: Result) -> str:
    """The figures under their names, the equation, and every violation."""
    figures = asdict(result.figures)
    faults = figures.pop("faults")
    width = max(map(len, figures))
    lines = [f"{name.replace('_', ' '):<{width}}  {value}" for name, value in figures.items()]
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())) or "none"
    lines += [
        "",
        f"faults: {done}",
        "",
        "accepted x matching = delivered + pending + dead + cancelled",
        result.figures.equation,
        *(f"VIOLATION: {each}" for each in result.violations),
    ]
    return "\n".join(lines)


def steps_as_json(came: Steps) -> str:
    """What came of each failpoint, and what was to come."""
    rows = [
        {
            "spot": spot.value,
            "action": action.value,
            **found._asdict(),
            "expected": EXPECTED[spot, action]._asdict(),
        }
        for (spot, action), found in came.items()
    ]
    return json.dumps(rows, indent=2)


def steps_as_table(came: Steps) -> str:
    """Duplicates and losses by spot and action; what was to be otherwise says so."""
    width = max(len(spot.value) for spot in Spot)
    head = f"{'duplicates, losses':<{width}}" + "".join(f"  {each.value:<8}" for each in Action)
    lines = [head]
    for spot in Spot:
        cells = [_cell(came[spot, action], EXPECTED[spot, action]) for action in Action]
        lines.append(f"{spot.value:<{width}}" + "".join(f"  {cell:<8}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def _cell(found: Came, expected: Came) -> str:
    said = f"{found.duplicates}, {found.losses}"
    return said if found == expected else f"{said} NOT {expected.duplicates}, {expected.losses}"
