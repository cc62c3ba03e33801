"""Days beside their providers' reports: what the books have of a day, and what came of asking."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

EARLY_S = 3600
"""How much two clocks may differ: what ended on a day was booked no earlier before it."""
LATE_S = 86_400
"""What ended on a day is booked within so long after it: the books may be away for hours, and an
event may wait in quarantine. What a rebuild brings may come later still."""
PATIENCE_S = 300
"""Of the sums over a whole day, which are made once."""
# Of a request that was given up and charged late, the late event has all of it but the part that
# was charged before: what the earlier one has of usage and cost is in it once more.
_OF_DAY = """
from event e cross join lateral (
    select e.meta as m, e.type <> 'X' or not exists (
        select from event l where l.type = 'L' and l.ext_id = e.ext_id || ':L') as whole) x
"""
_WHERE = """
where e.type in ('S', 'X', 'L') and e.written_at >= $1 and e.written_at < $2
    and (m->>'ts')::bigint >= $3 and (m->>'ts')::bigint < $4 and m->>'cr' = any($5)
"""
_SUMS = f"""
select m->>'cr' as credential, count(*) filter (where whole) as requests,
    (sum(-e.delta_nanos))::bigint as charged_nanos,
    coalesce(sum((m->>'co')::bigint) filter (where whole), 0)::bigint as cost_nanos,
    coalesce(sum((m->>'co')::bigint) filter (
        where whole and (coalesce(m->'t', '{{}}') = '{{}}' or m->>'src' <> 'upstream')), 0)::bigint
        as uncounted_nanos
{_OF_DAY} {_WHERE} group by 1
"""
_COUNTS = f"""
select m->>'cr' as credential, (((m->>'ts')::bigint - $3) / 3600000)::integer as hour,
    case when position('/' in t.key) > 0 and split_part(t.key, '/', 1) not in ('long', 'compaction')
        then split_part(t.key, '/', 1) else coalesce(m->>'um', e.slug) end as model,
    reverse(split_part(reverse(t.key), '/', 1)) as usage_class,
    sum(t.value::bigint)::bigint as number
{_OF_DAY} cross join lateral jsonb_each_text(coalesce(m->'t', '{{}}')) t
{_WHERE} and whole and t.key <> 'reasoning'
group by 1, 2, 3, 4
"""


class Sums(NamedTuple):
    """One credential's day in the books. Amounts in nanos."""

    credential: str
    requests: int
    charged_nanos: int
    cost_nanos: int
    uncounted_nanos: int
    """Of the cost: requests whose tokens the books do not have."""


class Number(NamedTuple):
    """A count of one hour."""

    credential: str
    hour: int
    model: str
    usage_class: str
    number: int


class Row(NamedTuple):
    """What came of asking about a day. Amounts in nanos."""

    day: date
    credential: str
    family: str
    state: str
    """`agrees`, `differs` (above both limits) or `unanswered`."""
    requests: int
    charged_nanos: int
    cost_nanos: int
    uncounted_nanos: int
    reported_nanos: int | None
    lines: dict[str, dict[str, dict[str, Any]]]
    """By model and class: tokens by hour of both sides (`ours`, `reported`), `billed_nanos`."""
    problem: str
    asked_at: datetime


_COLUMNS = ", ".join(Row._fields).replace("lines", "lines::text")
_PUT = """
insert into reconciled as had (day, credential, family, state, requests, charged_nanos, cost_nanos,
    uncounted_nanos, reported_nanos, lines, problem, asked_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (day, credential) do update set family = excluded.family, state = excluded.state,
    requests = excluded.requests, charged_nanos = excluded.charged_nanos,
    cost_nanos = excluded.cost_nanos, uncounted_nanos = excluded.uncounted_nanos,
    reported_nanos = excluded.reported_nanos, lines = excluded.lines, problem = excluded.problem,
    asked_at = excluded.asked_at
"""
_SINCE = f"""
select {_COLUMNS} from reconciled where day >= $1 and ($2 = '' or credential = $2)
order by day desc, credential
"""  # noqa: S608


async def of_day(
    connection: Any, day: date, credentials: Sequence[str]
) -> tuple[dict[str, Sums], list[Number]]:
    """What the books have of a UTC day, by credential: a request counts on the day on which it
    ended. In the caller's transaction."""
    await connection.execute(f"set local statement_timeout = '{PATIENCE_S}s'")
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    start_ms, end_ms = int(start.timestamp()) * 1000, int(end.timestamp()) * 1000
    # By the index on when it was booked, which is never before a request's end but for two clocks.
    span = (
        start - timedelta(seconds=EARLY_S),
        end + timedelta(seconds=LATE_S),
        start_ms,
        end_ms,
        list(credentials),
    )
    sums = await connection.fetch(_SUMS, *span, timeout=PATIENCE_S)
    counts = await connection.fetch(_COUNTS, *span, timeout=PATIENCE_S)
    return {row["credential"]: Sums(*row) for row in sums}, [Number(*row) for row in counts]


async def put(connection: Any, rows: Iterable[Row]) -> None:
    """Keeps what came of asking, in place of what came of it before."""
    await connection.executemany(
        _PUT,
        [row._replace(lines=json.dumps(row.lines)) for row in rows],  # type: ignore[arg-type]
    )


async def since(connection: Any, day: date, credential: str = "") -> list[Row]:
    """The rows from a day on, of one credential or of all, the latest first."""
    return [_row(found) for found in await connection.fetch(_SINCE, day, credential)]


async def on(connection: Any, day: date, credentials: Sequence[str]) -> dict[str, Row]:
    """The rows of one day by credential."""
    found = await connection.fetch(
        f"select {_COLUMNS} from reconciled where day = $1 and credential = any($2)",  # noqa: S608
        day,
        list(credentials),
    )
    return {row["credential"]: _row(row) for row in found}


def _row(found: Mapping[str, Any]) -> Row:
    values = dict(found)
    return Row(**{**values, "lines": json.loads(values["lines"])})
