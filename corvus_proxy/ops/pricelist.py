"""The price book for the terminal: prices, margins, history, and what is not sold."""

import textwrap
from collections.abc import Iterable
from datetime import date
from typing import Any

from corvus_proxy import clock
from corvus_proxy.catalogue import book, history, margin
from corvus_proxy.catalogue.book import Book, Model, Period
from corvus_proxy.catalogue.sides import billed, sides
from corvus_proxy.catalogue.tracked import Comparison
from corvus_proxy.settings import Settings

WIDTH = 80
"""Columns that text may take."""


def rows(settings: Settings, day: date | None = None) -> list[dict[str, Any]]:
    """One row a model at the prices of a day (today where it is left out); prices in picos per
    token (USD per million x 1e6)."""
    day = day or clock.utc_now().date()
    read = [book.periods(raw, settings.pricing.factor) for raw in book.read(settings.pricing)]
    places = [history.in_force([one.span for one in row], day) for row in read]
    found = Book(tuple(row[place].model for row, place in zip(read, places, strict=True)))
    margins = {one.slug: one for one in margin.margins(found, settings.upstream)}
    below = {one.slug for one in margin.below_cost(found, settings)}
    out = []
    for row, place in zip(read, places, strict=True):
        model, least = row[place].model, margins.get(row[place].model.slug)
        long = model.price.long
        out.append(
            {
                "slug": model.slug,
                "family": model.family,
                "version": model.price.version,
                "input_picos": model.price.base.input,
                "output_picos": model.price.base.output,
                "cache_read_picos": model.price.base.cache_read,
                "long_above": model.price.long_above or None,
                "long_input_picos": long.input if long else None,
                "long_output_picos": long.output if long else None,
                "margin_percent": least.percent if least else None,
                "margin_component": least.component + least.where if least else None,
                "changes": [
                    str(one.span.start) for one in row[place + 1 :] if one.span.start is not None
                ],
                "sold": least is not None and model.slug not in below,
            }
        )
    return out


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        "USD per million tokens. `long`: the input price above so many input tokens.",
        "`margin`: the least of any component, long prices included.",
        "",
        f"{'model':22}{'input':>8}{'output':>8}{'cached':>8}{'above':>7}{'long':>7}{'margin':>8}",
    ]
    for row in found:
        above = row["long_above"]
        cells = [
            f"{row['slug']:22}",
            f"{margin.usd(row['input_picos']):>8}",
            f"{margin.usd(row['output_picos']):>8}",
            f"{margin.usd(row['cache_read_picos']):>8}",
            f"{f'{above // 1000}K' if above else '':>7}",
            f"{margin.usd(row['long_input_picos']) if above else '':>7}",
            f"{_percent(row['margin_percent']):>8}",
        ]
        lines.append("".join(cells) + ("" if row["sold"] else "  not sold"))
    coming = [f"{row['slug']} from {day}" for row in found for day in row["changes"]]
    if coming:
        lines += ["", *_wrapped(f"announced changes: {', '.join(coming)}", "  ")]
    return "\n".join(lines)


def margins(settings: Settings) -> list[tuple[str, str]]:
    """The margin of every model, models with the same one together: (level, text). Level `ok`;
    `warning`: sold below cost because the settings allow it; `error`: not sold for it. What a
    simulated upstream costs is nobody's loss."""
    found = book.load(settings.pricing)
    below = {one.slug: one for one in margin.losses(found, settings)}
    groups: dict[tuple[int, str], list[str]] = {}
    for one in margin.margins(found, settings.upstream):
        level = "warning" if one.slug in below else "ok"
        if level == "ok" or settings.pricing.sell_below_cost:
            groups.setdefault((one.percent, level), []).append(one.slug)
    out = [
        (level, f"margin {_percent(percent)}: {', '.join(slugs)}")
        for (percent, level), slugs in sorted(groups.items())
    ]
    if below and not settings.pricing.sell_below_cost:
        out.append(("error", f"not sold: {margin.explain(*below.values())}"))
    return out


def summary(settings: Settings) -> list[str]:
    """What `up` says of prices: each model's margin, and why any is not sold."""
    lines = []
    for _, text in margins(settings):
        lines += [" " * 12 + line for line in _wrapped(text, "  ")]
    return [f"{'  prices' if not n else '':12}{line[12:]}" for n, line in enumerate(lines)]


def detail(settings: Settings, name: str, day: date) -> dict[str, Any]:
    """Everything about one model, by slug or alias. Raises LookupError."""
    for raw in book.read(settings.pricing):
        row = book.periods(raw, settings.pricing.factor)
        if name in (row[0].model.slug, *row[0].model.aliases):
            break
    else:
        raise LookupError(f"the price book has no model {name!r}; `corvus prices show` lists them")
    place = history.in_force([one.span for one in row], day)
    model = row[place].model
    paid = margin.costs(settings.upstream).get(model.family)
    refused = margin.below_cost(Book((model,)), settings)
    return {
        "slug": model.slug,
        "name": model.display_name,
        "family": model.family,
        "aliases": list(model.aliases),
        "upstream_model": model.upstream_model,
        "context_tokens": model.context_tokens,
        "output_tokens_max": model.output_tokens_max,
        "day": str(day),
        "sold": paid is not None and not refused,
        "why_not_sold": margin.explain(*refused) if refused else None,
        **_period(row[place], paid),
        "history": [_told(row, one) for one in range(place)],
        "later": [_told(row, one) for one in range(place + 1, len(row))],
    }


def _period(period: Period, paid: tuple[int, int] | None) -> dict[str, Any]:
    """The prices of one stretch of time, with margins where an upstream serves the family."""
    model = period.model
    return {
        "version": model.price.version,
        "source": model.official.source,
        "checked": str(model.official.checked),
        "long_above": model.price.long_above or None,
        "geos": dict(model.price.geos),
        "differs": period.span.differs,
        "components": list(_components(model, paid)),
    }


def _told(row: tuple[Period, ...], place: int) -> dict[str, Any]:
    """A stretch of time that is past or to come."""
    span = row[place].span
    until = row[place + 1].span.start if place + 1 < len(row) else None
    return {
        "from": str(span.start) if span.start else None,
        "until": str(until) if until else None,
        "announced": str(span.announced) if span.announced else None,
        **_period(row[place], None),
    }


def _components(model: Model, paid: tuple[int, int] | None) -> Iterable[dict[str, Any]]:
    seen: set[tuple[int, int]] = set()
    for side in sides(model):
        for name in billed(model):
            pair = price, list_price = getattr(side.ours, name), getattr(side.official, name)
            # A search mostly costs the same in every mode and at every size: told once then.
            if pair == (0, 0) or (name == "searches" and pair in seen):
                continue
            if name == "searches":
                seen.add(pair)
            earned = [margin.of(model.slug, name, side, ppm).percent for ppm in paid or ()]
            yield {
                "component": name,
                "mode": side.mode,
                "above": side.above,
                "official_picos": list_price,
                "price_picos": price,
                "share_percent": _share(price, list_price),
                "margin_cheapest_percent": earned[0] if earned else None,
                "margin_dearest_percent": earned[1] if earned else None,
            }


def describe(found: dict[str, Any]) -> str:
    """One model as text, in 80 columns."""
    lines = [
        f"{found['slug']}  {found['name']}  ({found['family']})",
        f"  on {found['day']}, price version {found['version']},"
        f" {'sold' if found['sold'] else 'not sold'}",
        f"  {found['context_tokens']:,} tokens of context,"
        f" {found['output_tokens_max']:,} of output",
    ]
    if found["aliases"]:
        lines.append(f"  also called {', '.join(found['aliases'])}")
    lines += ["  " + line for line in _wrapped(found["why_not_sold"] or "", "  ")]
    lines += ["", *_prices(found, margins=True)]
    for title, spans in (("before:", found["history"]), ("later:", found["later"])):
        for span in spans:
            when = [f"{word} {span[word]}" for word in ("from", "until") if span[word]]
            if span["announced"]:
                when.append(f"announced on {span['announced']}")
            lines += ["", f"{title} {', '.join(when)}; price version {span['version']}"]
            lines += _prices(span, margins=False)
    return "\n".join(lines)


def _prices(span: dict[str, Any], *, margins: bool) -> Iterable[str]:
    yield f"  official: {span['source']}, checked {span['checked']}"
    head = f"  {'component':18}{'official':>10}{'ours':>10}{'share':>10}"
    yield head + (f"{'margin: cheapest, dearest':>28}" if margins else "")
    side = ("", 0)
    for row in span["components"]:
        if (row["mode"], row["above"]) != side:
            side = mode, above = row["mode"], row["above"]
            words = [f"as {mode}"] if mode else []
            words += [f"above {above:,} input tokens"] if above else []
            yield f"  {', '.join(words)}, for the whole request:"
        scale = 1000 if row["component"] == "searches" else 1
        line = f"  {row['component']:18}{margin.usd(row['official_picos'] // scale):>10}"
        line += f"{margin.usd(row['price_picos'] // scale):>10}{row['share_percent'] or '-':>8}"
        line += " %" if row["share_percent"] else "  "
        if margins and row["margin_cheapest_percent"] is not None:
            line += f"{_percent(row['margin_cheapest_percent']):>17}"
            line += f"{_percent(row['margin_dearest_percent']):>11}"
        yield line.rstrip()
    for place, percent in span["geos"].items():
        yield f"  inference in {place}: {percent} % of every price of a token, official and ours"
    for name, why in span["differs"].items():
        yield f"  {name} differs from the tracked table: {why}"


def compared(found: Comparison) -> str:
    """A comparison as text: what nobody has explained first."""
    lines = [f"{found.package} on {found.day}: {found.models} models that both list"]
    known: dict[str, list[str]] = {}
    for one in found.differences:
        words = one.component + (f" as {one.mode}" if one.mode else "")
        words += f" above {one.above}" if one.above else ""
        words = f"{one.slug}: {words}: ours {one.ours or 'none'}, theirs {one.theirs or 'none'}"
        if one.known:
            known.setdefault(one.known, []).append(words)
        else:
            since = f" since {one.since}" if one.since else ""
            lines += [f"DIFFERS {words}{since}", f"        {one.source}"]
    for why, told in known.items():
        lines.append(f"known   {why}:")
        lines += [" " * 8 + line for words in _together(told) for line in _wrapped(words, "  ")]
    lines += [f"agrees  {name} agrees now; its `differs` can go" for name in found.settled]
    if not found.differences:
        lines.append("no differences")
    for provider, slugs in found.theirs_only.items():
        if slugs:
            text = f"only theirs, {provider} ({len(slugs)}): {', '.join(slugs)}"
            lines += ["", *_wrapped(text, "  ")]
    return "\n".join(lines)


def _together(told: list[str]) -> list[str]:
    """`slug: what`, named once where many slugs have the same."""
    found: dict[str, list[str]] = {}
    for words in told:
        slug, _, what = words.partition(": ")
        found.setdefault(what, []).append(slug)
    return [f"{', '.join(slugs)}: {what}" for what, slugs in found.items()]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 12, subsequent_indent=indent, break_on_hyphens=False)


def _percent(value: int | None) -> str:
    return "-" if value is None else f"{value} %"


def _share(price: int, official: int) -> str | None:
    """Our part of the official price in percent, exact to a thousandth."""
    if not official:
        return None
    thousandths = price * 100_000 // official
    return f"{thousandths // 1000}.{thousandths % 1000:03}".rstrip("0").rstrip(".")
