"""`corvus ledger …`: Redis against the books, and the operator's part in recovery."""

from pathlib import Path
from typing import Any

from cyclopts import App

from corvus_proxy.money.amount import format_usd
from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    KeyId,
    Reason,
    actor,
    on_stores,
    say,
    would,
)
from corvus_proxy.ops.commands.desk.progress import watched

app = App(name="ledger", help="Redis against the books.")


@app.command
def verify(*, common: Common | None = None) -> None:
    """Compares Redis and the books, wallet by wallet; exit code 3 on drift."""
    from corvus_proxy.service import ledger as service

    common = common or Common()
    with watched("wallets") as told:
        report = on_stores(common, lambda stores: service.verify(stores, told=told))
    lines = [
        f"{'ok' if report.ok else 'DRIFT'}: {report.wallets} wallets, {report.events} events,"
        f" drift {report.drift_nanos} nanos, {report.undrained} not yet in the books",
        *report.problems,
    ]
    say(common, report._asdict(), "\n".join(lines))
    if not report.ok:
        raise SystemExit(3)


@app.command
def explain(key_id: KeyId, *, last: int = 20, common: Common | None = None) -> None:
    """A key's money: Redis, the books, holds, and its last changes; exit code 3 if it disagrees.

    Parameters
    ----------
    last
        How many of the last changes are shown.
    """
    from corvus_proxy.ledger.explain import as_document
    from corvus_proxy.service import ledger as service

    common = common or Common()
    found = on_stores(common, lambda stores: service.explain(stores, key_id, limit=last))
    say(common, {"ok": not found.problems, **as_document(found)}, _told(found))
    if found.problems:
        raise SystemExit(3)


REFUSED = {
    "cap": "the wallet would have held more than 1,000,000 USD",
    "balance": "more than was free",
    "amount": "no amount that a wallet can hold",
}
WHOSE_PRICES = (
    "Prices are this service's own, at the version beside each charge. A cost that a client shows"
    " by itself is reckoned from the vendor's list and is another figure."
)


def _told(found: Any) -> str:
    redis = "nothing" if found.redis_nanos is None else f"{format_usd(found.redis_nanos)} USD"
    lines = [
        f"{found.wallet} in p{found.partition:02d} (epoch {found.epoch}, {found.state})",
        f"Redis   {redis}, {format_usd(found.held_nanos)} USD held by {len(found.holds)} requests",
        f"books   {format_usd(found.books_nanos)} USD, and"
        f" {format_usd(found.undrained_nanos)} USD in the stream",
        "",
    ]
    for step in found.steps:
        mark = "" if step.booked else "  (in the stream)"
        lines.append(
            f"{step.at!s:>10}  {step.kind}  {format_usd(step.delta_nanos):>16}"
            f"  {format_usd(step.balance_nanos):>16}  {step.outcome:22} {step.id}{mark}"
        )
        if step.formula:
            lines.append(f"{'':14}{step.formula} picos, prices {step.price_version}")
        lines += [f"{'':14}{note}" for note in step.notes]
    lines += [f"held    {format_usd(hold.held_nanos)} USD by {rid} of process {hold.owner}"
              for rid, hold in found.holds.items()]  # fmt: skip
    lines += [f"waits   {row.kind} {format_usd(row.amount_nanos)} USD {row.id}"
              for row in found.waiting]  # fmt: skip
    lines += [f"refused {row.kind} {format_usd(row.amount_nanos)} USD {row.id}: {REFUSED[row.why]}"
              for row in found.refused]  # fmt: skip
    lines += ["", WHOSE_PRICES, *(found.problems or ["Everything agrees."])]
    return "\n".join(lines)


@app.command
def rebuild(
    *partitions: int,
    dry_run: bool = False,
    all_partitions: bool = False,
    reason: str = "",
    common: Common | None = None,
) -> None:
    """Rebuilds partitions from the books and the journals; the worker does it, in seconds.

    Parameters
    ----------
    partitions
        Numbers from 0 to 63.
    dry_run
        Only tell what each would begin with; without numbers, of all.
    all_partitions
        Every partition.
    reason
        For the audit.
    """
    from corvus_proxy.service import ledger as service

    common = common or Common()
    chosen = sorted(set(partitions))
    if any(not 0 <= part < 64 for part in chosen):
        raise ValueError("partitions are numbered from 0 to 63")
    if dry_run:
        plans = on_stores(common, lambda stores: service.rebuild_plan(stores, chosen))
        lines = [_row("", "state", "redis", "books", "wallets", "undrained", "drift", "")]
        lines += [
            _row(
                f"p{one.partition:02d}",
                one.state,
                one.redis_end,
                one.books_end,
                one.wallets,
                one.undrained,
                one.drift_nanos,
                f"{one.step} {one.why}",
            )
            for one in plans
        ]
        document = {"partitions": [one._asdict() for one in plans]}
        say(common, document, "\n".join(lines))
        return
    if all_partitions:
        chosen = list(range(64))
    if not chosen or not reason:
        raise ValueError("name the partitions (or --all-partitions) and a --reason")
    on_stores(
        common, lambda stores: service.ask_rebuild(stores, chosen, reason=reason, actor=actor())
    )
    say(common, {"partitions": chosen}, f"{len(chosen)} partitions are being rebuilt")


def _row(name: str, state: str, *rest: object) -> str:
    *figures, what = rest
    widths = (10, 10, 9, 11, 14)
    cells = [f"{figure!s:>{width}}" for figure, width in zip(figures, widths, strict=True)]
    return f"{name:4}{state:9}{''.join(cells)}  {what}"


@app.command
def nodes(*, common: Common | None = None) -> None:
    """The gateway processes that a rebuild would wait for, the longest silent first."""
    from corvus_proxy.service import ledger as service

    common = common or Common()
    rows = on_stores(common, service.processes)
    lines = [
        f"{row.process}  node {row.node}  heard {row.silent_s} s ago  {row.living} requests"
        f"{'  ended' if row.retired else ''}"
        for row in rows
    ]
    say(common, {"processes": [row._asdict() for row in rows]}, "\n".join(lines))


@app.command
def forget(name: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Stops waiting for a process, or for all of a node, whose journal is lost for good.

    Parameters
    ----------
    name
        A process or a node, as `corvus ledger nodes` tells them.
    """
    from corvus_proxy.service import ledger as service

    common = deed or Deed()
    if common.dry_run:
        would(common, f"stop waiting for {name}", name=name)
        return
    found = on_stores(
        common, lambda stores: service.forget(stores, name, reason=reason, actor=actor())
    )
    say(common, {"processes": found}, "forgotten: " + ", ".join(found))


@app.command
def finish(folder: Path, *, timeout_s: float = 60, deed: Deed | None = None) -> None:
    """Settles what the gateway processes of a journal folder left, where none will run there again.

    Ends with 0 when the books have all of it: the folder may be deleted then. With 5 when they do
    not have it yet: ask again.

    Parameters
    ----------
    folder
        `ledger.journal_dir` of the node that left.
    timeout_s
        Patience with Redis and the books.
    """
    from corvus_proxy.service import ledger as service

    common = deed or Deed()
    if common.dry_run:
        would(common, f"settle what is left in {folder}", folder=str(folder))
        return
    done = on_stores(
        common,
        lambda stores: service.finish(stores, folder, timeout_s=timeout_s, actor=actor()),
    )
    text = f"{folder}: {done.processes} processes had left {done.charges} charges; " + (
        f"the books do not have all of {done.waiting} yet, ask again"
        if done.waiting
        else "all of it is in the books, and the folder may be deleted"
    )
    say(common, {"ok": not done.waiting, **done._asdict()}, text)
    if done.waiting:
        raise SystemExit(5)


@app.command
def release(wallet: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Books a wallet's events in quarantine, unfreezes it, and rebuilds its partition.

    Parameters
    ----------
    wallet
        Id of a wallet, as `corvus keys show` tells it.
    """
    from corvus_proxy.service import ledger as service

    common = deed or Deed()
    if common.dry_run:
        would(common, f"release {wallet}", wallet=wallet)
        return
    done = on_stores(
        common, lambda stores: service.release_wallet(stores, wallet, reason=reason, actor=actor())
    )
    text = (
        f"{wallet}: {done.booked} events booked, {done.dropped} unreadable or repeated; balance"
        f" {format_usd(done.balance_nanos)} USD"
    )
    say(common, {"wallet": wallet, **done._asdict()}, text)


@app.command
def bridge(partition: int, *, reason: Reason, deed: Deed | None = None) -> None:
    """Takes the books over events that nobody has any more; balances are as Redis has them.

    Parameters
    ----------
    partition
        A number from 0 to 63.
    """
    from corvus_proxy.service import ledger as service

    common = deed or Deed()
    if common.dry_run:
        would(common, f"bridge partition {partition}", partition=partition)
        return
    if not 0 <= partition < 64:
        raise ValueError("partitions are numbered from 0 to 63")
    done = on_stores(
        common, lambda stores: service.bridge(stores, partition, reason=reason, actor=actor())
    )
    text = (
        f"p{partition:02d}: {done.lost} events are lost, {done.booked} stand in their place for"
        f" {done.wallets} wallets; {format_usd(done.unknown_nanos)} USD of it unknown"
    )
    say(common, {"partition": partition, **done._asdict()}, text)
