"""Curves and bars as inline SVG: sharp at any size, in the page's own colours, without a script or another file."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from lorasweep.evaluate.explain import Contribution
from lorasweep.report.view import Band

# Not matplotlib: the page is written again at every checkpoint, and these take milliseconds.
WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 42
BAR_WIDTH, BAR_ROW = 420, 26
BAR_LEFT, BAR_RIGHT = 82, 62
"""Room for component names and factors beside the bars."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve. ``colour`` is the number of a page colour, ``--c0`` to ``--c7``."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    thin: bool = False
    dots: bool = True


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A marked point with words beside it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What one chart shows."""

    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()
    floor: float | None = None
    """Lower end of the y axis; None fits the data."""
    ceiling: float | None = None
    label: str = ""
    x_label: str = "step"


@dataclass(frozen=True)
class _Frame:
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        clipped = min(self.y1, max(self.y0, value))
        return HEIGHT - BOTTOM - (clipped - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def draw(chart: Chart) -> str:
    """Return the chart as an ``<svg>`` element, or '' if no line has a finite point."""
    frame = _frame(chart)
    if frame is None:
        return ""
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.label)}">']
    parts += _bands(chart, frame)
    parts += _axes(chart, frame)
    for line in chart.lines:
        parts += _line(line, frame)
    for mark in chart.marks:
        parts += _mark(mark, frame)
    return "".join([*parts, "</svg>"])


def draw_bars(contributions: Sequence[Contribution], reach: tuple[float, float]) -> str:
    """Return a bar for what each component did to log(score), losses to the left, gains to the right, with its factor.

    ``reach`` is the largest loss and gain of all charts that are compared, as unsigned log(score).
    """
    parts = [part for part in contributions if part.weight > 0]  # those that were judged
    height = BAR_ROW * len(parts)
    width = BAR_WIDTH - BAR_LEFT - BAR_RIGHT
    scale = width / max(sum(reach), 1e-9)
    zero = BAR_LEFT + reach[0] * scale
    drawn = [f'<svg class="bars" viewBox="0 0 {BAR_WIDTH} {height}" role="img" aria-label="what each component did">']
    for row, part in enumerate(parts):
        y, length = row * BAR_ROW, abs(part.change) * scale
        left = zero - length if part.change < 0 else zero
        word = "loss" if part.change < 0 else "gain"
        drawn.append(f'<text x="0" y="{y + 18}">{escape(part.component)}</text>')
        drawn.append(
            f'<rect class="{word}" x="{left:.1f}" y="{y + 6}" width="{length:.1f}" height="{BAR_ROW - 11}" rx="2">'
            f"<title>{escape(part.component)}: {part.change:+.3f} of log(score)</title></rect>"
        )
        factor = f"×{math.exp(part.change):.2f}"
        drawn.append(f'<text class="factor" x="{BAR_WIDTH}" y="{y + 18}" text-anchor="end">{factor}</text>')
    drawn.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height}"/></svg>')
    return "".join(drawn)


def _frame(chart: Chart) -> _Frame | None:
    xs = [x for line in chart.lines for x, y in _finite(line.xs, line.ys)]
    ys = [y for line in chart.lines for _, y in _finite(line.xs, line.ys)]
    if not xs:
        return None
    low = min(ys) if chart.floor is None else chart.floor
    high = max(ys) if chart.ceiling is None else chart.ceiling
    pad = 0.0 if chart.floor is not None else 0.06 * (high - low)
    x0, x1 = min(xs), max(xs)
    return _Frame(x0, x1 if x1 > x0 else x0 + 1, low - pad, high + pad if high > low else low + 1)


def _bands(chart: Chart, frame: _Frame) -> list[str]:
    parts = []
    for band in chart.bands:
        left, right = frame.x(max(band.first, frame.x0)), frame.x(min(band.last, frame.x1))
        width = max(right - left, 2)
        word = escape(band.word)
        parts.append(
            f'<rect class="band {word}" x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        )
        if width > 9 * len(band.word):  # 9 pixels a letter
            parts.append(f'<text class="band-word" x="{left + width / 2:.1f}" y="{HEIGHT - BOTTOM - 8}">{word}</text>')
    return parts


def _axes(chart: Chart, frame: _Frame) -> list[str]:
    parts = []
    for tick in nice_ticks(frame.y0, frame.y1, 5):
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in nice_ticks(frame.x0, frame.x1, 6):
        parts.append(
            f'<text class="tick" x="{frame.x(tick):.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    return parts


def _line(line: Line, frame: _Frame) -> list[str]:
    parts = []
    style = f"--c:var(--c{line.colour % 8})"
    if len(line.low):
        upper = _finite(line.xs, line.high)
        lower = _finite(line.xs, line.low)
        parts.append(f'<polygon class="ribbon" style="{style}" points="{_points([*upper, *reversed(lower)], frame)}"/>')
    points = _finite(line.xs, line.ys)
    kind = "curve thin" if line.thin else "curve"
    parts.append(f'<polyline class="{kind}" style="{style}" points="{_points(points, frame)}"/>')
    for x, y in points if line.dots else ():
        parts.append(
            f'<circle class="dot" style="{style}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3">'
            f"<title>{escape(line.name)}, step {x:g}: {y:.3f}</title></circle>"
        )
    return parts


def _mark(mark: Mark, frame: _Frame) -> list[str]:
    x, y = frame.x(mark.x), frame.y(mark.y)
    end = "end" if x > WIDTH * 0.8 else "start" if x < WIDTH * 0.2 else "middle"
    below = y < TOP + 46
    return [
        f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="7"/>',
        f'<text class="mark-word" x="{x:.1f}" y="{y + 26 if below else y - 14:.1f}" text-anchor="{end}">'
        f"{escape(mark.text)}</text>",
    ]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return about ``count`` round numbers between ``low`` and ``high``."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(xs: Sequence[float], ys: Sequence[float], most: int = 600) -> tuple[list[float], list[float]]:
    """Return every n-th point and the last one, at most about ``most``, so that a long run's page stays small."""
    stride = max(1, math.ceil(len(xs) / most))
    keep = sorted({*range(0, len(xs), stride), len(xs) - 1}) if len(xs) else []
    return [xs[i] for i in keep], [ys[i] for i in keep]


def _finite(xs: Iterable[float], ys: Iterable[float]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(xs, ys, strict=False) if math.isfinite(y)]


def _points(points: Iterable[tuple[float, float]], frame: _Frame) -> str:
    return " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
