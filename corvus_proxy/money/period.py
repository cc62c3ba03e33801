"""The periods in which a cap counts: days, weeks and months of UTC. Pure.

A week begins on Monday, as ISO 8601 and Postgres have it; `total` never begins anew.
"""

from datetime import datetime, timedelta

PERIODS = ("total", "day", "week", "month")


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
