"""Who owns a wallet: its recovery code outranks its key.

A thief has the key: with it they may spend, freeze, change the secret and make sub-keys. They may
not change the code, and what they did ends when its holder recovers the wallet. A freeze stops
whoever holds the key, so opening takes more than the key. Only what the operator or a chargeback
has stopped stays so.

Every failure is the same None, and callers throttle; 130 random bits are not guessed.
"""

from typing import Any, NamedTuple

from corvus_proxy import secret
from corvus_proxy.books import wallets
from corvus_proxy.books.people import alarms
from corvus_proxy.sealing import token_digest, token_proof
from corvus_proxy.secret import new_code, parse_code
from corvus_proxy.service.keys.managing import set_frozen
from corvus_proxy.service.keys.shared import audit, authorise, changed, keys_of, send_key
from corvus_proxy.service.keys.types import ENDED_MS, NotAllowed
from corvus_proxy.service.stores import Stores

__all__ = [
    "Recovered", "change_code", "freeze", "give_code", "new_code", "owner_of", "parse_code",
    "recover", "recover_wallet", "set_code", "unfreeze", "unfreeze_wallet",
]  # fmt: skip


class Recovered(NamedTuple):
    """What a recovery did."""

    wallet: str
    key_id: str
    secret: str
    """The only one that opens the main key now."""
    recovery_code: str
    """A new one, where the old one was not shown; else empty: it stays."""
    frozen: tuple[str, ...]
    """Sub-keys that were working: each is frozen until its owner has looked at it."""
    still_frozen_by: str
    """`operator` or `chargeback`, where the wallet or its main key stays stopped."""
    sessions: int
    """Log-ins that were ended."""


async def set_code(connection: Any, pepper: bytes, wallet: str, code: str) -> None:
    """Gives a new wallet its code, in the transaction that makes the wallet."""
    await wallets.set_recovery(connection, wallet, token_digest(pepper, code))


async def owner_of(stores: Stores, text: str) -> str | None:
    """The wallet that a typed recovery code opens. Raises BooksUnavailable."""
    code = parse_code(text)
    if code is None:
        return None
    async with stores.books.connection() as connection:
        return await wallets.wallet_of_code(connection, token_proof(stores.pepper, code))


async def recover(stores: Stores, text: str, *, actor: str = "code") -> Recovered | None:
    """As `recover_wallet`, of the wallet that the typed code opens; None for every other text.
    Raises BooksUnavailable."""
    wallet = await owner_of(stores, text)
    return None if wallet is None else await recover_wallet(stores, wallet, actor=actor)


async def recover_wallet(
    stores: Stores,
    wallet: str,
    *,
    actor: str,
    fresh_code: bool = False,
    keep_email: bool = False,
) -> Recovered | None:
    """Puts a wallet into its owner's hands, who has proven to be it: a new secret on the main key,
    and whatever else opened the wallet or its pages is dead at once. The balance stays.

    `fresh_code` for an owner who has lost the code and was proven otherwise, `keep_email` for one
    who was proven by that mailbox. None where the wallet has no main key any more. Raises
    BooksUnavailable.
    """
    text = secret.new_secret(wallet)
    async with stores.books.transaction() as connection:
        found = await keys_of(connection, wallet, "owner")
        main = next((key for key in found if key.main and key.status != 2), None)
        if main is None:
            return None
        await wallets.rotate_secret(
            connection,
            main.key_id,
            digest=secret.digest(text, stores.pepper),
            masked=secret.mask(text),
            old_valid_until_ms=ENDED_MS,
        )
        # A thief may have made them, or hold their secrets.
        subs = tuple(key.key_id for key in found if not key.main and key.status == 1)
        for key_id in subs:
            await wallets.set_key_status(connection, key_id, 0, frozen_by="recovery")
        code = ""
        if fresh_code:
            code = new_code()
            await set_code(connection, stores.pepper, wallet, code)
        sessions = await wallets.end_access(connection, wallet, keep_email=keep_email)
        # They tell where the money goes, and a thief may have set them.
        await alarms.remove_webhooks(connection, wallet)
        stopped = await _open(connection, wallet, main)
        row = await changed(connection, wallet, main.key_id, "owner.recover")
        await audit(connection, actor, "owner.recover", wallet, frozen=subs, sessions=sessions)
    await send_key(stores, row)
    return Recovered(wallet, main.key_id, text, code, subs, stopped, sessions)


async def change_code(stores: Stores, wallet: str, old: str, *, actor: str) -> str | None:
    """A new recovery code for a wallet whose present one is given; None where it is not: the key
    alone never suffices. Raises BooksUnavailable."""
    present = parse_code(old)
    if present is None:
        return None
    code = new_code()
    async with stores.books.transaction() as connection:
        await wallets.lock(connection, wallet)
        digest = token_proof(stores.pepper, present)
        if await wallets.wallet_of_code(connection, digest) != wallet:
            return None
        await set_code(connection, stores.pepper, wallet, code)
        await audit(connection, actor, "owner.change_code", wallet)
    return code


async def give_code(stores: Stores, wallet: str, *, actor: str) -> str:
    """A new recovery code by the operator's hand, for a wallet that has none or whose owner has
    lost it. Raises BooksUnavailable."""
    code = new_code()
    async with stores.books.transaction() as connection:
        await set_code(connection, stores.pepper, wallet, code)
        await audit(connection, actor, "owner.give_code", wallet)
    return code


async def freeze(stores: Stores, key_id: str, *, actor: str, reason: str = "") -> None:
    """Stops a key, for whoever holds it; by the main key the whole wallet, or a thief would go on
    with a sub-key. Raises NoSuchKey, NotAllowed."""
    async with stores.books.transaction() as connection:
        key = await authorise(connection, key_id, actor, stops=True, self_too=True)
        if key.status == 2:
            raise NotAllowed("a revoked key stays revoked")
        if key.main:
            standing = await wallets.lock(connection, key.wallet)
            by = {"": "owner", "chargeback": "owner+chargeback"}.get(standing.frozen_by)
            if by and (standing.status == 1 or standing.frozen_by):
                await wallets.set_status(connection, key.wallet, 0, frozen_by=by)
            row = await changed(connection, key.wallet, key_id, "owner.freeze")
            await audit(connection, actor, "owner.freeze", key_id, reason=reason)
    if key.main:
        await send_key(stores, row)
    else:
        await set_frozen(stores, key_id, frozen=True, actor=actor, reason=reason)


async def unfreeze(stores: Stores, wallet: str, text: str, *, actor: str = "code") -> str | None:
    """As `unfreeze_wallet`, by the typed recovery code of this very wallet; None where it is not.
    Raises BooksUnavailable."""
    if await owner_of(stores, text) != wallet:
        return None
    return await unfreeze_wallet(stores, wallet, actor=actor)


async def unfreeze_wallet(stores: Stores, wallet: str, *, actor: str) -> str:
    """Opens a wallet and its main key for an owner who has proven to be it; empty, or who has
    stopped what stays stopped: `operator` or `chargeback`. Raises NoSuchKey, BooksUnavailable."""
    async with stores.books.transaction() as connection:
        found = await keys_of(connection, wallet, "owner")
        main = next((key for key in found if key.main and key.status != 2), None)
        stopped = await _open(connection, wallet, main)
        row = await changed(connection, wallet, main.key_id if main else "", "owner.unfreeze")
        await audit(connection, actor, "owner.unfreeze", wallet, still_frozen_by=stopped)
    await send_key(stores, row)
    return stopped


async def _open(connection: Any, wallet: str, main: wallets.WalletKey | None) -> str:
    """Takes back what an owner (or a thief) has frozen; who has stopped the rest."""
    standing = await wallets.lock(connection, wallet)
    stopped = ""
    if standing.status != 1:
        if standing.frozen_by == "owner" and not standing.quarantined:
            await wallets.set_status(connection, wallet, 1)
        elif standing.frozen_by == "owner+chargeback":
            await wallets.set_status(connection, wallet, 0, frozen_by="chargeback")
            stopped = "chargeback"
        else:
            stopped = "chargeback" if standing.frozen_by == "chargeback" else "operator"
    if main is not None and main.status == 0:
        if main.frozen_by == "owner":
            await wallets.set_key_status(connection, main.key_id, 1)
        else:
            stopped = stopped or "operator"
    return stopped
