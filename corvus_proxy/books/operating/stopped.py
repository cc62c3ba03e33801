"""What the operator has switched off, until he switches it on again."""

from datetime import datetime
from typing import Any, NamedTuple


class StoppedRow(NamedTuple):
    """One thing that is switched off."""

    kind: str
    """`sales`, `model`, `credential` or `draining`."""
    subject: str
    reason: str
    actor: str
    at: datetime


_COLUMNS = ", ".join(StoppedRow._fields)


async def every(connection: Any) -> list[StoppedRow]:
    """All of it, the oldest first."""
    rows = await connection.fetch(f"select {_COLUMNS} from stopped order by at, kind, subject")  # noqa: S608
    return [StoppedRow(*row) for row in rows]


async def find(connection: Any, kind: str, subject: str = "") -> StoppedRow | None:
    """One thing; None: it is on."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from stopped where kind = $1 and subject = $2",  # noqa: S608
        kind,
        subject,
    )
    return None if row is None else StoppedRow(*row)


async def put(connection: Any, kind: str, subject: str, reason: str, actor: str) -> bool:
    """Switches something off; False: it was."""
    done = await connection.execute(
        "insert into stopped (kind, subject, reason, actor) values ($1, $2, $3, $4)"
        " on conflict do nothing",
        kind,
        subject,
        reason,
        actor,
    )
    return bool(done == "INSERT 0 1")


async def lift(connection: Any, kind: str, subject: str) -> bool:
    """Switches something on; False: it was."""
    done = await connection.execute(
        "delete from stopped where kind = $1 and subject = $2", kind, subject
    )
    return bool(done == "DELETE 1")
