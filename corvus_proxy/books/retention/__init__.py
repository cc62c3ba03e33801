"""Deleting what is old: the database's own function does it, a piece at a time.

Rule 1: this role may not delete; `forget` may, and refuses what is younger than each kind's least.
Rule 2: how far each kind has come stands in the books, so whoever goes on begins there.
"""

from datetime import datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import Mark

LOCK = "select pg_try_advisory_xact_lock($1, 0)"
FORGET = "select gone, upto from forget($1, $2, $3, $4)"
BEGIN = """
insert into retention as had (kind, cut) values ($1, $2)
on conflict (kind) do update set cut = excluded.cut, place = '', done = false, at = now()
    where had.cut < excluded.cut
"""
READ = "select kind, cut, place, done, gone, at from retention"
MOVE = """
update retention set place = coalesce($2, ''), done = $2 is null, gone = gone + $3, at = now()
where kind = $1
"""
LAST_OLD = """
select c.epoch, c.seq, (
    select max(e.seq) from event e where e.part = c.part and e.epoch = c.epoch
        and e.seq between $2 and $2 + $3 and e.written_at < $4)
from cursor c where c.part = $1
"""


class Progress(NamedTuple):
    """How far one kind has come."""

    kind: str
    cut: datetime
    """What was before it goes, or has gone."""
    place: str
    done: bool
    gone: int
    """Rows, since ever."""
    at: datetime


async def lock(connection: Any) -> bool:
    """Whether the caller's transaction is the one that deletes; False: another worker's is."""
    return bool(await connection.fetchval(LOCK, _FORGETTING))


async def begin(connection: Any, kind: str, cut: datetime) -> Progress:
    """A kind's progress towards `cut`; it begins anew where that is later than the last one."""
    await connection.execute(BEGIN, kind, cut)
    row = await connection.fetchrow(f"{READ} where kind = $1", kind)
    return Progress(*row)


async def forget(connection: Any, at: Progress, *, most: int) -> tuple[int, bool]:
    """Deletes the next piece of at most `most` rows in the caller's transaction: how many, and
    whether there may be more at once."""
    gone, upto = await connection.fetchrow(FORGET, at.kind, at.cut, at.place, most)
    await connection.execute(MOVE, at.kind, upto, gone)
    return int(gone), upto is not None and (gone > 0 or upto != at.place)


async def last_old(
    connection: Any, part: int, first: Mark, cut: datetime, *, most: int
) -> tuple[Mark, int | None]:
    """The last booked event of a partition, and of the `most` ones from `first` on the seq of the
    last that was booked before `cut`."""
    epoch, seq, old = await connection.fetchrow(LAST_OLD, part, first.seq, most, cut)
    return Mark(epoch, seq), old


async def finish(connection: Any, kind: str) -> None:
    """A kind whose work is not the database's is done up to its cut."""
    await connection.execute(MOVE, kind, None, 0)


async def read(connection: Any) -> dict[str, Progress]:
    """Every kind that was begun."""
    return {row["kind"]: Progress(*row) for row in await connection.fetch(READ)}


async def detail_gone(connection: Any) -> datetime | None:
    """Of requests that ended before this instant the detail is gone, or goes at this moment; None
    where nothing was deleted."""
    found: datetime | None = await connection.fetchval(
        "select cut from retention where kind = 'request' and gone > 0"
    )
    return found


_FORGETTING = 0x6B656570
"""First half of the advisory lock of whoever deletes."""
