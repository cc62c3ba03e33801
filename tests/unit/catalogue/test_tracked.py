"""`prices diff`: our official prices against the table of the genai-prices package."""

import sys
from datetime import date

import pytest

from corvus_proxy.catalogue import book, tracked
from corvus_proxy.catalogue.tracked import Comparison, Difference
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import PricingSettings

SHIPPED = book.read(PricingSettings())
NOW = date(2026, 11, 25)


def rows() -> list[tuple[book.Period, ...]]:
    """The shipped rows."""
    return [book.periods(raw, {}) for raw in SHIPPED]


def changed(of: str, **fields: object) -> Comparison:
    """The comparison of one shipped row with other fields, inference by place apart."""
    raw = next(dict(raw) for raw in SHIPPED if raw["slug"] == of)
    raw.pop("geos", None)
    raw.pop("differs", None)
    return tracked.compare([book.periods({**raw, **fields}, {})], NOW)


def told(found: Comparison) -> list[tuple[str, int, str | None, str | None, str]]:
    """The differences without model and source."""
    return [
        (one.component, one.above, one.ours, one.theirs, one.known) for one in found.differences
    ]


def test_the_shipped_book_agrees_today() -> None:
    """Every model, every component, in every mode and at every size; only what the table has not is
    explained."""
    found = tracked.compare(rows(), NOW)
    assert found.agree
    assert {(one.component, one.theirs) for one in found.differences} == {
        ("geos", None),
        ("ultrafast", None),
    }
    assert found.settled == ()
    assert found.models == len(SHIPPED)
    assert "claude-opus-4-1" in found.theirs_only["anthropic"]


@pytest.mark.parametrize(
    "day", ["2025-06-09", "2025-06-10", "2026-03-12", "2026-03-13", "2026-07-29", "2026-07-30",
            "2026-08-20", "2026-08-21", "2026-09-09", "2026-09-10", "2026-10-06", "2026-10-07"],
)  # fmt: skip
def test_the_shipped_history_agrees(day: str) -> None:
    """On both sides of each change; where the table has no history, the row says so."""
    found = tracked.compare(rows(), date.fromisoformat(day))
    assert found.agree, found.differences
    expected = [("cache_read", 0, "0.2", "0.1")] if day < "2026-10-07" else []
    prices = [one for one in told(found) if one[0] not in ("geos", "ultrafast")]
    assert [one[:4] for one in prices] == expected


def test_a_mode_that_ends_is_compared_by_its_days() -> None:
    """Opus 4.8's fast mode; the table has no end of it."""
    for day, expected in (("2026-11-29", []), ("2026-11-30", [("fast", None, "listed")])):
        found = tracked.compare(rows(), date.fromisoformat(day))
        assert found.agree
        assert [
            (one.component, one.ours, one.theirs)
            for one in found.differences
            if one.component == "fast"
        ] == expected


def test_modes_are_compared() -> None:
    """Another price, one that only they list, one that only we sell; before the day from which the
    table knows of a tier it says nothing."""
    rates = {"input": "1", "output": "5", "cache_read": "0.1", "cache_write_other": "1.25"}
    rates["searches"] = "10"
    flex = {"official": rates, "price": {**rates, "output": "4"}}
    flex |= {"official_long": {**rates, "input": "2"}, "price_long": {**rates, "input": "2"}}
    found = changed("gpt-6-sol", modes={"flex": flex, "ultrafast": flex})
    assert [(one.component, one.mode, one.above, one.ours, one.theirs) for one in (
        found.differences)] == [
        ("output", "flex", 272_000, "5", "7.5"),
        ("cache_read", "flex", 272_000, "0.1", "0.2"),
        ("cache_write_other", "flex", 272_000, "1.25", "2.5"),
        ("ultrafast", "", 0, "sold", None),
        ("priority", "", 0, None, "listed"),
    ]  # fmt: skip
    assert {one.since for one in found.differences if one.mode} == {"2026-10-12"}
    raw = next(dict(raw) for raw in SHIPPED if raw["slug"] == "gpt-6-sol")
    early = tracked.compare(
        [book.periods({**raw, "modes": {"flex": flex}}, {})], date(2026, 10, 11)
    )
    assert early.differences == ()
    # A reason for the mode explains all its prices.
    reason = {"flex": "a contract", "ultrafast": "a contract", "priority": "not wanted"}
    assert changed("gpt-6-sol", modes={"flex": flex, "ultrafast": flex}, differs=reason).agree


def test_a_difference_says_all_about_it() -> None:
    """Model, component, both prices, where theirs comes from and since when."""
    official = {"input": "4.5", "output": "20", "cache_read": "0.4", "cache_write_other": "5"}
    found = changed("gpt-5.6-sol", official={**official, "searches": "10"})
    assert not found.agree
    assert found.differences == (
        Difference(
            slug="gpt-5.6-sol",
            component="input",
            mode="",
            above=0,
            ours="4.5",
            theirs="4",
            source="https://developers.openai.com/api/docs/pricing",
            since="2026-08-21",
            known="",
        ),
    )


def test_a_reason_explains_its_component_and_no_other() -> None:
    """And one that explains nothing any more is told."""
    official = {
        "input": "3", "output": "15", "cache_read": "0.2", "cache_write_5m": "3.75",
        "cache_write_1h": "6", "searches": "10",
    }  # fmt: skip
    reasons = {"cache_read": "a promise", "output": "once"}
    found = changed("claude-sonnet-4-6", official=official, differs=reasons)
    assert found.agree
    assert told(found) == [("cache_read", 0, "0.2", "0.3", "a promise")]
    assert found.settled == ("claude-sonnet-4-6: output",)
    found = changed("claude-sonnet-4-6", official={**official, "input": "2"}, differs=reasons)
    assert not found.agree
    assert told(found)[0] == ("input", 0, "2", "3", "")


def test_long_context_prices_are_compared() -> None:
    """Another price above the limit, another limit, none at all."""
    long = {"input": "0.5", "output": "2", "cache_read": "0.05", "cache_write_5m": "0.625"}
    long |= {"cache_write_1h": "1", "searches": "10"}
    found = changed("claude-haiku-5-5", official_long=long)
    assert told(found) == [("output", 100_000, "2", "2.5", "")]
    found = changed("claude-haiku-5-5", long_above=120_000)
    assert told(found) == [("long_above", 0, "120000", "100000", "")]
    nothing = {"long_above": 0, "official_long": {}, "price_long": {}}
    assert told(changed("claude-haiku-5-5", **nothing)) == [
        ("long_above", 0, None, "100000", "")
    ]  # fmt: skip
    assert told(changed("claude-opus-5", long_above=1000, official_long={
        "input": "6", "output": "30"}, price_long={
        "input": "2", "output": "9", "searches": "10"},
    )) == [("long_above", 0, "1000", None, "")]  # fmt: skip


def test_what_the_table_does_not_name_is_billed_as_input() -> None:
    """Cached tokens of GLM-4 32B; searches of GPT-4.1 nano, which it does not sell."""
    cheap = {"input": "0.1", "output": "0.1", "cache_read": "0.05"}
    found = changed("glm-4-32b-0414-128k", official=cheap)
    assert told(found) == [("cache_read", 0, "0.05", "0.1", "")]
    nano = {"input": "0.1", "output": "0.4", "cache_read": "0.025", "searches": "10"}
    assert told(changed("gpt-4.1-nano", official=nano)) == [("searches", 0, "10", "0", "")]


def test_a_model_that_only_we_have() -> None:
    """Nobody can check it: a disagreement, unless the row says why."""
    found = changed("gpt-5.5", slug="gpt-7", aliases=[])
    assert (found.models, found.agree) == (0, False)
    assert told(found) == [("model", 0, "sold", None, "")]
    assert changed("gpt-5.5", slug="gpt-7", aliases=[], differs={"model": "a preview"}).agree
    # Sold under a name of our own it is still the vendor's model.
    assert changed("gpt-5.5", slug="ours", aliases=[], upstream_model="gpt-5.5").agree


def test_without_the_package_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is an extra of its own."""
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'corvus-proxy\[prices\]'"):
        tracked.compare(rows(), NOW)
