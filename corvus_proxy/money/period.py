"""The periods in which a cap counts, and what else bounds a key through time. Pure.

Days, weeks and months are of UTC. A week begins on Monday, as ISO 8601 and Postgres have it;
`total` never begins anew.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

PERIODS = ("total", "day", "week", "month")


class Rates(NamedTuple):
    """How fast a key may go, and on which models. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Input and output."""
    concurrency: int | None = None
    """Requests that run at once."""
    models: tuple[str, ...] = ()
    """Slugs; empty: all."""

    def text(self) -> str:
        """As it stands behind a key's other limits in Redis; empty where there is none."""
        if self == NO_RATES:
            return ""
        numbers = ("" if one is None else str(one) for one in self[:3])
        return "|" + "|".join((*numbers, ",".join(self.models)))


NO_RATES = Rates()


def parse_rates(text: str) -> Rates:
    """What `Rates.text` wrote. Raises ValueError."""
    if not text:
        return NO_RATES
    _, *numbers, models = text.split("|")
    requests, tokens, concurrency = (int(one) if one else None for one in numbers)
    return Rates(requests, tokens, concurrency, tuple(models.split(",")) if models else ())


def starts_at(period: str, now: datetime) -> datetime | None:
    """The first instant of the period in which `now` (aware, UTC) lies; None for `total`."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case _:
            return None


def ends_at(period: str, now: datetime) -> datetime | None:
    """The first instant of the next period; None for `total`."""
    start = starts_at(period, now)
    if start is None:
        return None
    if period == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=1 if period == "day" else 7)
