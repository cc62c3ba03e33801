"""A ledger as a file: CSV, JSON or Beancount, written a piece at a time.

Rule 1: every entry is written, those at zero too, with its exact amount; the last entry's balance
        is the first one's before it and the sum of all amounts.
Rule 2: a file that was cut can be told from a whole one: JSON lacks its end, Beancount its closing
        balance, and CSV its last row of totals.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from corvus_proxy.books.statements import EntryRow, Scope
from corvus_proxy.money.amount import format_usd

KINDS = {
    ("S", ""): "charge",
    ("X", ""): "charge",
    ("L", ""): "late_charge",
    ("C", "grants"): "grant",
    ("C", "clearing"): "payment",
    ("C", ""): "credit",
    ("D", "refunds"): "refund",
    ("D", "chargebacks"): "chargeback",
    ("D", "adjustments"): "adjustment",
    ("D", ""): "debit",
}
"""What an entry is to the customer, by its type and, of credits and debits, the counter account."""
COLUMNS = (
    "seq", "booked_at", "kind", "reference", "request_id", "key_id", "model", "outcome",
    "amount_usd", "balance_usd", "not_charged_usd", "amount_nanos", "balance_nanos", "note",
)  # fmt: skip
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class Entry(NamedTuple):
    """An entry in the customer's words. Amounts in nanos."""

    seq: int
    booked_at: str
    kind: str
    reference: str
    """The payment's, credit's or request's own id."""
    request_id: str
    key_id: str
    model: str
    outcome: str
    amount_nanos: int
    balance_nanos: int | None
    """None for a sub-key, which does not see its wallet's."""
    not_charged_nanos: int
    note: str


class Format(Protocol):
    """Turns entries into text, in their order: a head, pieces and an end."""

    media_type: str
    suffix: str

    def piece(self, entries: Sequence[Entry]) -> str:
        """Some entries; the first piece begins with the head."""

    def end(self) -> str:
        """What comes after the last."""


def entry(row: EntryRow, scope: Scope) -> Entry:
    """A row of the books in the customer's words."""
    counter = row.counter.partition(":")[0]
    kind = KINDS.get((row.type, counter)) or KINDS[row.type, ""]
    ends = row.type in "SXL"
    return Entry(
        row.wallet_seq,
        utc(row.booked_at),
        kind,
        row.ext_id,
        row.ext_id.removesuffix(":L") if ends else "",
        row.key_id,
        row.slug,
        row.outcome if ends else "",
        row.delta_nanos,
        None if scope.key_id else row.balance_nanos,
        row.shortfall_nanos if ends else 0,
        row.reason,
    )
