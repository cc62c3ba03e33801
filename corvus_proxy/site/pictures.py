"""Small pictures of statements as SVG: a balance over time, a request's times, a bill's parts.

Rule 1: a picture has a sentence (`role="img"`), and a table beside it has its figures.
Rule 2: everything is whole numbers; what is there is seen, however little it is.
"""

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from corvus_proxy.money.amount import format_usd
from corvus_proxy.service.statements.explained import Explained

WIDTH, HEIGHT = 900, 160


def balance(opening_nanos: int, steps: Sequence[tuple[datetime, int]]) -> Markup:
    """A step line: the balance from each instant on, beginning with `opening_nanos`."""
    first, last = steps[0][0], steps[-1][0]
    length_s = max(1, (last - first).days * 86_400 + (last - first).seconds)
    highest = max(opening_nanos, *(nanos for _, nanos in steps)) or 1
    path = [f"M0 {_height(opening_nanos, highest)}"]
    for instant, nanos in steps:
        past = instant - first
        x = (past.days * 86_400 + past.seconds) * WIDTH // length_s
        path.append(f"H{x}V{_height(nanos, highest)}")
    path.append(f"H{WIDTH}")
    label = (
        f"Balance from {first:%Y-%m-%d} to {last:%Y-%m-%d}: {format_usd(opening_nanos)} USD at"
        f" first, {format_usd(steps[-1][1])} USD at last, {format_usd(highest)} USD at most"
    )
    return Markup(
        '<svg class="level" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><path class="ground" d="M0 {}H{}"/><path class="line" d="{}"/></svg>'
    ).format(WIDTH, HEIGHT + 4, label, HEIGHT + 3, WIDTH, "".join(path))


def waterfall(found: Explained) -> Markup:
    """Two bars, one after the other: until the first byte, and from there to the end."""
    total = max(1, found.total_ms)
    first = min(found.first_byte_ms, total) * WIDTH // total
    label = (
        f"First byte after {found.first_byte_ms} ms, end after {found.total_ms} ms, in"
        f" {found.attempts} attempts"
        if found.attempts != 1
        else f"First byte after {found.first_byte_ms} ms, end after {found.total_ms} ms"
    )
    return Markup(
        '<svg class="fall" viewBox="0 0 {} 44" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><rect class="rest" x="0" y="0" width="{}" height="18"/>'
        '<rect class="c0" x="{}" y="24" width="{}" height="18"/></svg>'
    ).format(WIDTH, label, max(3, first), min(first, WIDTH - 3), max(3, WIDTH - first))


def parts(found: Explained) -> Markup:
    """One bar of a bill's lines, each as long as its share."""
    shown = [line for line in found.lines if line.amount_picos]
    total = sum(line.amount_picos for line in shown) or 1
    drawn, left = [], 0
    for at, line in enumerate(shown):
        width = max(3, line.amount_picos * WIDTH // total)
        drawn.append(
            Markup('<rect class="{}" x="{}" width="{}" height="20"/>').format(tone(at), left, width)
        )
        left += width
    words = ", ".join(
        f"{line.name.replace('_', ' ')} {line.amount_picos * 100 // total} %" for line in shown
    )
    return Markup(
        '<svg class="parts" viewBox="0 0 {} 20" preserveAspectRatio="none" role="img"'
        ' aria-label="What the cost is made of: {}">{}</svg>'
    ).format(max(1, left), words or "nothing", Markup("").join(drawn))


def tone(at: int) -> str:
    """The colour of the part with that number."""
    return f"c{at}" if at < 5 else "rest"


def _height(nanos: int, highest: int) -> int:
    return HEIGHT + 2 - nanos * HEIGHT // highest
