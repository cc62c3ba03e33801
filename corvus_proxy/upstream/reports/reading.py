"""Reading numbers of a report: what cannot be is no report."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from types import TracebackType
from typing import Any

from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.upstream.reports.types import NoReport

COUNT_MAX = 10**13
"""More tokens than an account can use in an hour."""
NANOS_MAX = 10**9 * NANOS_PER_USD
"""More than an account can be billed for a day."""
NANOS_PER_CENT = NANOS_PER_USD // 100


class Reading:
    """`with Reading("OpenAI's costs"):` what lacks or has another type than it must makes NoReport,
    without a word of what stood there."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(
            error,
            LookupError
            | TypeError
            | ValueError
            | AttributeError
            | DecimalException
            | OverflowError,
        ):
            raise NoReport(
                f"{self._what} is not what it says ({error or type(error).__name__})"
            ) from None


def count(found: Mapping[str, Any], name: str) -> int:
    """A count; one that is missing or null is zero. Raises ValueError."""
    value = found.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise ValueError(f"{name} is no count")
    return value


def nanos(value: object, unit_nanos: int) -> int:
    """An amount in units of so many nanos, rounded half up; credits are below zero. Raises
    ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("an amount is no number")  # noqa: TRY004 -- read as one sentence
    found = Decimal(str(value))
    if not found.is_finite() or abs(found) * unit_nanos > NANOS_MAX:
        raise ValueError("an amount cannot be true")
    return int((found * unit_nanos).to_integral_value(ROUND_HALF_UP))


def check_currency(value: object) -> None:
    """Raises ValueError for anything but US dollars."""
    if str(value).upper() != "USD":
        raise ValueError("the currency is not USD")


def text(value: object) -> str:
    """A name; null is empty. Raises ValueError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("a name is no text")  # noqa: TRY004 -- read as one sentence
    return value
