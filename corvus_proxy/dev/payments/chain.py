"""Invoices and payments on chain, as the simulated BTCPay Server has them."""

from typing import Any

import msgspec

from corvus_proxy.money.amount import NANOS_PER_USD

SATS_PER_COIN = 100_000_000
CONFIRMATIONS = {"HighSpeed": 0, "MediumSpeed": 1, "LowMediumSpeed": 2, "LowSpeed": 6}
"""Confirmations that a speed policy waits for."""
ADDRESS = "bcrt1q"
"""How every address of this chain begins."""


class Payment(msgspec.Struct):
    """One output of a transaction to an invoice's address."""

    id: str
    received_s: int
    sats: int
    late: bool
    status: str = "Processing"
    confirmations: int = 0


class Invoice(msgspec.Struct):
    """One invoice."""

    id: str
    nanos: int
    rate: str
    sats: int
    """What is asked for, at the rate."""
    destination: str
    created_s: int
    expires_s: int
    monitored_s: int
    metadata: dict[str, Any]
    checkout: dict[str, Any]
    status: str = "New"
    additional: str = "None"
    payments: list[Payment] = msgspec.field(default_factory=list)

    @property
    def confirmations_needed(self) -> int:
        return CONFIRMATIONS[self.checkout["speedPolicy"]]


def paid(invoice: Invoice) -> int:
    """Satoshi that have come and were not taken back."""
    return sum(payment.sats for payment in invoice.payments if payment.status != "Invalid")


def coins(sats: int) -> str:
    """Whole coins, as a decimal."""
    sign_ = "-" if sats < 0 else ""
    whole, rest = divmod(abs(sats), SATS_PER_COIN)
    digits = f"{rest:08d}".rstrip("0")
    return f"{sign_}{whole}.{digits}" if digits else f"{sign_}{whole}"


def usd(nanos: int) -> str:
    """Dollars and cents."""
    return f"{nanos // NANOS_PER_USD}.{nanos % NANOS_PER_USD // 10_000_000:02d}"


def is_address(text: str) -> bool:
    """Whether that has the look of an address of this chain."""
    rest = text.removeprefix(ADDRESS)
    return text.startswith(ADDRESS) and 20 <= len(rest) <= 80 and rest.isascii() and rest.isalnum()
