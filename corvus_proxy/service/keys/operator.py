"""Make a wallet with its main key, show it, and move money."""

import contextlib

from corvus_proxy import clock, secret
from corvus_proxy.books import wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.ledger import outbox
from corvus_proxy.money.amount import WALLET_NANOS_MAX
from corvus_proxy.sealing import token_digest
from corvus_proxy.service.keys.shared import audit, send_key, wallet_of
from corvus_proxy.service.keys.types import (
    STATUS,
    Created,
    MovePending,
    ServiceRefused,
    Shown,
)
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import Credited, Debited, Duplicate, Fenced, Poor


async def create(
    stores: Stores,
    *,
    credit_nanos: int,
    label: str = "",
    reason: str = "operator grant",
    actor: str = "cli",
) -> Created:
    """A new wallet with its main key and recovery code, credited. Raises BooksUnavailable,
    ServiceRefused.

    The credit is in the books before Redis is asked; if Redis is away, the outbox brings it.
    """
    if not 0 <= credit_nanos <= WALLET_NANOS_MAX:
        raise ServiceRefused("a wallet holds from 0 to 1,000,000 USD")
    wallet = secret.new_wallet_id()
    key_id = secret.new_key_id()
    text, code = secret.new_secret(wallet), secret.new_code()
    row = wallets.OutboxRow(f"key:{key_id}", "key", wallet, 0, "", key_id, "created")
    async with stores.books.transaction() as connection:
        await wallets.insert_wallet(connection, wallet)
        await wallets.insert_key(
            connection,
            wallet,
            key_id,
            label=label,
            digest=secret.digest(text, stores.pepper),
            masked=secret.mask(text),
        )
        await wallets.set_recovery(connection, wallet, token_digest(stores.pepper, code))
        await wallets.insert_outbox(connection, row)
        told = {"credit_nanos": credit_nanos, "reason": reason}
        await audit(connection, actor, "keys.create", key_id, **told)
    await send_key(stores, row)
    balance = 0
    if credit_nanos:
        with contextlib.suppress(MovePending):  # the secret must reach its owner all the same
            balance = await credit(stores, key_id, credit_nanos, reason=reason, actor=actor)
    return Created(wallet, key_id, text, balance, code)


async def show(stores: Stores, key_id: str) -> Shown:
    """A key's standing. Raises ServiceRefused when there is no such key."""
    async with stores.books.connection() as connection:
        wallet = await wallet_of(connection, key_id)
        _, wallet_status, keys = await wallets.keys_of(connection, wallet)
    key = next(key for key in keys if key.key_id == key_id)
    state = await stores.till.wallet(wallet)
    balance, held, spent = (
        (state.balance_nanos, state.held_nanos, state.spent_nanos) if (state) else (0, 0, 0)
    )
    status = STATUS[key.status if wallet_status == 1 else wallet_status]
    return Shown(key_id, wallet, key.label, status, balance, held, balance - held, spent)


async def list_keys(stores: Stores) -> list[Shown]:
    """The newest thousand keys, with what the books have."""
    async with stores.books.connection() as connection:
        rows = await wallets.all_keys(connection)
    return [
        Shown(
            row["key_id"],
            row["wallet"],
            row["label"],
            STATUS[row["status"]],
            row["balance_nanos"],
            0,
            row["balance_nanos"],
            row["spent_nanos"],
        )
        for row in rows
    ]


async def credit(
    stores: Stores,
    key_id: str,
    nanos: int,
    *,
    reason: str,
    counter: str = "grants",
    actor: str = "cli",
) -> int:
    """Adds money to a key's wallet; the balance once Redis has it. Raises ServiceRefused."""
    _check_amount(nanos)
    credit_id = f"grant:{clock.random_hex(12)}"
    async with stores.books.transaction() as connection:
        wallet = await wallet_of(connection, key_id)
        row = wallets.OutboxRow(credit_id, "credit", wallet, nanos, counter, key_id, reason)
        await wallets.insert_outbox(connection, row)
        await audit(connection, actor, "keys.credit", key_id, nanos=nanos, reason=reason)
    try:
        reply = await outbox.send(stores.till, stores.books, row)
    except (TillUnavailable, BooksUnavailable):  # the row is in the books all the same
        reply = Fenced("", "")
    match reply:
        case Credited():
            return reply.balance_nanos
        case Duplicate():  # the worker's outbox was faster
            state = await stores.till.wallet(wallet)
            return state.balance_nanos if state else 0
        case outbox.Refused():
            raise ServiceRefused("a wallet holds at most 1,000,000 USD")
        case _:
            raise MovePending(
                "the credit is booked and reaches the key as soon as Redis serves again"
            )


async def debit(
    stores: Stores,
    key_id: str,
    nanos: int,
    *,
    reason: str,
    counter: str = "adjustments",
    actor: str = "cli",
) -> int:
    """Takes free money from a key's wallet; the balance left. Raises ServiceRefused.

    The intention is in the books before Redis is asked, so that it outlives a Redis that forgets.
    """
    _check_amount(nanos)
    debit_id = f"adj:{clock.random_hex(12)}"
    async with stores.books.transaction() as connection:
        wallet = await wallet_of(connection, key_id)
        row = wallets.OutboxRow(debit_id, "debit", wallet, nanos, counter, key_id, reason)
        await wallets.insert_outbox(connection, row)
        await audit(connection, actor, "keys.debit", key_id, nanos=nanos, reason=reason)
    try:
        reply = await outbox.send(stores.till, stores.books, row)
    except (TillUnavailable, BooksUnavailable):  # the row is in the books all the same
        reply = Fenced("", "")
    match reply:
        case Debited():
            return reply.balance_nanos
        case Duplicate():
            state = await stores.till.wallet(wallet)
            return state.balance_nanos if state else 0
        case outbox.Refused(poor=Poor() as poor):
            raise ServiceRefused(
                f"only {poor.available_nanos} nanos are free; {poor.held_nanos} are held"
            )
        case outbox.Refused():
            raise ServiceRefused("more than is free")
        case _:
            raise MovePending("the debit is booked and is taken as soon as Redis serves again")


def _check_amount(nanos: int) -> None:
    if not 0 < nanos <= WALLET_NANOS_MAX:
        raise ServiceRefused("an amount above zero is needed, of 1,000,000 USD at the most")
