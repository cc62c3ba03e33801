"""Events of many partitions are booked in one transaction; what is wrong with one is its own."""

from typing import Any

import pytest

from corvus_proxy.books import entries, quarantine
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from tests.unit.ledger.test_writer import PEPPER, drain, spend

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


async def in_parts(stores: Stores, count: int) -> list[keys.Created]:
    """Wallets of as many partitions, each with its money booked and one charge that is not."""
    found: dict[int, keys.Created] = {}
    while len(found) < count:
        made = await keys.create(stores, credit_nanos=1_000)
        found.setdefault(partition_of(made.wallet), made)
    await outbox.tick(stores.till, stores.books)
    await drain(Writer(stores.till, stores.books, keep=100))
    for number, made in enumerate(found.values()):
        await spend(stores, made, f"r{number}", 100)
    return list(found.values())


async def balances(books: Books, made: list[keys.Created]) -> list[int]:
    async with books.connection() as connection:
        rows = await connection.fetch(
            "select wallet, balance_nanos from wallet where wallet = any($1)",
            [one.wallet for one in made],
        )
    figures = dict(rows)
    return [figures[one.wallet] for one in made]


async def test_many_partitions_are_one_transaction(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await in_parts(stores, 5)
    writer = Writer(stores.till, stores.books, keep=100)

    async def alone(*_: Any, **__: Any) -> bool:
        raise AssertionError("by itself")

    monkeypatch.setattr(writer, "_write", alone)
    assert await writer.tick(block_ms=1) == 5
    assert await balances(stores.books, made) == [900] * 5
    states = await stores.till.partitions()
    assert all(state.committed == state.seq for state in states)
    assert (await verify(stores.till, stores.books)).ok


@pytest.mark.parametrize("trouble", ["locked", "altered", "refused", "replaced"])
async def test_what_is_wrong_with_one_partition_is_its_own(stores: Stores, trouble: str) -> None:
    """The others are booked at the same turn; but for a server that was replaced, which leaves the
    whole reading to the next one."""
    made = await in_parts(stores, 4)
    part = partition_of(made[1].wallet)
    name = f"{{p{part:02d}}}"
    writer = Writer(stores.till, stores.books, keep=100)
    async with stores.books.connection() as other, other.transaction():
        if trouble == "locked":
            await entries.lock(other, part)
        elif trouble == "replaced":
            await writer._load()
            writer._stamps[part] = "another"
        else:
            ((at, fields),) = await stores.till.redis.xrevrange(f"{name}:l", count=1)
            await stores.till.redis.delete(f"{name}:l")
            fields |= {b"d": b"-90"} if trouble == "altered" else {b"g": b"a\x00b"}
            await stores.till.redis.xadd(f"{name}:l", fields, id=at)
        await writer.tick(block_ms=1)
        found = await balances(stores.books, made)
    if trouble == "replaced":
        assert found[1] == 1_000
        await drain(writer)
        assert await balances(stores.books, made) == [900] * 4
        return
    assert found == [900, 1_000, 900, 900]
    async with stores.books.connection() as connection:
        waiting = await quarantine.waiting(connection, made[1].wallet)
    assert len(waiting) == (trouble != "locked")
    await drain(writer)
    if trouble == "locked":
        assert await balances(stores.books, made) == [900] * 4
        assert (await verify(stores.till, stores.books)).ok
