"""What one screen of the operator's day is made of. Every question has an index that answers it."""

from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg


class Owed(NamedTuple):
    """What customers have on their keys. Nanos."""

    wallets: int
    balance_nanos: int
    receivable_nanos: int
    """What wallets owe after payments that were taken back."""


class Uncredited(NamedTuple):
    """Money that came and is on no balance yet."""

    payments: int
    """Confirmed, and left to the operator: too little, or for an order that nothing fits."""
    nanos: int
    waiting: int
    """Credits that Redis has not taken for a minute and more."""
    refused: int
    """Credits to which Redis has said no."""


class Queues(NamedTuple):
    """What waits for somebody."""

    orders_problem: int
    orders_disputed: int
    refunds_waiting: int
    """For a second operator."""
    refunds_open: int
    mails_waiting: int
    mails_bounced: int
    """Within a day."""


class ModelDay(NamedTuple):
    """A model's requests on one day."""

    slug: str
    requests: int
    charge_nanos: int
    cost_nanos: int


OWED = """
select count(*) filter (where balance_nanos > 0), coalesce(sum(balance_nanos), 0)::bigint,
    coalesce(sum(receivable_nanos), 0)::bigint from wallet
"""
UNCREDITED = """
select (select count(*) from payment where state = 'confirmed' and not counted),
    (select coalesce(sum(value_nanos), 0)::bigint from payment
     where state = 'confirmed' and not counted),
    (select count(*) from outbox where applied_at is null and kind = 'credit'
     and created_at < now() - interval '1 minute'),
    (select count(*) from outbox where refused <> '' and kind = 'credit' and id like 'pay:%')
"""
QUEUES = """
select (select count(*) from shop_order where check_problem <> '' and next_check_at is not null),
    (select count(*) from shop_order where disputed),
    (select count(*) from refund where state = 'requested' and waits),
    (select count(*) from refund where state in ('requested', 'approved') and not waits),
    (select count(*) from mail where state in ('queued', 'deferred')),
    (select count(*) from mail where state = 'bounced' and ended_at > now() - interval '1 day')
"""
MODELS = """
select slug, count(*), sum(charge_nanos)::bigint, sum(cost_nanos)::bigint from request
where ended_at >= $1 group by slug order by 3 desc, 2 desc, 1 limit $2
"""
COSTS = """
select credential, coalesce(sum(cost_nanos), 0)::bigint from credential_cost where day >= $1
group by credential
"""


async def owed(connection: Any) -> Owed:
    """What customers have."""
    return Owed(*await connection.fetchrow(OWED))


async def uncredited(connection: Any) -> Uncredited:
    """What was paid and not credited."""
    return Uncredited(*await connection.fetchrow(UNCREDITED))


async def queues(connection: Any) -> Queues:
    """What waits."""
    return Queues(*await connection.fetchrow(QUEUES))


async def models(
    connection: Any, since: datetime, *, limit: int, timeout_s: float
) -> list[ModelDay] | None:
    """The models with the highest charges since an instant; None where there are more requests than
    can be summed in that time."""
    try:
        rows = await connection.fetch(MODELS, since, limit, timeout=timeout_s)
    except (TimeoutError, asyncpg.QueryCanceledError):
        return None
    return [ModelDay(*row) for row in rows]


async def costs_since(connection: Any, day: date) -> dict[str, int]:
    """What each credential has cost since a day began, in nanos and by name."""
    return {row[0]: row[1] for row in await connection.fetch(COSTS, day)}
