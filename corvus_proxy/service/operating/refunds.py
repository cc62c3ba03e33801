"""The queue of refunds: asked for, waiting for a second operator, on their way, ended."""

from datetime import datetime
from typing import NamedTuple

from corvus_proxy.books.shop import refunds as rows
from corvus_proxy.books.shop.refunds import RefundRow
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service.operating.stopping import why
from corvus_proxy.service.orders import Desk, Problem, refundable
from corvus_proxy.shop import refunds


class RefundLine(NamedTuple):
    """One refund as the desk sees it. Amount in nanos."""

    refund_id: str
    order_id: str
    payment_id: str
    amount_nanos: int
    state: str
    """`waiting` (for a second operator), `requested`, `approved`, `sent` or `refused`."""
    asked_by: str
    reason: str
    provider_ref: str
    claim_url: str
    """Where its payer names the address that it goes to, of a service that asks for one."""
    created_at: datetime
    ended_at: datetime | None


async def listing(desk: Desk, *, open_only: bool = False, limit: int = 100) -> list[RefundLine]:
    """The newest refunds. Raises BooksUnavailable."""
    async with desk.stores.books.connection() as connection:
        found = await rows.latest(connection, open_only=open_only, limit=limit)
    return [_line(desk, row) for row in found]


async def request(
    desk: Desk, order_id: str, nanos: int, *, reason: str, actor: str
) -> RefundLine | Problem:
    """Sends money back, or asks a second operator to (`shop.refund_alone_usd`). Raises LookupError,
    ValueError (no reason), BooksUnavailable, TillUnavailable."""
    reason = why(reason)
    most = await refundable(desk, order_id)
    if nanos > most:
        return Problem("amount", f"At most {format_usd(most)} USD can be sent back now.")
    done = await refunds.request(desk.means, order_id, nanos, reason=reason, actor=actor)
    return _said(desk, done)


async def approve(desk: Desk, refund_id: str, *, reason: str, actor: str) -> RefundLine | Problem:
    """A second operator's yes. Raises LookupError, ValueError (no reason), BooksUnavailable,
    TillUnavailable."""
    reason = why(reason)
    return _said(desk, await refunds.approve(desk.means, refund_id, reason=reason, actor=actor))


async def refuse(desk: Desk, refund_id: str, *, reason: str, actor: str) -> RefundLine | Problem:
    """A second operator's no, or the first one's change of mind. Raises LookupError, ValueError (no
    reason), BooksUnavailable."""
    reason = why(reason)
    return _said(desk, await refunds.refuse(desk.means, refund_id, reason=reason, actor=actor))


def _said(desk: Desk, done: RefundRow | str) -> RefundLine | Problem:
    return Problem("", done) if isinstance(done, str) else _line(desk, done)


def _line(desk: Desk, row: RefundRow) -> RefundLine:
    provider = desk.providers.get(row.payment_id.partition(":")[0])
    return RefundLine(
        row.refund_id,
        row.order_id,
        row.payment_id,
        row.amount_nanos,
        "waiting" if row.waits else row.state,
        row.actor,
        row.reason,
        row.provider_ref,
        provider.claim_url(row.provider_ref) if provider and row.state == "sent" else "",
        row.created_at,
        row.ended_at,
    )
