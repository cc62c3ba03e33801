"""`corvus refunds …`: money that goes back to its payer."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from corvus_proxy.ops.commands.common import (
    APPROVAL,
    BuyerReason,
    Common,
    Deed,
    OrderId,
    Reason,
    RefundId,
    Usd,
    actor,
    document_of,
    on_desk,
    say,
    table,
    would,
    would_move,
)

app = App(name="refunds", help="Money that goes back to its payer.")


@app.command(name="list")
def list_refunds(
    *,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    limit: int = 100,
    common: Common | None = None,
) -> None:
    """The newest refunds.

    Parameters
    ----------
    open_
        Only those that have not ended.
    limit
        How many at most.
    """
    from corvus_proxy.service.operating import refunds as service

    common = common or Common()
    rows = on_desk(common, lambda desk: service.listing(desk, open_only=open_, limit=limit))
    documents = [document_of(row) for row in rows]
    text = table(
        ("refund", "order", "USD", "state", "asked by", "at", "reason"),
        [
            (row["refund_id"], row["order_id"], row["amount"], row["state"], row["asked_by"],
             row["created_at"][:19], row["reason"])
            for row in documents
        ],
        empty="no refunds",
    )  # fmt: skip
    say(common, {"refunds": documents}, text)


@app.command
def quote(order_id: OrderId, *, common: Common | None = None) -> None:
    """How much of an order can be sent back now: unspent, of one payment, in whole cents."""
    from corvus_proxy.money.amount import format_usd
    from corvus_proxy.service import orders

    common = common or Common()
    most = on_desk(common, lambda desk: orders.refundable(desk, order_id))
    document = {"order_id": order_id, "refundable_nanos": most, "refundable": format_usd(most)}
    say(common, document, f"{format_usd(most)} USD can be sent back now")


@app.command
def request(order_id: OrderId, usd: Usd, *, reason: BuyerReason, deed: Deed | None = None) -> None:
    """Sends unspent money back the way it came. Where it is more of the order than
    `shop.refund_alone_usd`, it waits for another operator (exit code 4)."""
    from corvus_proxy.money.amount import format_usd, parse_usd
    from corvus_proxy.service.operating import planning
    from corvus_proxy.service.operating import refunds as service

    deed, nanos = deed or Deed(), parse_usd(usd)
    if deed.dry_run:
        plan = on_desk(deed, lambda desk: planning.refund(desk, order_id, nanos))
        would_move(deed, f"send {format_usd(nanos)} USD of {order_id} back", plan)
        return
    _done(
        deed,
        on_desk(
            deed,
            lambda desk: service.request(desk, order_id, nanos, reason=reason, actor=actor()),
        ),
    )


@app.command
def approve(refund_id: RefundId, *, reason: Reason, deed: Deed | None = None) -> None:
    """Lets a refund that waits go on; not by who has asked for it."""
    from corvus_proxy.service.operating import planning
    from corvus_proxy.service.operating import refunds as service

    deed = deed or Deed()
    if deed.dry_run:
        plan = on_desk(deed, lambda desk: planning.approval(desk, refund_id, actor()))
        would_move(deed, f"approve {refund_id}", plan)
        return
    work = on_desk(
        deed, lambda desk: service.approve(desk, refund_id, reason=reason, actor=actor())
    )
    _done(deed, work)


@app.command
def refuse(refund_id: RefundId, *, reason: BuyerReason, deed: Deed | None = None) -> None:
    """Ends a refund that waits; nothing was taken from the balance for it."""
    from corvus_proxy.service.operating import planning
    from corvus_proxy.service.operating import refunds as service

    deed = deed or Deed()
    if deed.dry_run:
        on_desk(deed, lambda desk: planning.waiting(desk, refund_id))
        would(deed, f"refuse {refund_id}", refund_id=refund_id)
        return
    work = on_desk(deed, lambda desk: service.refuse(desk, refund_id, reason=reason, actor=actor()))
    _done(deed, work)


def _done(common: Common, found: Any) -> None:
    from corvus_proxy.service.orders import Problem

    if isinstance(found, Problem):
        raise SystemExit(f"corvus: {found.sentence}")
    document = document_of(found)
    lines = [f"{found.refund_id}  {document['amount']} USD  {found.state}"]
    if found.claim_url:
        lines.append(f"its payer names the address at {found.claim_url}")
    if found.state == "waiting":
        lines.append(f"another operator has to agree: `corvus refunds approve {found.refund_id}`")
    say(common, document, "\n".join(lines))
    if found.state == "waiting":
        raise SystemExit(APPROVAL)
