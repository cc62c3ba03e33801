"""What a report says, whoever wrote it."""

from typing import NamedTuple

from corvus_proxy.errors import CorvusError

OTHER = "other"
"""The class of what is billed and has none of ours."""


class NoReport(CorvusError):
    """There is no report that could be believed: not answered, refused, or not what it may be."""


class Counted(NamedTuple):
    """A count of one hour."""

    hour: int
    """UTC, 0 to 23."""
    model: str
    """As the provider names it."""
    usage_class: str
    """As in `money.usage.COUNTS`: tokens, or calls of `searches`."""
    number: int


class Billed(NamedTuple):
    """An amount of the day."""

    model: str
    """As the provider names it; empty where it does not say."""
    usage_class: str
    nanos: int


class Report(NamedTuple):
    """One UTC day of one credential."""

    counts: tuple[Counted, ...]
    bills: tuple[Billed, ...]

    @property
    def nanos(self) -> int:
        """What the day is billed at."""
        return sum(bill.nanos for bill in self.bills)
