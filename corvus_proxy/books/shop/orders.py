"""Orders: their rows, their history, and who is to be asked about next."""

import json
from datetime import datetime
from typing import Any, NamedTuple


class OrderRow(NamedTuple):
    """An order as the books have it. Amounts in nanos; sealed and digested texts as they are."""

    order_id: str
    token_sealed: str
    browser_digest: str
    provider: str
    provider_ref: str | None
    pay_url: str
    destination: str
    asset: str
    asset_amount: str
    due: str
    status: str
    exception: str
    fulfilment: str
    refund: str
    disputed: bool
    amount_nanos: int
    fee_nanos: int
    tax_nanos: int
    total_nanos: int
    credited_nanos: int
    refunded_nanos: int
    wallet: str | None
    key_id: str | None
    new_key: bool
    by_owner: bool
    email: str
    secret_sealed: str
    recovery_sealed: str
    reason: str
    created_at: datetime
    expires_at: datetime
    watched_until: datetime
    asked: int
    answered: int
    checked_at: datetime | None
    check_problem: str
    next_check_at: datetime | None
    confirmed_at: datetime | None


class NewOrder(NamedTuple):
    """An order that is to be made."""

    order_id: str
    token_digest: str
    token_sealed: str
    browser_digest: str
    form_digest: str | None
    provider: str
    amount_nanos: int
    fee_nanos: int
    tax_nanos: int
    total_nanos: int
    wallet: str | None
    key_id: str | None
    new_key: bool
    by_owner: bool
    email: str
    expires_at: datetime
    watched_until: datetime
    next_check_at: datetime


class Step(NamedTuple):
    """One line of an order's history."""

    step: str
    at: datetime
    details: dict[str, object]


_COLUMNS = ", ".join(OrderRow._fields)
_PLACES = ", ".join(f"${at}" for at in range(1, len(NewOrder._fields) + 1))
SELECT = f"select {_COLUMNS} from shop_order"  # noqa: S608
INSERT = f"""
insert into shop_order ({", ".join(NewOrder._fields)}, status)
values ({_PLACES}, 'awaiting_payment') on conflict (form_digest) do nothing
"""  # noqa: S608
DUE = """
with due as materialized (
    select order_id from shop_order
    where next_check_at <= now() and not provider = any($3)
    order by next_check_at limit $2 for update skip locked)
update shop_order set next_check_at = now() + make_interval(secs => $1)
from due where shop_order.order_id = due.order_id
returning shop_order.order_id, provider
"""
"""Materialized: within a join, a nested loop would take so many anew for each of its rows."""
FIND = """
select order_id from shop_order where provider = $1 and provider_ref = $2
union select order_id from payment where provider = $1 and reference = $2 limit 1
"""


async def insert(connection: Any, new: NewOrder) -> bool:
    """A new order that waits for its payment; False: the same form has made one before."""
    return bool(await connection.execute(INSERT, *new) == "INSERT 0 1")


async def by_id(connection: Any, order_id: str) -> OrderRow | None:
    return _row(await connection.fetchrow(f"{SELECT} where order_id = $1", order_id))


async def by_token(connection: Any, digest: str) -> OrderRow | None:
    found = f"{SELECT} where token_digest = any(string_to_array($1, ','))"
    return _row(await connection.fetchrow(found, digest))


async def by_form(connection: Any, digest: str) -> OrderRow | None:
    return _row(await connection.fetchrow(f"{SELECT} where form_digest = $1", digest))


async def lock(connection: Any, order_id: str) -> OrderRow:
    """An order that nobody else changes until the transaction ends. Raises LookupError."""
    row = _row(
        await connection.fetchrow(f"{SELECT} where order_id = $1 for update", order_id),
    )
    if row is None:
        raise LookupError(f"there is no order {order_id}")
    return row


async def find(connection: Any, provider: str, reference: str) -> str | None:
    """The order to which a payment service's name belongs: of the whole, or of one payment."""
    found = await connection.fetchval(FIND, provider, reference)
    return None if found is None else str(found)


async def latest(
    connection: Any, *, status: str = "", exceptions_only: bool = False, limit: int = 100
) -> list[OrderRow]:
    """The newest orders."""
    rows = await connection.fetch(
        f"""{SELECT} where ($1 = '' or status = $1)
        and (not $2 or exception <> '' or disputed or check_problem <> '' or refund <> '')
        order by created_at desc limit $3""",
        status,
        exceptions_only,
        limit,
    )
    return [OrderRow(*row) for row in rows]


async def of_wallet(connection: Any, wallet: str, *, limit: int = 20) -> list[OrderRow]:
    """A wallet's newest orders."""
    rows = await connection.fetch(
        f"{SELECT} where wallet = $1 order by created_at desc limit $2", wallet, limit
    )
    return [OrderRow(*row) for row in rows]


async def ask(connection: Any, order_id: str) -> int:
    """The number of a question to the payment service that is about to be put."""
    return int(
        await connection.fetchval(
            "update shop_order set asked = asked + 1 where order_id = $1 returning asked", order_id
        )
        or 0
    )


async def due(
    connection: Any, *, limit: int, again_s: float, without: list[str]
) -> list[tuple[str, str]]:
    """Orders (id, provider) that are to be asked about now, the longest due first; nobody else
    gets them for `again_s` seconds. Services in `without` are left alone."""
    rows = await connection.fetch(DUE, again_s, limit, without)
    return [(row["order_id"], row["provider"]) for row in rows]


async def watched(connection: Any, *, limit: int) -> list[OrderRow]:
    """Orders that are still asked about, the oldest first."""
    rows = await connection.fetch(
        f"{SELECT} where next_check_at is not null and provider_ref is not null"
        " order by created_at limit $1",
        limit,
    )
    return [OrderRow(*row) for row in rows]


async def change(connection: Any, order_id: str, **columns: object) -> OrderRow:
    """Sets columns of an order (their names are the callers' own words); the order after it."""
    places = ", ".join(f"{name} = ${at}" for at, name in enumerate(columns, start=2))
    row = await connection.fetchrow(
        f"update shop_order set {places} where order_id = $1 returning {_COLUMNS}",  # noqa: S608
        order_id,
        *columns.values(),
    )
    return OrderRow(*row)


async def add_step(connection: Any, order_id: str, step: str, **details: object) -> None:
    """A line of an order's history."""
    await connection.execute(
        "insert into order_step (order_id, at, step, details)"
        " values ($1, clock_timestamp(), $2, $3::jsonb)",
        order_id,
        step,
        json.dumps(details),
    )


async def steps(connection: Any, order_id: str) -> list[Step]:
    """An order's history, oldest first."""
    rows = await connection.fetch(
        "select step, at, details::text from order_step where order_id = $1 order by at, step",
        order_id,
    )
    return [Step(row["step"], row["at"], json.loads(row["details"])) for row in rows]


async def destroy_seals(connection: Any, *, days: int) -> int:
    """Destroys the copies of keys that nobody claimed in so many days; of how many orders."""
    done = await connection.execute(
        """update shop_order set secret_sealed = '', recovery_sealed = ''
        where secret_sealed <> '' and confirmed_at < now() - make_interval(days => $1)""",
        days,
    )
    return int(done.rpartition(" ")[2])


async def expire_unopened(connection: Any) -> int:
    """Ends orders that never reached their payment service; how many."""
    done = await connection.execute(
        """update shop_order set status = 'expired', next_check_at = null
        where provider_ref is null and status = 'awaiting_payment' and expires_at < now()"""
    )
    return int(done.rpartition(" ")[2])


async def count_by_status(connection: Any) -> dict[tuple[str, str], int]:
    """How many orders are in each state that has some."""
    rows = await connection.fetch(
        "select status, exception, count(*)::bigint from shop_order group by 1, 2"
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def last_mail(connection: Any, order_id: str) -> tuple[str, str, datetime] | None:
    """State, problem and time of the last mail about an order."""
    row = await connection.fetchrow(
        "select state, problem, created_at from mail where order_id = $1"
        " order by created_at desc, mail_id desc limit 1",
        order_id,
    )
    return None if row is None else (row["state"], row["problem"], row["created_at"])


async def mails(connection: Any, order_id: str, *, within_s: int) -> int:
    """How many mails about an order were queued within so many seconds."""
    return int(
        await connection.fetchval(
            "select count(*) from mail where order_id = $1"
            " and created_at > now() - make_interval(secs => $2)",
            order_id,
            within_s,
        )
    )


async def opened(connection: Any, order_id: str, columns: dict[str, object]) -> OrderRow:
    """What the payment service has answered to the first wish; a second answer changes nothing.
    The order as it stands."""
    order = await lock(connection, order_id)
    if order.provider_ref is not None:
        return order
    await add_step(connection, order_id, "opened")
    return await change(connection, order_id, **columns)


async def message(connection: Any, provider: str, event_id: str, kind: str, reference: str) -> bool:
    """Remembers a signed message; False: it has come before."""
    done = await connection.execute(
        "insert into webhook (provider, event_id, kind, reference) values ($1, $2, $3, $4)"
        " on conflict do nothing",
        provider,
        event_id,
        kind,
        reference,
    )
    return bool(done == "INSERT 0 1")


async def messages(
    connection: Any, provider: str, references: list[str]
) -> list[tuple[str, datetime]]:
    """Signed messages (kind, time) about any of these names, oldest first."""
    rows = await connection.fetch(
        "select kind, received_at from webhook where provider = $1 and reference = any($2)"
        " order by received_at",
        provider,
        references,
    )
    return [(row["kind"], row["received_at"]) for row in rows]


def _row(found: Any) -> OrderRow | None:
    return None if found is None else OrderRow(*found)
