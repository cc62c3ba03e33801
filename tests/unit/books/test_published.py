"""Totals of days and results of checks: each event counted once, nothing of one wallet."""

from datetime import date
from typing import Any

import asyncpg
import pytest

from corvus_proxy import clock
from corvus_proxy.books import entries, release
from corvus_proxy.books.db import Books
from corvus_proxy.books.published import checks, days
from corvus_proxy.books.published.checks import Check
from corvus_proxy.books.quarantine import insert as quarantined
from corvus_proxy.money.event import Event, Meta, Poison, encode_meta, partition_of

pytestmark = pytest.mark.anyio
ONE, TWO = "w_days00000001", "w_days00000002"
META = encode_meta(Meta(
    usage={"input": 7, "cache_read": 50, "cache_write_5m": 3, "output": 2, "reasoning": 1},
    picos={"input": 1}, source="upstream", ended_ms=1_790_000_000_000,
))  # fmt: skip


class Wallet:
    """Events of a wallet, each following the one before it."""

    def __init__(self, name: str) -> None:
        self.name, self.part = name, partition_of(name)
        self.balance = self.seq = self.spent = 0

    def event(self, kind: str, delta: int, *, counter: str = "", short: int = 0) -> Event:
        self.seq += 1
        self.balance += delta
        spends = kind in "SXL"
        self.spent -= delta if spends else 0
        name = f"{self.name}:{self.seq}" + (":L" if kind == "L" else "")
        return Event(
            partition=self.part, epoch=1, seq=self.seq, type=kind, id=name,  # type: ignore[arg-type]
            wallet=self.name, slug="s" if spends else "", delta_nanos=delta,
            balance_nanos=self.balance, wallet_seq=self.seq, actual_nanos=abs(delta) + short,
            shortfall_nanos=short, outcome="completed", counter=counter,
            wallet_spent_nanos=self.spent, meta=META if spends else b"",
        )  # fmt: skip


async def book(books: Books, wallet: Wallet, *events: Event) -> None:
    async with books.transaction() as connection:
        await connection.execute(
            "insert into wallet (wallet, part) values ($1, $2) on conflict do nothing",
            wallet.name, wallet.part,
        )  # fmt: skip
        assert await entries.write(connection, wallet.part, events)


async def count(books: Books, at_once: int = 1000) -> bool:
    async with books.transaction() as connection:
        return await days.count(connection, at_once=at_once)


async def count_and_crash(books: Books) -> None:
    async with books.transaction() as connection:
        await days.count(connection)
        raise ZeroDivisionError


async def totals(books: Books) -> days.DayTotal:
    """Of all days: a test may run over midnight."""
    async with books.connection() as connection:
        found = await days.read(connection, date(2000, 1, 1))
    sums = [sum(column) for column in list(zip(*found, strict=True))[1:]]
    return days.DayTotal(found[-1].day, *sums)


async def test_every_kind_of_change_is_counted_in_its_column(books: Books) -> None:
    """Requests, tokens by class, money in and out; refunds and reversals net of what came back."""
    wallet = Wallet(ONE)
    await book(
        books,
        wallet,
        wallet.event("C", 10_000, counter="clearing:stripe"),
        wallet.event("C", 500, counter="grants"),
        wallet.event("S", -300),
        wallet.event("S", 0),
        wallet.event("X", -200, short=40),
        wallet.event("L", -7),
        wallet.event("D", -1000, counter="refunds"),
        wallet.event("C", 400, counter="refunds"),
        wallet.event("D", -2000, counter="chargebacks"),
        wallet.event("C", 500, counter="chargebacks"),
        wallet.event("D", -11, counter="adjustments"),
        wallet.event("C", 3, counter="unknown:p01"),
    )
    assert await count(books)
    found = await totals(books)
    assert found[1:] == (
        3, 1, 507, 40,  # requests, free ones, charged, not charged for want of balance
        4 * 7, 4 * 50, 4 * 3, 4 * 2,
        10_000, 500, 600, 1500, -8,
    )  # fmt: skip
    assert found.moved_nanos == wallet.balance


async def test_events_are_counted_once_however_often_it_is_interrupted(books: Books) -> None:
    """A few at a time, a transaction that is lost, wallets of two partitions."""
    one, two = Wallet(ONE), Wallet(TWO)
    assert one.part != two.part
    await book(books, one, one.event("C", 10_000, counter="grants"),
               *(one.event("S", -1) for _ in range(9)))  # fmt: skip
    await book(books, two, two.event("C", 5, counter="grants"))
    with pytest.raises(ZeroDivisionError):
        await count_and_crash(books)
    async with books.connection() as connection:
        assert await days.counted(connection) is None
    rounds = [await count(books, 4) for _ in range(4)]
    assert rounds == [False, False, True, True]
    found = await totals(books)
    assert (found.requests, found.charged_nanos, found.granted_nanos) == (9, 9, 10_005)
    async with books.connection() as connection:
        assert await days.counted(connection) is not None
    await book(books, two, two.event("S", -5))
    await count(books)
    await count(books)
    assert (await totals(books)).charged_nanos == 14


async def test_what_is_released_from_quarantine_is_counted(books: Books) -> None:
    """It is booked behind what was counted already, and only once."""
    wallet = Wallet(ONE)
    await book(books, wallet, wallet.event("C", 1000, counter="grants"))
    bad = wallet.event("S", -100)
    async with books.transaction() as connection:
        raw = entries.as_raw(bad)
        await quarantined(connection, [Poison(wallet.part, 1, 2, ONE, raw, "a test")])
        await connection.execute("update cursor set seq = 3 where part = $1", wallet.part)
        # A sound event of a neighbour behind it.
        await connection.execute(
            "insert into wallet (wallet, part) values ('w_neighbour', $1)", wallet.part
        )
        await entries.insert(connection, [Event(
            partition=wallet.part, epoch=1, seq=3, type="C", id="c", wallet="w_neighbour",
            delta_nanos=1, balance_nanos=1, wallet_seq=1, actual_nanos=1, shortfall_nanos=0,
            outcome="", counter="grants")])  # fmt: skip
    await count(books)
    assert (await totals(books)).charged_nanos == 0
    async with books.transaction() as connection:
        assert (await release.release(connection, ONE)).booked == 1
    assert (await totals(books)).charged_nanos == 100
    await count(books)
    found = await totals(books)
    assert (found.charged_nanos, found.granted_nanos, found.requests) == (100, 1001, 1)


def checked(ok: bool, drift: int, by: str = "worker") -> Check:
    return Check(clock.utc_now(), by, ok, 3, 70, drift, 1, 0 if ok else 2)


async def test_results_of_checks_stay(books: Books) -> None:
    """The latest is told, a day has them all, and nobody changes one."""
    assert await _of(books, checks.last) is None
    results = [checked(True, 0), checked(False, 10**30), checked(True, 0, "operator")]
    async with books.transaction() as connection:
        for one in results:
            await checks.add(connection, one)
    assert await _of(books, checks.last) == results[-1]
    async with books.connection() as connection:
        found = await checks.by_day(connection, date(2000, 1, 1))
    assert (sum(day.checks for day in found), sum(day.failed for day in found)) == (3, 1)
    assert max(day.drift_nanos for day in found) == 10**30
    for statement in ("update ledger_check set ok = true", "delete from ledger_check"):
        async with books.connection() as connection:
            await connection.execute("reset role")  # not even their owner
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await connection.execute(statement)


async def _of(books: Books, read: Any) -> Any:
    async with books.connection() as connection:
        return await read(connection)
