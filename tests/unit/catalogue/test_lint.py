"""`prices lint`: what can be meant and should not be, one line a problem."""

from datetime import date
from pathlib import Path

import pytest

from corvus_proxy.catalogue import lint
from corvus_proxy.settings import PricingSettings
from tests.unit.catalogue.test_history import CUT, PAST, RISE, ROW, pricing

TODAY = date(2026, 11, 26)
LONG = (
    'long_above = 100\nofficial_long = { input = "9", output = "9" }\n'
    'price_long = { input = "3", output = "4" }\n'
)


def test_the_shipped_book_is_clean() -> None:
    """On the day it was checked."""
    assert lint.problems(PricingSettings(), date(2026, 11, 25)) == []


@pytest.mark.parametrize("text", [ROW, ROW + PAST, ROW + LONG, ROW + RISE, ROW + PAST + RISE])
def test_a_book_without_problems(tmp_path: Path, text: str) -> None:
    """What the tests below differ from."""
    assert lint.problems(pricing(tmp_path, text), TODAY) == []


OTHER = ROW.replace('slug = "x"', 'slug = "y"')
CHEAPER = 'price = { input = "1", output = "4" }'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW.replace('input = "2"', 'input = "8.5"'), "x: input is sold at 8500000 picos, dearer"),
        (ROW + LONG.replace('"3"', '"9.5"'), "x: input above 100 tokens is sold at 9500000"),
        (ROW + PAST.replace('"5"', '"10"'), "x until 2026-10-01: output is sold at 10000000"),
        (ROW + RISE.replace('"2.5"', '"8.5"'), "x from 2026-12-10: input is sold at 8500000"),
        (ROW.replace('source = "s"', 'source = " "'), "x: source is empty"),
        (ROW.replace("2026-11-01", "2026-11-27"), "x: checked on 2026-11-27, which is still"),
        (ROW + PAST.replace('source = "old"\n', ""), "states an official price without `source`"),
        (ROW + PAST.replace("checked = 2026-09-01\n", ""), "official price without `checked`"),
        (ROW + PAST.replace("until = 2026-10-01", "until = 2026-12-01"),
         "x: a price that is not in force yet is a [[model.change]]"),
        (ROW + RISE.replace("2026-11-20", "2026-11-27"), "announced on 2026-11-27, which is still"),
        (ROW + RISE.replace("announced = 2026-11-20", "announced = 2026-12-11"),
         "after it came into force"),
        (ROW + RISE.replace("from = 2026-12-10", "from = 2026-12-03"),
         "x from 2026-12-03: input, cache_read, cache_write_5m, cache_write_1h, cache_write_other"
         " rises 13 days after"),
        (ROW + CUT.replace("announced = 2026-12-20", "announced = 2026-11-26")
         .replace("from = 2026-12-20", "from = 2026-12-01"), "rises 5 days after"),
        (ROW + LONG.replace("100", "1001"), "long_above 1001 lies beyond its context of 1000"),
        (ROW + LONG.replace('official_long = { input = "9", output = "9" }',
                            'official_long = { input = "8", output = "8" }'),
         "official_long is the same as official"),
        (ROW + LONG.replace('official_long = { input = "9"', 'official_long = { input = "7"'),
         "official input is cheaper above 100 tokens than below"),
        (ROW + 'differs = { imput = "why" }\n', "differs: there is no component 'imput'"),
        (ROW + 'differs = { input = " " }\n', "differs: input without a reason"),
        (ROW + OTHER + 'aliases = ["x"]\n', "2 models are called x"),
        (ROW + ROW, "2 models are called x"),
        (ROW.replace('"2"', '"-2"'), "x: -2 USD per million is no whole number of picos"),
        ("[[model]", "price book: "),
    ],
)  # fmt: skip
def test_a_problem_is_named(tmp_path: Path, text: str, said: str) -> None:
    """With the row, the time it speaks of, and the figures."""
    found = lint.problems(pricing(tmp_path, text), TODAY)
    assert any(said in one for one in found), found


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """A row that cannot be read does not hide the next one's problems."""
    text = ROW.replace('"2"', '"-2"') + OTHER.replace('source = "s"', 'source = ""')
    assert len(lint.problems(pricing(tmp_path, text), TODAY)) == 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (CHEAPER, False),  # a cut comes at once
        ('price = { input = "2", output = "4" }', False),
        ('price = { input = "1", output = "4.000001" }', True),
        ('price = { input = "2", output = "4", searches = "1" }', True),
        (LONG, True),
        (LONG.replace('"3"', '"2"'), False),  # tier of the same price
    ],
)
def test_only_rises_need_notice(tmp_path: Path, change: str, found: bool) -> None:
    """By any component, at any length of prompt."""
    text = ROW + f"[[model.change]]\nfrom = 2026-11-26\nannounced = 2026-11-26\n{change}"
    if "official_long" in change:
        text += 'source = "s"\nchecked = 2026-11-01\n'
    told = lint.problems(pricing(tmp_path, text), TODAY)
    assert any("rises 0 days" in one for one in told) is found, told


MODES = """
geos = { us = 110 }
[model.modes.fast]
official = { input = "12", output = "12" }
price = { input = "3", output = "5" }
"""
CLAUDE = ROW.replace("openai", "anthropic")
CHANGE = "[[model.change]]\nfrom = 2026-11-26\nannounced = 2026-11-26\n"
DEARER_FAST = (
    'modes = { fast = { official = { input = "12", output = "12" }, price = { input = "3.5",'
    ' output = "5" } } }\n'
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (DEARER_FAST, "input as fast, cache_read as fast"),
        ("geos = { us = 120 }\n", "every price in us rises"),
        ("geos = { us = 105 }\n", ""),
        ("geos = {}\n", ""),
        ("modes = {}\n", ""),  # refused from then on, not dearer
    ],
)
def test_modes_and_places_rise_too(tmp_path: Path, change: str, said: str) -> None:
    """Each by its name."""
    text = CLAUDE + MODES + CHANGE + change
    told = lint.problems(pricing(tmp_path, text), TODAY)
    assert [said in one and "rises 0 days" in one for one in told] == ([True] if said else []), told


def test_a_mode_dearer_than_the_vendors_is_named(tmp_path: Path) -> None:
    """With its name."""
    text = CLAUDE + (
        '[model.modes.fast]\nofficial = { input = "4", output = "9" }\n'
        'price = { input = "4.5", output = "5" }\n'
    )
    (told, *_) = lint.problems(pricing(tmp_path, text), TODAY)
    assert told.startswith("x: input as fast is sold at 4500000 picos, dearer than the vendor's 4")


def test_an_earlier_limit_is_a_rise(tmp_path: Path) -> None:
    """The same long price from fewer tokens on."""
    text = ROW + LONG + (
        "[[model.change]]\nfrom = 2026-11-26\nannounced = 2026-11-26\nlong_above = 99\n"
    )  # fmt: skip
    (told,) = lint.problems(pricing(tmp_path, text), TODAY)
    assert "the long-context prices begin earlier" in told


def test_the_notice_is_the_operators_to_set(tmp_path: Path) -> None:
    """`[pricing] notice_days`; the factor decides what is a rise."""
    path = pricing(tmp_path, ROW + RISE).book
    assert lint.problems(PricingSettings(book=path, notice_days=30), TODAY)
    # With a factor our price follows the official one, which does not change.
    settings = PricingSettings(book=path, notice_days=30, factor={"openai": "0.5"})
    assert lint.problems(settings, TODAY) == []
