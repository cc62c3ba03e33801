"""Looks at every alarm's figure and fires those that were crossed.

The balance is Redis's; what was spent is the books', which are a moment behind.
"""

import json
from typing import Any, NamedTuple

from corvus_proxy.books.people import alarms as rows
from corvus_proxy.books.people.alarms import Watched
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.service import alarms
from corvus_proxy.service.stores import Stores
from corvus_proxy.shop import mail

BATCH = 500
USUAL_HOURS_MIN = 24
"""After less than a day nobody can tell what is usual."""
SPIKE_NANOS_MIN = NANOS_PER_USD // 10
"""An hour that costs less is no spike, however little is usual."""
BACK_PERCENT = 80
"""A spending alarm is armed again below so much of its threshold: at the threshold itself it would
fire with every other request."""


class Figure(NamedTuple):
    """What an alarm looks at, and how it stands to its threshold. Amounts in nanos."""

    value_nanos: int
    crossed: bool
    back: bool
    usual_nanos: int = 0


async def tick(stores: Stores, *, site_url: str) -> int:
    """Judges all alarms once; how many have fired. Raises TillUnavailable, BooksUnavailable."""
    fired, after = 0, ""
    while True:
        async with stores.books.connection() as connection:
            found = await rows.watched(connection, after=after, limit=BATCH)
        if not found:
            return fired
        after = found[-1].alarm.alarm_id
        wallets = sorted({one.alarm.wallet for one in found if one.alarm.kind == "balance"})
        states = dict(zip(wallets, await stores.till.wallets(wallets), strict=True))
        for one in found:
            state = states.get(one.alarm.wallet)
            figure = await _figure(stores, one, None if state is None else state.balance_nanos)
            if figure is None:
                continue
            if figure.crossed and not one.alarm.fired:
                fired += await _fire(stores, one, figure, site_url)
            elif figure.back and one.alarm.fired:
                async with stores.books.connection() as connection:
                    await rows.mark(connection, one.alarm.alarm_id, fired=False)


async def _figure(stores: Stores, one: Watched, balance_nanos: int | None) -> Figure | None:
    """None where it cannot be told."""
    threshold = one.alarm.threshold
    match one.alarm.kind:
        case "balance":
            if balance_nanos is None:
                return None
            below = balance_nanos < threshold
            return Figure(balance_nanos, below, not below)
        case "hour":
            return _spending(one.hour_nanos, threshold)
        case "day":
            return _spending(one.day_nanos, threshold)
        case _:
            return await _spike(stores, one)


async def _spike(stores: Stores, one: Watched) -> Figure | None:
    if one.hour_nanos < SPIKE_NANOS_MIN:
        return Figure(one.hour_nanos, crossed=False, back=True)
    async with stores.books.connection() as connection:
        usual = await rows.usual(connection, one.alarm.wallet)
    if usual.hours < USUAL_HOURS_MIN:
        return None
    an_hour = usual.spent_nanos // usual.hours
    found = _spending(one.hour_nanos, an_hour * one.alarm.threshold // 100)
    return found._replace(usual_nanos=an_hour)


def _spending(spent_nanos: int, threshold_nanos: int) -> Figure:
    back = spent_nanos * 100 <= threshold_nanos * BACK_PERCENT
    return Figure(spent_nanos, spent_nanos > threshold_nanos, back, threshold_nanos)


async def _fire(stores: Stores, one: Watched, figure: Figure, site_url: str) -> bool:
    """Marks, mails and notifies in one transaction; False where another worker was faster."""
    alarm = one.alarm
    async with stores.books.transaction() as connection:
        if not await rows.mark(connection, alarm.alarm_id, fired=True):
            return False
        if alarm.email and one.address:
            await _mail(connection, stores, one, figure, site_url)
        if alarm.webhook_url:
            body = alarms.view(alarm, key_id=one.key_id, value=figure.value_nanos)
            await rows.insert_notice(connection, alarms.new_id("no"), alarm, json.dumps(body))
    return True


async def _mail(
    connection: Any, stores: Stores, one: Watched, figure: Figure, site_url: str
) -> None:
    view: dict[str, object] = {"key_id": one.key_id}
    kind = "low_balance" if one.alarm.kind == "balance" else "spike"
    if kind == "low_balance":
        view |= {
            "available_nanos": figure.value_nanos,
            "threshold_nanos": one.alarm.threshold,
            "top_up_url": f"{site_url}/checkout?key={one.key_id}",
        }
    else:
        view |= {
            "spent_nanos": figure.value_nanos,
            "span": "24 hours" if one.alarm.kind == "day" else "an hour",
            "usual_nanos": figure.usual_nanos,
        }
    await mail.queue(
        connection,
        stores.pepper,
        kind=kind,
        address=one.address,
        view=view,
        wallet=one.alarm.wallet,
    )
