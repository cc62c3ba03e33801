"""What `up`, `doctor` and `prices show` say of margins."""

from datetime import date

import pytest

from corvus_proxy.ops import doctor, pricelist
from corvus_proxy.settings import Credential, PricingSettings, Settings, Upstream

REAL = "https://api.anthropic.com"
DAY = date(2026, 11, 25)


def settings(*costs: float, url: str = REAL, anyway: bool = False) -> Settings:
    """Claude at credentials of these costs."""
    credentials = [Credential(f"a{n}", cost_factor=cost) for n, cost in enumerate(costs)]
    return Settings(
        upstream=[Upstream("anthropic", url, credential=credentials)],
        pricing=PricingSettings(sell_below_cost=anyway),
    )


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (settings(0.3), "ok", "margin 14 %: claude-fable-5-2, "),
        (settings(1.0), "error", "not sold: claude-fable-5-2: input sold at 2.8, costs 8; "),
        (settings(1.0, anyway=True), "warning", "margin -186 %: claude-fable-5-2, "),
        (settings(1.0, url="http://127.0.0.1:9"), "ok", "margin -186 %: claude-fable-5-2, "),
    ],
)
def test_every_model_is_named_with_its_margin(found: Settings, level: str, said: str) -> None:
    """By `doctor` and by `up`; models with the same margin together; nothing is left out."""
    (told,) = pricelist.margins(found)
    assert told[0] == level
    assert told[1].startswith(said)
    assert told[1].count("claude-") == sum(
        row["family"] == "anthropic" for row in pricelist.rows(found)
    )
    assert ("sell_below_cost" in told[1]) == (level == "error")
    checks = doctor._prices(found, DAY)
    assert [(one.check, one.level, one.text) for one in checks] == [("prices", *told)]
    lines = pricelist.summary(found)
    assert lines[0].startswith("  prices    ")
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == f"prices {told[1]}"


def test_doctor_tells_what_lint_finds() -> None:
    """As warnings: the book is in use already."""
    found = doctor._prices(Settings(pricing=PricingSettings(factor={"openai": "1.5"})), DAY)
    assert {one.level for one in found} == {"warning"}
    assert any("gpt-5.5: output is sold" in one.text for one in found)


def test_both_ends_of_the_margin() -> None:
    """The cheapest and the dearest credential of the family, for each component and length."""
    found = pricelist.detail(settings(0.36, 0.3), "claude-haiku-5-5", DAY)
    tokens = [row for row in found["components"] if row["component"] != "searches"]
    assert {(row["margin_cheapest_percent"], row["margin_dearest_percent"]) for row in tokens} == {
        (14, -3)
    }
    assert {row["above"] for row in tokens} == {0, 100_000}
    assert {row["share_percent"] for row in tokens} == {"35"}
    text = pricelist.describe(found)
    assert "margin: cheapest, dearest" in text
    assert "above 100,000 input tokens" in text


def test_a_model_without_upstream_has_no_margin() -> None:
    """It is shown, and not sold."""
    found = pricelist.detail(settings(0.3), "gpt-5.5", DAY)
    assert (found["sold"], found["why_not_sold"]) == (False, None)
    assert found["components"][0]["margin_cheapest_percent"] is None
    assert "%" in pricelist.describe(found)
    with pytest.raises(LookupError, match="gpt-0"):
        pricelist.detail(settings(0.3), "gpt-0", DAY)


@pytest.mark.parametrize("day", [date(2026, 10, 6), date(2026, 10, 7)])
def test_a_day_decides_what_is_history(day: date) -> None:
    """Before a change it stands under `later`, from it on under `before`."""
    found = pricelist.detail(settings(0.3), "claude-sonnet-5-5", day)
    past = day >= date(2026, 10, 7)
    assert (len(found["history"]), len(found["later"])) == ((1, 0) if past else (0, 1))
    text = pricelist.describe(found)
    assert ("before: until 2026-10-07" in text) is past
    assert ("later: from 2026-10-07" in text) is not past
    assert "cache_read differs from the tracked table" in text
