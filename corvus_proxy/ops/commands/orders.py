"""`corvus orders …`: what was ordered, paid, credited and sent back."""

from typing import Any

from cyclopts import App

from corvus_proxy.ops.commands.common import (
    PARTLY,
    BuyerReason,
    Common,
    Deed,
    OrderId,
    Reason,
    Usd,
    actor,
    document_of,
    on_desk,
    say,
    would,
    would_move,
)

app = App(name="orders", help="Orders, payments and refunds.")


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
    """The newest orders; with --exception those that somebody should look at.

    Parameters
    ----------
    status
        Only orders in this state; docs/orders.md names them.
    exception
        Only those that somebody should look at.
    limit
        How many at most.
    """
    from corvus_proxy.service import orders as service

    common = common or Common()
    rows = [
        document_of(row)
        for row in on_desk(
            common,
            lambda desk: service.listing(
                desk, status=status, exceptions_only=exception, limit=limit
            ),
        )
    ]
    say(common, {"orders": rows}, "\n".join(map(_line, rows)) or "no orders")


@app.command
def show(order_id: OrderId, *, common: Common | None = None) -> None:
    """One order with its payments, refunds and history; no secret of its buyer."""
    from corvus_proxy.service import orders as service

    common = common or Common()
    found = on_desk(common, lambda desk: service.file(desk, order_id))
    document = document_of(found.order)
    for name in ("payments", "refunds", "steps"):
        document[name] = [document_of(row) for row in getattr(found, name)]
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
def check(order_id: OrderId, *, common: Common | None = None) -> None:
    """Asks the payment service now, and credits what has come."""
    from corvus_proxy.money.amount import format_usd
    from corvus_proxy.service.operating import parcels

    common = common or Common()
    done = on_desk(common, lambda desk: parcels.check(desk, order_id, actor=actor()))
    words = "" if done.answered else "; the payment service does not answer"
    text = f"{order_id}  {done.status}  {format_usd(done.credited_nanos)} USD credited now{words}"
    say(common, {"order_id": order_id, **done._asdict()}, text)


@app.command
def doctor(order_id: OrderId, *, common: Common | None = None) -> None:
    """Says which link from the payment to the key is broken; exit code 3 where one is."""
    from corvus_proxy.service.operating import parcels

    common = common or Common()
    found = on_desk(common, lambda desk: parcels.doctor(desk, order_id, actor=actor()))
    lines = [
        f"{'ok    ' if one.holds else 'BROKEN'}  {one.link}: {one.sentence}"
        for one in found.findings
    ]
    document = {**found._asdict(), "findings": [one._asdict() for one in found.findings]}
    say(common, document, "\n".join([*lines, found.verdict]))
    if found.broken:
        raise SystemExit(3)


@app.command
def refund(
    order_id: OrderId, usd: Usd = "", *, reason: BuyerReason, deed: Deed | None = None
) -> None:
    """As `refunds request`; without an amount as `refunds quote`."""
    from corvus_proxy.ops.commands.desk import refunds

    deed = deed or Deed()
    if usd:
        refunds.request(order_id, usd, reason=reason, deed=deed)
    else:
        refunds.quote(order_id, common=deed)


@app.command
def credit(order_id: OrderId, usd: Usd, *, reason: BuyerReason, deed: Deed | None = None) -> None:
    """Credits an order by hand; its buyer reads the reason."""
    from corvus_proxy.money.amount import format_usd, parse_usd
    from corvus_proxy.service import orders as service
    from corvus_proxy.service.operating import planning

    deed, nanos = deed or Deed(), parse_usd(usd)
    if deed.dry_run:
        plan = on_desk(deed, lambda desk: planning.credit_order(desk, order_id, nanos))
        would_move(deed, f"credit {order_id} with {format_usd(nanos)} USD", plan)
        return
    total = on_desk(
        deed,
        lambda desk: service.credit_by_hand(desk, order_id, nanos, reason=reason, actor=actor()),
    )
    document = {"order_id": order_id, "credited_nanos": total}
    say(deed, document, f"{order_id}  credited {format_usd(total)} USD in all")


@app.command
def settle(*order_ids: str, reason: Reason, limit: int = 1000, deed: Deed | None = None) -> None:
    """Asks the payment service about orders, and credits what has come; exit code 5 where it did
    not answer for some.

    Parameters
    ----------
    order_ids
        Without one all that are still watched, the oldest first.
    limit
        How many at most.
    """
    from corvus_proxy.money.amount import format_usd
    from corvus_proxy.ops.commands.desk.progress import watched
    from corvus_proxy.service.operating import parcels

    deed = deed or Deed()

    async def run(desk: Any) -> list[dict[str, Any]]:
        chosen = list(order_ids) or [
            row.order_id for row in await parcels.watched(desk, limit=limit)
        ]
        if deed.dry_run:
            would(deed, f"ask about {len(chosen)} orders", orders=chosen)
            return []
        rows = []
        with watched("orders") as tell:
            async for order_id, done in parcels.settle_all(
                desk, chosen, reason=reason, actor=actor()
            ):
                rows.append({"order_id": order_id, **done._asdict()})
                tell(len(rows), len(chosen))
        return rows

    rows = on_desk(deed, run)
    if deed.dry_run:
        return
    credited = sum(row["credited_nanos"] for row in rows)
    silent = [row["order_id"] for row in rows if row["asked"] and not row["answered"]]
    lines = [
        f"{row['order_id']}  {row['status']}  {format_usd(row['credited_nanos'])} USD credited now"
        for row in rows
        if row["credited_nanos"]
    ]
    lines += [f"{order_id}  its payment service does not answer" for order_id in silent]
    lines.append(f"{len(rows)} orders asked about, {format_usd(credited)} USD credited now")
    say(deed, {"orders": rows, "credited_nanos": credited}, "\n".join(lines))
    if silent:
        raise SystemExit(PARTLY)


@app.command
def resend(order_id: OrderId, *, reason: Reason, deed: Deed | None = None) -> None:
    """Sends the mail of delivery again, to the order's address."""
    from corvus_proxy.service.operating import parcels

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"send the mail of {order_id} again", order_id=order_id)
        return
    _said(on_desk(
        deed, lambda desk: parcels.resend(desk, order_id, reason=reason, actor=actor())
    ))  # fmt: skip
    say(deed, {"order_id": order_id, "mail": "queued"}, f"{order_id}  its mail is queued")


@app.command(name="claim-link")
def claim_link(order_id: OrderId, *, reason: Reason, deed: Deed | None = None) -> None:
    """A link by which the buyer fetches the new key, once; earlier links end."""
    from corvus_proxy.service.operating import parcels

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"make a new claim link for {order_id}", order_id=order_id)
        return
    link = on_desk(
        deed, lambda desk: parcels.claim_link(desk, order_id, reason=reason, actor=actor())
    )
    _said(link)
    say(deed, {"order_id": order_id, "claim_url": link}, link)


@app.command
def cancel(order_id: OrderId, *, reason: BuyerReason, deed: Deed | None = None) -> None:
    """Ends the quote of an order that nothing has come for; what is paid later is still
    credited."""
    from corvus_proxy.service.operating import parcels

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"cancel {order_id}", order_id=order_id)
        return
    _said(on_desk(
        deed, lambda desk: parcels.cancel(desk, order_id, reason=reason, actor=actor())
    ))  # fmt: skip
    say(deed, {"order_id": order_id, "status": "expired"}, f"{order_id}  cancelled")


def _said(found: Any) -> None:
    """Raises SystemExit with the sentence of a problem."""
    from corvus_proxy.service.orders import Problem

    if isinstance(found, Problem):
        raise SystemExit(f"corvus: {found.sentence}")
