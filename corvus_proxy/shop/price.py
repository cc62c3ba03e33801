"""What an order costs, what a payment is worth on the balance, and how a typed amount is read.

All integers, in nanos. Whoever pays exactly the total gets exactly the amount; whoever pays less or
more gets the same share of it, rounded down to a nano-dollar. Of several payments each gets what
the sum is worth beyond those before it, so that two halves make a whole.
"""

import re
from typing import NamedTuple

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.amount import NANOS_PER_USD, format_usd, parse_usd
from corvus_proxy.settings import ShopSettings

CENT_NANOS = NANOS_PER_USD // 100
_MILLION = 1_000_000
_PERCENT = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,4}))?")
_TYPED = re.compile(r"\$?\s*([0-9]+)(?:[.,]([0-9]{1,2}))?\s*(?:\$|USD)?", re.IGNORECASE)
_GROUPED = re.compile(r"\$?\s*[0-9]{1,3}(?:[.,' ][0-9]{3})+(?:[.,][0-9]+)?\s*(?:\$|USD)?", re.I)


class Terms(NamedTuple):
    """Fee and tax of this shop, and what it sells. Amounts in nanos, shares in millionths."""

    fee_millionths: int
    fee_fixed_nanos: int
    tax_millionths: int
    amount_min_nanos: int
    amount_max_nanos: int
    dust_nanos: int


class Price(NamedTuple):
    """An order's lines, all whole cents."""

    amount_nanos: int
    fee_nanos: int
    tax_nanos: int

    @property
    def total_nanos(self) -> int:
        return sum(self)


class Share(NamedTuple):
    """What one payment is: balance, fee and tax. They add up to its value."""

    credit_nanos: int
    fee_nanos: int
    tax_nanos: int


def terms(shop: ShopSettings) -> Terms:
    """The options as numbers. Raises ConfigurationError that names the option."""
    return Terms(
        _millionths("fee_percent", shop.fee_percent),
        usd("fee_fixed_usd", shop.fee_fixed_usd),
        _millionths("tax_percent", shop.tax_percent),
        usd("amount_min_usd", shop.amount_min_usd),
        usd("amount_max_usd", shop.amount_max_usd),
        usd("dust_usd", shop.dust_usd),
    )


def usd(option: str, text: str) -> int:
    """An amount of `[shop]` in nanos, in whole cents. Raises ConfigurationError."""
    try:
        nanos = parse_usd(text)
    except ValueError as error:
        raise ConfigurationError(f"shop.{option}: {error}") from None
    if nanos < 0 or nanos % CENT_NANOS:
        raise ConfigurationError(f"shop.{option}: {text!r} is not an amount in whole cents")
    return nanos


def price(amount_nanos: int, of: Terms) -> Price:
    """The lines of an order for so much balance (whole cents)."""
    percent = _ceil(amount_nanos * of.fee_millionths, _MILLION * CENT_NANOS) * CENT_NANOS
    fee = percent + of.fee_fixed_nanos
    taxed = (amount_nanos + fee) * of.tax_millionths
    half_up = (2 * taxed + _MILLION * CENT_NANOS) // (2 * _MILLION * CENT_NANOS)
    return Price(amount_nanos, fee, half_up * CENT_NANOS)


def share(lines: Price, before_nanos: int, value_nanos: int) -> Share:
    """A payment of `value_nanos` after others worth `before_nanos`: what becomes balance, fee and
    tax."""
    first, both = _split(lines, before_nanos), _split(lines, before_nanos + value_nanos)
    return Share(*(after - before for before, after in zip(first, both, strict=True)))


def _split(lines: Price, value_nanos: int) -> Share:
    """None of the three falls while the value grows, so that no payment has a line below zero."""
    credit = lines.amount_nanos * value_nanos // lines.total_nanos
    rest = value_nanos - credit
    extra = lines.fee_nanos + lines.tax_nanos
    tax = rest * lines.tax_nanos // extra if extra else 0
    return Share(credit, rest - tax, tax)


def typed(text: str, of: Terms) -> int | str:
    """An amount that a person typed, in nanos; or a sentence that says what is wrong with it.

    `5`, `5.00`, `5,00`, `$5` and `5 USD` are five dollars. A separator before three digits means a
    thousand to some and a decimal to others, so it is asked about instead of guessed.
    """
    text = text.strip()
    if not text:
        return "Enter an amount in US dollars, such as 20."
    if _GROUPED.fullmatch(text):
        return "Write the amount without separators between thousands, such as 1000 or 1000.00."
    found = _TYPED.fullmatch(text)
    if found is None or not text.isascii():
        return "Enter an amount in US dollars and whole cents, such as 20 or 12.50."
    whole, cents = found.groups()
    if len(whole) > 12:
        return _bounds(of)
    nanos = int(whole) * NANOS_PER_USD + int((cents or "").ljust(2, "0")) * CENT_NANOS
    return nanos if of.amount_min_nanos <= nanos <= of.amount_max_nanos else _bounds(of)


def _bounds(of: Terms) -> str:
    least, most = format_usd(of.amount_min_nanos), format_usd(of.amount_max_nanos)
    return f"An order is for at least ${least} and at most ${most}."


def _millionths(option: str, text: str) -> int:
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"shop.{option}: {text!r} is no percentage such as 2.9")
    whole, fraction = found.groups()
    return int(whole) * 10_000 + int((fraction or "").ljust(4, "0"))


def _ceil(number: int, by: int) -> int:
    return -(-number // by)
