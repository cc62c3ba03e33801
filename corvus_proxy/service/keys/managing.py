"""Freeze, change the secret of, and end one key."""

from corvus_proxy import clock, secret
from corvus_proxy.books import wallets
from corvus_proxy.service.keys.shared import audit, authorise, changed, send_key
from corvus_proxy.service.keys.types import ENDED_MS, GRACE_S, NotAllowed
from corvus_proxy.service.stores import Stores


async def set_frozen(
    stores: Stores, key_id: str, *, frozen: bool, reason: str = "", actor: str = "cli"
) -> None:
    """Freezes or unfreezes one key. Raises NoSuchKey, NotAllowed: what an operator has stopped an
    owner does not start, and a revoked key nobody. An operator who starts a main key also opens its
    wallet, whether its owner had stopped that or a payment that was taken back; where events are in
    quarantine it stays shut until they are released."""
    action = "keys.freeze" if frozen else "keys.unfreeze"
    async with stores.books.transaction() as connection:
        key = await authorise(connection, key_id, actor, stops=frozen, self_too=frozen)
        if key.status == 2:
            raise NotAllowed("a revoked key stays revoked")
        by = "owner" if actor.startswith("key_") else "operator"
        if by == "owner" and key.status == 0 and key.frozen_by not in ("owner", "recovery"):
            raise NotAllowed("the operator has frozen this key")
        await wallets.set_key_status(
            connection, key_id, 0 if frozen else 1, frozen_by=by if frozen else ""
        )
        if key.main and by == "operator" and not frozen:
            standing = await wallets.lock(connection, key.wallet)
            await wallets.set_status(connection, key.wallet, 0 if standing.quarantined else 1)
        row = await changed(connection, key.wallet, key_id, action)
        await audit(connection, actor, action, key_id, reason=reason)
    await send_key(stores, row)


async def rotate(stores: Stores, key_id: str, *, grace_s: int = GRACE_S, actor: str = "cli") -> str:
    """A new secret for a key; the old ones work for the grace, at none not a moment longer. Raises
    NoSuchKey, NotAllowed."""
    async with stores.books.transaction() as connection:
        key = await authorise(connection, key_id, actor, self_too=True)
        text = secret.new_secret(key.wallet)
        await wallets.rotate_secret(
            connection,
            key_id,
            digest=secret.digest(text, stores.pepper),
            masked=secret.mask(text),
            old_valid_until_ms=clock.wall_ms() + grace_s * 1000 if grace_s else ENDED_MS,
        )
        row = await changed(connection, key.wallet, key_id, "keys.rotate")
        await audit(connection, actor, "keys.rotate", key_id, grace_s=grace_s)
    await send_key(stores, row)
    return text


async def revoke(stores: Stores, key_id: str, *, reason: str = "", actor: str = "cli") -> None:
    """Ends a key for ever; it may be looked at and never used. A main key only by an operator: its
    owner would be locked out. Raises NoSuchKey, NotAllowed."""
    async with stores.books.transaction() as connection:
        key = await authorise(connection, key_id, actor, stops=True)
        if key.main and actor.startswith("key_"):
            raise NotAllowed("the main key cannot be revoked; freeze it or change its secret")
        await wallets.set_key_status(connection, key_id, 2)
        row = await changed(connection, key.wallet, key_id, "keys.revoke")
        await audit(connection, actor, "keys.revoke", key_id, reason=reason)
    await send_key(stores, row)
