"""The ledger: a month's entries with the running balance, and the whole as a file.

Rule 1: opening balance, entries and closing balance are one sum; a sub-key sees its own charges
        and no balance.
Rule 2: a revoked key still sees its statement.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from corvus_proxy.books.statements import Month, Scope, Span
from corvus_proxy.service import statements
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.statements.exported import FORMATS, entry, write
from corvus_proxy.site import pictures, render
from corvus_proxy.site.account.requests import scope_of
from corvus_proxy.site.front import Front

PAGE_ROWS = 50
AT = "/dashboard/ledger"
KINDS = {
    "charge": "Request",
    "late_charge": "Request, charged late",
    "grant": "Credit",
    "credit": "Credit",
    "payment": "Payment",
    "refund": "Refund",
    "chargeback": "Payment taken back",
    "adjustment": "Correction",
    "debit": "Debit",
}
"""Kinds of entries in words."""
_STEPS_TOLD = 31
"""Rows of the table beside the line: about one a day of a month."""


class Ledger:
    """Views of `/dashboard/ledger` and its files."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/ledger`: the month that `month` names, or the latest."""
        stores, scope = self._front.stores, scope_of(session)
        await statements.is_current(stores, scope.wallet)
        months = await statements.months(stores, scope)
        wanted = request.query_params.get("month", "")
        month = next((one for one in months if one.month == wanted), None)
        if month is None and wanted:
            return render.redirect(AT)
        if not months:
            return await self._front.account_page(session, "account/ledger.html", AT, month=None)
        month = month or months[0]
        before = _number(request.query_params.get("before", "")) or month.last_seq + 1
        span = Span(month.first_seq, min(month.last_seq, before - 1))
        page = await statements.ledger(stores, scope, span, limit=PAGE_ROWS, newest_first=True)
        statement, line = None, None
        if not scope.key_id:
            statement = await statements.statement(stores, scope, month)
            line = pictures.balance(statement.opening_nanos, statement.steps)
        here = f"{AT}?month={month.month}"
        return await self._front.account_page(
            session,
            "account/ledger.html",
            AT,
            month=month,
            months=months,
            entries=[(row.booked_at, entry(row, scope)) for row in page.entries],
            kinds=KINDS,
            change_nanos=month.in_nanos - month.out_nanos,
            statement=statement,
            line=line,
            told_steps=told_steps(statement.steps) if statement else [],
            first=here if before <= month.last_seq else "",
            older=f"{here}&before={page.entries[-1].wallet_seq}" if page.more else "",
            forms=[form.upper() if form != "beancount" else "Beancount" for form in FORMATS],
        )

    async def file(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/ledger.csv`, `.json` or `.beancount`: all of it, or one `month`."""
        form = request.path_params["form"]
        if form not in FORMATS:
            raise HTTPException(404)
        stores, scope = self._front.stores, scope_of(session)
        await statements.is_current(stores, scope.wallet)
        wanted = request.query_params.get("month", "")
        span, suffix = Span(), ""
        if wanted:
            month = await self._month(scope, wanted)
            span, suffix = Span(month.first_seq, month.last_seq), f"-{month.month}"
        maker = FORMATS[form]()
        pieces = write(maker, scope, statements.export(stores, scope, span))
        first = await anext(pieces)  # while the books are away, that is a page in words

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for piece in pieces:
                yield piece

        name = f"ledger-{scope.wallet}{suffix}.{maker.suffix}"
        headers = {**render.PRIVATE, "content-disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(whole(), headers=headers, media_type=maker.media_type)

    async def _month(self, scope: Scope, wanted: str) -> Month:
        for month in await statements.months(self._front.stores, scope):
            if month.month == wanted:
                return month
        raise HTTPException(404)


def told_steps(steps: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """Some of a line's points for the table beside it, the last one among them."""
    apart = max(1, -(-len(steps) // _STEPS_TOLD))
    return [*steps[apart - 1 : -1 : apart], steps[-1]]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def routes(front: Front) -> list[Route]:
    """`/dashboard/ledger` and its files."""
    views = Ledger(front)
    front.built.add(AT)
    return [
        Route(AT, front.guarded(views.page, revoked=True)),
        Route(AT + ".{form}", front.guarded(views.file, revoked=True)),
    ]
