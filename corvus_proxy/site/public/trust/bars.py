"""Days of status as a picture: a bar a day, its height and its colour by the worst of the day.

Rule 1: a picture is one sentence (`role="img"`); the page's tables have its figures.
Rule 2: a state is told by the height of its bar, too, never by colour alone.
"""

import itertools
from datetime import date, timedelta

from markupsafe import Markup

from corvus_proxy.service.status import DAYS, State
from corvus_proxy.service.status.document import Part

STEP, WIDTH, HEIGHT = 10, 8, 40
"""Of a day, of its bar, and of the picture."""
HEIGHTS = {State.UNKNOWN: 4, State.OK: 22, State.DEGRADED: 32, State.DOWN: HEIGHT}
"""Trouble stands out above what is in order."""


def bars(part: Part, today: date) -> Markup:
    """The days up to `today`, the oldest left. Days on end in one state are one dashed line, as
    thick as their bars are high: a page of many parts stays small."""
    states = {one.day: one.state for one in part.days}
    days = [(today - timedelta(days=back)).isoformat() for back in reversed(range(DAYS))]
    lines: dict[State, str] = {}
    at = 0
    for state, run in itertools.groupby(states.get(day, State.UNKNOWN) for day in days):
        count = len(list(run))
        middle = HEIGHT - HEIGHTS[state] // 2
        lines[state] = lines.get(state, "") + f"M{at * STEP} {middle}h{count * STEP}"
        at += count
    drawn = [
        Markup('<path class="{}" stroke-width="{}" stroke-dasharray="{} {}" d="{}"/>').format(
            state.value, HEIGHTS[state], WIDTH, STEP - WIDTH, line
        )
        for state, line in lines.items()
    ]
    return Markup(
        '<svg class="bars" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(DAYS * STEP, HEIGHT, sentence(part), Markup("").join(drawn))


def sentence(part: Part) -> str:
    """What the picture shows, in words."""
    if part.uptime_ppm is None:
        return f"{part.title}: nothing measured in the last {DAYS} days"
    bad = sum(one.state in (State.DEGRADED, State.DOWN) for one in part.days)
    days = f"{len(part.days)} of the last {DAYS} days measured"
    trouble = "none with trouble" if not bad else f"{bad} with trouble, in the table below"
    return f"{part.title}: {days}, {trouble}"


def share(ppm: int | None) -> str:
    """Time in percent, rounded down to a thousandth; a dash where nothing was measured."""
    return "–" if ppm is None else f"{ppm // 10_000}.{ppm // 10 % 1000:03d} %"


def minutes(seconds: int) -> str:
    """How long something lasted: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds} s"
    whole = seconds // 60
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02d} min"
