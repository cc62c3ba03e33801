"""Alarms of wallets, and the signed notices that they send."""

from typing import Any, NamedTuple

DEFAULT_SPIKE_PERCENT = 1000
"""Ten times the usual: on by itself for a new wallet that has a mail address."""


class AlarmRow(NamedTuple):
    """One alarm."""

    alarm_id: str
    wallet: str
    kind: str
    threshold: int
    email: bool
    webhook_url: str
    webhook_secret_sealed: str
    fired: bool


class Watched(NamedTuple):
    """An alarm with what the books know of its wallet."""

    alarm: AlarmRow
    address: str
    key_id: str
    """The main key."""
    hour_nanos: int
    day_nanos: int
    """Spent in the last 24 hours; told for alarms of that kind alone."""


class Usual(NamedTuple):
    """What a wallet spent in the week before the last hour."""

    spent_nanos: int
    hours: int
    """Since its first request of that week."""


class NoticeRow(NamedTuple):
    """A notice that is to be sent."""

    notice_id: str
    url: str
    body: str
    secret_sealed: str
    attempts: int


_ALARM = (
    "a.alarm_id, a.wallet, a.kind, a.threshold, a.email, a.webhook_url, a.webhook_secret_sealed,"
    " a.fired_at is not null"
)
ALARMS = f"select {_ALARM} from alarm a where a.wallet = $1 order by a.created_at, a.alarm_id"  # noqa: S608
WATCHED = f"""
select {_ALARM}, w.email,
       coalesce((select k.key_id from key k where k.wallet = a.wallet and k.main
                 order by k.created_at limit 1), ''),
       case when a.kind in ('hour', 'spike') then (
           select coalesce(sum(r.charge_nanos), 0) from request r
           where r.wallet = a.wallet and r.ended_at > now() - interval '1 hour')::bigint else 0 end,
       case when a.kind = 'day' then (
           select coalesce(sum(r.charge_nanos), 0) from request r
           where r.wallet = a.wallet and r.ended_at > now() - interval '24 hours')::bigint
           else 0 end
from alarm a join wallet w using (wallet) where a.alarm_id > $1 order by a.alarm_id limit $2
"""  # noqa: S608 — joined from constants of this module
USUAL = """
select coalesce(sum(charge_nanos), 0)::bigint,
       coalesce(floor(extract(epoch from now() - interval '1 hour' - min(ended_at)) / 3600), 0)::int
from request where wallet = $1 and ended_at > now() - interval '7 days'
    and ended_at <= now() - interval '1 hour'
"""
DUE = """
with due as materialized (
    select notice_id from notice where state = 'queued' and next_at <= now()
    order by next_at limit $1 for update skip locked)
update notice n set attempts = attempts + 1, next_at = now() + $2 * interval '1 second'
from due where n.notice_id = due.notice_id
returning n.notice_id, n.url, n.body::text,
    coalesce((select a.webhook_secret_sealed from alarm a where a.alarm_id = n.alarm_id), ''),
    n.attempts
"""


async def alarms(connection: Any, wallet: str) -> list[AlarmRow]:
    """A wallet's alarms in the order in which they were made."""
    return [AlarmRow(*row) for row in await connection.fetch(ALARMS, wallet)]


async def insert(connection: Any, row: AlarmRow) -> None:
    """A new alarm; one of the same kind and threshold is replaced."""
    await connection.execute(
        "insert into alarm (alarm_id, wallet, kind, threshold, email, webhook_url,"
        " webhook_secret_sealed, created_at) values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())"
        " on conflict (wallet, kind, threshold) do update set email = excluded.email,"
        " webhook_url = excluded.webhook_url,"
        " webhook_secret_sealed = excluded.webhook_secret_sealed",
        *row[:7],
    )


async def update(connection: Any, row: AlarmRow) -> None:
    """An alarm with other contents; one that is not `fired` is armed."""
    await connection.execute(
        "update alarm set kind = $3, threshold = $4, email = $5, webhook_url = $6,"
        " webhook_secret_sealed = $7, fired_at = case when $8 then fired_at end"
        " where alarm_id = $1 and wallet = $2",
        *row,
    )


async def insert_default(connection: Any, wallet: str, alarm_id: str) -> None:
    """The alarm that a new wallet with a mail address begins with."""
    kind, percent = "spike", DEFAULT_SPIKE_PERCENT
    await insert(connection, AlarmRow(alarm_id, wallet, kind, percent, True, "", "", False))


async def remove(connection: Any, wallet: str, alarm_id: str) -> bool:
    """Takes an alarm away; whether there was one."""
    done = await connection.execute(
        "delete from alarm where wallet = $1 and alarm_id = $2", wallet, alarm_id
    )
    return bool(done == "DELETE 1")


async def remove_all(connection: Any, wallet: str) -> None:
    await connection.execute("delete from alarm where wallet = $1", wallet)


async def remove_webhooks(connection: Any, wallet: str) -> None:
    """No alarm of a wallet calls an address any more, queued notices included: those that also send
    mail stay without it, the others go."""
    await connection.execute("delete from alarm where wallet = $1 and not email", wallet)
    await connection.execute(
        "update alarm set webhook_url = '', webhook_secret_sealed = '' where wallet = $1", wallet
    )
    await connection.execute(
        "update notice set state = 'failed', problem = 'the wallet was recovered', ended_at = now()"
        " where wallet = $1 and state = 'queued'",
        wallet,
    )


async def watched(connection: Any, *, after: str, limit: int) -> list[Watched]:
    """Alarms in the order of their ids, from the one behind `after` on."""
    rows = await connection.fetch(WATCHED, after, limit)
    return [Watched(AlarmRow(*row[:8]), row[8], row[9], row[10], row[11]) for row in rows]


async def usual(connection: Any, wallet: str) -> Usual:
    """What the last hour is compared with."""
    return Usual(*await connection.fetchrow(USUAL, wallet))


async def mark(connection: Any, alarm_id: str, *, fired: bool) -> bool:
    """Marks that an alarm has fired, or may fire again; whether that was news: of two workers one
    learns True."""
    done = await connection.execute(
        "update alarm set fired_at = case when $2 then now() end"
        " where alarm_id = $1 and (fired_at is not null) <> $2",
        alarm_id,
        fired,
    )
    return bool(done == "UPDATE 1")


async def insert_notice(connection: Any, notice_id: str, alarm: AlarmRow, body: str) -> None:
    """A notice to an alarm's address."""
    await connection.execute(
        "insert into notice (notice_id, alarm_id, wallet, url, body) values ($1, $2, $3, $4, $5)",
        notice_id,
        alarm.alarm_id,
        alarm.wallet,
        alarm.webhook_url,
        body,
    )


async def due(connection: Any, *, limit: int, lease_s: int) -> list[NoticeRow]:
    """Notices whose time has come; they are the caller's for `lease_s`."""
    return [NoticeRow(*row) for row in await connection.fetch(DUE, limit, lease_s)]


async def end(connection: Any, notice_id: str, *, state: str, problem: str = "") -> None:
    """A notice is `sent` or `failed`."""
    await connection.execute(
        "update notice set state = $2, problem = $3, ended_at = now() where notice_id = $1",
        notice_id,
        state,
        problem,
    )


async def postpone(connection: Any, notice_id: str, *, pause_s: int, problem: str) -> None:
    """A notice is tried again."""
    await connection.execute(
        "update notice set next_at = now() + $2 * interval '1 second', problem = $3"
        " where notice_id = $1",
        notice_id,
        pause_s,
        problem,
    )


async def last_notices(connection: Any, wallet: str) -> dict[str, tuple[str, str]]:
    """State and problem of the latest notice of each alarm."""
    rows = await connection.fetch(
        "select distinct on (alarm_id) alarm_id, state, problem from notice where wallet = $1"
        " order by alarm_id, created_at desc",
        wallet,
    )
    return {row[0]: (row[1], row[2]) for row in rows}
