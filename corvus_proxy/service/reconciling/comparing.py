"""One credential's day: the books beside the provider's report. Pure.

Models are matched by name: a provider may report `gpt-5.5-2026-03-01` of what was asked for as
`gpt-5.5`.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from corvus_proxy.books.reconciling import Number, Row, Sums
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.settings import ReconcileSettings
from corvus_proxy.upstream.reports import Report

HOURS = 24
_SNAPSHOT = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
Lines = dict[str, dict[str, dict[str, Any]]]


def row(
    day: date,
    family: str,
    sums: Sums,
    numbers: Iterable[Number],
    report: Report | str,
    *,
    limits: ReconcileSettings,
    asked_at: datetime,
) -> Row:
    """What is kept of a day; `report` is the report, or why there is none."""
    told = None if isinstance(report, str) else report
    reported = None if told is None else told.nanos
    state = "unanswered"
    if reported is not None:
        state = "differs" if is_alarm(sums.cost_nanos, reported, limits) else "agrees"
    return Row(
        day,
        sums.credential,
        family,
        state,
        sums.requests,
        sums.charged_nanos,
        sums.cost_nanos,
        sums.uncounted_nanos,
        reported,
        lines(numbers, told),
        report if isinstance(report, str) else "",
        asked_at,
    )


def is_alarm(ours_nanos: int, reported_nanos: int, limits: ReconcileSettings) -> bool:
    """Whether both limits are passed: the share of the larger side, and the amount."""
    drift = abs(reported_nanos - ours_nanos)
    share = Decimal(str(limits.drift_percent)) / 100
    amount = Decimal(str(limits.drift_usd)) * NANOS_PER_USD
    return drift > share * max(ours_nanos, reported_nanos) and drift > amount


def lines(numbers: Iterable[Number], report: Report | None) -> Lines:
    """Both sides by model and class, tokens by hour."""
    found: Lines = {}
    for one in numbers:
        if one.number:
            _line(found, one.model, one.usage_class)["ours"][one.hour] += one.number
    known = set(found)
    for count in report.counts if report else ():
        line = _line(found, canonical(count.model, known), count.usage_class)
        line["reported"][count.hour] += count.number
    for bill in report.bills if report else ():
        _line(found, canonical(bill.model, known), bill.usage_class)["billed_nanos"] += bill.nanos
    return found


def canonical(model: str, known: Iterable[str]) -> str:
    """The name that the books have for a model that a provider reports."""
    known = set(known)
    if model in known:
        return model
    undated = _SNAPSHOT.sub("", model)
    same = [one for one in known if _SNAPSHOT.sub("", one) == undated]
    return same[0] if len(same) == 1 else undated


def _line(found: Lines, model: str, usage_class: str) -> dict[str, Any]:
    return found.setdefault(model, {}).setdefault(
        usage_class, {"ours": [0] * HOURS, "reported": [0] * HOURS, "billed_nanos": 0}
    )
