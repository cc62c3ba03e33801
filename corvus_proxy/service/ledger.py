"""The operator's questions to the ledger, and what may be asked of its recovery."""

import json
from pathlib import Path
from typing import NamedTuple

import structlog

from corvus_proxy import clock
from corvus_proxy.books import entries, nodes, release, wallets
from corvus_proxy.errors import CorvusError
from corvus_proxy.ledger import bridge as bridging
from corvus_proxy.ledger import explain as telling
from corvus_proxy.ledger import verify as comparing
from corvus_proxy.ledger.verdict import judge
from corvus_proxy.money.event import PARTITIONS, partition_of
from corvus_proxy.service import proof
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.recovery import finishing
from corvus_proxy.till.recovery.report import read_reports

_log = structlog.get_logger()


class PartitionPlan(NamedTuple):
    """What a rebuild of one partition would begin with. Amounts in nanos."""

    partition: int
    state: str
    redis_end: str
    books_end: str
    wallets: int
    undrained: int
    drift_nanos: int
    """Redis against the books with the stream; a rebuild takes the books' side."""
    step: str
    """What the coordinator would do by itself."""
    why: str


class ProcessRow(NamedTuple):
    """A gateway process on the list of those that recovery waits for."""

    process: str
    node: str
    silent_s: int
    living: int
    retired: bool


async def verify(
    stores: Stores, *, told: comparing.Told = comparing.untold
) -> comparing.VerifyReport:
    """Compares Redis and the books; the result is kept for the proof page. Raises TillUnavailable,
    BooksUnavailable."""
    return await proof.check(stores, told=told)


async def explain(stores: Stores, key_id: str, *, limit: int = 20) -> telling.Explanation:
    """A key's money, step by step. Raises LookupError, TillUnavailable, BooksUnavailable."""
    async with stores.books.connection() as connection:
        wallet = await wallets.wallet_of_key(connection, key_id)
    if wallet is None:
        raise LookupError(f"there is no key {key_id}")
    return await telling.explain(stores.till, stores.books, wallet, limit=limit)


async def rebuild_plan(stores: Stores, parts: list[int]) -> list[PartitionPlan]:
    """What a rebuild would do; changes nothing. Raises TillUnavailable, BooksUnavailable."""
    states = await stores.till.partitions()
    replids = await stores.till.replids()
    reports = [report for report in await read_reports(stores.till) if not report.left]
    async with stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
    by_part = await comparing.drift_by_partition(stores.till, stores.books)
    plans = []
    for part in parts or range(PARTITIONS):
        state, replid = states[part], replids[part]
        verdict = judge(part, state, cursors[part], reports, replid, clock.wall_ms())
        serves = state.state == "OPEN" and state.stamp == replid
        found = by_part[part]
        plans.append(
            PartitionPlan(
                part,
                state.state if serves or state.state != "OPEN" else "FENCED",
                f"{state.epoch}-{state.seq}",
                str(cursors[part]),
                found.wallets,
                found.undrained,
                found.drift_nanos,
                "serves" if serves else verdict.step.value,
                "" if serves else verdict.why,
            )
        )
    return plans


async def ask_rebuild(stores: Stores, parts: list[int], *, reason: str, actor: str = "cli") -> None:
    """Has the worker rebuild partitions. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        await nodes.ask_rebuild(connection, parts)
        details = json.dumps({"partitions": parts, "reason": reason})
        await wallets.insert_audit(
            connection, actor=actor, action="ledger.rebuild", subject="ledger", details=details
        )


async def processes(stores: Stores) -> list[ProcessRow]:
    """The gateway processes that recovery would wait for. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        rows = await nodes.known(connection)
    return [
        ProcessRow(
            row.process,
            row.node,
            row.silent_s,
            int(row.report.get("living", 0)),
            bool(row.report.get("retired")),
        )
        for row in rows
    ]


async def finish(
    stores: Stores, folder: Path, *, timeout_s: float, actor: str = "cli"
) -> finishing.Finished:
    """Settles what a node that will not come back left in its journal folder. Raises ValueError
    where that is none, or a gateway runs on it.

    It needs Redis alone. Where the books are away its row in the audit is lost, and the log says
    so: what was done is done, and is not found again.
    """
    done = await finishing.finish(stores.till, folder, stores.pepper, timeout_s=timeout_s)
    details = {"folder": str(folder.absolute()), **done._asdict()}
    try:
        async with stores.books.transaction() as connection:
            await wallets.insert_audit(
                connection, actor=actor, action="ledger.finish", subject="ledger",
                details=json.dumps(details),
            )  # fmt: skip
    except CorvusError as error:
        _log.warning("finish_not_audited", actor=actor, why=str(error), **details)
    return done


async def forget(stores: Stores, name: str, *, reason: str, actor: str = "cli") -> list[str]:
    """Takes a process, or all of a node, off the list; its journal counts as lost. The processes.

    Raises LookupError, TillUnavailable, BooksUnavailable.
    """
    async with stores.books.transaction() as connection:
        rows = [row for row in await nodes.known(connection) if name in (row.process, row.node)]
        if not rows:
            raise LookupError(f"there is no process or node {name} on the list")
        found = [row.process for row in rows]
        heard = {report.process: report.at_ms for report in await read_reports(stores.till)}
        await nodes.forget(connection, {
            row.process: max(int(row.report["at_ms"]), heard.get(row.process, 0)) for row in rows
        })  # fmt: skip
        details = json.dumps({"processes": found, "reason": reason})
        await wallets.insert_audit(
            connection, actor=actor, action="ledger.forget", subject=name, details=details
        )
    for row in rows:
        await stores.till.report(f"{row.node}:{row.process}", None)
    return found


async def bridge(stores: Stores, part: int, *, reason: str, actor: str = "cli") -> bridging.Bridged:
    """Takes the books over events that neither the stream nor the archive has: customers keep what
    Redis says. Raises LookupError, ValueError, TillUnavailable, BooksUnavailable."""
    done = await bridging.bridge(stores.till, stores.books, part)
    async with stores.books.transaction() as connection:
        details = json.dumps({"reason": reason, **done._asdict()})
        await wallets.insert_audit(
            connection, actor=actor, action="ledger.bridge", subject=f"p{part:02d}", details=details
        )
    return done


async def release_wallet(
    stores: Stores, wallet: str, *, reason: str, actor: str = "cli"
) -> release.Released:
    """Books a wallet's events in quarantine and gives Redis the books' figures, by a rebuild of
    its partition; only that unfreezes it there, together with its true balance. Raises LookupError,
    BooksUnavailable."""
    async with stores.books.transaction() as connection:
        done = await release.release(connection, wallet)
        await nodes.ask_rebuild(connection, [partition_of(wallet)])
        details = json.dumps({"reason": reason, **done._asdict()})
        await wallets.insert_audit(
            connection, actor=actor, action="ledger.release", subject=wallet, details=details
        )
    return done
