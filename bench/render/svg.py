"""Two kinds of picture, as SVG text: lines over a scale, and bars against a bound."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.results import shown

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 45
BAR_PX, BAR_LEFT = 26, 330
COLOURS = ("#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e", "#a61e4d", "#495057")
_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #343a40 } .t { font-size: 14px; font-weight: 600 }
.g { stroke: #ced4da; stroke-width: 1 } path { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #dee2e6 } .g { stroke: #495057 } }
</style>"""
Points = Sequence[tuple[float, float]]


def _picture(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title>{_STYLE}"
        f'<text class="t" x="12" y="22">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def _steps(low: float, high: float) -> list[float]:
    """About five round numbers."""
    raw = (high - low) / 5 or 1.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first = math.ceil(low / step) * step
    return [first + step * at for at in range(int((high - first) / step + 1e-9) + 1)]


def lines(
    title: str, x_title: str, y_title: str, series: Mapping[str, Points], *, log_x: bool = False
) -> str:
    """A line for each series of (x, y); the y-axis begins at 0. With `log_x` every x is above 0."""
    place = math.log10 if log_x else float
    xs = [place(x) for points in series.values() for x, _ in points]
    top = max((y for points in series.values() for _, y in points), default=1.0) * 1.05 or 1.0
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        share = (place(x) - low) / (high - low or 1)
        return round(LEFT + share * wide, 1), round(TOP + tall - y / top * tall, 1)

    parts = []
    for value in _steps(0, top):
        y = at(10**low if log_x else low, value)[1]
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{shown(round(value, 9))}</text>'
        )
    ticks = (
        [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
        if log_x
        else _steps(low, high)
    )
    for value in ticks:
        x = at(value, 0)[0]
        parts.append(
            f'<text x="{x}" y="{HEIGHT - 26}" text-anchor="middle">{shown(round(value, 9))}</text>'
        )
    parts.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle">')
    parts.append(f"{escape(x_title)}</text>")
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}" text-anchor="end">{escape(y_title)}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(
            f"{'L' if index else 'M'}{x} {y}"
            for index, (x, y) in enumerate(at(*point) for point in points)
        )
        parts.append(f'<path d="{path}" stroke="{colour}"/>')
        y = TOP + 14 + number * 18
        parts.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{y}" style="fill:{colour}">{escape(name)}</text>'
        )
    return _picture(HEIGHT, title, parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]], *, bound: float) -> str:
    """A bar for each (name, value, label), and a line at the bound."""
    height = TOP + BAR_PX * len(rows) + 14
    most = max([bound * 1.2, *(min(value, bound * 2) for _, value, _ in rows)])
    wide = WIDTH - BAR_LEFT - 110
    parts = []
    for number, (name, value, label) in enumerate(rows):
        y = TOP + number * BAR_PX
        size = round(max(0.0, min(value, most)) / most * wide, 1)
        colour = COLOURS[0] if value <= bound else COLOURS[1]
        parts.append(f'<text x="12" y="{y + 15}">{escape(name)}</text>')
        parts.append(
            f'<rect x="{BAR_LEFT}" y="{y + 3}" width="{size}" height="16" fill="{colour}"/>'
        )
        parts.append(f'<text x="{BAR_LEFT + size + 6}" y="{y + 15}">{escape(label)}</text>')
    x = round(BAR_LEFT + bound / most * wide, 1)
    parts.append(f'<line class="g" x1="{x}" x2="{x}" y1="{TOP - 4}" y2="{height - 8}"/>')
    return _picture(height, title, parts)
