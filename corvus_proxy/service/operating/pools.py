"""Credentials as the operator sees them: what the configuration, the desk, the gateways and the
books say of each."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from prometheus_client.multiprocess import MultiProcessCollector

from corvus_proxy import clock
from corvus_proxy.books import costs
from corvus_proxy.books.operating import figures
from corvus_proxy.service.operating import stopping
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.upstream.check import CheckResult, check_credentials

GAUGE = "corvus_credentials"


class PoolRow(NamedTuple):
    """One credential. Amounts in nanos."""

    family: str
    credential: str
    weight: int
    cost_factor: str
    desk: str
    """What the operator has said by command: `disabled`, `draining`, or nothing."""
    reason: str
    """Why."""
    states: dict[str, int]
    """Gateway processes of this machine by the state that the credential has there; empty where
    this machine has none, or does not keep their metrics."""
    cost_today_nanos: int
    cost_month_nanos: int
    budget_day_nanos: int | None
    budget_month_nanos: int | None
    runway_h: int | None
    """Whole hours until a budget is spent at the pace of yesterday and today; None: it lasts
    beyond its period, or there is no budget or no pace."""

    @property
    def name(self) -> str:
        """`family/credential`."""
        return f"{self.family}/{self.credential}"

    @property
    def state(self) -> str:
        """In a word or two, for people."""
        if self.desk == "disabled":
            return "disabled"
        found = [f"{state} {count}" for state, count in sorted(self.states.items())]
        if len(found) == 1:
            return next(iter(self.states))
        return ", ".join(found) or self.desk or "not known here"


async def listing(stores: Stores, settings: Settings) -> list[PoolRow]:
    """Every credential of the configuration. Raises BooksUnavailable."""
    now = clock.utc_now()
    yesterday = (now - timedelta(days=1)).date()
    async with stores.books.connection() as connection:
        spent = await costs.totals(connection, now.date())
        recent = await figures.costs_since(connection, yesterday)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    hours = max(1, int((now - midnight).total_seconds()) // 3600 + 24)
    off = {(row.kind, row.subject): row.reason for row in await stopping.every(stores)}
    states = _states(settings.metrics.dir)
    rows = []
    for upstream, one in _credentials(settings):
        name = f"{upstream.family}/{one.name}"
        disabled = off.get((stopping.CREDENTIAL, name))
        draining = off.get((stopping.DRAINING, name))
        cost = spent.get(one.name, costs.Spent(0, 0))
        budgets = one.budgets_nanos()
        left = {
            "day": (budgets.get("day"), cost.day_nanos),
            "month": (budgets.get("month"), cost.month_nanos),
        }
        rows.append(
            PoolRow(
                upstream.family,
                one.name,
                one.weight,
                str(one.cost_factor),
                "disabled" if disabled is not None else "draining" if draining is not None else "",
                disabled or draining or "",
                states.get((upstream.family, one.name), {}),
                cost.day_nanos,
                cost.month_nanos,
                budgets.get("day"),
                budgets.get("month"),
                _runway_h(left, recent.get(one.name, 0), hours, _hours_left(midnight, now)),
            )
        )
    return rows


async def ask(settings: Settings, name: str = "") -> list[CheckResult]:
    """Asks upstreams whether they accept a credential, or each; costs nothing. Raises LookupError,
    ValueError for a name that is none or several."""
    wanted = stopping.credential(settings, name) if name else ""
    chosen = [
        Upstream(
            upstream.family, upstream.base_url, upstream.messages_base_url, upstream.client,
            upstream.allow_private, [one],
        )
        for upstream, one in _credentials(settings)
        if wanted in ("", f"{upstream.family}/{one.name}")
    ]  # fmt: skip
    return await check_credentials(chosen)


def _credentials(settings: Settings) -> list[tuple[Upstream, Credential]]:
    return [(upstream, one) for upstream in settings.upstream for one in upstream.credential]


def _runway_h(
    left: dict[str, tuple[int | None, int]],
    recent_nanos: int,
    hours: int,
    period_h: dict[str, int],
) -> int | None:
    """`left`: budget and cost by period; `period_h`: hours that each has still to go."""
    found = []
    for period, (budget, cost) in left.items():
        if budget is None:
            continue
        if cost >= budget:
            found.append(0)
        elif recent_nanos:
            lasts_h = (budget - cost) * hours // recent_nanos
            if lasts_h < period_h[period]:
                found.append(lasts_h)
    return min(found, default=None)


def _hours_left(midnight: datetime, now: datetime) -> dict[str, int]:
    tomorrow = midnight + timedelta(days=1)
    month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return {
        "day": int((tomorrow - now).total_seconds()) // 3600 + 1,
        "month": int((month - now).total_seconds()) // 3600 + 1,
    }


def _states(folder: str) -> dict[tuple[str, str], dict[str, int]]:
    """What the living gateway processes of this machine say in their metrics."""
    if not folder:
        return {}
    files = [
        str(path)
        for path in Path(folder).glob("gauge_livesum_*.db")
        if Path(f"/proc/{path.stem.rpartition('_')[2]}").exists()
    ]
    found: dict[tuple[str, str], dict[str, int]] = {}
    for metric in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call]
        for sample in metric.samples if metric.name == GAUGE else ():
            if sample.value:
                labels = sample.labels
                states = found.setdefault((labels["family"], labels["credential"]), {})
                states[labels["state"]] = int(sample.value)
    return found
