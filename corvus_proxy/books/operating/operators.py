"""Who may log in to the console: names, and digests of their tokens."""

from datetime import datetime
from typing import Any, NamedTuple


class OperatorRow(NamedTuple):
    """One operator."""

    name: str
    created_by: str
    created_at: datetime
    revoked_at: datetime | None


_COLUMNS = ", ".join(OperatorRow._fields)
PUT = """
insert into operator (name, digest, created_by) values ($1, $2, $3)
on conflict (name) do update set digest = $2, created_by = $3, created_at = now(), revoked_at = null
where operator.revoked_at is not null
"""


async def put(connection: Any, name: str, digest: str, created_by: str) -> bool:
    """An operator with a token; False: there is one of that name who has not been revoked."""
    done = await connection.execute(PUT, name, digest, created_by)
    return bool(done == "INSERT 0 1")


async def every(connection: Any) -> list[OperatorRow]:
    """All that there ever were, by name."""
    rows = await connection.fetch(f"select {_COLUMNS} from operator order by name")  # noqa: S608
    return [OperatorRow(*row) for row in rows]


async def revoke(connection: Any, name: str) -> bool:
    """Ends an operator's token; False: there is no such one."""
    done = await connection.execute(
        "update operator set revoked_at = now() where name = $1 and revoked_at is null", name
    )
    return bool(done == "UPDATE 1")


async def by_digest(connection: Any, digest: str) -> tuple[str, str] | None:
    """The name that a token belongs to, and which of its digests (joined by commas) is kept."""
    found = await connection.fetchrow(
        "select name, digest from operator"
        " where digest = any(string_to_array($1, ',')) and revoked_at is null",
        digest,
    )
    return None if found is None else (found[0], found[1])


async def digest_of(connection: Any, name: str) -> str:
    """The digest of an operator's token; empty where he has none any more."""
    found = await connection.fetchval(
        "select digest from operator where name = $1 and revoked_at is null", name
    )
    return str(found or "")
