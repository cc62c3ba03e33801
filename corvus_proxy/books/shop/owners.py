"""Whom an order's money belongs to: the wallet, its key, and what waits for Redis of it."""

from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.books.people import alarms
from corvus_proxy.books.wallets import OutboxRow


class Target(NamedTuple):
    """A key that can be topped up."""

    key_id: str
    wallet: str
    status: int
    """0 frozen, 1 active, 2 revoked; the wallet's where that is not active."""
    balance_nanos: int
    masked: str


_TARGET = """
select k.key_id, k.wallet, case when w.status = 1 then k.status else w.status end,
       w.balance_nanos,
       coalesce((select s.masked from key_secret s
                 where s.key_id = k.key_id and s.valid_until_ms = 0 limit 1), '')
from key k join wallet w using (wallet)
"""
BY_ID = f"{_TARGET} where k.key_id = $1"
BY_DIGEST = f"""{_TARGET} where k.key_id = (
    select key_id from key_secret
    where digest = any(string_to_array($1, ',')) and (valid_until_ms = 0 or valid_until_ms > $2)
    limit 1)
"""  # noqa: S608
_QUARANTINED = """exists (
    select from quarantine q where q.wallet = w.wallet and q.released_at is null)"""
FREEZE = f"""
update wallet w set status = 0, version = version + 1,
    frozen_by = case frozen_by when 'owner' then 'owner+chargeback' else 'chargeback' end
where wallet = $1 and (status = 1 or frozen_by = 'owner' or frozen_by = '' and {_QUARANTINED})
returning version
"""  # noqa: S608 - a text of ours
THAW = f"""
update wallet w set version = version + 1,
    status = case when frozen_by = 'chargeback' and not {_QUARANTINED} then 1 else 0 end,
    frozen_by = case frozen_by when 'owner+chargeback' then 'owner' else '' end
where wallet = $1 and status = 0 and frozen_by in ('chargeback', 'owner+chargeback')
    and receivable_nanos = 0
    and not exists (select from shop_order where wallet = $1 and order_id <> $2
                    and disputed and (new_key or by_owner))
returning version
"""  # noqa: S608 - a text of ours


async def by_id(connection: Any, key_id: str) -> Target | None:
    """A key by its id."""
    row = await connection.fetchrow(BY_ID, key_id)
    return None if row is None else Target(*row)


async def by_digest(connection: Any, digest: str, now_ms: int) -> Target | None:
    """A key by the digest of a secret that is still good."""
    row = await connection.fetchrow(BY_DIGEST, digest, now_ms)
    return None if row is None else Target(*row)


async def set_recovery(connection: Any, wallet: str, digest: str, email: str) -> None:
    """The recovery code of a new wallet, and the address that its buyer gave; with one, its first
    alarm."""
    await connection.execute(
        "update wallet set recovery_digest = $2, email = $3 where wallet = $1",
        wallet,
        digest,
        email,
    )
    if email:
        await alarms.insert_default(connection, wallet, f"al_{clock.random_text(16)}")


async def correct_email(connection: Any, wallet: str, old: str, new: str) -> None:
    """The buyer's address put right, where it is still the owner's: one that a recovery has taken
    away, or that the owner has changed, stays as it is."""
    await connection.execute(
        "update wallet set email = $3 where wallet = $1 and email = $2 and $2 <> ''",
        wallet,
        old,
        new,
    )


async def freeze(connection: Any, wallet: str) -> int | None:
    """Stops a wallet because its payment was taken back; its new version, or None where the
    operator has stopped it already, or another such payment. That its owner had stopped it stays
    known."""
    found = await connection.fetchval(FREEZE, wallet)
    return None if found is None else int(found)


async def thaw(connection: Any, wallet: str, order_id: str) -> int | None:
    """Takes back the stop for a payment that was taken back, unless the wallet still owes or
    another order of its owner's is disputed (a stranger's stops nobody); its new version, or None.
    It opens where nothing else stops it: its owner's freeze stays, and so does that of events in
    quarantine."""
    found = await connection.fetchval(THAW, wallet, order_id)
    return None if found is None else int(found)


async def waiting(connection: Any, wallet: str) -> list[OutboxRow]:
    """What Redis has still to hear of a wallet: keys first, then money in the order in which it
    came."""
    rows = await connection.fetch(
        "select id, kind, wallet, amount_nanos, counter, key_id, reason from outbox"
        " where wallet = $1 and applied_at is null"
        " order by kind <> 'key', created_at, kind, id",
        wallet,
    )
    return [OutboxRow(*row) for row in rows]
