"""`corvus today`: the operator's day on one screen."""

from typing import Any

from corvus_proxy.ops.commands.common import Common, document_of, on_stores, say, settings_of


def today(*, common: Common | None = None) -> None:
    """Money in and out, liabilities, queues, drift, prices, models, credentials, incidents."""
    from corvus_proxy.service.operating import today as service

    common = common or Common()
    settings = settings_of(common)
    found = on_stores(common, lambda stores: service.read(stores, settings))
    document = document_of(found) | {"problems": found.problems}
    say(common, document, "\n".join(_lines(found)))


def _lines(found: Any) -> list[str]:
    from corvus_proxy.money.amount import format_usd

    day, before = found.today, found.yesterday
    margin = _margin(day.charged_nanos, found.cost_nanos)
    lines = [
        f"{found.at:%Y-%m-%d %H:%M} UTC, counted until {_clock(found.counted)}",
        "",
        f"in            {_usd(day.bought_nanos)}  yesterday {_usd(before.bought_nanos)}",
        f"charges       {_usd(day.charged_nanos)}  yesterday {_usd(before.charged_nanos)}"
        f"  {day.requests} requests, {day.free_requests} of them free",
        f"upstream      {_usd(found.cost_nanos)}  {margin}",
        f"granted       {_usd(day.granted_nanos)}",
        f"sent back     {_usd(day.refunded_nanos)}  and {format_usd(day.reversed_nanos)} USD"
        " taken back by payers",
        f"liabilities   {_usd(found.owed.balance_nanos)}  on {found.owed.wallets} wallets;"
        f" {format_usd(found.owed.receivable_nanos)} USD owed to us",
        f"not credited  {_usd(found.uncredited.nanos)}  {found.uncredited.payments} payments,"
        f" {found.uncredited.waiting} waiting, {found.uncredited.refused} refused",
        f"drift         {_drift(found.check)}",
        f"prices        {_prices(found.prices)}",
        f"mail          {found.queues.mails_waiting} waiting, {found.queues.mails_bounced} bounced"
        " within a day",
        f"refunds       {found.queues.refunds_waiting} wait for an operator,"
        f" {found.queues.refunds_open} on their way",
        f"incidents     {_incidents(found.incidents)}",
        "",
        *_models(found.models),
        "",
        *_pools(found.pools),
        "",
    ]
    if not found.problems:
        return [*lines, "Nothing waits for you."]
    return [*lines, *(f"! {problem}" for problem in found.problems)]


def _clock(counted: Any) -> str:
    return "no time yet" if counted is None else f"{counted:%H:%M:%S}"


def _usd(nanos: int) -> str:
    from corvus_proxy.money.amount import format_usd

    return f"{format_usd(nanos)} USD".ljust(22)


def _margin(charged: int, cost: int) -> str:
    if not charged:
        return ""
    return f"margin {(charged - cost) * 1000 // charged / 10} % of charges"


def _drift(check: Any) -> str:
    if check is None:
        return "not checked yet: `corvus ledger verify`"
    word = "none" if check.ok else f"{check.drift_nanos} nanos, {check.problems} findings"
    return f"{word}, of {check.wallets} wallets at {check.at:%Y-%m-%d %H:%M} UTC"


def _prices(prices: Any) -> str:
    differ = (
        "not compared (no genai-prices here)"
        if prices.differences is None
        else f"{prices.differences} differ from the vendors'"
    )
    return f"{differ}; announced: {', '.join(prices.coming) or 'none'}"


def _incidents(found: Any) -> str:
    if found is None:
        return "not known here (status.dir)"
    return "; ".join(f"{one.id} since {one.started_at}" for one in found) or "none open"


def _models(found: Any) -> list[str]:
    from corvus_proxy.money.amount import format_usd

    if found is None:
        return ["models        more requests than can be summed at once"]
    return [
        f"{'models' if not at else '':14}{one.slug:24}{format_usd(one.charge_nanos):>14} USD"
        f"{one.requests:>9} requests"
        for at, one in enumerate(found)
    ] or ["models        none used today"]


def _pools(found: Any) -> list[str]:
    from corvus_proxy.money.amount import format_usd

    return [
        f"{'credentials' if not at else '':14}{one.name:24}"
        f"{format_usd(one.cost_today_nanos):>14} USD  {one.state}"
        + ("" if one.runway_h is None else f"  budget lasts {one.runway_h} h")
        for at, one in enumerate(found)
    ] or ["credentials   none"]
