"""Pictures of prices as SVG: steps through time, and what a bill is made of.

Rule: a picture has a sentence (`role="img"`), and a table beside it has its figures.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from markupsafe import Markup

from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.tracker import Pair

WIDTH, HEIGHT = 900, 150
MARGIN = timedelta(days=45)
"""What is drawn before the first change and behind the last."""
TONES = {
    "input": "c0",
    "cache_read": "c1",
    "cache_write_5m": "c2",
    "cache_write_1h": "c3",
    "cache_write_other": "c2",
    "output": "c4",
    "searches": "rest",
}
"""The colour of a component."""


class Step(NamedTuple):
    """A price from a day on; None as a day: from the beginning."""

    start: date | None
    until: date | None
    """The first day of what follows."""
    pair: Pair


def steps(title: str, found: Sequence[Step], component: str, day: date) -> Markup:
    """Two step lines: the vendor's price and ours. `day`: today, marked where more is announced."""
    starts = [one.start for one in found if one.start is not None]
    first, last = starts[0] - MARGIN, max(starts[-1] + MARGIN, day)
    highest = max(max(one.pair) for one in found) or 1
    length = (last - first).days

    def x(at: date) -> int:
        return (at - first).days * WIDTH // length

    lines = []
    for name, side in (("official", 0), ("ours", 1)):
        path = f"M0 {_y(found[0].pair[side], highest)}"
        for one in found[1:]:
            path += f"H{x(one.start or first)}V{_y(one.pair[side], highest)}"
        lines.append(Markup('<path class="{}" d="{}H{}"/>').format(name, path, WIDTH))
    today = Markup("")
    if starts[-1] > day:
        today = Markup('<path class="today" d="M{} 0V{}"/>').format(x(day), HEIGHT)
    return Markup(
        '<svg class="prices" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><path class="ground" d="M0 {}H{}"/>{}{}</svg>'
    ).format(
        WIDTH, HEIGHT + 4, _sentence(title, found, component), HEIGHT + 3, WIDTH, today,
        Markup("").join(lines),
    )  # fmt: skip


def _y(picos: int, highest: int) -> int:
    return HEIGHT - picos * (HEIGHT - 8) // highest


def _sentence(title: str, found: Sequence[Step], component: str) -> str:
    told = [
        f"{tracker.usd(one.pair.official, component)} and {tracker.usd(one.pair.ours, component)}"
        + (f" until {one.until}" if one.until else "")
        for one in found
    ]
    return f"{title}, the vendor's price and ours: {', then '.join(told)}"


def bar(parts: Sequence[tuple[str, int]], whole: int) -> Markup:
    """One bar: components behind each other, each as long as its part of `whole`; the table beside
    it says the same."""
    drawn, left = [], 0
    for name, picos in parts:
        width = max(3, picos * WIDTH // max(1, whole))
        drawn.append(
            Markup('<rect class="{}" x="{}" width="{}" height="16"/>').format(
                TONES[name], left, width
            )
        )
        left += width
    return Markup(
        '<svg class="parts" viewBox="0 0 {} 16" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>"
    ).format(WIDTH + 3 * len(TONES), Markup("").join(drawn))
