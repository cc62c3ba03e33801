"""Requests for a new secret, from who has neither key nor code."""

from datetime import datetime
from typing import Any, NamedTuple


class RecoveryRow(NamedTuple):
    """One request."""

    recovery_id: str
    how: str
    """`payment` or `mail`."""
    order_id: str
    wallet: str
    key_id: str
    created_at: datetime
    opens_at: datetime
    expires_at: datetime
    used_at: datetime | None
    stopped_at: datetime | None


_COLUMNS = ", ".join(RecoveryRow._fields)
SELECT = f"select {_COLUMNS} from recovery"  # noqa: S608
PAID = """
select o.wallet, o.key_id, w.email from shop_order o join payment p using (order_id)
join wallet w on w.wallet = o.wallet
where o.order_id = $1 and o.new_key and not o.disputed and p.state = 'confirmed'
and $2 in (p.reference, p.transaction, o.provider_ref) and $2 <> '' limit 1
"""


class Payer(NamedTuple):
    """What a proof of payment leads to."""

    wallet: str
    key_id: str
    email: str


async def payer(connection: Any, order_id: str, reference: str) -> Payer | None:
    """The wallet that this payment made. A top-up proves nothing: anybody may pay one."""
    row = await connection.fetchrow(PAID, order_id, reference)
    return None if row is None else Payer(*row)


async def insert(connection: Any, row: RecoveryRow, *, token_digest: str, stop_digest: str) -> None:
    """A new request."""
    await connection.execute(
        "insert into recovery (recovery_id, how, order_id, wallet, key_id, created_at, opens_at,"
        " expires_at, token_digest, stop_digest) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        *row[:8],
        token_digest,
        stop_digest,
    )


async def find(connection: Any, digest: str, *, lock: bool = False) -> RecoveryRow | None:
    """The request of a token; with `lock` nobody else uses or stops it until the transaction
    ends."""
    row = await connection.fetchrow(
        f"{SELECT} where token_digest = any(string_to_array($1, ','))"
        f"{' for update' if lock else ''}",
        digest,
    )
    return None if row is None else RecoveryRow(*row)


async def find_stop(connection: Any, digest: str) -> RecoveryRow | None:
    """The request that a mail's stop link is about."""
    row = await connection.fetchrow(
        f"{SELECT} where stop_digest = any(string_to_array($1, ','))", digest
    )
    return None if row is None else RecoveryRow(*row)


async def living(connection: Any, wallet: str) -> list[RecoveryRow]:
    """Requests for a wallet that may still succeed, the oldest first."""
    rows = await connection.fetch(
        f"{SELECT} where wallet = $1 and used_at is null and stopped_at is null"
        " and expires_at > now() order by created_at",
        wallet,
    )
    return [RecoveryRow(*row) for row in rows]


async def use(connection: Any, recovery_id: str) -> None:
    """It has succeeded."""
    await connection.execute(
        "update recovery set used_at = now() where recovery_id = $1", recovery_id
    )


async def stop(connection: Any, wallet: str, recovery_id: str = "") -> int:
    """The owner says no, to one request or to all of a wallet; how many it ended."""
    rows = await connection.fetch(
        "update recovery set stopped_at = now() where wallet = $1 and ($2 = '' or recovery_id = $2)"
        " and used_at is null and stopped_at is null returning recovery_id",
        wallet,
        recovery_id,
    )
    return len(rows)
