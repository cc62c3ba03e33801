"""The calculator: what a usage costs here, by the function that quotes and the ones that bill.

Rule 1: everything that is asked stands in the address, so that a result can be kept and sent on.
Rule 2: every sum is made by `account.counted.bill`; this module multiplies it by calls and days.
Rule 3: what cannot be priced is said in words, and is never a zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup

from corvus_proxy.account import counted
from corvus_proxy.account.counted import Bill, Given
from corvus_proxy.catalogue import tracker
from corvus_proxy.catalogue.book import MODES, Book, Model
from corvus_proxy.catalogue.families import SERIES
from corvus_proxy.catalogue.sides import billed
from corvus_proxy.errors import InvalidRequest, NotFound
from corvus_proxy.money.amount import format_picos, format_usd
from corvus_proxy.money.flags import FLAGS
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import TOKENS_MAX, Usage
from corvus_proxy.service.statements.repriced import DAYS as OWN_DAYS
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.prices import drawing
from corvus_proxy.site.public.prices.offer import WORDS, Offer, offer
from corvus_proxy.site.shop.buys import TURN

PATH = "/pricing/calculator"
MODELS_MAX = 8
"""Models that are compared at once."""
NAME_MAX = 80
"""Characters of a model's name that are read."""
CALLS_MAX = 10_000_000
"""Calls a day that somebody can have."""
MONTH_DAYS = 30
PASTED_MAX = 4_000
"""Characters of a pasted report: more fits into no address."""
FIELDS = {
    "input": "Fresh input tokens",
    "cache_read": "Cache read tokens",
    "cache_write_5m": "Cache write tokens, 5 minutes",
    "cache_write_1h": "Cache write tokens, 1 hour",
    "output": "Output tokens",
    "searches": "Web searches",
}
"""What the form asks of one call."""
_WRITES = ("cache_write_5m", "cache_write_1h", "cache_write_other")


class Preset(NamedTuple):
    """Numbers to begin with."""

    name: str
    title: str
    usage: Usage
    calls: int


PRESETS = (
    Preset("agent", "Coding agent, nine tenths from the cache", TURN, 400),
    Preset("chat", "Turn of a chat", Usage(input=1_200, output=350), 100),
    Preset("summaries", "Summaries of documents", Usage(input=24_000, output=900), 200),
)


class Asked(NamedTuple):
    """What the form has sent."""

    typed: dict[str, str]
    """The fields as they were typed."""
    counts: dict[str, int]
    calls: int
    models: list[str]
    mode: str
    pasted: str
    report: Mapping[str, Any] | None
    """The pasted report, read."""
    problems: list[str]
    mine: bool
    """It is one's own usage that is asked for."""


class Priced(NamedTuple):
    """What one model costs."""

    model: Model
    bill: Bill
    day_nanos: int
    month_nanos: int
    official_month_nanos: int
    notes: list[str]
    bar: Markup
    lines: list[tuple[str, int, str, str]]
    """Words, count, USD per million, USD."""

    @property
    def usd(self) -> tuple[str, str, str, str]:
        """One call, a day, a month, and a month at the vendor's prices."""
        nanos = (self.bill.charge_nanos, self.day_nanos, self.month_nanos)
        call, day, month = (format_usd(one) for one in nanos)
        return call, day, month, format_usd(self.official_month_nanos)


class Unpriced(NamedTuple):
    """A model that what was asked has no price for."""

    name: str
    why: str


def start(facts: Facts) -> Mapping[str, Any]:
    """`/pricing/calculator` as it comes: the first preset, the dearest and the cheapest models."""
    return answer(facts, read({}, [], offer(facts)))


def read(fields: Mapping[str, str], models: Sequence[str], found: Offer) -> Asked:
    """The form's fields; those of the first preset where none is filled in."""
    given = {name: fields.get(name, "").strip()[:20] for name in (*FIELDS, "calls")}
    pasted = fields.get("usage", "").strip()
    mine = fields.get("mine", "") == "on"
    if not any(given.values()) and not pasted and not mine:
        given = typed(PRESETS[0])
    problems: list[str] = []
    counts = {name: _count(given[name], FIELDS[name], TOKENS_MAX, problems) for name in FIELDS}
    calls = _count(given["calls"] or "1", "Calls a day", CALLS_MAX, problems)
    report = _report(pasted, problems) if pasted else None
    mode = fields.get("mode", "")
    if mode and mode not in MODES:
        problems.append("There is no such way of service.")
        mode = ""
    names = list(dict.fromkeys(name[:NAME_MAX] for name in models if name))
    said = report.get("model") if report is not None else None
    if isinstance(said, str) and (not names or found.book.find(said)):
        names = list(dict.fromkeys((said[:NAME_MAX], *names)))
    if len(names) > MODELS_MAX:
        problems.append(f"The first {MODELS_MAX} models are compared.")
    return Asked(
        given, counts, calls, names[:MODELS_MAX], mode, pasted[:PASTED_MAX], report, problems, mine
    )


def _count(text: str, title: str, most: int, problems: list[str]) -> int:
    digits = "".join(one for one in text if one not in " ,_'")
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) <= most):
        problems.append(f"{title}: {text!r} is no whole number from 0 to {most:,}.")
        return 0
    return int(digits)


def _report(pasted: str, problems: list[str]) -> Mapping[str, Any] | None:
    """A pasted `usage`, or an answer with one in it."""
    if len(pasted) > PASTED_MAX:
        problems.append(f"Paste the usage object alone: at most {PASTED_MAX:,} characters.")
        return None
    try:
        found = msgspec.json.decode(pasted)
    except (msgspec.DecodeError, RecursionError):
        problems.append("What is pasted is no JSON object; take the usage with both its braces.")
        return None
    if not isinstance(found, dict):
        problems.append("What is pasted is no JSON object; take the usage with both its braces.")
        return None
    return found


def typed(preset: Preset) -> dict[str, str]:
    """A preset as the form's fields."""
    counts = {name: getattr(preset.usage, name) for name in FIELDS}
    return {name: str(count) if count else "" for name, count in counts.items()} | {
        "calls": str(preset.calls)
    }


def answer(facts: Facts, asked: Asked) -> dict[str, Any]:
    """What the page shows for what was asked."""
    found = offer(facts)
    names = asked.models or headline(found)
    priced, unpriced = compare(found.book, asked, names)
    chosen = {model.slug for name in names if (model := found.book.find(name))}
    return {
        "fields": FIELDS,
        "typed": asked.typed,
        "asked": asked,
        "chosen": chosen,
        "choices": [
            (SERIES[family], [one for one in found.of(family) if not one.embeddings])
            for family in found.families
        ],
        "modes": sorted({mode for model in found.models for mode in model.price.modes}),
        "presets": [(one.title, _address(typed(one), asked.models)) for one in PRESETS],
        "priced": priced,
        "unpriced": unpriced,
        "month_days": MONTH_DAYS,
        "legend": _legend(priced),
        "own": None,
        "own_days": OWN_DAYS,
        "own_problem": "",
    }


def headline(found: Offer) -> list[str]:
    """The dearest and the cheapest model of each family."""
    slugs: list[str] = []
    for family in found.families:
        own = sorted(
            (one for one in found.of(family) if not one.embeddings),
            key=lambda one: charge(TURN, one.price),
        )
        slugs += [one.slug for one in (*own[-1:], *own[:1])]
    return list(dict.fromkeys(slugs))


def _address(fields: Mapping[str, str], models: Sequence[str]) -> str:
    query = [(name, value) for name, value in fields.items() if value]
    return f"{PATH}?{urlencode([*query, *(('model', name) for name in models)])}"


def compare(book: Book, asked: Asked, names: Sequence[str]) -> tuple[list[Priced], list[Unpriced]]:
    """What each model costs, the cheapest first, and why some cannot be priced."""
    bills: list[tuple[Bill, list[str]]] = []
    unpriced = []
    for name in names:
        try:
            bills.append(price(book, asked, name))
        except (InvalidRequest, NotFound) as error:
            unpriced.append(Unpriced(name, str(error)))
    whole = max((_picos(bill) for bill, _ in bills), default=0)
    bills.sort(key=lambda one: one[0].charge_nanos)
    return [_priced(bill, notes, asked.calls, whole) for bill, notes in bills], unpriced


def price(book: Book, asked: Asked, name: str) -> tuple[Bill, list[str]]:
    """The bill of one call with a model, and what there is to say of it. Raises InvalidRequest,
    NotFound."""
    if asked.report is not None:
        inner = asked.report.get("usage")
        counts = inner if isinstance(inner, dict) else asked.report
        bill = counted.bill(book, Given(name, counts, mode=asked.mode))
        notes = [FLAGS[flag].capitalize() + "." for flag in bill.flags]
    else:
        model = counted.find(book, name)
        counts, notes = fit(asked.counts, model)
        bill = counted.bill(book, Given(name, counts, "classes", asked.mode))
    model, usage = bill.model, bill.usage
    if usage.searches and not model.price.base.searches:
        notes.append("Web searches have no price here for this model; they are not in the sum.")
    if usage.input_total > model.context_tokens:
        notes.append(f"More input than its context of {model.context_tokens:,} tokens takes.")
    if model.output_tokens_max and usage.output > model.output_tokens_max:
        notes.append(f"More output than the {model.output_tokens_max:,} tokens that it gives.")
    if model.price.is_long(usage.input_total) and not asked.mode:
        notes.append(f"At its prices above {model.price.long_above:,} input tokens.")
    return bill, notes


def fit(counts: Mapping[str, int], model: Model) -> tuple[dict[str, int], list[str]]:
    """Token counts as the model's family would report them: cache writes of a kind that it does not
    know are its own kind, or plain input."""
    known = billed(model)
    found = {name: count for name, count in counts.items() if count}
    notes = []
    own = next((name for name in _WRITES if name in known), "input")
    for name in _WRITES:
        if name in found and name not in known and not model.embeddings:
            moved = found.pop(name)
            found[own] = found.get(own, 0) + moved
            words = "fresh input" if own == "input" else WORDS[own].lower()
            notes.append(f"It reports {WORDS[name].lower()} as {words}.")
    return found, list(dict.fromkeys(notes))


def reported(counts: Mapping[str, int], model: Model) -> Mapping[str, int]:
    """The counts of `fit` alone."""
    return fit(counts, model)[0]


def _priced(bill: Bill, notes: list[str], calls: int, whole: int) -> Priced:
    day = bill.charge_nanos * calls
    parts: dict[str, int] = {}
    for line in bill.lines:
        name = line.name.rpartition("/")[2]
        parts[name] = parts.get(name, 0) + line.amount_picos
    return Priced(
        bill.model,
        bill,
        day,
        day * MONTH_DAYS,
        bill.official_nanos * calls * MONTH_DAYS,
        notes,
        drawing.bar([one for one in parts.items() if one[1]], whole),
        [
            (
                _words(line.name),
                line.count,
                tracker.usd(line.picos, line.name),
                format_picos(line.amount_picos),
            )
            for line in bill.lines
        ],
    )


def _picos(bill: Bill) -> int:
    return sum(line.amount_picos for line in bill.lines)


def _words(name: str) -> str:
    """A line in words; of a part of an answer with what made it."""
    prefix, _, last = name.rpartition("/")
    return f"{WORDS[last]} ({prefix})" if prefix else WORDS[last]


def _legend(priced: Sequence[Priced]) -> list[tuple[str, str]]:
    """The colours that are in the bars, and their words."""
    used = [line.name.rpartition("/")[2] for one in priced for line in one.bill.lines]
    return [(drawing.TONES[name], WORDS[name]) for name in WORDS if name in used]
