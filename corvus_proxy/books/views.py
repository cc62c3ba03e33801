"""What pages and reports read from the books."""

from datetime import datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import Event, Mark


class RequestRow(NamedTuple):
    """One request as its customer sees it."""

    request_id: str
    slug: str
    outcome: str
    charge_nanos: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    source: str
    first_byte_ms: int
    total_ms: int
    ended_at: datetime
    key_id: str


class ModelRow(NamedTuple):
    """What one model has cost a wallet."""

    slug: str
    requests: int
    input_tokens: int
    cache_read_tokens: int
    output_tokens: int
    charge_nanos: int


class WalletTotals(NamedTuple):
    """A wallet by three independent folds of the books."""

    wallet: str
    balance_nanos: int
    wallet_seq: int
    spent_nanos: int
    events_nanos: int
    postings_nanos: int
    events: int


REQUESTS = """
select request_id, slug, outcome, charge_nanos, input_tokens, cache_read_tokens,
       cache_write_tokens, output_tokens, source, first_byte_ms, total_ms, ended_at, key_id
from request where wallet = $1 order by ended_at desc, request_id desc limit $2
"""
MODELS = """
select slug, count(*)::bigint, sum(input_tokens)::bigint, sum(cache_read_tokens)::bigint,
       sum(output_tokens)::bigint, sum(charge_nanos)::bigint
from request where wallet = $1 group by slug order by 6 desc, slug
"""
KEY = """
select k.key_id, k.label, case when w.status = 1 then k.status else w.status end as status,
       coalesce((select s.masked from key_secret s
                 where s.key_id = k.key_id and s.valid_until_ms = 0 limit 1), '') as masked,
       k.created_at
from key k join wallet w using (wallet) where k.wallet = $1 and k.key_id = $2
"""
TOTALS = """
select w.wallet, w.balance_nanos, w.wallet_seq, w.spent_nanos,
       coalesce(e.total, 0)::bigint as events_nanos,
       (coalesce(c.total, 0) - coalesce(d.total, 0))::bigint as postings_nanos,
       coalesce(e.events, 0)::bigint as events
from wallet w
left join (select wallet, sum(delta_nanos) as total, count(*) as events
           from event group by wallet) e using (wallet)
left join (select credit, sum(amount_nanos) as total from posting group by credit) c
    on c.credit = 'wallet:' || w.wallet
left join (select debit, sum(amount_nanos) as total from posting group by debit) d
    on d.debit = 'wallet:' || w.wallet
where w.part = any($1)
"""


async def requests(connection: Any, wallet: str, *, limit: int) -> list[RequestRow]:
    """A wallet's latest requests."""
    return [RequestRow(*row) for row in await connection.fetch(REQUESTS, wallet, limit)]


async def models(connection: Any, wallet: str) -> list[ModelRow]:
    """A wallet's charges by model, the dearest first."""
    return [ModelRow(*row) for row in await connection.fetch(MODELS, wallet)]


async def key(connection: Any, wallet: str, key_id: str) -> dict[str, Any] | None:
    """One key of a wallet: id, label, status number, mask of its present secret, creation."""
    row = await connection.fetchrow(KEY, wallet, key_id)
    return None if row is None else dict(row)


class Account(NamedTuple):
    """A wallet in the books, and where they end."""

    balance_nanos: int
    cursor: Mark


EVENTS = """
select part, epoch, seq, type, ext_id, wallet, key_id, slug, delta_nanos, balance_nanos, wallet_seq,
       actual_nanos, shortfall_nanos, outcome, counter, reason, wallet_spent_nanos, key_spent_nanos,
       meta::text
from event where wallet = $1 order by wallet_seq desc limit $2
"""


async def account(connection: Any, wallet: str) -> Account:
    """A wallet's balance and its partition's cursor. Raises LookupError."""
    row = await connection.fetchrow(
        "select w.balance_nanos, c.epoch, c.seq from wallet w join cursor c using (part)"
        " where w.wallet = $1",
        wallet,
    )
    if row is None:
        raise LookupError(f"the books have no wallet {wallet}")
    return Account(row[0], Mark(row[1], row[2]))


async def events(connection: Any, wallet: str, *, limit: int) -> list[Event]:
    """A wallet's last events, oldest first."""
    names = Event.__struct_fields__
    rows = await connection.fetch(EVENTS, wallet, limit)
    return [
        Event(**{**dict(zip(names, row, strict=True)), "meta": row["meta"].encode()})
        for row in reversed(rows)
    ]


async def totals(connection: Any, parts: list[int]) -> list[WalletTotals]:
    """Every wallet of some partitions with its folds."""
    return [WalletTotals(*row) for row in await connection.fetch(TOTALS, parts)]


async def accounts(connection: Any) -> dict[str, int]:
    """Balance (credits less debits) of every operator account that has postings."""
    rows = await connection.fetch("""
        select name, sum(amount)::bigint as total from (
            select credit as name, amount_nanos as amount from posting
            union all select debit, -amount_nanos from posting) p
        where name not like 'wallet:%' group by name order by name""")
    return {row["name"]: row["total"] for row in rows}
