"""What the worker measures of both stores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from corvus_proxy import clock
from corvus_proxy.books.db import Books
from corvus_proxy.books.published import standing
from corvus_proxy.service import gauges, keys, proof
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import LedgerSettings, Settings, Upstream
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till, TillUnavailable
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
ORDER = """
insert into shop_order (order_id, token_digest, token_sealed, provider, status, amount_nanos,
    total_nanos, new_key, expires_at, watched_until)
values ('o1', 'd', 's', 'stripe', 'paid_confirmed', 5, 5, true, now(), now())
"""
PAYMENT = """
insert into payment (payment_id, order_id, provider, reference, state, asset, asset_amount,
    value_nanos) values ('p1', 'o1', 'stripe', 'r1', 'confirmed', 'USD', '5', 5)
"""
REFUND = """
insert into refund (refund_id, order_id, payment_id, amount_nanos, state, actor, created_at)
values ('f1', 'o1', 'p1', 5, 'approved', 'cli', now() - interval '3 days')
"""
OUTBOX = """
insert into outbox (id, kind, wallet, amount_nanos, counter, created_at, applied_at, refused)
values ($1, 'credit', 'w_1', 5, $2, now() - make_interval(secs => $3), $4, $5)
"""
MAIL = "insert into mail (mail_id, kind, address, view_sealed, state) values ($1, 'k', 'a', '', $2)"


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def fill(connection: Any) -> None:
    """An order's payment and refund, and credits that wait or were refused."""
    await connection.execute(ORDER)
    await connection.execute(PAYMENT)
    await connection.execute(REFUND)
    now = clock.utc_now()
    for row in (
        ("young", "clearing:stripe", 5, None, ""),
        ("old", "clearing:stripe", 90, None, ""),
        ("gift", "grants", 90, None, ""),
        ("sent", "clearing:stripe", 90, now, ""),
        ("refused", "clearing:stripe", 90, now, "cap"),
    ):
        await connection.execute(OUTBOX, *row)
    for name, state in (("m1", "queued"), ("m2", "deferred"), ("m3", "accepted")):
        await connection.execute(MAIL, name, state)


async def test_one_round_measures_both_stores(
    valkey_till: Till, books: Books, tmp_path: Path
) -> None:
    """Balances, holds, what waits and for how long, the last check, prices, disks, clocks."""
    stores = Stores(valkey_till, books, b"p" * 32)
    await keys.create(stores, credit_nanos=1000)
    await add_wallet(valkey_till, "w_held", 700)
    ask = reply.Ask("r1", "w_held", "digest", 300, 300, 0, "pv", "slug", 1)
    assert isinstance(await valkey_till.reserve(ask, owner="o", lag_limit=100), reply.Granted)
    async with books.transaction() as connection:
        await connection.execute("update wallet set balance_nanos = 400, receivable_nanos = 7")
        await fill(connection)
    await proof.check(stores)
    settings = Settings(
        ledger=LedgerSettings(journal_dir=str(tmp_path), archive_dir=str(tmp_path / "none")),
        upstream=[Upstream("glm", "http://127.0.0.1:1")],
    )
    before = clock.utc_now().timestamp()
    await gauges.Gauges(settings).tick(stores)
    assert value("corvus_liability_nanos") == 400
    assert value("corvus_receivable_nanos") == 7
    assert value("corvus_held_nanos") == 300
    assert value("corvus_paid_not_credited") == 2, "the old one and the refused one"
    assert value("corvus_moves_waiting", kind="credit") == 4, "the grant of the key is one"
    assert value("corvus_mail_waiting", state="deferred") == 1
    assert value("corvus_refunds_open", state="approved") == 1
    assert 3 * 86400 <= (value("corvus_refund_age_seconds") or 0) < 3 * 86400 + 60
    assert (value("corvus_ledger_problems") or 0) > 0, "the books were bent above"
    assert (value("corvus_ledger_verified_timestamp_seconds") or 0) >= before - 60
    assert (value("corvus_measured_timestamp_seconds") or 0) >= before
    checked = datetime.fromtimestamp(
        value("corvus_price_checked_timestamp_seconds", family="glm") or 0, UTC
    )
    assert timedelta(0) < clock.utc_now() - checked < timedelta(days=365)
    assert value("corvus_price_checked_timestamp_seconds", family="openai") is None
    assert 0 < (value("corvus_disk_used_ratio", folder="journal") or 0) < 1
    assert value("corvus_disk_used_ratio", folder="archive") is None, "there is no such folder"
    for store in ("redis", "postgres"):
        assert 0 <= (value("corvus_clock_skew_seconds", store=store) or 0) < 1


async def test_books_are_measured_while_redis_is_away(books: Books) -> None:
    """A payment that is not credited is seen just then; the figures' age tells of the rest."""
    await keep_waiting(books)
    before = value("corvus_measured_timestamp_seconds")
    away = Till.open("redis://127.0.0.1:1", timeout_ms=200)
    with pytest.raises(TillUnavailable):
        await gauges.Gauges(Settings()).tick(Stores(away, books, b"p" * 32))
    assert value("corvus_paid_not_credited") == 1
    assert value("corvus_measured_timestamp_seconds") == before
    await away.close()


async def keep_waiting(books: Books) -> None:
    """One credit of a payment that should have been made."""
    async with books.transaction() as connection:
        await connection.execute(OUTBOX, "old", "clearing:stripe", 90, None, "")


async def test_books_that_are_too_slow_keep_their_last_figures(
    valkey_till: Till, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that takes too long ends; the age of the figures tells of it."""
    monkeypatch.setattr(standing, "_SUMS", "select pg_sleep(5), 0")
    monkeypatch.setattr(standing, "PATIENCE_S", 0.1)
    before = value("corvus_measured_timestamp_seconds")
    await gauges.Gauges(Settings()).tick(Stores(valkey_till, books, b"p" * 32))
    assert value("corvus_measured_timestamp_seconds") == before


def test_a_clock_is_as_far_off_as_it_surely_is() -> None:
    """Between both moments it may go right."""
    at = datetime(2026, 11, 26, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert gauges._skew_s(at - second, at, at + second) == 0
    assert gauges._skew_s(at, at - 3 * second, at) == 3
    assert gauges._skew_s(at, at + 3 * second, at + second) == 2
