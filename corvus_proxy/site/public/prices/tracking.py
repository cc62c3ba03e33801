"""The tracker's page: today's prices of a family, what is announced, and what has changed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any, NamedTuple

from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.book import Model, Period
from corvus_proxy.catalogue.families import SERIES, VENDORS
from corvus_proxy.catalogue.tracker import STALE_DAYS, Change, Key, Pair, Row
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices import documents, drawing
from corvus_proxy.site.public.prices.drawing import Step
from corvus_proxy.site.public.prices.offer import VENDOR_PAGES, WORDS, Offer, offer


class Cell(NamedTuple):
    """A price as it stands in the table."""

    words: str
    official: str
    ours: str
    factor: str
    since: date | None
    next: str
    """What is announced; empty: nothing."""


class Tracked(NamedTuple):
    """A model of the table."""

    model: Model
    source: str
    checked: date
    unchecked_days: int
    version: str
    cells: list[Cell]
    more: int
    """Further prices of it: other ways of service, longer requests."""


class News(NamedTuple):
    """What changed for a model on a day."""

    day: date
    announced: date | None
    slug: str
    sentences: list[str]


class Line(NamedTuple):
    """A component whose price has changed, drawn and as a table."""

    words: str
    picture: Any
    steps: list[tuple[date | None, date | None, str, str]]
    """From, until, the vendor's, ours."""


class Story(NamedTuple):
    """A model whose prices have changed."""

    model: Model
    lines: list[Line]


def view(facts: Facts) -> Mapping[str, Any]:
    """`/pricing/tracker`, with all families."""
    found = offer(facts)
    log = list(news(found.changes))
    return {
        "families": [
            (family, SERIES[family], VENDORS[family], VENDOR_PAGES[family],
             [tracked(model, found.rows[model.slug], facts.day) for model in found.of(family)])
            for family in found.families
        ],
        "counts": {family: len(found.of(family)) for family in found.families},
        "names": SERIES,
        "announced": [one for one in reversed(log) if one.day > facts.day],
        "changed": [one for one in log if one.day <= facts.day],
        "stories": [
            story
            for model in found.models
            if (story := Story(model, lines(found.periods[model.slug], facts.day))).lines
        ],
        "stale_days": STALE_DAYS,
        "unchecked": [model for model in found.models
                      if tracker.unchecked_days(model.official.checked, facts.day)],
        "rows": sum(len(rows) for rows in found.rows.values()),
        "chosen": "",
        "book": documents.BOOK,
        "pricing": documents.PRICING,
    }  # fmt: skip


def choose(found: Offer, family: str) -> str:
    """The family whose table is shown: the one that is asked for, else the first."""
    families = found.families
    return family if family in families else (families[0] if families else "")


def tracked(model: Model, rows: Sequence[Row], day: date) -> Tracked:
    """A model with its ordinary prices."""
    plain = [row for row in rows if not row.key.mode and not row.key.above]
    return Tracked(
        model,
        model.official.source,
        model.official.checked,
        tracker.unchecked_days(model.official.checked, day),
        model.price.version,
        [cell(row) for row in plain],
        len(rows) - len(plain),
    )


def cell(row: Row) -> Cell:
    """A row of the tracker in words."""
    name = row.key.component
    return Cell(
        WORDS[name],
        tracker.usd(row.pair.official, name),
        tracker.usd(row.pair.ours, name),
        tracker.factor(row.pair) or "",
        row.since,
        coming(row),
    )


def coming(row: Row) -> str:
    """What is announced for a price."""
    if row.next is None:
        return ""
    if row.next.pair is None:
        return f"ends on {row.next.start}"
    return f"{_pair(row.next.pair, row.key.component)} from {row.next.start}"


def where(key: Key) -> str:
    """For which requests a price is, such as `flex, above 272,000 input tokens`."""
    words = [key.mode] if key.mode else []
    words += [f"above {key.above:,} input tokens"] if key.above else []
    return ", ".join(words)


def news(changes: Iterable[Change]) -> Iterable[News]:
    """Changes by day and model: ordinary prices one by one, others together."""
    for (day, slug), group in groupby(changes, key=lambda one: (one.day, one.slug)):
        told = list(group)
        sentences = []
        for place, some in groupby(told, key=lambda one: where(one.key)):
            of = list(some)
            if not place:
                sentences += [_sentence(one) for one in of]
            elif all(one.before is None for one in of):
                sentences.append(f"{place}: has prices of its own")
            elif all(one.after is None for one in of):
                sentences.append(f"{place}: no price of its own any more")
            else:
                sentences.append(f"{place}: {', '.join(_sentence(one) for one in of)}")
        yield News(day, told[0].announced, slug, sentences)


def _sentence(one: Change) -> str:
    name = one.key.component
    if one.before is None or one.after is None:
        pair = one.after or one.before
        told = "new" if one.before is None else "ends"
        return f"{WORDS[name].lower()} {told}: {_pair(pair, name) if pair else ''}"
    return (
        f"{WORDS[name].lower()} {tracker.usd(one.before.official, name)} →"
        f" {tracker.usd(one.after.official, name)} (ours {tracker.usd(one.before.ours, name)} →"
        f" {tracker.usd(one.after.ours, name)})"
    )


def _pair(pair: Pair, name: str) -> str:
    return f"{tracker.usd(pair.official, name)} (ours {tracker.usd(pair.ours, name)})"


def lines(periods: Sequence[Period], day: date) -> list[Line]:
    """The components of a model whose ordinary price has changed, or will."""
    known = [tracker.prices(one.model) for one in periods]
    found = []
    for key in known[-1]:
        pairs = [prices.get(key) for prices in known]
        if key.mode or key.above or len(set(pairs)) == 1 or None in pairs:
            continue
        steps = _steps(periods, [pair for pair in pairs if pair is not None])
        title = f"{WORDS[key.component]} of {periods[-1].model.slug}"
        found.append(
            Line(
                WORDS[key.component],
                drawing.steps(title, steps, key.component, day),
                [
                    (
                        one.start,
                        one.until,
                        tracker.usd(one.pair.official, key.component),
                        tracker.usd(one.pair.ours, key.component),
                    )
                    for one in steps
                ],
            )
        )
    return found


def _steps(periods: Sequence[Period], pairs: Sequence[Pair]) -> list[Step]:
    """Stretches of time with the same price are one."""
    starts: list[tuple[date | None, Pair]] = []
    for period, pair in zip(periods, pairs, strict=True):
        if not starts or starts[-1][1] != pair:
            starts.append((period.span.start, pair))
    ends = [start for start, _ in starts[1:]] + [None]
    return [Step(start, end, pair) for (start, pair), end in zip(starts, ends, strict=True)]
