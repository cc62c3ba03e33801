"""The tracker's rows: every price beside the vendor's, since when, and what is announced."""

from datetime import date
from pathlib import Path

import msgspec
import pytest

from corvus_proxy.catalogue import book, published, tracker
from corvus_proxy.catalogue.book import Period
from corvus_proxy.catalogue.tracker import Key, Pair
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import PricingSettings
from tests.unit.catalogue.test_history import CUT, PAST, RISE, ROW, pricing

TODAY = date(2026, 11, 26)
INPUT, OUTPUT = Key("input", "", 0), Key("output", "", 0)
SHIPPED = [book.periods(raw, {}) for raw in book.read(PricingSettings())]


def periods(tmp_path: Path, text: str) -> tuple[Period, ...]:
    """The one row of a book with that text."""
    (raw,) = book.read(pricing(tmp_path, text))
    return book.periods(raw, {})


def test_every_shipped_price_has_a_source_and_a_day() -> None:
    """And no model is without an input price."""
    for one in SHIPPED:
        rows = tracker.rows(one, TODAY)
        assert rows[0].key == INPUT
        assert all(row.source.strip() and row.checked <= TODAY for row in rows)
        assert {row.version for row in rows} == {tracker.at(one, TODAY).price.version}


def test_a_price_knows_since_when_and_what_comes(tmp_path: Path) -> None:
    """`since` is of the price itself, not of the row; `next` is the first change of it."""
    found = {row.key: row for row in tracker.rows(periods(tmp_path, ROW + PAST + RISE), TODAY)}
    assert found[INPUT].pair == Pair(8_000_000, 2_000_000)
    assert found[INPUT].since == date(2026, 10, 1)
    coming = found[INPUT].next
    assert coming is not None
    assert coming.start == date(2026, 12, 10)
    assert coming.announced == date(2026, 11, 20)
    assert coming.pair == Pair(8_000_000, 2_500_000)
    assert found[OUTPUT].next is None
    same = PAST.replace('output = "9"', 'output = "8"').replace('output = "5"', 'output = "4"')
    found = {row.key: row for row in tracker.rows(periods(tmp_path, ROW + same), TODAY)}
    assert (found[INPUT].since, found[OUTPUT].since) == (date(2026, 10, 1), None)


def test_the_log_has_what_began_and_what_ended(tmp_path: Path) -> None:
    """A price that comes or goes has no counterpart; days are told latest first."""
    row = ROW + RISE + CUT
    found = tracker.latest_first(tracker.changes(periods(tmp_path, row)))
    assert [one.day for one in found] == sorted((one.day for one in found), reverse=True)
    begun = [one for one in found if one.before is None]
    assert {one.key for one in begun} >= {Key("input", "", 100), Key("output", "", 100)}
    (rise,) = [one for one in found if one.key == INPUT]
    assert (rise.before, rise.after) == (Pair(8_000_000, 2_000_000), Pair(8_000_000, 2_500_000))


@pytest.mark.parametrize(
    ("days", "told"), [(0, 0), (tracker.STALE_DAYS, 0), (tracker.STALE_DAYS + 1, 8), (300, 300)]
)
def test_what_nobody_has_compared_for_long_is_marked(days: int, told: int) -> None:
    """From the day after the seventh on."""
    day = date.fromordinal(TODAY.toordinal() - days)
    assert tracker.unchecked_days(day, TODAY) == told


@pytest.mark.parametrize(
    ("pair", "factor"),
    [(Pair(100, 35), "0.35"), (Pair(3, 1), "0.3333"), (Pair(5, 5), "1"), (Pair(0, 0), None)],
)
def test_the_factor_is_exact_where_it_can_be(pair: Pair, factor: str | None) -> None:
    """To four decimals; nothing where the vendor charges nothing."""
    assert tracker.factor(pair) == factor


def test_claude_rows_are_at_35_percent() -> None:
    """Input, output and cache read of each; what the pages compute is what the book promises."""
    for one in SHIPPED:
        if one[0].model.family == "anthropic":
            for row in tracker.rows(one, TODAY):
                if row.key.component in ("input", "output", "cache_read"):
                    assert tracker.factor(row.pair) == "0.35"


def publish(settings: PricingSettings, *slugs: str) -> bytes:
    """A published book as bytes."""
    return msgspec.json.encode(published.publish(settings, slugs, TODAY, {"name": "Rook"}))


def test_a_published_book_prices_as_the_operators_own() -> None:
    """Every version, every stretch of time, of every model."""
    slugs = [one[0].model.slug for one in SHIPPED]
    found = published.read(publish(PricingSettings(), *slugs))
    assert (found.day, found.publisher) == (TODAY, {"name": "Rook"})
    assert [[p.model.price for p in one] for one in found.rows] == [
        [p.model.price for p in one] for one in SHIPPED
    ]
    assert [[p.span for p in one] for one in found.rows] != []
    assert [[tracker.rows(one, TODAY)] for one in found.rows] == [
        [tracker.rows(one, TODAY)] for one in SHIPPED
    ]


def test_only_what_is_sold_is_published_and_no_upstream_name(tmp_path: Path) -> None:
    """How an operator calls a model at the upstream is not the public's."""
    text = ROW.replace('family = "openai"', 'family = "openai"\nupstream_model = "private-7"')
    settings = pricing(tmp_path, text + ROW.replace('"x"', '"y"'))
    data = publish(settings, "x")
    assert b"private-7" not in data
    (one,) = published.read(data).rows
    assert one[0].model.slug == "x"


def test_factors_of_the_configuration_are_published(tmp_path: Path) -> None:
    """Those of the families that are sold, and they price as in the gateway."""
    path = pricing(tmp_path, ROW + PAST).book
    settings = PricingSettings(book=path, factor={"openai": "0.60", "glm": "0.5"})
    data = publish(settings, "x")
    assert msgspec.json.decode(data)["factor"] == {"openai": "0.60"}
    (one,) = published.read(data).rows
    assert next(row.pair for row in tracker.rows(one, TODAY)) == Pair(8_000_000, 4_800_000)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b'{"schema_version":"1.0","published_on":"2026-11-26","site":{},'
     b'"factor":{},"models":[{"slug":"x"}]}',
     b'{"schema_version":"9","published_on":"2026-11-26","site":{},"factor":{},"models":[]}',
     b'{"schema_version":"1.0","published_on":"2026-11-26","site":{},"factor":{},'
     b'"models":[{"checked":"soon"}]}'],
)  # fmt: skip
def test_what_is_no_published_book_is_refused(data: bytes) -> None:
    """In a sentence."""
    with pytest.raises(ConfigurationError):
        published.read(data)
