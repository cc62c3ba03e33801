"""Our books against the providers' own reports: asked, compared, kept, told.

Rule 1: nothing here changes a balance or a cost in the books: what differs is told, and a person
        decides.
Rule 2: a day is asked about once it is closed and its provider has had `reconcile.lag_h`; while it
        differs or was not answered, again, for `reconcile.days`.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books import reconciling as kept
from corvus_proxy.books import retention
from corvus_proxy.books.reconciling import Row, Sums
from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.service.reconciling import comparing, telling
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.upstream.reports import Asking, NoReport, Report, ask

__all__ = ["Row", "Told", "days_of", "explain", "run", "status", "tick"]

ASKED_AT_ONCE = 4
SHOWN_DAYS = 30
ALARM_DAYS = 7
"""Days whose alarms stand in the metrics: older ones were decided on."""
_log = structlog.get_logger()


class Told(NamedTuple):
    """One day of one credential, with where its drift sits."""

    row: Row
    sentences: list[str]


class _Asked(NamedTuple):
    upstream: Upstream
    credential: Credential
    secret: str


async def run(
    stores: Stores, settings: Settings, day: date, *, name: str = "", family: str = ""
) -> list[Row]:
    """Asks about one UTC day, of one credential, one family or all that have an admin key, and
    keeps what came of it. Raises ConfigurationError, LookupError, ValueError, BooksUnavailable."""
    if day >= clock.utc_now().date():
        raise ValueError(f"{day} is not over yet (UTC)")
    asked = _asked(settings, name, family)
    async with stores.books.connection() as connection:
        deleted_before = await retention.detail_gone(connection)
    if deleted_before is not None and day < deleted_before.astimezone(UTC).date():
        raise ValueError(
            f"the books have no costs of {day} any more: requests of before"
            f" {deleted_before.date()} have lost their detail (retention.request_days)"
        )
    names = [one.credential.name for one in asked]
    reports = await _ask_all(asked, day, settings)
    async with stores.books.transaction() as connection:
        sums, numbers = await kept.of_day(connection, day, names)
        now = clock.utc_now()
        rows = [
            comparing.row(
                day,
                one.upstream.family,
                sums.get(one.credential.name, Sums(one.credential.name, 0, 0, 0, 0)),
                [found for found in numbers if found.credential == one.credential.name],
                report,
                limits=settings.reconcile,
                asked_at=now,
            )
            for one, report in zip(asked, reports, strict=True)
        ]
        await kept.put(connection, rows)
    return rows


async def status(stores: Stores, *, days: int = SHOWN_DAYS) -> list[Row]:
    """What came of asking, of the last days, the latest first. Raises BooksUnavailable."""
    since = clock.utc_now().date() - timedelta(days=days)
    async with stores.books.connection() as connection:
        return await kept.since(connection, since)


async def explain(
    stores: Stores, settings: Settings, day: date, *, name: str = "", family: str = ""
) -> list[Told]:
    """Where the drift of a day sits, by what was kept of it. Raises LookupError where nothing was;
    ConfigurationError, BooksUnavailable."""
    asked = _asked(settings, name, family)
    by_name = {one.credential.name: one.credential for one in asked}
    async with stores.books.connection() as connection:
        rows = await kept.on(connection, day, list(by_name))
    if not rows:
        raise LookupError(f"{day} was not asked about: corvus reconcile run --day {day}")
    prices = book.load(settings.pricing, day)
    return [
        Told(row, telling.told(row, prices, by_name[row.credential].cost_ppm()))
        for row in rows.values()
    ]


async def tick(stores: Stores, settings: Settings) -> list[Row]:
    """The worker's turn: days that are due. Raises BooksUnavailable."""
    try:
        names = [one.credential.name for one in _asked(settings, "", "")]
    except LookupError:
        return []  # nobody has an admin key
    except ConfigurationError as error:
        _log.error("reconciling_impossible", why=str(error))
        return []
    now = clock.utc_now()
    closed = days_of(now, lag_h=settings.reconcile.lag_h, days=settings.reconcile.days)
    recent = now.date() - timedelta(days=ALARM_DAYS)
    async with stores.books.connection() as connection:
        known = await kept.since(connection, min(recent, closed[0]))
    found = []
    for day in closed:
        due = [name for name in names if _is_due(known, day, name, now, settings)]
        for name in due:
            rows = await run(stores, settings, day, name=name)
            for row in rows:
                _tell(row)
            found += rows
    fresh = {(row.day, row.credential): row for row in [*known, *found]}
    _show([row for row in fresh.values() if row.day >= recent], names)
    return found


def days_of(now: datetime, *, lag_h: int, days: int) -> list[date]:
    """The closed days that are asked about at this moment, the earliest first."""
    last = (now - timedelta(hours=lag_h)).astimezone(UTC).date() - timedelta(days=1)
    return [last - timedelta(days=back) for back in range(max(1, days) - 1, -1, -1)]


def _is_due(known: Sequence[Row], day: date, name: str, now: datetime, settings: Settings) -> bool:
    row = next((one for one in known if (one.day, one.credential) == (day, name)), None)
    if row is None:
        return True
    # What was asked before the lag had passed was not the provider's last word.
    settled = datetime.combine(day, time(), UTC) + timedelta(days=1, hours=settings.reconcile.lag_h)
    if row.state == "agrees" and row.asked_at >= settled:
        return False
    return now - row.asked_at >= timedelta(hours=settings.reconcile.again_h)


def _asked(settings: Settings, name: str, family: str) -> list[_Asked]:
    """The credentials that have an admin key. Raises LookupError where none of those meant has one,
    ConfigurationError where two would be told the same."""
    found = [
        _Asked(upstream, credential, credential.admin_secret())
        for upstream in settings.upstream
        for credential in upstream.credential
        if name in ("", credential.name) and family in ("", upstream.family)
    ]
    found = [one for one in found if one.secret]
    if not found:
        meant = name or family or "any credential"
        raise LookupError(f"no admin key for {meant}: admin_secret_env or admin_secret_file")
    told: dict[tuple[str, str, str], str] = {}
    for one in found:
        account = (one.upstream.family, one.secret, one.credential.report_scope)
        same = told.setdefault(account, one.credential.name)
        if same != one.credential.name:
            raise ConfigurationError(
                f"credentials {same} and {one.credential.name} have one admin key and one"
                " report_scope: give each a project or workspace of its own"
            )
    return found


async def _ask_all(asked: Sequence[_Asked], day: date, settings: Settings) -> list[Report | str]:
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def one_report(one: _Asked) -> Report | str:
        whom = Asking(
            one.upstream.family,
            one.upstream.base_url,
            one.secret,
            one.credential.report_scope,
            one.upstream.client == "httpx",
        )
        async with gate:
            try:
                return await ask(whom, day, timeout_s=settings.reconcile.timeout_s)
            except NoReport as error:
                return str(error)

    return list(await asyncio.gather(*map(one_report, asked)))


def _tell(row: Row) -> None:
    if row.reported_nanos is None:
        _log.warning("not_reconciled", day=str(row.day), credential=row.credential, why=row.problem)
        return
    say = _log.error if row.state == "differs" else _log.info
    say(
        "reconciled",
        day=str(row.day),
        credential=row.credential,
        state=row.state,
        cost_nanos=row.cost_nanos,
        reported_nanos=row.reported_nanos,
    )


def _show(rows: Sequence[Row], names: Sequence[str]) -> None:
    """The metrics: alarms and unanswered days, and each credential's latest day that was."""
    ours = [row for row in rows if row.credential in names]
    metrics.RECONCILE_ALARMS.set(sum(row.state == "differs" for row in ours))
    metrics.RECONCILE_UNANSWERED.set(sum(row.state == "unanswered" for row in ours))
    for row in sorted(ours, key=lambda one: one.day):
        if row.reported_nanos is not None:
            labels = (row.family, row.credential)
            drift = row.reported_nanos - row.cost_nanos
            metrics.RECONCILE_DRIFT.labels(*labels).set(drift)
            metrics.RECONCILE_MARGIN.labels(*labels).set(row.charged_nanos - row.reported_nanos)
