"""The day on one screen, however large the books are."""

from datetime import UTC, datetime

import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.service.operating import pools, today
from corvus_proxy.service.operating.pools import PoolRow
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio
FILL = (
    """insert into wallet (wallet, part, balance_nanos)
    select 'w_' || n, n % 64, n from generate_series(1, 200000) n""",
    """insert into request select 'r' || n, 'w_1', 'key_1', 'model-' || n % 40, 'completed', 7, 0,
    3, 1, 0, 0, 1, 'upstream', 'c', '', 'v', 1, 1, 1, now() - make_interval(days => 1 + n % 60)
    from generate_series(1, 400000) n""",
    """insert into request select 's' || n, 'w_1', 'key_1', 'model-' || n % 40, 'completed', 7, 0,
    3, 1, 0, 0, 1, 'upstream', 'c', '', 'v', 1, 1, 1, now() from generate_series(1, 100000) n""",
    """insert into shop_order (order_id, token_digest, token_sealed, provider, status, amount_nanos,
    total_nanos, new_key, expires_at, watched_until)
    select 'ord_' || n, 'd' || n, '', 'stripe', 'paid_confirmed', 1, 1, true, now(), now()
    from generate_series(1, 100000) n""",
)


@pytest.mark.slow
async def test_half_a_million_requests_are_no_reason_to_wait(
    valkey_till: Till, books: Books
) -> None:
    """Within a second; the models of the day or the word that there are too many."""
    stores = Stores(valkey_till, books, b"p" * 32)
    async with books.connection() as connection:
        for text in FILL:
            await connection.execute(text, timeout=120)
    await today.read(stores, Settings())
    began = clock.monotonic_s()
    found = await today.read(stores, Settings())
    assert clock.monotonic_s() - began < 1
    assert found.owed.wallets == 200_000
    assert found.models is None or found.models[0].requests == 2_500


async def test_an_empty_installation_has_a_day_too(valkey_till: Till, books: Books) -> None:
    """Nothing is counted, nothing is known of incidents, nothing waits."""
    found = await today.read(Stores(valkey_till, books, b"p" * 32), Settings())
    assert (found.counted, found.check, found.incidents, found.models) == (None, None, None, [])
    assert (found.today.day, found.cost_nanos) == (clock.utc_now().date(), 0)
    assert [one for one in found.problems if "prices" not in one] == []


@pytest.mark.parametrize(
    ("cost_day", "recent", "runway"),
    [
        (0, 0, None),  # no pace
        (10, 0, 0),  # spent
        (9, 36, 1),  # 36 hours at 1 an hour: the last one lasts an hour
        (1, 36, 9),
        (1, 3, None),  # beyond midnight, in twelve hours
    ],
)
def test_how_long_a_budget_lasts(cost_day: int, recent: int, runway: int | None) -> None:
    """At the pace of yesterday and today, in whole hours, unless the period ends before."""
    left = {"day": (10, cost_day), "month": (None, cost_day)}
    assert pools._runway_h(left, recent, 36, {"day": 12, "month": 300}) == runway


def test_hours_that_a_period_has_left() -> None:
    """Of the day, and of the month, also of its last day."""
    now = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
    assert pools._hours_left(now.replace(hour=0, minute=0), now) == {"day": 2, "month": 2}


async def test_credentials_that_no_gateway_here_knows(valkey_till: Till, books: Books) -> None:
    """Their state is not known here; a budget that is spent lasts no hour."""
    rows = [Upstream("openai", "http://127.0.0.1:1", credential=[
        Credential("a", budget_day_usd="2"), Credential("b")])]  # fmt: skip
    stores = Stores(valkey_till, books, b"p" * 32)
    async with books.connection() as connection:
        await connection.execute(
            "insert into credential_cost values ((now() at time zone 'utc')::date, 'a', 2000000000)"
        )
    found: list[PoolRow] = await pools.listing(stores, Settings(upstream=rows))
    assert [(one.name, one.state, one.runway_h) for one in found] == [
        ("openai/a", "not known here", 0),
        ("openai/b", "not known here", None),
    ]
