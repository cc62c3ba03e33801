"""What an order costs, and what a payment is worth: integers, to the nano-dollar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings import ShopSettings
from corvus_proxy.shop.price import CENT_NANOS, Price, Terms, price, share, terms, typed, usd

USD = 10**9
PLAIN = terms(ShopSettings())
TERMS = terms(ShopSettings(fee_percent="2.9", fee_fixed_usd="0.30", tax_percent="19"))

cents = st.integers(1, 1_000_000).map(lambda number: number * CENT_NANOS)


def test_without_fee_and_tax_the_total_is_the_amount() -> None:
    assert price(20 * USD, PLAIN) == Price(20 * USD, 0, 0)


def test_the_fee_is_rounded_up_to_a_cent_and_the_tax_half_up() -> None:
    """2.9 % of 10.01 are 0.29029: 0.30, and 0.30 more; 19 % of 10.61 are 2.0159: 2.02."""
    lines = price(1001 * CENT_NANOS, TERMS)
    assert lines == Price(1001 * CENT_NANOS, 60 * CENT_NANOS, 202 * CENT_NANOS)
    assert lines.total_nanos == 1263 * CENT_NANOS


@given(cents)
def test_every_line_is_whole_cents(amount: int) -> None:
    lines = price(amount, TERMS)
    assert all(line % CENT_NANOS == 0 for line in lines)
    assert lines.fee_nanos * 1000 >= amount * 29 + 300 * USD
    assert lines.fee_nanos * 1000 < amount * 29 + 300 * USD + 1000 * CENT_NANOS


@given(cents, st.lists(st.integers(0, 10**16), min_size=1, max_size=5))
def test_shares_add_up_however_a_sum_is_cut(amount: int, values: list[int]) -> None:
    """Each payment's lines are its value; all together are what one payment would have been; never
    less than nothing, and never off by more than the rounding of one."""
    lines = price(amount, TERMS)
    before, shares = 0, []
    for value in values:
        shares.append(share(lines, before, value))
        before += value
        assert sum(shares[-1]) == value
        assert min(shares[-1]) >= 0
    whole = share(lines, 0, sum(values))
    assert tuple(map(sum, zip(*shares, strict=True))) == whole
    assert whole.credit_nanos == lines.amount_nanos * sum(values) // lines.total_nanos


@given(cents, st.integers(0, 100))
def test_who_pays_the_total_gets_the_amount(amount: int, percent: int) -> None:
    lines = price(amount, TERMS)
    first = lines.total_nanos * percent // 100
    shares = [share(lines, 0, first), share(lines, first, lines.total_nanos - first)]
    assert share(lines, 0, lines.total_nanos) == tuple(lines)
    assert sum(one.credit_nanos for one in shares) == amount


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("5", 5 * USD),
        ("5.00", 5 * USD),
        ("5.5", 5 * USD + USD // 2),
        ("5,50", 5 * USD + USD // 2),
        ("$5", 5 * USD),
        (" $ 5.00 ", 5 * USD),
        ("5 USD", 5 * USD),
        ("5usd", 5 * USD),
        ("5 $", 5 * USD),
        ("10000", 10_000 * USD),
        ("0020", 20 * USD),
    ],
)
def test_amounts_that_people_type(text: str, nanos: int) -> None:
    assert typed(text, PLAIN) == nanos


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Enter an amount"),
        ("five", "whole cents"),
        ("-5", "whole cents"),
        ("5.001", "separators"),
        ("1,000", "separators"),
        ("1.000,00", "separators"),
        ("1 000", "separators"),
        ("5.0000", "whole cents"),
        ("5.", "whole cents"),
        (".5", "whole cents"),
        ("1e3", "whole cents"),
        ("٥", "whole cents"),
        ("€5", "whole cents"),
        ("0", "at least $1.00"),
        ("0.99", "at least $1.00"),
        ("10000.01", "at most $10000.00"),
        ("9" * 40, "at most $10000.00"),
    ],
)
def test_what_else_people_type_is_answered_with_a_sentence(text: str, says: str) -> None:
    answer = typed(text, PLAIN)
    assert isinstance(answer, str)
    assert says in answer


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("fee_percent", "many"),
        ("fee_percent", "-1"),
        ("fee_percent", "1.23456"),
        ("tax_percent", "1000"),
        ("fee_fixed_usd", "0.001"),
        ("amount_min_usd", "-1"),
        ("dust_usd", "a cent"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(option: str, value: str) -> None:
    if option == "tax_percent":  # three digits are a percentage, four are not
        value = "10000"
    with pytest.raises(ConfigurationError, match=f"shop.{option}"):
        terms(ShopSettings(**{option: value}))


def test_terms_are_exact() -> None:
    dust = usd("dust_usd", "0.10")
    wanted = Terms(29_000, 30 * CENT_NANOS, 190_000, USD, 10_000 * USD, dust)
    assert wanted == TERMS
