"""A ledger as a file: CSV, JSON or Beancount, written a piece at a time.

Rule 1: every entry is written, those at zero too, with its exact amount; the last entry's balance
        is the first one's before it and the sum of all amounts.
Rule 2: a file that was cut can be told from a whole one by its transfer's end; JSON and Beancount
        also by their own.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, Protocol

import msgspec

from corvus_proxy import clock
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
    """After it; None for a sub-key, which does not see its wallet's."""
    not_charged_nanos: int
    note: str


class Format(Protocol):
    """Turns entries into text, in their order: a head, pieces and an end."""

    media_type: str
    suffix: str

    def head(self, scope: Scope, first: Entry | None) -> str:
        """What stands before the first entry."""

    def piece(self, entries: Sequence[Entry]) -> str:
        """Some entries, one at least."""

    def end(self) -> str:
        """What stands after the last."""


def entry(row: EntryRow, scope: Scope) -> Entry:
    """A row of the books in the customer's words."""
    counter = row.counter.partition(":")[0]
    kind = KINDS.get((row.type, counter)) or KINDS[row.type, ""]
    ends = row.type in "SXL"
    return Entry(
        row.wallet_seq,
        clock.iso_utc(row.booked_at),
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


def told(view: Any) -> Any:
    """View data as JSON-able data: beside each `…_nanos` stands the same as a USD string."""
    if isinstance(view, tuple) and hasattr(view, "_asdict"):
        return told(view._asdict())
    if isinstance(view, dict):
        found = {}
        for name, value in view.items():
            if name.endswith("_nanos") and (value is None or isinstance(value, int)):
                found[name.removesuffix("_nanos")] = None if value is None else format_usd(value)
            found[name] = told(value)
        return found
    if isinstance(view, list | tuple):
        return [told(item) for item in view]
    return view


async def write(
    form: Format, scope: Scope, batches: AsyncIterator[list[EntryRow]]
) -> AsyncIterator[bytes]:
    """The file, a piece for each batch. Raises what `batches` raises."""
    begun = False
    async for batch in batches:
        found = [entry(row, scope) for row in batch]
        head = "" if begun else form.head(scope, found[0])
        begun = True
        yield (head + form.piece(found)).encode()
    yield (("" if begun else form.head(scope, None)) + form.end()).encode()


class Csv:
    """One line an entry, with names in the first; amounts are plain decimal numbers."""

    media_type, suffix = "text/csv; charset=utf-8", "csv"

    def head(self, scope: Scope, first: Entry | None) -> str:
        return ",".join(COLUMNS) + "\r\n"

    def piece(self, entries: Sequence[Entry]) -> str:
        text = io.StringIO()
        write_row = csv.writer(text).writerow
        for one in entries:
            known = one.balance_nanos is not None
            write_row((
                one.seq, one.booked_at, one.kind, one.reference, one.request_id, one.key_id,
                one.model, one.outcome, format_usd(one.amount_nanos),
                format_usd(one.balance_nanos or 0) if known else "",
                format_usd(one.not_charged_nanos), one.amount_nanos,
                one.balance_nanos if known else "", plain(one.note),
            ))  # fmt: skip
        return text.getvalue()

    def end(self) -> str:
        return ""


class Json:
    """One object: the entries, their count and sum, and the balance after the last."""

    media_type, suffix = "application/json", "json"

    def __init__(self) -> None:
        self._count = 0
        self._sum_nanos = 0
        self._last: Entry | None = None

    def head(self, scope: Scope, first: Entry | None) -> str:
        return f'{{"wallet":"{scope.wallet}","entries":[\n'

    def piece(self, entries: Sequence[Entry]) -> str:
        lead = ",\n" if self._count else ""
        self._count += len(entries)
        self._sum_nanos += sum(one.amount_nanos for one in entries)
        self._last = entries[-1]
        return lead + ",\n".join(msgspec.json.encode(told(one)).decode() for one in entries)

    def end(self) -> str:
        found = {
            "count": self._count,
            "sum_nanos": self._sum_nanos,
            "balance_nanos": self._last.balance_nanos if self._last else None,
        }
        return "\n]," + msgspec.json.encode(told(found)).decode()[1:] + "\n"


class Beancount:
    """Double entry for Beancount (and Fava): the wallet is an asset, models are expenses."""

    media_type, suffix = "text/plain; charset=utf-8", "beancount"
    _CONTRA = {
        "grant": "Income:Grants",
        "payment": "Equity:Payments",
        "refund": "Equity:Payments",
        "chargeback": "Equity:Payments",
    }

    def __init__(self) -> None:
        self._wallet = ""
        self._opened: set[str] = set()
        self._last: Entry | None = None

    def head(self, scope: Scope, first: Entry | None) -> str:
        self._wallet = f"Assets:Prepaid:{_component(scope.wallet.removeprefix('w_'))}"
        lines = ['option "operating_currency" "USD"', ""]
        if first is not None and first.balance_nanos is not None:
            day = first.booked_at[:10]
            before = first.balance_nanos - first.amount_nanos
            if before:
                lines += [
                    *self._open(day, self._wallet, "Equity:Opening-Balances"),
                    f'{day} * "Balance before"',
                    f"  {self._wallet}  {format_usd(before)} USD",
                    f"  Equity:Opening-Balances  {format_usd(-before)} USD",
                    "",
                ]
        return "\n".join(lines) + "\n"

    def piece(self, entries: Sequence[Entry]) -> str:
        self._last = entries[-1]
        return "".join(self._transaction(one) for one in entries)

    def end(self) -> str:
        if self._last is None or self._last.balance_nanos is None:
            return ""
        # An assertion holds for the beginning of its day.
        day = date.fromisoformat(self._last.booked_at[:10]) + timedelta(days=1)
        return f"{day} balance {self._wallet}  {format_usd(self._last.balance_nanos)} USD\n"

    def _transaction(self, one: Entry) -> str:
        contra = self._CONTRA.get(one.kind, "Equity:Adjustments")
        if one.request_id:
            contra = f"Expenses:Inference:{_component(one.model)}"
        day = one.booked_at[:10]
        link = f" ^{one.request_id}" if one.request_id else ""
        words = one.kind.replace("_", " ") + (f", {one.outcome}" if one.outcome else "")
        facts = {
            "seq": str(one.seq),
            "booked": _quoted(one.booked_at),
            "reference": _quoted(one.reference),
            "key": _quoted(one.key_id),
        }
        if one.note:
            facts["note"] = _quoted(one.note)
        lines = [
            *self._open(day, self._wallet, contra),
            f"{day} * {_quoted(one.model)} {_quoted(words)}{link}",
            *(f"  {name}: {value}" for name, value in facts.items()),
            f"  {self._wallet}  {format_usd(one.amount_nanos)} USD",
            f"  {contra}  {format_usd(-one.amount_nanos)} USD",
        ]
        return "\n".join(lines) + "\n\n"

    def _open(self, day: str, *accounts: str) -> list[str]:
        """Accounts that have not been opened in this file are, on the day of their first use."""
        found = [account for account in accounts if account not in self._opened]
        self._opened.update(found)
        return [f"{day} open {account} USD" for account in found]


FORMATS: dict[str, type[Csv] | type[Json] | type[Beancount]] = {
    "csv": Csv,
    "json": Json,
    "beancount": Beancount,
}


def plain(note: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return "'" + note if note.startswith(_FORMULAS) else note


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"\s+", " ", escaped) + '"'


def _component(name: str) -> str:
    """One part of an account's name: begins with a capital or a digit, has no points."""
    found = re.sub(r"[^A-Za-z0-9-]", "-", name) or "Other"
    return found[:1].upper() + found[1:] if found[0].isalnum() else "M" + found
