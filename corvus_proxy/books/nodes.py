"""The gateway processes that have ever reported, where they outlive Redis; and what the operator
asks of recovery."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

UPSERT = """
insert into node (process, node, report) values ($1, $2, $3::jsonb)
on conflict (process) do update set report = $3::jsonb, seen_at = now()
"""


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


async def forget(connection: Any, processes: Sequence[str]) -> None:
    """Takes processes off the list: nobody waits for their journals any more."""
    await connection.execute("delete from node where process = any($1)", list(processes))


async def known(connection: Any) -> list[NodeRow]:
    """Every process on the list with its last word, the longest silent first."""
    rows = await connection.fetch(
        "select process, node, report, extract(epoch from now() - seen_at)::bigint as silent_s"
        " from node order by seen_at"
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
