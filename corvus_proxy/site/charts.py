"""Charts as SVG: drawn on the server, in colours of the style sheet's classes.

Rule 1: a chart is one picture with a sentence (`role="img"`); a table beside it has its figures.
Rule 2: heights and lengths are shares of the largest, in whole thousandths; what is there is seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from corvus_proxy.money.amount import format_usd
from corvus_proxy.service.account import Anatomy, Day, ModelRow

SERIES_MAX = 5
"""Models with a colour of their own; the others are drawn as one."""
WIDTH, HEIGHT, GAP = 900, 180, 6
CLASSES = {
    "input": "Fresh input",
    "cache_read": "Cache read",
    "cache_write": "Cache write",
    "output": "Output",
    "searches": "Searches",
    "rest": "Rounding and what was not charged",
}
"""The parts of a cost in the customer's words."""


class Series(NamedTuple):
    """An entry of a chart's key."""

    title: str
    tone: str
    """Its class: `c0` …"""


class Chart(NamedTuple):
    """A picture, and what its colours mean."""

    picture: Markup
    series: list[Series]


class ModelShare(NamedTuple):
    """What one model has cost, and how much that is of all charges."""

    row: ModelRow
    share_ppm: int
    bar_permille: int
    """Length of its bar: the dearest model's is full."""


def shares(models: Sequence[ModelRow]) -> list[ModelShare]:
    """Each model with its share of the whole and the length of its bar, rounded up: what has cost
    anything is seen."""
    costs = [model.totals.charge_nanos for model in models]
    total, longest = sum(costs) or 1, max(costs, default=0) or 1
    return [
        ModelShare(model, -(-cost * 1_000_000 // total), -(-cost * 1000 // longest))
        for model, cost in zip(models, costs, strict=True)
    ]


def spend_by_day(days: Sequence[Day], models: Sequence[str]) -> Chart:
    """A column a day, the dearest models in colours of their own."""
    count = min(len(models), SERIES_MAX)
    series = [Series(slug, f"c{at}") for at, slug in enumerate(models[:count])]
    if len(models) > count:
        series.append(Series("other models", "rest"))
    highest = max((day.charge_nanos for day in days), default=0) or 1
    step = WIDTH // max(1, len(days))
    columns = []
    for at, day in enumerate(days):
        amounts = [*day.by_model[:count], sum(day.by_model[count:])]
        columns.append(_column(at * step, step - GAP, amounts, count, highest))
    total = sum(day.charge_nanos for day in days)
    label = f"Spending by day over {len(days)} days: {format_usd(total)} USD in all"
    if total:
        top = max(days, key=lambda day: day.charge_nanos)
        label += f", most on {top.day:%d %B} with {format_usd(top.charge_nanos)} USD"
    picture = Markup(
        '<svg class="days" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><path class="ground" d="M0 {}H{}"/>{}</svg>'
    ).format(WIDTH, HEIGHT + 2, label, HEIGHT + 1, WIDTH, Markup("").join(columns))
    return Chart(picture, series)


def _column(left: int, width: int, amounts: Sequence[int], count: int, highest: int) -> Markup:
    drawn, top = [], HEIGHT
    for at, amount in enumerate(amounts):
        if not amount:
            continue
        height = max(2, amount * HEIGHT // highest)
        top = max(0, top - height)
        tone = f"c{at}" if at < count else "rest"
        drawn.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                tone, left, top, width, height
            )
        )
    return Markup("").join(drawn)


def anatomy(found: Anatomy) -> Chart:
    """One bar: the parts of a cost, one behind the other."""
    shown = [part for part in found.parts if part.cost_nanos > 0]
    total = sum(part.cost_nanos for part in shown) or 1
    drawn, left = [], 0
    names = list(CLASSES)
    for part in shown:
        width = max(3, part.cost_nanos * 1000 // total)
        drawn.append(
            Markup('<rect class="{}" x="{}" width="{}" height="20"/>').format(
                _tone(names.index(part.name)), left, width
            )
        )
        left += width
    words = ", ".join(f"{CLASSES[part.name]} {format_usd(part.cost_nanos)} USD" for part in shown)
    picture = Markup(
        '<svg class="parts" viewBox="0 0 {} 20" preserveAspectRatio="none" role="img"'
        ' aria-label="What the cost is made of: {}">{}</svg>'
    ).format(max(1000, left), words or "nothing yet", Markup("").join(drawn))
    series = [Series(CLASSES[part.name], _tone(names.index(part.name))) for part in shown]
    return Chart(picture, series)


def _tone(at: int) -> str:
    return f"c{at}" if at < SERIES_MAX else "rest"
