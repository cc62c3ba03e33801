"""The table of mails: what waits, what became of it.

Rule 1: who takes a mail borrows it for a while; one that died with it comes back by itself. So a
mail may go out twice, and is never lost.
Rule 2: what a mail says is destroyed with its end: it holds links.
"""

from datetime import datetime
from typing import Any, NamedTuple


class Waiting(NamedTuple):
    """A mail that is due."""

    mail_id: str
    kind: str
    address: str
    view_sealed: str
    attempts: int
    """This one included."""
    age_s: int


class MailRow(NamedTuple):
    """A mail without what it says."""

    mail_id: str
    kind: str
    order_id: str
    address: str
    state: str
    attempts: int
    problem: str
    created_at: datetime
    ended_at: datetime | None


INSERT = """
insert into mail (mail_id, kind, order_id, wallet, address, view_sealed)
values ($1, $2, $3, $4, $5, $6)
"""
TAKE = """
update mail set next_at = now() + make_interval(secs => $1), attempts = attempts + 1
where mail_id = (
    select mail_id from mail due where state in ('queued', 'deferred') and next_at <= now()
    and (
        select count(*) from mail sent where sent.address = due.address and sent.state = 'accepted'
        and sent.ended_at > now() - interval '1 hour'
    ) < $2
    order by next_at limit 1 for update skip locked
)
returning mail_id, kind, address, view_sealed, attempts,
    extract(epoch from now() - created_at)::bigint
"""


async def insert(connection: Any, mail_id: str, *row: str) -> None:
    """A mail that waits: kind, order id, wallet, address, sealed view."""
    await connection.execute(INSERT, mail_id, *row)


async def lock_address(connection: Any, address: str) -> None:
    """Whoever else counts this address's mails waits until the transaction ends."""
    await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _COUNTING, address)


async def recent(connection: Any, address: str, kinds: tuple[str, ...], *, within_s: int) -> int:
    """How many mails of those kinds an address was meant to get within so many seconds."""
    return int(
        await connection.fetchval(
            "select count(*) from mail where address = $1 and kind = any($2)"
            " and created_at > now() - make_interval(secs => $3)",
            address,
            list(kinds),
            within_s,
        )
    )


async def take(connection: Any, *, lease_s: int, hourly_max: int) -> Waiting | None:
    """Borrows the mail that has waited longest, for an address that has not got too many."""
    row = await connection.fetchrow(TAKE, lease_s, hourly_max)
    return None if row is None else Waiting(*row)


async def latest(connection: Any, states: list[str], *, limit: int) -> list[MailRow]:
    """The newest mails in some states."""
    columns = ", ".join(MailRow._fields)
    rows = await connection.fetch(
        f"select {columns} from mail where state = any($1)"  # noqa: S608 - names of ours
        " order by created_at desc, mail_id limit $2",
        states,
        limit,
    )
    return [MailRow(*row) for row in rows]


async def now(connection: Any, mail_id: str) -> bool:
    """Lets a mail that waits go at once; False: it does not wait."""
    done = await connection.execute(
        "update mail set next_at = now() where mail_id = $1 and state in ('queued', 'deferred')",
        mail_id,
    )
    return bool(done == "UPDATE 1")


async def defer(connection: Any, mail_id: str, *, pause_s: int, problem: str, count: bool) -> None:
    """Later again; `count` tells whether the try was one."""
    await connection.execute(
        "update mail set state = 'deferred', next_at = now() + make_interval(secs => $2),"
        " problem = $3, attempts = attempts - $4 where mail_id = $1"
        " and state in ('queued', 'deferred')",
        mail_id,
        pause_s,
        problem,
        0 if count else 1,
    )


async def end(
    connection: Any, mail_id: str, state: str, *, problem: str = "", message_id: str = ""
) -> None:
    """`accepted` or `bounced`, for good."""
    await connection.execute(
        "update mail set state = $2, problem = $3, message_id = $4, view_sealed = '',"
        " ended_at = now() where mail_id = $1 and state in ('queued', 'deferred')",
        mail_id,
        state,
        problem,
        message_id,
    )


async def switch_off(connection: Any) -> int:
    """All that waits ends as `off`: there is no mail server. How many it were."""
    rows = await connection.fetch(
        "update mail set state = 'off', view_sealed = '', ended_at = now()"
        " where state in ('queued', 'deferred') returning mail_id"
    )
    return len(rows)


_COUNTING = 0x6D61696C
"""First half of the advisory locks of those who count an address's mails."""
