"""What pages and reports read from the books."""

from datetime import datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import Event, Mark


class ClassRow(NamedTuple):
    """What one class of tokens has come to over some requests."""

    name: str
    """Of `usage.CLASSES`, or `searches`."""
    tokens: int
    picos: int
    """Tokens times their prices."""
    saved_picos: int
    """What the same tokens as fresh input would have cost more; less than zero for writes."""


class Anatomy(NamedTuple):
    """Classes of tokens, the charge of the requests that they are of, and how many those are."""

    rows: list[ClassRow]
    charge_nanos: int
    requests: int


class WalletTotals(NamedTuple):
    """A wallet by three independent folds of the books."""

    wallet: str
    balance_nanos: int
    wallet_seq: int
    spent_nanos: int
    events_nanos: int
    postings_nanos: int
    events: int


_CHARGES = """
with found as (
    select delta_nanos, meta from event
    where wallet = $1 and type in ('S', 'X', 'L') and ($2 = '' or key_id = $2) and written_at >= $3
    order by wallet_seq desc limit $4)
"""
# The price of fresh input stands among a request's prices where it had any, under the same prefix.
CLASSES = f"""
{_CHARGES}, line as (
    select regexp_replace(t.key, '^.*/', '') as name, t.value::numeric as tokens,
           (meta->'p'->>t.key)::numeric as picos,
           (meta->'p'->>regexp_replace(t.key, '[^/]*$', 'input'))::numeric as input_picos
    from found, jsonb_each_text(meta->'t') t where meta->'p' ? t.key)
select name, sum(tokens)::bigint, sum(tokens * picos),
       coalesce(sum(tokens * (input_picos - picos)) filter (where name like 'cache%'), 0)
from line group by name
"""  # noqa: S608 — joined from constants of this module
# A request's prices are those of its size: how many of some limits its input reaches.
SIZES = f"""
{_CHARGES}, sized as (
    select meta, (select coalesce(sum(value::numeric), 0) from jsonb_each_text(meta->'t')
                  where key ~ '(^|/)(input|cache_[a-z0-9_]+)$') as input_total
    from found)
select width_bucket(input_total, $5::numeric[]) as size, regexp_replace(t.key, '^.*/', '') as name,
       sum(t.value::numeric)::bigint
from sized, jsonb_each_text(meta->'t') t where meta->'p' ? t.key group by size, name
"""  # noqa: S608
CHARGES = f"{_CHARGES} select coalesce(sum(-delta_nanos), 0)::bigint, count(*) from found"  # noqa: S608
KEY = """
select k.key_id, k.label, case when w.status = 1 then k.status else w.status end as status,
       coalesce((select s.masked from key_secret s
                 where s.key_id = k.key_id and s.valid_until_ms = 0 limit 1), '') as masked,
       k.created_at, greatest(
           (select max(r.ended_at) from request r where r.key_id = k.key_id),
           (select max(d.at) from request_day d where d.wallet = k.wallet and d.key_id = k.key_id)
       ) as used_at
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


async def anatomy(
    connection: Any, wallet: str, key_id: str, *, since: datetime, limit: int
) -> Anatomy:
    """What the latest requests since an instant were charged for, by class; at most `limit` of
    them. An empty key id is every key of the wallet."""
    rows = await connection.fetch(CLASSES, wallet, key_id, since, limit)
    charge, requests = await connection.fetchrow(CHARGES, wallet, key_id, since, limit)
    return Anatomy([ClassRow(row[0], row[1], int(row[2]), int(row[3])) for row in rows],
                   charge, requests)  # fmt: skip


async def sizes(
    connection: Any, wallet: str, key_id: str, *, since: datetime, limit: int, limits: list[int]
) -> tuple[dict[int, dict[str, int]], int, int]:
    """What the latest requests since an instant used, by size and class, their charge in nanos, and
    how many they are. A request's size is how many of `limits` (in order) its input reaches."""
    rows = await connection.fetch(SIZES, wallet, key_id, since, limit, limits)
    charge, requests = await connection.fetchrow(CHARGES, wallet, key_id, since, limit)
    found: dict[int, dict[str, int]] = {}
    for size, name, count in rows:
        found.setdefault(size, {})[name] = count
    return found, charge, requests


async def first_request(connection: Any, wallet: str, key_id: str) -> datetime | None:
    """When the first request of a wallet, or of one of its keys, ended; its day where its detail is
    gone."""
    found: datetime | None = await connection.fetchval(
        "select min(ended_at) from used where wallet = $1 and ($2 = '' or key_id = $2)",
        wallet,
        key_id,
    )
    return found


async def key(connection: Any, wallet: str, key_id: str) -> dict[str, Any] | None:
    """One key of a wallet: id, label, status number, mask of its present secret, creation, last
    use."""
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
    """Balance (credits less debits) of every operator account, over postings and cash."""
    rows = await connection.fetch("""
        select name, sum(amount)::bigint as total from (
            select credit as name, amount_nanos as amount from posting
            union all select debit, -amount_nanos from posting
            union all select credit, amount_nanos from cash
            union all select debit, -amount_nanos from cash) p
        where name not like 'wallet:%' group by name order by name""")
    return {row["name"]: row["total"] for row in rows}
