"""Finds keys by whatever somebody knows of one, and lists all of them page by page."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple


class KeyRow(NamedTuple):
    """One key as the books have it; no part of its secret but the mask. Amounts in nanos."""

    key_id: str
    wallet: str
    label: str
    main: bool
    status: int
    """The wallet's where that is not active."""
    masked: str
    balance_nanos: int
    """Of its wallet."""
    spent_nanos: int
    """By this key."""
    email: str
    """Of its wallet."""
    created_at: datetime


_SELECT = """
select k.key_id, k.wallet, k.label, k.main,
       case when w.status = 1 then k.status else w.status end as status,
       coalesce((select s.masked from key_secret s
                 where s.key_id = k.key_id and s.valid_until_ms = 0 limit 1), '') as masked,
       w.balance_nanos, k.spent_nanos, w.email, k.created_at
from key k join wallet w using (wallet)
"""
_BY = {
    "key": "k.key_id = $1",
    "wallet": "k.wallet = $1",
    "order": "k.wallet = (select o.wallet from shop_order o where o.order_id = $1)",
    "masked": "k.key_id in (select s.key_id from key_secret s where s.masked = $1)",
    "email": "(w.email = $1 or k.wallet in (select o.wallet from shop_order o where o.email = $1))",
    "label": "k.label ilike '%' || $1 || '%'",
}
FIND = {
    how: f"{_SELECT} where {where} order by k.created_at desc, k.key_id limit $2"
    for how, where in _BY.items()
}
PAGE = f"{_SELECT} where k.key_id > $1 order by k.key_id limit $2"
PAGE_ROWS = 1000


async def find(connection: Any, how: str, text: str, *, limit: int) -> list[KeyRow]:
    """The newest keys that fit; `how` is one of `key`, `wallet`, `order`, `masked`, `email`,
    `label`."""
    return [KeyRow(*row) for row in await connection.fetch(FIND[how], text, limit)]


async def export(connection: Any) -> AsyncIterator[KeyRow]:
    """Every key, by id, read in pages."""
    after = ""
    while rows := await connection.fetch(PAGE, after, PAGE_ROWS):
        for row in rows:
            yield KeyRow(*row)
        after = rows[-1]["key_id"]
