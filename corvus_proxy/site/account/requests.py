"""Requests: the list with its filters, and one request explained.

Rule 1: filters stand in the address, so a view can be kept and sent; what they cannot mean is said
        beside them.
Rule 2: the list's footer is the sum of all rows that match, not of the page alone.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.account.statements import document, row_of
from corvus_proxy.books.statements import EARLIEST, LATEST, Filter, Scope
from corvus_proxy.money.amount import format_picos, format_usd, per_million
from corvus_proxy.service import statements
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.statements.explained import Explained
from corvus_proxy.service.statements.exported import told
from corvus_proxy.site import pictures, render
from corvus_proxy.site.front import Front

PAGE_ROWS = 50
AT = "/dashboard/requests"
_TEXT_MAX = 100


class Asked(NamedTuple):
    """The filters as they were typed."""

    model: str
    outcome: str
    key_id: str
    since: str
    until: str
    """The last day that is wanted."""

    def query(self, **more: str) -> str:
        """An address's query with these filters."""
        names = {"model": self.model, "outcome": self.outcome, "key": self.key_id,
                 "from": self.since, "to": self.until}  # fmt: skip
        found = {name: value for name, value in {**names, **more}.items() if value}
        return "?" + urlencode(found) if found else ""


class Line(NamedTuple):
    """A line of a bill as the page shows it."""

    name: str
    tone: str
    tokens: int
    price: str
    amount: str


class Requests:
    """Views of `/dashboard/requests` and what is below."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/requests`."""
        asked = read(request.query_params)
        wanted, problem = wanted_of(asked)
        try:
            found = await statements.requests(
                self._front.stores,
                scope_of(session),
                wanted,
                cursor=request.query_params.get("cursor", ""),
                limit=PAGE_ROWS,
            )
        except ValueError:
            return render.redirect(AT + asked.query())
        return await self._front.account_page(
            session,
            "account/requests.html",
            AT,
            status=400 if problem else 200,
            asked=asked,
            problem=problem,
            outcomes=[(code, one.words) for code, one in render.OUTCOMES.items()],
            found=found,
            models=sorted({row.slug for row in found.rows}),
            filtered=bool(asked.query()),
            first=AT + asked.query() if request.query_params.get("cursor") else "",
            older=AT + asked.query(cursor=found.next_cursor) if found.next_cursor else "",
        )

    async def twin(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/requests.json`."""
        wanted, problem = wanted_of(read(request.query_params))
        if problem:
            return render.json(self._front.error("invalid_request", problem), status=400)
        cursor = request.query_params.get("cursor", "")
        try:
            found = await statements.requests(
                self._front.stores, scope_of(session), wanted, cursor=cursor, limit=PAGE_ROWS
            )
        except ValueError:
            view = self._front.error("invalid_request", "The cursor is none of this list's.")
            return render.json(view, status=400)
        return render.json(
            {
                "data": [row_of(row) for row in found.rows],
                "next_cursor": found.next_cursor or None,
                "total": told(found.totals),
                "current": found.current,
                "detail_deleted_before": found.deleted_before
                and clock.iso_utc(found.deleted_before),
            }
        )

    async def one(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/requests/{request_id}`, and its twin with `.json` at its end."""
        name: str = request.path_params["request_id"]
        request_id = name.removesuffix(".json")
        found = await statements.request(self._front.stores, scope_of(session), request_id)
        if name != request_id:
            if found is None:
                view = self._front.error("not_found", "There is no such request.")
                return render.json(view, status=404)
            if isinstance(found, Explained):
                return render.json({"status": "ended", **document(found)})
            return render.json({"status": "running", **told(found)})
        if found is None:
            return self._front.no_entry("This key has no request of that name.", 404)
        if not isinstance(found, Explained):
            return await self._front.account_page(
                session, "account/running.html", AT, running=found
            )
        return await self._front.account_page(
            session,
            "account/request.html",
            AT,
            found=found,
            sentence=sentence(found),
            lines=lines_of(found),
            evened=format_picos(found.rounding_picos),
            formula=statements.formula(found),
            bar=pictures.parts(found),
            fall=pictures.waterfall(found),
            after_first_ms=max(0, found.total_ms - found.first_byte_ms),
        )


def scope_of(session: Session) -> Scope:
    """What a session may see."""
    return Scope(session.wallet, "" if session.main else session.key_id)


def read(params: Mapping[str, str]) -> Asked:
    """The filters of an address."""
    names = ("model", "outcome", "key", "from", "to")
    return Asked(*(params.get(name, "").strip()[:_TEXT_MAX].replace("\0", "") for name in names))


def wanted_of(asked: Asked) -> tuple[Filter, str]:
    """The filter, and what is wrong with it in words."""
    since, until = _day(asked.since), _day(asked.until)
    if (asked.since and since is None) or (asked.until and until is None):
        return Filter(outcome="-"), "A day is written like 2026-11-26."
    return Filter(
        key_id=asked.key_id,
        slug=asked.model,
        outcome=asked.outcome,
        since=since or EARLIEST,
        until=until + timedelta(days=1) if until else LATEST,
    ), ""


def _day(text: str) -> datetime | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    if not 1970 <= found.year < 9000:
        return None
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def sentence(found: Explained) -> str:
    """A request in one sentence."""
    output = sum(line.tokens for line in found.lines if line.name.endswith("output"))
    spoke = f"{found.slug} answered with {output:,} tokens" if output else f"{found.slug} was asked"
    if found.detail_deleted:
        return f"{found.slug} was asked; its detail is older than such detail is kept here."
    price = f"for {format_usd(found.charge_nanos)} USD" if found.charge_nanos else "for nothing"
    return f"{spoke} in {render.duration(found.total_ms)}, {price}."


def lines_of(found: Explained) -> list[Line]:
    """The bill's lines, each in its colour of the bar."""
    shown, tones = 0, []
    for line in found.lines:
        tones.append(pictures.tone(shown) if line.amount_picos else "rest")
        shown += bool(line.amount_picos)
    return [
        Line(
            line.name.replace("_", " "), tone, line.tokens, per_million(line.picos),
            format_picos(line.amount_picos),
        )
        for line, tone in zip(found.lines, tones, strict=True)
    ]  # fmt: skip


def routes(front: Front) -> list[Route]:
    """`/dashboard/requests`, its twin, and one request."""
    views = Requests(front)
    front.built.add(AT)
    return [
        Route(AT, front.guarded(views.page)),
        Route(AT + ".json", front.guarded(views.twin)),
        Route(AT + "/{request_id}", front.guarded(views.one)),
    ]
