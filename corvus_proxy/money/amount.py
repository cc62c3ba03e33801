"""Nano-dollars: reading, writing, and the one rounding."""

import re

NANOS_PER_USD = 1_000_000_000
PICOS_PER_NANO = 1_000
NANOS_MAX = 2**53 - 1
"""Largest amount that crosses into Lua exactly (numbers there are doubles)."""
WALLET_NANOS_MAX = 10**15
"""The most a wallet may hold: 1,000,000 USD."""

_USD = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?")


def parse_usd(text: str) -> int:
    """Nanos of a decimal string of USD such as `"5.00"`.

    Raises ValueError for anything else: exponents, signs other than a leading minus, more than
    nine decimals, more than twelve digits before the point.
    """
    match = _USD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of USD like 5 or 0.25 (at most nine decimals)")
    sign, whole, fraction = match.groups()
    nanos = int(whole) * NANOS_PER_USD + int((fraction or "").ljust(9, "0"))
    return -nanos if sign else nanos


def format_usd(nanos: int) -> str:
    """Decimal string of USD: exact, at least two decimals, no exponent (`"5.00"`,
    `"0.0000123"`)."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def round_to_nanos(picos: int) -> int:
    """The only rounding of money: half up to a nano-dollar; `picos` is not negative."""
    return (picos + PICOS_PER_NANO // 2) // PICOS_PER_NANO


def format_picos(picos: int) -> str:
    """Decimal string of USD of an amount before its rounding: exact, two to twelve decimals."""
    sign = "-" if picos < 0 else ""
    whole, fraction = divmod(abs(picos), PICOS_PER_NANO * NANOS_PER_USD)
    return f"{sign}{whole}.{f'{fraction:012d}'.rstrip('0').ljust(2, '0')}"


def per_million(picos: int) -> str:
    """A price in picos per token as USD per million tokens: `"1.05"`."""
    return format_picos(picos * 1_000_000)
