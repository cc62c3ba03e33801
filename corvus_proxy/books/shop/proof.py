"""What has to hold of orders, payments and cash at any moment, also under load."""

from typing import Any

CLEARING = """
with fold as (
    select name, sum(amount)::bigint as total from (
        select credit as name, amount_nanos as amount from posting where credit like 'clearing:%'
        union all select debit, -amount_nanos from posting where debit like 'clearing:%'
        union all select credit, amount_nanos from cash where credit like 'clearing:%'
        union all select debit, -amount_nanos from cash where debit like 'clearing:%') lines
    group by name),
waits as (
    select counter as name, sum(amount_nanos)::bigint as total from outbox
    where kind = 'credit' and counter like 'clearing:%' and (applied_at is null or refused <> '')
    group by counter)
select name, coalesce(fold.total, 0) as folded, coalesce(waits.total, 0) as waiting
from fold full join waits using (name)
where coalesce(fold.total, 0) <> coalesce(waits.total, 0)
    and name in (select 'clearing:' || provider from payment)
order by name
"""
ORDERS = """
select o.order_id, o.credited_nanos, coalesce(p.total, 0)::bigint as paid
from shop_order o left join (
    select order_id, sum(credited_nanos) as total from payment group by order_id) p using (order_id)
where o.credited_nanos <> coalesce(p.total, 0) order by 1 limit 100
"""
PAYMENTS = """
select p.payment_id, p.credited_nanos + p.fee_nanos + p.tax_nanos as booked,
       coalesce(c.total, 0)::bigint as cash
from payment p left join (
    select id, sum(amount_nanos) as total from cash group by id) c on c.id = 'pay:' || p.payment_id
where p.credited_nanos + p.fee_nanos + p.tax_nanos <> coalesce(c.total, 0) order by 1 limit 100
"""


async def problems(connection: Any) -> list[str]:
    """What does not hold, a sentence each: clearing accounts that differ from what still waits to
    be credited, orders that differ from their payments, payments that differ from their cash."""
    found = [
        f"{row['name']}: {row['folded']} nanos, of which {row['waiting']} wait to be credited"
        for row in await connection.fetch(CLEARING)
    ]
    found += [
        f"order {row['order_id']}: {row['credited_nanos']} credited, its payments {row['paid']}"
        for row in await connection.fetch(ORDERS)
    ]
    found += [
        f"payment {row['payment_id']}: {row['booked']} booked, {row['cash']} in cash"
        for row in await connection.fetch(PAYMENTS)
    ]
    return found
