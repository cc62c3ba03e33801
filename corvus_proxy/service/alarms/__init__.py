"""Alarms: a wallet's owner is told when money goes faster, or further, than they want.

Rule 1: an alarm fires once per crossing, in the transaction that queues its mail and notice, and is
armed again when the figure has come back.
Rule 2: alarms tell; they stop nothing. Caps of sub-keys stop.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from corvus_proxy import clock, sealing
from corvus_proxy.books import people
from corvus_proxy.books.people import alarms as rows
from corvus_proxy.books.people.alarms import AlarmRow
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.amount import WALLET_NANOS_MAX, format_usd
from corvus_proxy.service.alarms import hooks
from corvus_proxy.service.stores import Stores

__all__ = ["KINDS", "Alarm", "BadAlarm", "Wanted", "add", "change", "list_of", "put", "remove",
           "secret_of", "test", "view"]  # fmt: skip

KINDS = ("balance", "hour", "day", "spike")
ALARMS_MAX = 20
PERCENT_MIN, PERCENT_MAX = 150, 100_000
PURPOSE = hooks.PURPOSE


class BadAlarm(CorvusError):
    """An alarm that cannot be; `field` is `kind`, `threshold`, `to` or `webhook_url`."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class Wanted(NamedTuple):
    """An alarm as its owner wants it."""

    kind: str
    """`balance` (falls below), `hour` or `day` (spent within one: more than), `spike` (spent within
    an hour: more than so many percent of the usual hour)."""
    threshold: int
    """Nanos; percent for a spike."""
    email: bool
    webhook_url: str


class Alarm(NamedTuple):
    """An alarm as it stands."""

    alarm_id: str
    kind: str
    threshold: int
    email: bool
    webhook_url: str
    fired: bool
    """It has fired, and fires again only after the figure came back."""
    notice: str
    """`queued`, `sent`, `failed` or empty: of its latest notice."""
    problem: str
    """Of that notice."""


async def list_of(stores: Stores, wallet: str) -> list[Alarm]:
    """A wallet's alarms. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        found = await rows.alarms(connection, wallet)
        notices = await rows.last_notices(connection, wallet)
    return [
        Alarm(
            one.alarm_id,
            one.kind,
            one.threshold,
            one.email,
            one.webhook_url,
            one.fired,
            *notices.get(one.alarm_id, ("", "")),
        )
        for one in found
    ]


async def add(stores: Stores, wallet: str, wanted: Wanted, *, private: bool) -> Alarm:
    """One more alarm, as it stands; of the same kind and threshold it takes the place of the old
    one. `private` allows webhooks to addresses that are not public. Raises BadAlarm,
    BooksUnavailable."""
    check(wanted, private=private)
    async with stores.books.transaction() as connection:
        await _lock(connection, wallet)
        present = await rows.alarms(connection, wallet)
        if len(present) >= ALARMS_MAX and not any(_alike(one, wanted) for one in present):
            raise BadAlarm("kind", f"A wallet has at most {ALARMS_MAX} alarms.")
        await _reachable(connection, wallet, wanted)
        await _insert(connection, stores, wallet, wanted)
    return next(one for one in await list_of(stores, wallet) if _alike(one, wanted))


async def change(
    stores: Stores, wallet: str, alarm_id: str, changes: Mapping[str, Any], *, private: bool
) -> Alarm | None:
    """An alarm with other fields of `Wanted`, as it stands then; None where there is none. With
    another kind or threshold it is armed anew. Raises BadAlarm, BooksUnavailable."""
    async with stores.books.transaction() as connection:
        await _lock(connection, wallet)
        present = await rows.alarms(connection, wallet)
        old = next((one for one in present if one.alarm_id == alarm_id), None)
        if old is None:
            return None
        wanted = Wanted(old.kind, old.threshold, old.email, old.webhook_url)._replace(**changes)
        check(wanted, private=private)
        if any(_alike(one, wanted) for one in present if one is not old):
            raise BadAlarm("threshold", "There is an alarm of this kind and threshold already.")
        if not old.email:
            await _reachable(connection, wallet, wanted)
        row = await _row(connection, stores, wallet, wanted)
        fired = old.fired and _alike(old, wanted)
        await rows.update(connection, row._replace(alarm_id=alarm_id, fired=fired))
    return next((one for one in await list_of(stores, wallet) if one.alarm_id == alarm_id), None)


async def put(
    stores: Stores, wallet: str, wanted: Sequence[Wanted], *, private: bool
) -> list[Alarm]:
    """These alarms in place of all that the wallet had. Raises BadAlarm, BooksUnavailable."""
    if len(wanted) > ALARMS_MAX:
        raise BadAlarm("kind", f"A wallet has at most {ALARMS_MAX} alarms.")
    for one in wanted:
        check(one, private=private)
    async with stores.books.transaction() as connection:
        await _lock(connection, wallet)
        for one in wanted:
            await _reachable(connection, wallet, one)
        secret = await _secret(connection, stores, wallet)
        await rows.remove_all(connection, wallet)
        for one in wanted:
            await _insert(connection, stores, wallet, one, secret=secret)
    return await list_of(stores, wallet)


async def remove(stores: Stores, wallet: str, alarm_id: str) -> bool:
    """Takes an alarm away; whether there was one. Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await rows.remove(connection, wallet, alarm_id)


async def secret_of(stores: Stores, wallet: str) -> str:
    """What the wallet's notices are signed with; empty where it has no webhook.

    Raises BooksUnavailable."""
    async with stores.books.connection() as connection:
        return await _secret(connection, stores, wallet)


async def test(stores: Stores, wallet: str, alarm_id: str) -> bool:
    """Queues a notice to an alarm's webhook that says that it is a test; whether there is such an
    alarm. Raises BooksUnavailable."""
    async with stores.books.transaction() as connection:
        for one in await rows.alarms(connection, wallet):
            if one.alarm_id == alarm_id and one.webhook_url:
                body = view(one, key_id="", value=0, test=True)
                await rows.insert_notice(connection, new_id("no"), one, json.dumps(body))
                return True
    return False


def check(wanted: Wanted, *, private: bool) -> None:
    """Raises BadAlarm for an alarm that makes no sense or leads nowhere."""
    if wanted.kind not in KINDS:
        raise BadAlarm("kind", f"The kind is one of {', '.join(KINDS)}.")
    if wanted.kind == "spike" and not PERCENT_MIN <= wanted.threshold <= PERCENT_MAX:
        raise BadAlarm("threshold", f"A spike is {PERCENT_MIN} to {PERCENT_MAX} percent.")
    if wanted.kind != "spike" and not 0 < wanted.threshold <= WALLET_NANOS_MAX:
        raise BadAlarm("threshold", "The amount has to be above zero, at most 1,000,000 USD.")
    if not wanted.email and not wanted.webhook_url:
        raise BadAlarm("to", "Choose mail, a webhook, or both.")
    if wanted.webhook_url:
        problem = hooks.address_problem(wanted.webhook_url, private=private)
        if problem:
            raise BadAlarm("webhook_url", problem)


def view(alarm: AlarmRow, *, key_id: str, value: int, test: bool = False) -> dict[str, Any]:
    """A notice's body. `value`: nanos."""
    spike = alarm.kind == "spike"
    limit: dict[str, Any] = {"threshold_percent": alarm.threshold} if spike else {
        "threshold": format_usd(alarm.threshold), "threshold_nanos": alarm.threshold,
    }  # fmt: skip
    return {
        "event": "alarm.test" if test else "alarm.fired",
        "alarm_id": alarm.alarm_id,
        "kind": alarm.kind,
        "key_id": key_id,
        **limit,
        "value": format_usd(value),
        "value_nanos": value,
        "at": clock.utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def new_id(prefix: str) -> str:
    """A new id of an alarm or notice."""
    return f"{prefix}_{clock.random_text(16)}"


def host_of(url: str) -> str:
    """The part of a webhook's address that may be shown and logged."""
    return urlsplit(url).hostname or ""


async def _lock(connection: Any, wallet: str) -> None:
    await connection.execute("select 1 from wallet where wallet = $1 for update", wallet)


async def _secret(connection: Any, stores: Stores, wallet: str) -> str:
    for one in await rows.alarms(connection, wallet):
        if one.webhook_secret_sealed:
            return sealing.unseal(stores.pepper, PURPOSE, one.webhook_secret_sealed)
    return ""


async def _reachable(connection: Any, wallet: str, wanted: Wanted) -> None:
    """Raises BadAlarm for a mail to a wallet that has no address."""
    if wanted.email and not await people.email(connection, wallet):
        raise BadAlarm("to", "No mail address belongs to this wallet; set one under Security.")


def _alike(one: Alarm | AlarmRow, wanted: Wanted) -> bool:
    return (one.kind, one.threshold) == (wanted.kind, wanted.threshold)


async def _insert(
    connection: Any, stores: Stores, wallet: str, wanted: Wanted, *, secret: str = ""
) -> None:
    await rows.insert(connection, await _row(connection, stores, wallet, wanted, secret=secret))


async def _row(
    connection: Any, stores: Stores, wallet: str, wanted: Wanted, *, secret: str = ""
) -> AlarmRow:
    """A new row; its webhook's notices are signed as the wallet's others are."""
    sealed = ""
    if wanted.webhook_url:
        secret = secret or await _secret(connection, stores, wallet)
        secret = secret or f"whsec_{clock.random_text(32)}"
        sealed = sealing.seal(stores.pepper, PURPOSE, secret)
    return AlarmRow(new_id("al"), wallet, *wanted, sealed, False)
