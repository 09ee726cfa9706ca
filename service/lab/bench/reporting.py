"""The figures on paper: a table for people, JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from service.lab.bench.figures import Target, Values, target, unit
from service.lab.bench.rows import ROWS

_HEADINGS = ("row", "figure", "median", "spread", "must", "aim", "reached")
#: Of these the columns with names, which stand to the left.
_NAMES = _HEADINGS[:2]
_HUNDRED, _TEN = 100, 10


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over all rounds."""

    row: str
    name: str
    unit: str
    values: Sequence[float]
    target: Target | None

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return median(self.values)

    @property
    def reached(self) -> str:
        """``aim``, ``must`` or ``missed``; empty where nothing is asked."""
        return "" if self.target is None else self.target.verdict(self.median)


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found."""

    mode: str
    quick: bool
    machine: Mapping[str, str | int | float]
    figures: Sequence[Figure]
    #: By row, why it has no figures.
    failures: Mapping[str, str]


def figures(mode: str, rounds: Sequence[Mapping[str, Values]]) -> list[Figure]:
    """The figures of all rounds, in the order of rows."""
    names = {row: list(values) for each in rounds for row, values in each.items()}
    return [
        Figure(
            row,
            name,
            unit(name),
            [each[row][name] for each in rounds if name in each.get(row, {})],
            target(mode, row, name),
        )
        for row in ROWS
        for name in names.get(row, ())
    ]


def document(report: Report) -> dict[str, Any]:
    """The report as JSON."""
    found = [
        {
            "row": each.row,
            "figure": each.name,
            "unit": each.unit,
            "median": round(each.median, 3),
            "values": [round(value, 3) for value in each.values],
            "target": None if each.target is None else asdict(each.target),
            "reached": each.reached or None,
        }
        for each in report.figures
    ]
    return {
        "mode": report.mode,
        "quick": report.quick,
        "machine": dict(report.machine),
        "figures": found,
        "failures": dict(report.failures),
    }


def table(report: Report) -> str:
    """The report as text."""
    cells = [_HEADINGS, *(_cells(each) for each in report.figures)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join((*_head(report), "", *_lines(cells, widths), *_failures(report)))


def _head(report: Report) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    yield f"{report.mode} mode{', quick' if report.quick else ''}; {about}"
    yield "cpu: microseconds of processor time, user and system, for each delivery (or event)"


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    before = ""
    for row in cells:
        if row[0] != before and row[0] in ROWS:
            yield f"-- {ROWS[row[0]].title}"
        before = row[0]
        texts = (
            text.ljust(width) if heading in _NAMES else text.rjust(width)
            for heading, text, width in zip(_HEADINGS, row, widths, strict=True)
        )
        yield "  ".join(texts).rstrip()


def _cells(figure: Figure) -> tuple[str, ...]:
    sign = "" if figure.target is None else (">= " if figure.target.more else "<= ")
    asked = figure.target
    return (
        figure.row,
        figure.name,
        f"{_number(figure.median)} {figure.unit}".strip(),
        f"{_number(min(figure.values))}..{_number(max(figure.values))}"
        if len(figure.values) > 1
        else "",
        "" if asked is None else f"{sign}{asked.must:,g}",
        "" if asked is None else f"{sign}{asked.aim:,g}",
        figure.reached,
    )


def _failures(report: Report) -> Iterator[str]:
    for row, why in report.failures.items():
        yield f"{row}: no figures: {why}"


def _number(value: float) -> str:
    if value >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TEN else f"{value:.3g}"
