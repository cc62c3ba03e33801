"""Reads the audit: who did what to what, in the order in which it was written."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec


class AuditRow(NamedTuple):
    """One deed."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


_COLUMNS = "audit_id, at, actor, action, subject, details::text"
_CHOSEN = """
($1 = '' or actor = $1 or actor like $1 || ':%') and ($2 = '' or action like $2 || '%')
and ($3 = '' or subject = $3)
"""
TAIL = f"""
select {_COLUMNS} from audit where {_CHOSEN} and audit_id > $5 order by audit_id desc limit $4
"""  # noqa: S608
PAGE = f"""
select {_COLUMNS} from audit
where audit_id > $1 and at >= coalesce($2, at) and at < coalesce($3, 'infinity'::timestamptz)
order by audit_id limit $4
"""  # noqa: S608
PAGE_ROWS = 1000


class Chosen(NamedTuple):
    """Which deeds are asked for; empty: all."""

    actor: str = ""
    """Whole, or its first part: `cli` is every operator at a terminal."""
    action: str = ""
    """How it begins: `keys` is every deed on keys."""
    subject: str = ""


async def tail(connection: Any, chosen: Chosen, *, limit: int, after: int = 0) -> list[AuditRow]:
    """The latest deeds with a number above `after`, the oldest of them first."""
    rows = await connection.fetch(TAIL, *chosen, limit, after)
    return [_row(row) for row in reversed(rows)]


async def export(
    connection: Any, since: datetime | None, until: datetime | None
) -> AsyncIterator[AuditRow]:
    """All deeds from `since` and before `until`, the oldest first, read in pages."""
    after = 0
    while rows := await connection.fetch(PAGE, after, since, until, PAGE_ROWS):
        for row in rows:
            yield _row(row)
        after = rows[-1]["audit_id"]


def _row(row: Any) -> AuditRow:
    audit_id, at, actor, action, subject, details = row
    return AuditRow(audit_id, at, actor, action, subject, msgspec.json.decode(details))
