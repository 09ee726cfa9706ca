"""Small plots as SVG: lines over even steps, one panel beside the other.

Colours follow the reader's scheme, light or dark; lines differ by dash and mark as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

#: Sizes, in pixels: a panel, what is left around its plot, and the head above all.
_WIDTH, _HEIGHT, _HEAD = 320, 280, 64
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 34, 52
_TICKS: Final = 4
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MARK: Final = 4
_STYLE: Final = (
    ":root{--back:#fff;--ink:#1f2328;--soft:#59636e;--grid:#d1d9e0;--one:#0550ae;--two:#bc4c00}"
    "@media(prefers-color-scheme:dark){:root{--back:#0d1117;--ink:#f0f6fc;--soft:#9198a1;"
    "--grid:#3d444d;--one:#79c0ff;--two:#ffa657}}"
    "svg{background:var(--back)}text{font:12px system-ui,sans-serif;fill:var(--ink)}"
    ".title{font-weight:600;font-size:14px}.soft{fill:var(--soft)}.back{fill:var(--back)}"
    ".grid{stroke:var(--grid)}.line{fill:none;stroke-width:2}"
    ".s0{stroke:var(--one)}.m0{fill:var(--one)}"
    ".s1{stroke:var(--two);stroke-dasharray:6 3}.m1{fill:var(--two)}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: lines by name, each a value for every step of ``steps`` that it has one for."""

    title: str
    x_title: str
    y_title: str
    steps: Sequence[int]
    lines: Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things are in a panel whose values go from 0 to ``top``."""

    panel: Panel
    top: float

    def x(self, step: int) -> float:
        """Where a step stands; one alone is in the middle."""
        room = _WIDTH - _LEFT - _RIGHT
        return _LEFT + room * (self.panel.steps.index(step) + 0.5) / len(self.panel.steps)

    def y(self, value: float) -> float:
        """How high a value is."""
        room = _HEIGHT - _TOP - _BOTTOM
        return _HEIGHT - _BOTTOM - room * value / self.top


def svg(title: str, about: str, panels: Sequence[Panel]) -> str:
    """The picture: a title, a sentence about what was measured, a legend, the panels."""
    width, height = _WIDTH * len(panels), _HEAD + _HEIGHT
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    named = 'role="img" aria-labelledby="title about"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {named}>',
        f'<title id="title">{escape(title)}</title><desc id="about">{escape(about)}</desc>',
        f'<style>{_STYLE}</style><rect class="back" width="{width}" height="{height}"/>',
        _text(16, 22, title, "title"),
        _text(16, 40, about, "soft"),
        *_legend(names),
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({number * _WIDTH} {_HEAD})">')
        parts += _panel(panel, names)
        parts.append("</g>")
    return "\n".join((*parts, "</svg>", ""))


def _legend(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        x = 16 + number * 130
        yield f'<path class="line s{number}" d="M{x} 56h28"/>'
        yield _mark(number, x + 14, 56)
        yield _text(x + 34, 60, name)


def _panel(panel: Panel, names: Sequence[str]) -> Iterator[str]:
    most = max((value for line in panel.lines.values() for value in line.values()), default=1.0)
    step = _nice(most / _TICKS)
    frame = _Frame(panel, step * ceil(most / step))
    yield _text(_LEFT, 20, panel.title, "title")
    yield from _axes(frame, step)
    for name, line in panel.lines.items():
        number = names.index(name)
        points = [(frame.x(at), frame.y(line[at])) for at in panel.steps if at in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="line s{number}" points="{path}"/>'
        yield from (_mark(number, x, y) for x, y in points)


def _axes(frame: _Frame, step: float) -> Iterator[str]:
    panel, left, right = frame.panel, _LEFT, _WIDTH - _RIGHT
    for tick in range(round(frame.top / step) + 1):
        y = frame.y(tick * step)
        yield f'<path class="grid" d="M{left} {y:.1f}H{right}"/>'
        yield _text(left - 6, y + 4, f"{tick * step:g}", "soft", "end")
    for at in panel.steps:
        yield _text(frame.x(at), _HEIGHT - _BOTTOM + 18, _short(at), "soft", "middle")
    yield _text((left + right) / 2, _HEIGHT - 12, panel.x_title, "", "middle")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f' transform="rotate(-90 14 {middle:.0f})"'
    yield _text(14, middle, panel.y_title, "", "middle", turned)


def _mark(number: int, x: float, y: float) -> str:
    if number == 0:
        return f'<circle class="m0" cx="{x:.1f}" cy="{y:.1f}" r="{_MARK}"/>'
    size = 2 * _MARK
    left, above = x - _MARK, y - _MARK
    return (
        f'<rect class="m{number}" x="{left:.1f}" y="{above:.1f}" width="{size}" height="{size}"/>'
    )


def _text(
    x: float, y: float, words: str, kind: str = "", anchor: str = "start", more: str = ""
) -> str:
    named = f' class="{kind}"' if kind else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}{named}{more}>{escape(words)}</text>"


def _nice(least: float) -> float:
    """The smallest round number that is at least as much."""
    power = 10.0 ** floor(log10(least))
    return next(power * step for step in _STEPS if power * step >= least)


def _short(count: int) -> str:
    """A number as axes have it: 10 k, 1 M."""
    for size, word in ((1_000_000, " M"), (1_000, " k")):
        if count >= size:
            return f"{count / size:g}{word}"
    return str(count)
