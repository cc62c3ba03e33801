"""Amounts, shares and words as pages show them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.books.statements import Totals
from corvus_proxy.money.amount import WALLET_NANOS_MAX, format_usd, parse_usd
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.service.account import ModelRow, Overview
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.site import calls, charts, render

ROOT = Path(__file__).parents[3]


def text(markup: str) -> str:
    return re.sub(r"<[^>]+>", "", markup)


@given(st.integers(-WALLET_NANOS_MAX, WALLET_NANOS_MAX))
def test_every_form_of_an_amount_is_exact(nanos: int) -> None:
    """Tile and column read as the amount itself; a column has nine decimals."""
    assert text(render.usd_figure(nanos)) == format_usd(nanos)
    column = text(render.usd_column(nanos))
    assert parse_usd(column) == nanos
    assert len(column.partition(".")[2]) == 9


@pytest.mark.parametrize(
    ("total_ms", "words"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.00 s"), (1436, "1.43 s"), (75_000, "75 s")],
)
def test_durations_are_told_in_fitting_units(total_ms: int, words: str) -> None:
    """Milliseconds, then seconds."""
    assert render.duration(total_ms) == words


@pytest.mark.parametrize(
    ("ppm", "words"),
    [(0, "0.0 %"), (1, "< 0.1 %"), (1000, "0.1 %"), (238_532, "23.8 %"), (1_000_000, "100.0 %")],
)
def test_a_share_that_is_there_is_never_none(ppm: int, words: str) -> None:
    """Rounded down, but not to nothing."""
    assert render.percent(ppm) == words


def test_shares_and_bars_follow_the_charges() -> None:
    """The dearest is full; what has cost a single nano is seen; nothing spent divides nothing."""
    rows = [
        ModelRow(slug, Totals(1, nanos, 0, 0, 0, 0, 0))
        for slug, nanos in (("a", 3 * 10**9), ("b", 1))
    ]
    dearest, least = charts.shares(rows)
    assert (dearest.bar_permille, least.bar_permille, least.share_ppm) == (1000, 1, 1)
    assert 'width="1000"' in render.bar(dearest.bar_permille)
    assert 'width="4"' in render.bar(least.bar_permille)
    assert 'width="0"' in render.bar(0)
    free = charts.shares([ModelRow("a", Totals(1, 0, 0, 0, 0, 0, 0))])
    assert (free[0].share_ppm, free[0].bar_permille) == (0, 0)


def test_the_twin_tells_integers_and_dollars() -> None:
    """Beside each `…_nanos` stands the same amount in USD, at every depth."""
    found = render.twin([Overview(5, 0, 5, 10**9)])
    assert found == [
        {
            "balance_nanos": 5, "balance": "0.000000005", "held_nanos": 0, "held": "0.00",
            "available_nanos": 5, "available": "0.000000005", "spent_nanos": 10**9, "spent": "1.00",
        }
    ]  # fmt: skip


def test_every_outcome_has_words() -> None:
    """Each that a row may have, and no more; a code of a newer gateway is still readable."""
    assert set(Outcome) - {Outcome.REFUSED_ADMISSION} == set(render.OUTCOMES)
    assert set(render.SOURCES) == {"counted", "estimated", "checkpoint"}
    assert render.outcome("some_new_ending").words == "some new ending"


def test_templates_compute_nothing_and_policy_stays_strict() -> None:
    """No arithmetic, no `safe`, no inline script, style or handler; nothing from elsewhere."""
    folder = ROOT / "corvus_proxy" / "site"
    for path in (folder / "templates").rglob("*.html"):
        source = path.read_text()
        for expression in re.findall(r"\{[{%](.*?)[}%]\}", source):
            bare = re.sub(r'"[^"]*"', "", expression)
            assert not re.search(r"[-+*/]\s*[\w(]|\bsafe\b|round", bare), (path.name, expression)
        assert not re.search(r"<style|style=|\son\w+=|<script(?! type=\"module\" src=)", source)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", source)
    assert "unsafe" not in render.HEADERS["content-security-policy"]
    assert not re.search(r"https?://|@import|url\(", render.ASSETS["app.css"].data.decode())
    assert not re.search(r"https?://|innerHTML|eval", render.ASSETS["app.js"].data.decode())


def test_first_calls_name_models_that_are_sold_here() -> None:
    """A family without an upstream is not offered, nor a model that would be sold below cost."""
    both = calls.calls(Settings())
    assert [call.base_url for call in both] == [
        "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080",
    ]  # fmt: skip
    assert '"model":"gpt-' in both[0].command
    assert '"model":"claude-' in both[1].command

    def served(family: str, factor: str = "0.1") -> Settings:
        credential = Credential("c", cost_factor=factor)
        return Settings(upstream=[Upstream(family, "https://u.example", credential=[credential])])

    (chat,) = calls.calls(served("glm"))
    assert '"model":"glm-' in chat.command
    assert calls.calls(served("anthropic", "1.0")) == []
