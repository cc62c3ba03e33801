"""Prices through time: which are in force on a day, and how a running process moves on."""

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from corvus_proxy.catalogue import book, timeline
from corvus_proxy.catalogue.book import Book
from corvus_proxy.catalogue.timeline import Current
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import PricingSettings

SHIPPED = timeline.load(PricingSettings())
ROW = """
[[model]]
slug = "x"
family = "openai"
name = "X"
context_tokens = 1000
output_tokens_max = 1
created = 1
source = "s"
checked = 2026-11-01
official = { input = "8", output = "8" }
price = { input = "2", output = "4" }
"""
PAST = """
[[model.history]]
until = 2026-10-01
source = "old"
checked = 2026-09-01
official = { input = "9", output = "9" }
price = { input = "3", output = "5" }
"""
RISE = """
[[model.change]]
from = 2026-12-10
announced = 2026-11-20
price = { input = "2.5", output = "4" }
"""
CUT = """
[[model.change]]
from = 2026-12-20
announced = 2026-12-20
long_above = 100
official_long = { input = "9", output = "9" }
price_long = { input = "3", output = "4" }
"""


def pricing(tmp_path: Path, text: str) -> PricingSettings:
    """Settings that name a book with that text."""
    path = tmp_path / "models.toml"
    path.write_text(text)
    return PricingSettings(book=str(path))


def picos(found: Book, slug: str, name: str = "input") -> int:
    """One price of a book."""
    model = found.find(slug)
    assert model is not None
    return int(getattr(model.price.base, name))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2020-01-01", 3_000_000), ("2026-09-30", 3_000_000), ("2026-10-01", 2_000_000),
        ("2026-12-09", 2_000_000), ("2026-12-10", 2_500_000), ("2026-12-20", 2_500_000),
        ("2099-01-01", 2_500_000),
    ],
)  # fmt: skip
def test_the_book_of_a_day(tmp_path: Path, day: str, expected: int) -> None:
    """`until` is the first day of what follows, `from` the first of the change; both ways to read a
    book agree."""
    settings = pricing(tmp_path, ROW + PAST + RISE + CUT)
    for found in (
        timeline.load(settings).at(date.fromisoformat(day)),
        book.load(settings, date.fromisoformat(day)),
    ):
        assert picos(found, "x") == expected
        (model,) = found.models
        assert (model.price.long is not None) == (day >= "2026-12-20")


def test_what_an_entry_does_not_name_is_the_rows(tmp_path: Path) -> None:
    """History stands on the row, a change on the one before it; versions follow the content."""
    found = timeline.load(pricing(tmp_path, ROW + PAST + RISE + CUT))
    past, now, rise, cut = (
        found.at(date.fromisoformat(day)).models[0]
        for day in ("2026-09-01", "2026-11-01", "2026-12-11", "2026-12-21")
    )
    assert (past.official.source, now.official.source, cut.official.source) == ("old", "s", "s")
    assert past.context_tokens == now.context_tokens == 1000
    assert rise.price.base == cut.price.base
    assert len({one.price.version for one in (past, now, rise, cut)}) == 4
    assert found.days == [date(2026, 10, 1), date(2026, 12, 10), date(2026, 12, 20)]


@pytest.mark.parametrize(
    ("slug", "name", "day", "before", "after"),
    [
        ("claude-sonnet-5-5", "cache_read", "2026-10-07", 70_000, 35_000),
        ("gpt-5.6-sol", "output", "2026-08-21", 15_000_000, 10_000_000),
        ("gpt-5.6-terra", "input", "2026-07-30", 1_250_000, 1_000_000),
        ("gpt-5.6-luna", "cache_write_other", "2026-07-30", 625_000, 125_000),
        ("glm-5.3-flash", "output", "2026-09-10", 125_000, 250_000),
    ],
)
def test_the_shipped_books_known_changes(
    slug: str, name: str, day: str, before: int, after: int
) -> None:
    """What vendors changed, on the day on which they did."""
    first = date.fromisoformat(day)
    assert picos(SHIPPED.at(first), slug, name) == after
    assert picos(SHIPPED.at(date.fromordinal(first.toordinal() - 1)), slug, name) == before


@pytest.mark.parametrize("slug", ["claude-opus-4-6", "claude-sonnet-4-6"])
def test_a_long_context_price_that_is_no_more(slug: str) -> None:
    """Above 200,000 tokens these cost more until 2026-03-13."""
    for day, long in ((date(2026, 3, 12), True), (date(2026, 3, 13), False)):
        model = SHIPPED.at(day).find(slug)
        assert model is not None
        assert (model.price.long is not None) is long
        assert model.price.rates(200_001).input == model.price.base.input * (2 if long else 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PAST.replace("until = 2026-10-01", ""), "each history needs `until`"),
        (PAST.replace("2026-10-01", '"soon"'), "each history needs `until`"),
        (PAST.replace("2026-10-01", "2026-10-01T00:00:00Z"), "each history needs `until`"),
        (RISE.replace("from = 2026-12-10", ""), "each change needs `from`"),
        (RISE.replace("announced = 2026-11-20", ""), "needs the day it was announced"),
        (RISE.replace("announced = 2026-11-20", 'announced = "now"'), "needs the day"),
        (RISE + 'slug = "y"\n', "slug is the model's own"),
        (RISE + "tools = true\n", "tools is the model's own"),
        (RISE + "imput = 1\n", "imput"),
        (RISE.replace('"2.5"', '"0.0000001"'), "no whole number of picos"),
        (RISE + 'price_long = { input = "3", output = "4" }\n', "stand together"),
        (PAST + PAST, "in the order of their days"),
        (CUT + RISE, "in the order of their days"),
        (PAST + RISE.replace("2026-12-10", "2026-10-01"), "in the order of their days"),
        ("history = 3\n", "history is a list"),
        ("history = [3]\n", "x: "),
        ('differs = "why"\n', "differs is a table"),
    ],
)
def test_history_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """At start, with the row's name: no process meets an announced price that it cannot read."""
    settings = pricing(tmp_path, ROW + text)
    for read in (timeline.load, book.load):
        with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
            read(settings)
        assert "price book: x: " in str(caught.value)


def test_a_running_process_takes_a_change_at_its_instant(tmp_path: Path) -> None:
    """Midnight UTC, to the millisecond; and a clock that is set back brings no old price back."""
    midnight = int(datetime(2026, 12, 10, tzinfo=UTC).timestamp()) * 1000
    now = [midnight - 1]
    current = Current(timeline.load(pricing(tmp_path, ROW + PAST + RISE + CUT)), lambda: now[0])
    admitted = current.book.find("x")
    assert picos(current.book, "x") == 2_000_000
    now[0] = midnight
    assert picos(current.book, "x") == 2_500_000
    assert admitted is not None
    assert admitted.price.base.input == 2_000_000, "a request keeps what it was admitted with"
    now[0] = midnight - 90 * 86_400_000
    assert picos(current.book, "x") == 2_500_000
    assert current.book.models[0].price.long is None
    now[0] = midnight + 20 * 86_400_000
    assert current.book.models[0].price.long is not None, "and later changes still come"


def test_a_process_that_starts_late_has_the_last_change(tmp_path: Path) -> None:
    """A change that nobody has folded into its row stays in force."""
    late = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 1000
    current = Current(timeline.load(pricing(tmp_path, ROW + RISE)), lambda: late)
    assert picos(current.book, "x") == 2_500_000


def test_folding_a_change_into_its_row_changes_nothing(tmp_path: Path) -> None:
    """The row takes what the change said, history what the row said: same prices, same versions."""
    changing = timeline.load(pricing(tmp_path, ROW + RISE))
    folded = ROW.replace('price = { input = "2"', 'price = { input = "2.5"') + (
        '[[model.history]]\nuntil = 2026-12-10\nprice = { input = "2", output = "4" }\n'
    )
    after = timeline.load(pricing(tmp_path, folded))
    assert changing.days == after.days == [date(2026, 12, 10)]
    for day in (date(2026, 12, 9), date(2026, 12, 10)):
        assert changing.at(day).models == after.at(day).models
