"""Every book that the file knows, and the one that is in force in a running process."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

from corvus_proxy import clock
from corvus_proxy.catalogue import book, history
from corvus_proxy.catalogue.book import Book, Period
from corvus_proxy.settings import PricingSettings


class Timeline:
    """The books of all days."""

    def __init__(self, books: dict[date | None, Book]) -> None:
        """`books` by the first day on which each is in force; None: from the beginning."""
        self.days = sorted(day for day in books if day is not None)
        self._books = books

    def at(self, day: date) -> Book:
        """The book in force on a day (UTC)."""
        return self._books[self.since(day)]

    def since(self, day: date) -> date | None:
        """The first day of the book that is in force on a day; None: from the beginning."""
        return max((one for one in self.days if one <= day), default=None)

    def after(self, day: date) -> date | None:
        """The first day after this one on which a price changes."""
        return min((one for one in self.days if one > day), default=None)

    def through(self, change: Callable[[date | None, Book], Book]) -> "Timeline":
        """The same days, each book put through a function of its first day and itself."""
        days = [None, *self.days]
        return Timeline({day: change(day, self._books[day]) for day in days})


def load(pricing: PricingSettings) -> Timeline:
    """The books of the file that the settings name. Raises ConfigurationError: what is announced
    is read as strictly as what is in force, so that no running process meets it unread."""
    return of([book.periods(raw, pricing.factor) for raw in book.read(pricing)])


def of(rows: list[tuple[Period, ...]]) -> Timeline:
    """The books that rows make, one for each day on which any of them changes."""
    days = {period.span.start for row in rows for period in row}
    spans = [[period.span for period in row] for row in rows]
    books: dict[date | None, Book] = {}
    for day in days | {None}:
        places = [history.in_force(row, day or date.min) for row in spans]
        books[day] = Book(tuple(row[place].model for row, place in zip(rows, places, strict=True)))
    return Timeline(books)


class Current:
    """The book in force in this process. It moves on with the wall clock and never back: a clock
    that is set back does not bring an old price back to a process that has sold at a newer one.
    A request keeps the model that it was admitted with, whatever comes into force meanwhile."""

    def __init__(self, timeline: Timeline, now_ms: Callable[[], int] = clock.wall_ms) -> None:
        self._timeline = timeline
        self._now_ms = now_ms
        self._until_ms = 0
        self._moved_ms = 0
        self._book: Book
        self._move(now_ms())

    @property
    def book(self) -> Book:
        """The book of this instant; each call may bring a newer one."""
        now_ms = self._now_ms()
        if now_ms >= self._until_ms:
            self._move(now_ms)
        return self._book

    def take(self, timeline: Timeline) -> None:
        """Other books from now on, such as those that a changed configuration leaves for sale."""
        self._timeline = timeline
        self._move(max(self._now_ms(), self._moved_ms))

    def _move(self, now_ms: int) -> None:
        self._moved_ms = now_ms
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        self._book = self._timeline.at(today)
        following = self._timeline.after(today)
        if following is None:
            self._until_ms = 1 << 62
        else:
            midnight = datetime.combine(following, time(), UTC)
            self._until_ms = int(midnight.timestamp()) * 1000
