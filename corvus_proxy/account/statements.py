"""`/v1/usage`, `/v1/requests` and `/v1/ledger`: the service's rows as JSON, and as files."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from corvus_proxy import clock
from corvus_proxy.account import asking
from corvus_proxy.account.asking import Ask, bad
from corvus_proxy.account.compatible import number
from corvus_proxy.books.statements import (
    BUCKETS,
    EARLIEST,
    LATEST,
    Filter,
    Request,
    Scope,
    Span,
    ZoneUnknown,
)
from corvus_proxy.errors import NotFound
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import format_picos, per_million
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.service import statements
from corvus_proxy.service.statements.explained import Explained
from corvus_proxy.service.statements.exported import FORMATS, entry, told, write
from corvus_proxy.service.stores import Stores

LIMIT, LIMIT_MAX = 100, 1000
_GROUPS = ("model", "day", "key")
_DAYS_DEFAULT = 30


async def _scope(stores: Stores, ask: Ask) -> Scope:
    return await statements.scope_of(stores, ask.caller.wallet, ask.look.key_id)


async def _when(stores: Stores, ask: Ask, name: str, otherwise: datetime) -> datetime:
    """An instant of the query; local times are those of `tz`."""
    found = asking.instant(ask, name)
    if found is None:
        return otherwise
    if found.tzinfo is not None:
        return found
    try:
        return await statements.instant(stores, found, asking.zone(ask))
    except ZoneUnknown:
        raise bad("tz", "is the name of no time zone") from None


async def _filter(stores: Stores, ask: Ask) -> Filter:
    outcome = asking.text(ask, "outcome")
    if outcome:
        asking.choice(ask, "outcome", [one.value for one in Outcome], "")
    return Filter(
        key_id=asking.text(ask, "key_id"),
        slug=asking.text(ask, "model"),
        outcome=outcome,
        since=await _when(stores, ask, "from", EARLIEST),
        until=await _when(stores, ask, "to", LATEST),
    )


async def usage(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/usage`."""
    groups = [one for one in asking.text(ask, "group_by").split(",") if one]
    for group in groups:
        if group not in _GROUPS:
            raise bad("group_by", f"may name {', '.join(_GROUPS)}")
    bucket = asking.choice(ask, "bucket", (*BUCKETS, ""), "1d" if "day" in groups else "")
    if "day" in groups and bucket != "1d":
        raise bad("group_by", "cannot name day beside another bucket")
    wanted = await _filter(stores, ask)
    try:
        found = await statements.usage(
            stores,
            await _scope(stores, ask),
            wanted,
            bucket=bucket,
            zone=asking.zone(ask),
            by_model="model" in groups,
            by_key="key" in groups,
        )
    except ZoneUnknown:
        raise bad("tz", "is the name of no time zone") from None
    rows = []
    for row in found.rows:
        one: dict[str, Any] = {}
        if row.start is not None and row.end is not None:
            one |= {"start": clock.iso_utc(row.start), "end": clock.iso_utc(row.end)}
        if "model" in groups:
            one["model"] = row.slug
        if "key" in groups:
            one["key_id"] = row.key_id
        rows.append({**one, **told(row.totals)})
    return asking.reply(
        {
            "object": "usage",
            "from": found.since and clock.iso_utc(found.since),
            "to": found.until and clock.iso_utc(found.until),
            "tz": asking.zone(ask),
            "bucket": bucket or None,
            "group_by": groups,
            "data": rows,
            "has_more": found.more,
            "total": told(found.totals),
            "as_of": clock.iso_utc(clock.utc_now()),
            "current": found.current,
            "detail_deleted_before": found.deleted_before and clock.iso_utc(found.deleted_before),
        }
    )


def row_of(row: Request) -> dict[str, Any]:
    """A request of a list as JSON-able data."""
    found: dict[str, Any] = told(row)
    found["model"] = found.pop("slug")
    found["ended_at"] = clock.iso_utc(row.ended_at)
    return found


async def requests(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/requests`."""
    limit = asking.integer(ask, "limit", LIMIT, 1, LIMIT_MAX)
    cursor = asking.text(ask, "cursor")
    wanted = await _filter(stores, ask)
    scope = await _scope(stores, ask)
    try:
        page = await statements.requests(stores, scope, wanted, cursor=cursor, limit=limit)
    except ValueError:
        raise bad("cursor", "is none that this list has given") from None
    return asking.reply(
        {
            "object": "list",
            "data": [row_of(row) for row in page.rows],
            "has_more": bool(page.next_cursor),
            "next_cursor": page.next_cursor or None,
            "total": told(page.totals),
            "as_of": clock.iso_utc(clock.utc_now()),
            "current": page.current,
            "detail_deleted_before": page.deleted_before and clock.iso_utc(page.deleted_before),
        }
    )


async def request(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/requests/{request_id}`."""
    request_id = ask.parts["request_id"]
    found = await statements.request(stores, await _scope(stores, ask), request_id)
    if found is None:
        raise NotFound(f"This key has no request {request_id[:80]!r}.", param="request_id")
    if not isinstance(found, Explained):
        return asking.reply({"object": "request", "status": "running", **told(found)})
    return asking.reply({"object": "request", "status": "ended", **document(found)})


def document(found: Explained) -> dict[str, Any]:
    """A request explained, as JSON-able data."""
    view: dict[str, Any] = told(found)
    view["model"] = view.pop("slug")
    view["ended_at"] = clock.iso_utc(found.ended_at)
    view["rounding"] = format_picos(view.pop("rounding_picos"))
    view["lines"] = [
        {
            "name": line.name,
            "tokens": line.tokens,
            "usd_per_million": per_million(line.picos),
            "picos": line.picos,
            "amount": format_picos(line.amount_picos),
        }
        for line in found.lines
    ]
    view["formula"] = statements.formula(found)
    return view


async def ledger(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/ledger`: a page as JSON; the whole as CSV or Beancount, in pieces."""
    form = asking.choice(ask, "format", tuple(FORMATS), "json")
    after = asking.integer(ask, "cursor", 0, 0, 2**62 - 1)
    limit = asking.integer(ask, "limit", LIMIT if form == "json" else 0, 1, LIMIT_MAX)
    scope = await _scope(stores, ask)
    since = await _when(stores, ask, "from", EARLIEST)
    until = await _when(stores, ask, "to", LATEST)
    if form != "json" and not limit:
        await statements.is_current(stores, scope.wallet)
    span = await statements.span(stores, scope, since, until)
    span = Span(max(span.first_seq, after + 1), span.last_seq)
    if form == "json" or limit:
        page = await statements.ledger(stores, scope, span, limit=limit)
        if form != "json":
            return await _file(form, scope, _once(page.entries))
        rows = [entry(row, scope) for row in page.entries]
        return asking.reply(
            {
                "object": "list",
                "data": [told(row) for row in rows],
                "has_more": page.more,
                "next_cursor": str(rows[-1].seq if rows else after),
                "as_of": clock.iso_utc(clock.utc_now()),
                "current": page.current,
            }
        )
    return await _file(form, scope, statements.export(stores, scope, span))


async def _once(rows: list[Any]) -> AsyncIterator[list[Any]]:
    if rows:
        yield rows


async def _file(form: str, scope: Scope, batches: AsyncIterator[list[Any]]) -> Reply:
    """A file in pieces. The first is read before the head is sent: while the books are away, that
    is still an error with a status."""
    maker = FORMATS[form]()
    pieces = write(maker, scope, batches)
    first = await anext(pieces)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    name = f"ledger-{scope.wallet}.{maker.suffix}"
    disposition = (b"content-disposition", f'attachment; filename="{name}"'.encode())
    return Reply(all_pieces(), 200, maker.media_type.encode(), [disposition])


async def generation(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/generation?id=`: a request as OpenRouter tells it."""
    request_id = asking.text(ask, "id")
    if not request_id:
        raise bad("id", "is needed: the x-request-id of an answer")
    found = await statements.request(stores, await _scope(stores, ask), request_id)
    if not isinstance(found, Explained):
        raise NotFound(f"This key has no ended request {request_id[:80]!r}.", param="id")
    if found.detail_deleted:
        raise NotFound(f"The detail of {request_id[:80]!r} was deleted by its age.", param="id")
    tokens = {line.name.rpartition("/")[2]: 0 for line in found.lines}
    for line in found.lines:
        tokens[line.name.rpartition("/")[2]] += line.tokens
    completion = tokens.get("output", 0)
    cached = tokens.get("cache_read", 0)
    prompt = sum(tokens.values()) - completion - tokens.get("searches", 0)
    return asking.reply(
        {
            "data": {
                "id": found.request_id,
                "upstream_id": found.upstream_request_id or None,
                "model": found.slug,
                "created_at": clock.iso_utc(found.ended_at),
                "total_cost": number(found.charge_nanos),
                "usage": number(found.charge_nanos),
                "cancelled": found.outcome.startswith("client_cancelled"),
                "latency": found.first_byte_ms,
                "generation_time": max(0, found.total_ms - found.first_byte_ms),
                "tokens_prompt": prompt,
                "tokens_completion": completion,
                "native_tokens_prompt": prompt,
                "native_tokens_completion": completion,
                "native_tokens_reasoning": found.reasoning_tokens,
                "native_tokens_cached": cached,
                "num_search_results": None,
                "finish_reason": None,
            }
        }
    )


async def billing_usage(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/dashboard/billing/usage`: by day, the sum in cents; the last thirty days and today
    where no dates are given."""
    today = datetime.combine(clock.utc_now().date(), datetime.min.time(), UTC)
    since = asking.instant(ask, "start_date") or today - timedelta(days=_DAYS_DEFAULT)
    until = asking.instant(ask, "end_date") or today + timedelta(days=1)
    found = await statements.usage(
        stores,
        await _scope(stores, ask),
        Filter(since=_utc(since), until=_utc(until)),
        bucket="1d",
        by_model=True,
    )
    days: dict[datetime, list[dict[str, Any]]] = {}
    for row in found.rows:
        if row.start is not None:
            line = {"name": row.slug, "cost": _cents(row.totals.charge_nanos)}
            days.setdefault(row.start, []).append(line)
    return asking.reply(
        {
            "object": "list",
            "daily_costs": [
                {"timestamp": int(day.timestamp()), "line_items": items}
                for day, items in days.items()
            ],
            "total_usage": _cents(found.totals.charge_nanos),
        }
    )


def _utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _cents(nanos: int) -> Any:
    """An amount in cents as a JSON number, exact."""
    return number(nanos * 100)
