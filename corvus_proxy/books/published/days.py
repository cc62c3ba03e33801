"""Totals of days over all wallets, counted from the events: each event once, whatever restarts.

Rule 1: a day is a UTC day of booking. What comes late counts on the day on which it was booked, so
        a day that is over never changes.
Rule 2: events are counted after they are booked, along their own order; no request waits for it.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import CHARGEBACKS, Event


class DayTotal(NamedTuple):
    """One day. Amounts in nanos."""

    day: date
    requests: int
    free_requests: int
    """Of which nothing was charged for."""
    charged_nanos: int
    shortfall_nanos: int
    """Used, and not charged for want of balance."""
    input_tokens: int
    """Not from the cache."""
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    bought_nanos: int
    """Credits by payments."""
    granted_nanos: int
    """Other credits: gifts of the operator."""
    refunded_nanos: int
    """Less what could not be sent."""
    reversed_nanos: int
    """Payments that their payer has taken back, less those that came again."""
    corrected_nanos: int
    """Other changes of balances; below zero where they took more than they gave."""

    @property
    def input_total(self) -> int:
        """All input, from the cache, into it, or neither."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def moved_nanos(self) -> int:
        """What all of it has changed the sum of all balances by."""
        given = self.bought_nanos + self.granted_nanos + self.corrected_nanos
        return given - self.refunded_nanos - self.reversed_nanos - self.charged_nanos


_FIGURES = DayTotal._fields[1:]
_COLUMNS = ", ".join(_FIGURES)
_ADDED = ", ".join(f"{name} = had.{name} + excluded.{name}" for name in _FIGURES)
_SPENT = "e.type in ('S', 'X', 'L')"
_OTHER = f"e.counter not like 'clearing:%' and e.counter not in ('refunds', '{CHARGEBACKS}')"
_UNKNOWN = "e.counter like 'unknown:%'"
# Refunds and reversals are net: what could not be sent, or came again, is credited under the same
# account.
_ADD = f"""
insert into day_total as had (day, {_COLUMNS})
select (e.written_at at time zone 'utc')::date,
    count(*) filter (where e.type in ('S', 'X')),
    count(*) filter (where e.type in ('S', 'X') and e.delta_nanos = 0),
    coalesce(sum(-e.delta_nanos) filter (where {_SPENT}), 0),
    coalesce(sum(e.shortfall_nanos) filter (where {_SPENT}), 0),
    coalesce(sum(r.input_tokens), 0), coalesce(sum(r.cache_read_tokens), 0),
    coalesce(sum(r.cache_write_tokens), 0), coalesce(sum(r.output_tokens), 0),
    coalesce(sum(e.delta_nanos) filter (where e.type = 'C' and e.counter like 'clearing:%'), 0),
    coalesce(sum(e.delta_nanos)
        filter (where e.type = 'C' and {_OTHER} and not {_UNKNOWN}), 0),
    coalesce(sum(-e.delta_nanos) filter (where not {_SPENT} and e.counter = 'refunds'), 0),
    coalesce(sum(-e.delta_nanos) filter (where not {_SPENT} and e.counter = '{CHARGEBACKS}'), 0),
    coalesce(sum(e.delta_nanos) filter (where {_OTHER} and (e.type = 'D' or
        e.type = 'C' and {_UNKNOWN})), 0)
from fresh e left join request r on r.request_id = e.ext_id and {_SPENT}
group by 1 order by 1
on conflict (day) do update set {_ADDED}
"""  # noqa: S608 — joined from constants of this module, as those below
_EVENT = """
e.part, e.epoch, e.seq, e.type, e.ext_id, e.delta_nanos, e.shortfall_nanos, e.counter, e.written_at
"""
COUNT = f"""
with fresh as materialized (
    select f.* from day_cursor d cross join lateral (
        select {_EVENT} from event e
        where e.part = d.part and (e.epoch, e.seq) > (d.epoch, d.seq)
        order by e.epoch, e.seq limit $1) f),
moved as (
    update day_cursor d set epoch = l.epoch, seq = l.seq from (
        select distinct on (part) part, epoch, seq from fresh order by part, epoch desc, seq desc) l
    where d.part = l.part),
counted as ({_ADD})
select count(*) from fresh group by part order by 1 desc limit 1
"""  # noqa: S608
COUNT_RELEASED = f"""
with fresh as (
    select {_EVENT} from event e join day_cursor d on d.part = e.part
    where e.part = $1 and (e.epoch, e.seq) <= (d.epoch, d.seq)
        and (e.epoch, e.seq) in (select * from unnest($2::bigint[], $3::bigint[])))
{_ADD}
"""  # noqa: S608
LOCK = "select pg_advisory_xact_lock($1, 0)"
UPTO = """
insert into day_counted (upto) values (now())
on conflict (one) do update set upto = greatest(day_counted.upto, excluded.upto)
"""
AT_ONCE = 2_000
"""Events of one partition that are counted in one transaction."""


async def count(connection: Any, *, at_once: int = AT_ONCE) -> bool:
    """Counts what has been booked since the last time, in the caller's transaction; whether that
    was all."""
    await connection.fetchval(LOCK, _COUNTING)
    most = await connection.fetchval(COUNT, at_once) or 0
    done = bool(most < at_once)
    if done:
        await connection.execute(UPTO)
    return done


async def count_released(connection: Any, part: int, events: Sequence[Event]) -> None:
    """Counts events that were booked out of their order, in the transaction that booked them;
    those that `count` has yet to come to are left to it."""
    await connection.fetchval(LOCK, _COUNTING)
    epochs, seqs = [one.epoch for one in events], [one.seq for one in events]
    await connection.execute(COUNT_RELEASED, part, epochs, seqs)


async def read(connection: Any, since: date) -> list[DayTotal]:
    """The days from `since` on that have anything, the earliest first."""
    rows = await connection.fetch(
        f"select day, {_COLUMNS} from day_total where day >= $1 order by day",  # noqa: S608
        since,
    )
    return [DayTotal(*row) for row in rows]


async def counted(connection: Any) -> datetime | None:
    """Until when everything that had been booked is counted; None before the first count."""
    found: datetime | None = await connection.fetchval("select upto from day_counted")
    return found


_COUNTING = 0x64617973
"""First half of the advisory lock of whoever counts days."""
