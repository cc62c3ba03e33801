"""`corvus orders …`: what was ordered, paid, credited and sent back."""

from collections.abc import Awaitable, Callable
from typing import Any

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, on_stores, say, settings_of

app = App(name="orders", help="Orders, payments and refunds.")


def _on_desk(common: Common, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Runs `work` with an open desk."""

    async def run(stores: Any) -> Any:
        from corvus_proxy.service.orders import open_desk
        from corvus_proxy.shop.services import providers

        settings = settings_of(common)
        desk = open_desk(settings, stores, providers(settings))
        try:
            return await work(desk)
        finally:
            await desk.close()

    return on_stores(common, run)


def _document(view: Any) -> dict[str, Any]:
    from corvus_proxy.service.statements.exported import told

    found: dict[str, Any] = told(view)
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in found.items()
    }


def _line(row: dict[str, Any]) -> str:
    state = "/".join(filter(None, (row["status"], row["exception"])))
    marks = [state, row["fulfilment"], *(["DISPUTED"] if row["disputed"] else [])]
    if row["refund"]:
        marks.append(f"refund {row['refund']}")
    return (
        f"{row['order_id']}  {row['created_at'][:19]}  {row['provider']}  {row['total']} USD"
        f"  credited {row['credited']}  {'  '.join(marks)}  {row['check_problem']}"
    ).rstrip()


@app.command(name="list")
def list_orders(
    *, status: str = "", exception: bool = False, limit: int = 100, common: Common | None = None
) -> None:
    """The newest orders; with --exception those that somebody should look at."""
    from corvus_proxy.service import orders as service

    common = common or Common()
    rows = [
        _document(row)
        for row in _on_desk(
            common,
            lambda desk: service.listing(
                desk, status=status, exceptions_only=exception, limit=limit
            ),
        )
    ]
    say(common, {"orders": rows}, "\n".join(map(_line, rows)) or "no orders")


@app.command
def show(order_id: str, *, common: Common | None = None) -> None:
    """One order with its payments, refunds and history; no secret of its buyer."""
    from corvus_proxy.service import orders as service

    common = common or Common()
    found = _on_desk(common, lambda desk: service.file(desk, order_id))
    document = _document(found.order)
    for name in ("payments", "refunds", "steps"):
        document[name] = [_document(row) for row in getattr(found, name)]
    lines = [_line(document)]
    lines += [
        f"  {row['seen_at'][:19]}  {row['payment_id']}  {row['state']}  {row['asset_amount']}"
        f" {row['asset']} = {row['value']} USD  credited {row['credited']}"
        for row in document["payments"]
    ]
    lines += [
        f"  {row['created_at'][:19]}  {row['refund_id']}  {row['amount']} USD  {row['state']}"
        for row in document["refunds"]
    ]
    lines += [f"  {row['at'][:19]}  {row['step']}  {row['details']}" for row in document["steps"]]
    say(common, document, "\n".join(lines))


@app.command
def check(order_id: str, *, common: Common | None = None) -> None:
    """Asks the payment service now, and credits what has come."""
    from corvus_proxy.money.amount import format_usd
    from corvus_proxy.service import orders as service

    common = common or Common()
    done = _on_desk(common, lambda desk: service.check(desk, order_id))
    words = "" if done.answered else "; the payment service does not answer"
    text = f"{order_id}  {done.status}  {format_usd(done.credited_nanos)} USD credited now{words}"
    say(common, {"order_id": order_id, **done._asdict()}, text)


@app.command
def doctor(order_id: str, *, common: Common | None = None) -> None:
    """Says which link from the payment to the key is broken; exit code 3 where one is."""
    from corvus_proxy.service import orders as service

    common = common or Common()
    found = _on_desk(common, lambda desk: service.doctor(desk, order_id))
    lines = [
        f"{'ok    ' if one.holds else 'BROKEN'}  {one.link}: {one.sentence}"
        for one in found.findings
    ]
    document = {**found._asdict(), "findings": [one._asdict() for one in found.findings]}
    say(common, document, "\n".join([*lines, found.verdict]))
    if found.broken:
        raise SystemExit(3)


@app.command
def refund(order_id: str, usd: str = "", *, reason: str, common: Common | None = None) -> None:
    """Sends unspent money back the way it came; without an amount tells how much that can be."""
    from corvus_proxy.money.amount import format_usd, parse_usd
    from corvus_proxy.service import orders as service

    common = common or Common()
    if not usd:
        most = _on_desk(common, lambda desk: service.refundable(desk, order_id))
        say(common, {"refundable_nanos": most}, f"{format_usd(most)} USD can be sent back now")
        return
    done = _on_desk(
        common,
        lambda desk: service.refund(desk, order_id, parse_usd(usd), reason=reason, actor="cli"),
    )
    if isinstance(done, service.Problem):
        raise SystemExit(f"corvus: {done.sentence}")
    document = _document(done)
    lines = [f"{done.refund_id}  {document['amount']} USD  {done.state}"]
    if done.claim_url:
        lines.append(f"its payer names the address at {done.claim_url}")
    say(common, document, "\n".join(lines))


@app.command
def credit(order_id: str, usd: str, *, reason: str, common: Common | None = None) -> None:
    """Credits an order by hand; its buyer reads the reason."""
    from corvus_proxy.money.amount import format_usd, parse_usd
    from corvus_proxy.service import orders as service

    common = common or Common()
    total = _on_desk(
        common,
        lambda desk: service.credit_by_hand(
            desk, order_id, parse_usd(usd), reason=reason, actor="cli"
        ),
    )
    document = {"order_id": order_id, "credited_nanos": total}
    say(common, document, f"{order_id}  credited {format_usd(total)} USD in all")
