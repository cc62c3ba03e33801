"""The gateway processes that have ever reported, where they outlive Redis; and what the operator
asks of recovery."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

UPSERT = """
insert into node (process, node, report) values ($1, $2, $3::jsonb)
on conflict (process) do update set report = $3::jsonb, seen_at = now()
where coalesce((node.report ->> 'left_ms')::bigint, -1) < ($3::jsonb ->> 'at_ms')::bigint
"""
LEAVE = """
insert into node (process, node, report)
select process, '', jsonb_build_object('left_ms', at_ms)
from unnest($1::text[], $2::bigint[]) as gone (process, at_ms)
on conflict (process) do update set report = node.report || excluded.report, seen_at = now()
"""
LEFT_DAYS = 35
"""How long those that have left are remembered: longer than the age of a Redis backup that anybody
would put back, which has their reports in it."""


class NodeRow(NamedTuple):
    process: str
    node: str
    report: dict[str, Any]
    silent_s: int


async def keep(connection: Any, reports: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """Keeps processes' last words: process, node, report."""
    await connection.executemany(
        UPSERT, [(process, node, json.dumps(report)) for process, node, report in reports]
    )


async def forget(connection: Any, words: Mapping[str, int]) -> None:
    """Takes processes off the list, each with the time of its last word (milliseconds of its own
    clock): nobody waits for their journals any more, and a word that is no newer counts for
    nothing, wherever it comes up again."""
    if words:
        await connection.execute(LEAVE, list(words), list(words.values()))
        await connection.execute(
            "delete from node where report ? 'left_ms'"
            " and seen_at < now() - make_interval(days => $1)",
            LEFT_DAYS,
        )


async def left(connection: Any) -> dict[str, int]:
    """Those that have been taken off the list, each with the time of its last word."""
    rows = await connection.fetch(
        "select process, (report ->> 'left_ms')::bigint from node where report ? 'left_ms'"
    )
    return {row[0]: row[1] for row in rows}


async def known(connection: Any) -> list[NodeRow]:
    """Every process on the list with its last word, the longest silent first."""
    rows = await connection.fetch(
        "select process, node, report, extract(epoch from now() - seen_at)::bigint as silent_s"
        " from node where not report ? 'left_ms' order by seen_at"
    )
    return [NodeRow(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]


async def ask_rebuild(connection: Any, parts: Sequence[int]) -> None:
    """An operator wants these partitions rebuilt."""
    await connection.executemany(
        "insert into rebuild_request (part) values ($1) on conflict do nothing",
        [(part,) for part in parts],
    )


async def rebuilds_asked(connection: Any) -> set[int]:
    """Partitions that an operator wants rebuilt."""
    return {row["part"] for row in await connection.fetch("select part from rebuild_request")}


async def rebuild_done(connection: Any, part: int) -> None:
    await connection.execute("delete from rebuild_request where part = $1", part)
