"""The audit as the desk reads it, and one way to write a row of it."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from corvus_proxy.books import wallets
from corvus_proxy.books.operating import audit
from corvus_proxy.books.operating.audit import AuditRow, Chosen
from corvus_proxy.service.stores import Stores

TAIL_MAX = 1000


async def tail(
    stores: Stores, chosen: Chosen, *, limit: int = 20, after: int = 0
) -> list[AuditRow]:
    """The latest deeds, the oldest of them first. Raises ValueError, BooksUnavailable."""
    if not 1 <= limit <= TAIL_MAX:
        raise ValueError(f"from 1 to {TAIL_MAX} deeds; `audit export` has all of them")
    async with stores.books.connection() as connection:
        return await audit.tail(connection, chosen, limit=limit, after=after)


async def export(
    stores: Stores, since: datetime | None, until: datetime | None
) -> AsyncIterator[AuditRow]:
    """All deeds of a span, the oldest first. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        async for row in audit.export(connection, since, until):
            yield row


async def record(connection: Any, actor: str, action: str, subject: str, **details: object) -> None:
    """Writes a deed's row in the transaction of the deed."""
    await wallets.insert_audit(
        connection, actor=actor, action=action, subject=subject, details=json.dumps(details)
    )
