"""What came of a run, for people and for programs."""

import json
from dataclasses import asdict

from service.lab.torture.running import Result


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
