"""Who may change a key, and how a change reaches Redis."""

import contextlib
import json
from typing import Any

from corvus_proxy.books import wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.ledger import outbox
from corvus_proxy.service.keys.types import STATUS, NoSuchKey, NotAllowed
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable


async def authorise(
    connection: Any, key_id: str, actor: str, *, stops: bool = False, self_too: bool = False
) -> wallets.WalletKey:
    """The key that `actor` wants to change; its wallet is locked. `stops`: who is frozen may do it
    too; `self_too`: a key may do it to itself. Raises NoSuchKey, NotAllowed."""
    wallet = await wallet_of(connection, key_id)
    found = await keys_of(connection, wallet, actor, stops=stops, own=key_id if self_too else "")
    return next(key for key in found if key.key_id == key_id)


async def keys_of(
    connection: Any, wallet: str, actor: str, *, stops: bool = False, own: str = ""
) -> list[wallets.WalletKey]:
    """The keys of a wallet, which is locked, if `actor` may change them: an operator, its main key,
    or the key `own` itself. Raises NoSuchKey, NotAllowed."""
    try:
        standing = await wallets.lock(connection, wallet)
    except LookupError as error:
        raise NoSuchKey(str(error)) from None
    found = (await wallets.keys_of(connection, wallet))[2]
    if not actor.startswith("key_"):
        return found
    key = next((key for key in found if key.key_id == actor), None)
    if key is None or not (key.main or actor == own):
        raise NotAllowed("only the main key of a wallet may do this")
    status = min(key.status, standing.status) if key.status != 2 else 2
    if status == 2 or (status == 0 and not stops):
        raise NotAllowed(f"this key is {STATUS[status]}")
    return found


async def changed(connection: Any, wallet: str, key_id: str, action: str) -> wallets.OutboxRow:
    """Raises the wallet's version and puts its row into the outbox; `send_key` sends it after the
    commit."""
    version = await wallets.touch(connection, wallet)
    row = wallets.OutboxRow(f"key:{wallet}:{version}", "key", wallet, 0, "", key_id, action)
    await wallets.insert_outbox(connection, row)
    return row


async def send_key(stores: Stores, row: wallets.OutboxRow) -> None:
    """Tells Redis now; when it is away, the worker's outbox tells it later."""
    with contextlib.suppress(TillUnavailable, BooksUnavailable):
        await outbox.send(stores.till, stores.books, row)


async def wallet_of(connection: Any, key_id: str) -> str:
    """The wallet of a key. Raises NoSuchKey."""
    wallet = await wallets.wallet_of_key(connection, key_id)
    if wallet is None:
        raise NoSuchKey(f"there is no key {key_id}")
    return wallet


async def audit(connection: Any, actor: str, action: str, subject: str, **details: object) -> None:
    """Who did what to what, and how."""
    await wallets.insert_audit(
        connection, actor=actor, action=action, subject=subject, details=json.dumps(details)
    )
