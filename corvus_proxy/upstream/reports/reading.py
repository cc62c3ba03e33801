"""Reading numbers of a report: what cannot be is no report."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from corvus_proxy.errors import AnswerReading, Unreadable
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.upstream.reports.types import NoReport

COUNT_MAX = 10**13
"""More tokens than an account can use in an hour."""
NANOS_MAX = 10**9 * NANOS_PER_USD
"""More than an account can be billed for a day."""
NANOS_PER_CENT = NANOS_PER_USD // 100


def reading(what: str) -> AnswerReading:
    """`with reading("OpenAI's costs"):` what lacks or has another type than it must is NoReport."""
    return AnswerReading(NoReport, f"{what} is not what it says")


def count(found: Mapping[str, Any], name: str) -> int:
    """A count; one that is missing or null is zero. Raises Unreadable."""
    value = found.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise Unreadable(f"{name} is no count")
    return value


def nanos(value: object, unit_nanos: int) -> int:
    """An amount in units of so many nanos, rounded half up; credits are below zero. Raises
    Unreadable."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable("an amount is no number")
    found = Decimal(str(value))
    if not found.is_finite() or abs(found) * unit_nanos > NANOS_MAX:
        raise Unreadable("an amount cannot be true")
    return int((found * unit_nanos).to_integral_value(ROUND_HALF_UP))


def check_currency(value: object) -> None:
    """Raises Unreadable for anything but US dollars."""
    if str(value).upper() != "USD":
        raise Unreadable("the currency is not USD")


def text(value: object) -> str:
    """A name; null is empty. Raises Unreadable."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable("a name is no text")
    return value
