"""What rests on a pepper: digests of keys' secrets, and sealed texts."""

from collections.abc import Sequence
from typing import Any

REHASH = """
update key_secret set digest = $1, pepper = $3
where digest = any($2) and not exists (select from key_secret where digest = $1)
returning key_id
"""
COUNT = """
select pepper, count(*) from key_secret join key using (key_id)
where (valid_until_ms = 0 or valid_until_ms > $1) and status <> 2 group by pepper
"""
COLUMNS = (
    ("shop_order", "token_sealed"),
    ("shop_order", "secret_sealed"),
    ("shop_order", "recovery_sealed"),
    ("mail", "view_sealed"),
    ("alarm", "webhook_secret_sealed"),
)
"""Every column with sealed texts."""
AT_ONCE = 500


async def rehash(connection: Any, digest: str, others: Sequence[str], pepper_id: str) -> str | None:
    """Puts a secret's digest under the current pepper in the place of another of the same secret;
    its key id, where there was one to move."""
    found = await connection.fetchval(REHASH, digest, list(others), pepper_id)
    return None if found is None else str(found)


async def stamp(connection: Any, pepper_id: str) -> None:
    """All secrets of which it is not known rest on this pepper: there is no other."""
    await connection.execute("update key_secret set pepper = $1 where pepper = ''", pepper_id)


async def count(connection: Any, now_ms: int) -> dict[str, int]:
    """Secrets that work, by the id of the pepper that they rest on; empty: not known."""
    return {row[0]: row[1] for row in await connection.fetch(COUNT, now_ms)}


async def codes_and_tokens(connection: Any) -> tuple[int, int]:
    """Recovery codes, and read-only tokens that work: of neither it is known under which pepper."""
    row = await connection.fetchrow(
        "select (select count(*) from wallet where recovery_digest <> ''),"
        " (select count(*) from read_token where revoked_at is null"
        " and (expires_at is null or expires_at > now()))"
    )
    return row[0], row[1]


async def texts(connection: Any, table: str, column: str, after: str) -> list[str]:
    """Some sealed texts of a column behind one of them, in their order."""
    rows = await connection.fetch(
        f"select distinct {column} from {table} where {column} > $1 order by 1 limit {AT_ONCE}",  # noqa: S608
        after,
    )
    return [row[0] for row in rows]


async def put(connection: Any, table: str, column: str, old: str, new: str) -> None:
    """Another seal of the same text in the place of one that is still there."""
    await connection.execute(f"update {table} set {column} = $2 where {column} = $1", old, new)  # noqa: S608
