"""Tells Redis what the books decided: keys, credits and debits, repeated until Redis has answered.

An answer may be a refusal: a credit beyond what a wallet may hold, a debit of more than is free. It
stands in the books, and the row is not sent again by anybody: who was told no must not find the
money moved later.

A reversal (a payment that was taken back) is a debit that takes what is free and is never refused:
what was short stands in its event, and the books make it a receivable of the wallet.
"""

from typing import NamedTuple

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import wallets
from corvus_proxy.books.db import Books
from corvus_proxy.money.event import partition_of
from corvus_proxy.money.period import ends_at
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import (
    Bad,
    Cap,
    Credited,
    Debited,
    Duplicate,
    Fenced,
    KeyEntry,
    KeyRow,
    Poor,
)

PAGE = 200
_log = structlog.get_logger()


class Refused(NamedTuple):
    """Redis has said no to this credit or debit: `cap`, `balance` or `amount`. `poor` has the
    figures, for the first who asks."""

    why: str
    poor: Poor | None = None


def entry_of(key: wallets.WalletKey) -> KeyEntry:
    """A key of the books as Redis takes it."""
    ends = ends_at(key.limits.period, clock.utc_now()) if key.limits.cap_nanos is not None else None
    return KeyEntry(
        key.key_id,
        str(key.status),
        [(secret.digest, secret.valid_until_ms) for secret in key.secrets],
        key.main,
        key.label,
        key.limits.cap_nanos,
        key.limits.period,
        key.limits.expires_ms,
        int(ends.timestamp()) if ends else 0,
        key.period_nanos,
        key.limits.rates,
    )


async def push_wallet(till: Till, books: Books, wallet: str) -> bool:
    """Sends a wallet's row as it stands now; False while its partition is fenced."""
    async with books.connection() as connection:
        version, status, keys = await wallets.keys_of(connection, wallet)
    row = KeyRow(wallet, version, str(status), [entry_of(key) for key in keys])
    return not isinstance(await till.push(row), Fenced)


async def send(till: Till, books: Books, row: wallets.OutboxRow) -> object:
    """Sends one change; the till's reply, Refused, or True for a key row that was taken. Raises
    TillUnavailable, BooksUnavailable."""
    if row.kind == "key":
        done = await push_wallet(till, books, row.wallet)
        if done:
            async with books.connection() as connection:
                await wallets.mark_applied(connection, [row.id])
        return done
    # The writer marks what moved money applied, in the transaction that books its event.
    details = {"counter": row.counter, "key": row.key_id, "reason": row.reason}
    async with books.transaction() as connection:
        if why := await wallets.claim(connection, row.id):
            return Refused(why)
        reply: object
        if row.kind == "credit":
            reply = await till.credit(row.id, row.wallet, row.amount_nanos, **details)
        else:
            up_to = row.kind == "reversal"
            reply = await till.debit(row.id, row.wallet, row.amount_nanos, up_to=up_to, **details)
        if why := _refusal(reply):
            await wallets.refuse(connection, row.id, why)
            metrics.MOVES_REFUSED.labels(row.kind).inc()
            _log.warning("move_refused", id=row.id, kind=row.kind, wallet=row.wallet, why=why)
            return Refused(why, reply if isinstance(reply, Poor) else None)
    return reply


def _refusal(reply: object) -> str:
    """Why a credit or debit cannot be made as it stands; empty where it was, or may be later."""
    if isinstance(reply, Cap):
        return "cap"
    if isinstance(reply, Poor):
        return "balance"
    return "amount" if isinstance(reply, Bad) else ""


async def tick(till: Till, books: Books) -> int:
    """Sends everything that waits, keys before credits; how many were taken.

    Page after page: what a closed partition or a full wallet keeps waiting stops nothing else.
    """
    taken = offset = 0
    closed: set[int] = set()
    while True:
        async with books.connection() as connection:
            rows = await wallets.waiting(connection, limit=PAGE, offset=offset)
        for row in sorted(rows, key=lambda row: row.kind != "key"):
            if (part := partition_of(row.wallet)) in closed:
                continue
            reply = await send(till, books, row)
            if reply is True or isinstance(reply, Credited | Debited | Duplicate):
                taken += 1
            elif reply is False or isinstance(reply, Fenced):
                closed.add(part)
            elif not isinstance(reply, Refused):
                _log.error("outbox_waits", id=row.id, wallet=row.wallet, reply=repr(reply))
        if len(rows) < PAGE:
            return taken
        offset += PAGE
