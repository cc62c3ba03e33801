"""A wallet's requests, usage and ledger, as its owner asks for them.

Rule 1: every list is read along an index and goes on after a key, never after an offset.
Rule 2: who asks is a `Scope`: no row of another wallet matches, and none of another key where a
        sub-key asks.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
BUCKETS = {
    "1m": ("minute", timedelta(minutes=1)),
    "1h": ("hour", timedelta(hours=1)),
    "1d": ("day", timedelta(days=1)),
}
"""Buckets of usage: what Postgres calls them and how long they are; a day may be longer by the
clock."""


class ZoneUnknown(ValueError):
    """Postgres knows no time zone of that name."""


class Scope(NamedTuple):
    """Whose rows may be seen."""

    wallet: str
    key_id: str = ""
    """Of a sub-key, which sees itself alone; empty: every key of the wallet."""


class Filter(NamedTuple):
    """Which requests are wanted: from `since` on, before `until`; empty texts are any."""

    key_id: str = ""
    slug: str = ""
    outcome: str = ""
    since: datetime = EARLIEST
    until: datetime = LATEST


class Request(NamedTuple):
    """One request that has ended."""

    request_id: str
    """Of a charge that came late, after the request had been given up: with `:L` at its end."""
    slug: str
    key_id: str
    outcome: str
    charge_nanos: int
    shortfall_nanos: int
    """Used, and not charged for want of balance."""
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    source: str
    price_version: str
    first_byte_ms: int
    total_ms: int
    attempts: int
    ended_at: datetime


class Totals(NamedTuple):
    """Sums over requests."""

    requests: int
    charge_nanos: int
    shortfall_nanos: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int


class UsageRow(NamedTuple):
    """Sums over the requests of one bucket, model and key; what is not grouped by is empty."""

    start: datetime | None
    end: datetime | None
    slug: str
    key_id: str
    totals: Totals


class EntryRow(NamedTuple):
    """One change of a wallet's balance."""

    wallet_seq: int
    type: str
    ext_id: str
    key_id: str
    slug: str
    delta_nanos: int
    balance_nanos: int
    """After it."""
    shortfall_nanos: int
    outcome: str
    counter: str
    reason: str
    booked_at: datetime
    """When the books had it, normally well under a second after Redis."""


class Change(NamedTuple):
    """An event that ended a request, with all that its charge was made from."""

    type: str
    slug: str
    key_id: str
    delta_nanos: int
    balance_nanos: int
    wallet_seq: int
    actual_nanos: int
    shortfall_nanos: int
    outcome: str
    meta: bytes
    booked_at: datetime


class Month(NamedTuple):
    """A month (UTC) of a ledger: its first and last entry and what they come to."""

    month: str
    first_seq: int
    last_seq: int
    entries: int
    in_nanos: int
    out_nanos: int


class Span(NamedTuple):
    """A piece of a ledger, by the wallet's own numbers of its entries, both ends within."""

    first_seq: int = 1
    last_seq: int = 2**62


_MATCHES = """
wallet = $1 and ($2 = '' or key_id = $2) and ($3 = '' or slug = $3) and ($4 = '' or outcome = $4)
and ended_at >= $5 and ended_at < $6
"""
# Of `used`: requests, and the days of those whose detail is gone.
_SUMS = """
coalesce(sum(requests), 0)::bigint, coalesce(sum(charge_nanos), 0)::bigint,
coalesce(sum(shortfall_nanos), 0)::bigint, coalesce(sum(input_tokens), 0)::bigint,
coalesce(sum(cache_read_tokens), 0)::bigint, coalesce(sum(cache_write_tokens), 0)::bigint,
coalesce(sum(output_tokens), 0)::bigint
"""
REQUESTS = f"""
select {", ".join(Request._fields)} from request
where {_MATCHES} and (ended_at, request_id) < ($7, $8)
order by ended_at desc, request_id desc limit $9
"""  # noqa: S608 — joined from constants of this module, as those below
TOTALS = f"select {_SUMS} from used where {_MATCHES}"  # noqa: S608
USAGE = f"""
select at, ((at at time zone $8) + $9) at time zone $8, by_slug, by_key, requests, charge,
       shortfall, input, cache_read, cache_write, output
from (select at, by_slug, by_key, {_SUMS}
      from (select *, date_trunc($7, case when $7 <> '' then ended_at end, $8) as at,
                   case when $10 then slug else '' end as by_slug,
                   case when $11 then key_id else '' end as by_key
            from used where {_MATCHES}) one
      group by at, by_slug, by_key order by at, by_slug, by_key limit $12)
     as found (at, by_slug, by_key, requests, charge, shortfall, input, cache_read, cache_write,
               output)
order by at, by_slug, by_key
"""  # noqa: S608
INSTANT = "select $1::timestamp at time zone $2"
_ENTRY = ", ".join("written_at" if name == "booked_at" else name for name in EntryRow._fields)
ENTRIES = f"""
select {_ENTRY} from event
where wallet = $1 and wallet_seq >= $2 and wallet_seq <= $3 and ($4 = '' or
      (key_id = $4 and type in ('S', 'X', 'L')))
order by wallet_seq limit $5
"""  # noqa: S608
ENTRIES_DOWN = ENTRIES.replace("order by wallet_seq", "order by wallet_seq desc")
SPAN = """
select min(wallet_seq), max(wallet_seq) from event
where wallet = $1 and written_at >= $2 and written_at < $3
"""
MONTHS = """
select to_char(at at time zone 'UTC', 'YYYY-MM'), first_seq, last_seq, entries, moved_in, moved_out
from (select date_trunc('month', written_at, 'UTC') as at, min(wallet_seq) as first_seq,
             max(wallet_seq) as last_seq, count(*) as entries,
             coalesce(sum(delta_nanos) filter (where delta_nanos > 0), 0)::bigint as moved_in,
             coalesce(sum(-delta_nanos) filter (where delta_nanos < 0), 0)::bigint as moved_out
      from event where wallet = $1 and ($2 = '' or (key_id = $2 and type in ('S', 'X', 'L')))
      group by 1) found
order by at desc
"""
STEPS = """
select distinct on (at) to_timestamp(at) as at, balance_nanos from (
    select div(extract(epoch from written_at), $4)::bigint * $4 as at, balance_nanos, wallet_seq
    from event where wallet = $1 and wallet_seq >= $2 and wallet_seq <= $3) found
order by at, wallet_seq desc
"""
_CHANGE = ", ".join(
    {"booked_at": "written_at", "meta": "meta::text"}.get(name, name) for name in Change._fields
)
CHANGES = f"""
select {_CHANGE} from event
where type in ('S', 'X', 'L') and ext_id = any($2) and wallet = $1 and ($3 = '' or key_id = $3)
order by wallet_seq
"""  # noqa: S608


async def is_main(connection: Any, wallet: str, key_id: str) -> bool:
    """Whether a key is its wallet's own, and so sees all of it. One that the books do not have yet
    is none."""
    found = await connection.fetchval(
        "select main from key where wallet = $1 and key_id = $2", wallet, key_id
    )
    return bool(found)


async def cursor(connection: Any, part: int) -> tuple[int, int]:
    """Epoch and seq of the last event of a partition that the books have."""
    row = await connection.fetchrow("select epoch, seq from cursor where part = $1", part)
    return row[0], row[1]


async def instant(connection: Any, local: datetime, zone: str) -> datetime:
    """The instant at which clocks of a zone show `local`. Raises ZoneUnknown."""
    try:
        found: datetime = await connection.fetchval(INSTANT, local, zone)
    except asyncpg.InvalidParameterValueError:
        raise ZoneUnknown(zone) from None
    return found


async def requests(
    connection: Any, scope: Scope, wanted: Filter, *, before: tuple[datetime, str], limit: int
) -> list[Request]:
    """Requests, the latest first, from the one on that follows `before` (its end and id)."""
    rows = await connection.fetch(REQUESTS, *_matching(scope, wanted), *before, limit)
    return [Request(*row) for row in rows]


async def totals(connection: Any, scope: Scope, wanted: Filter) -> Totals:
    """Sums over all requests that match."""
    return Totals(*await connection.fetchrow(TOTALS, *_matching(scope, wanted)))


async def usage(
    connection: Any,
    scope: Scope,
    wanted: Filter,
    *,
    bucket: str,
    zone: str,
    by_model: bool,
    by_key: bool,
    limit: int,
) -> list[UsageRow]:
    """Sums by time, model and key; buckets without a request are left out. `bucket`: of `BUCKETS`,
    or empty for all time in one. Raises ZoneUnknown."""
    unit, length = BUCKETS.get(bucket, ("", timedelta()))
    try:
        rows = await connection.fetch(
            USAGE, *_matching(scope, wanted), unit, zone, length, by_model, by_key, limit
        )
    except asyncpg.InvalidParameterValueError:
        raise ZoneUnknown(zone) from None
    return [UsageRow(row[0], row[1], row[2], row[3], Totals(*row[4:])) for row in rows]


async def changes(connection: Any, scope: Scope, request_id: str) -> list[Change]:
    """The events that ended one request: one, or an expiry and the late charge after it."""
    ids = [request_id, f"{request_id}:L"]
    rows = await connection.fetch(CHANGES, scope.wallet, ids, scope.key_id)
    return [Change(*(*row[:9], row[9].encode(), row[10])) for row in rows]


async def entries(
    connection: Any, scope: Scope, span: Span, *, limit: int, newest_first: bool = False
) -> list[EntryRow]:
    """Entries of a ledger. A sub-key sees its own charges alone."""
    query = ENTRIES_DOWN if newest_first else ENTRIES
    rows = await connection.fetch(query, scope.wallet, *span, scope.key_id, limit)
    return [EntryRow(*row) for row in rows]


async def span(connection: Any, scope: Scope, since: datetime, until: datetime) -> Span | None:
    """The entries that the books had from `since` on and before `until`; None where there are
    none. They were booked in their own order, so they are one piece."""
    row = await connection.fetchrow(SPAN, scope.wallet, since, until)
    return None if row[0] is None else Span(row[0], row[1])


async def months(connection: Any, scope: Scope) -> list[Month]:
    """Every month that has entries, the latest first."""
    return [Month(*row) for row in await connection.fetch(MONTHS, scope.wallet, scope.key_id)]


async def steps(
    connection: Any, scope: Scope, span: Span, *, step_s: int
) -> list[tuple[datetime, int]]:
    """The balance after the last entry of each `step_s` seconds in which there was one."""
    rows = await connection.fetch(STEPS, scope.wallet, *span, step_s)
    return [(row[0], row[1]) for row in rows]


def _matching(scope: Scope, wanted: Filter) -> tuple[Any, ...]:
    """The parameters of `_MATCHES`. A sub-key that asks for another key's rows gets none."""
    key_id = wanted.key_id
    if scope.key_id and key_id not in ("", scope.key_id):
        return (scope.wallet, "no key", "", "", EARLIEST, EARLIEST)
    return (
        scope.wallet,
        scope.key_id or key_id,
        wanted.slug,
        wanted.outcome,
        wanted.since,
        wanted.until,
    )
