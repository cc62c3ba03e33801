"""`corvus ledger …`: Redis against the books."""

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, on_stores, say

app = App(name="ledger", help="Redis against the books.")


@app.command
def verify(*, common: Common | None = None) -> None:
    """Compares Redis and the books, wallet by wallet; exit code 3 on drift."""
    from corvus_proxy.service import ledger as service

    common = common or Common()
    report = on_stores(common, service.verify)
    lines = [
        f"{'ok' if report.ok else 'DRIFT'}: {report.wallets} wallets, {report.events} events,"
        f" drift {report.drift_nanos} nanos, {report.undrained} not yet in the books",
        *report.problems,
    ]
    say(common, report._asdict(), "\n".join(lines))
    if not report.ok:
        raise SystemExit(3)
