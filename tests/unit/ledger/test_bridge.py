"""Books of a backup, no archive, and a stream that begins too late: the operator's way out."""

import asyncio

import pytest

from corvus_proxy.books import views, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.archive import Archive
from corvus_proxy.money.event import partition_of
from corvus_proxy.service import keys, ledger
from tests.unit.ledger.test_holes import restored
from tests.world import World

pytestmark = pytest.mark.anyio


async def lose_the_archive(world: World, books: Books) -> dict[str, keys.Created]:
    """Wallets `old` (from before the backup) and `new`, with charges and credits of both that only
    Redis has; the writer has given up."""
    old = await keys.create(world.stores, credit_nanos=10_000)
    new = await keys.create(world.stores, credit_nanos=0)
    part = partition_of(old.wallet)
    async with world.books.transaction() as connection:
        row = wallets.OutboxRow("paid", "credit", old.wallet, 700, "clearing:x", old.key_id, "paid")
        await wallets.insert_outbox(connection, row)
    await world.one.charge(old, "early", 1)
    await world.until(world.drained)
    await world.rest()
    await restored(world, books, "copy")
    world.work()
    while partition_of(new.wallet) != part:  # made after the backup, in the same partition
        new = await keys.create(world.stores, credit_nanos=0)
    await outbox.tick(world.till, books)
    await keys.credit(world.stores, new.key_id, 500, reason="forgotten")
    for n in range(15):  # the stream keeps the last five
        await world.one.charge(old, f"old{n}", 2)
        await world.two.charge(new, f"new{n}", 3)
    await world.until(world.drained)
    await world.rest()
    world.archive = Archive("", days=0)
    await restored(world, books, "back")
    world.work()
    await world.one.charge(old, "now", 40)

    async def given_up() -> bool:
        return "the archive has nothing between" in world.writer.broken.get(part, "")

    await world.until(given_up)
    return {"old": old, "new": new}


async def test_a_gap_that_nobody_can_fill_is_bridged(world: World, books: Books) -> None:
    """Every balance stays what Redis says, the books follow again, and nothing of the gap is
    charged or credited a second time when Redis is lost twice after it."""
    made = await lose_the_archive(world, books)
    old, new = made["old"], made["new"]
    part = partition_of(old.wallet)
    done = await ledger.bridge(world.stores, part, reason="the archive's disk is gone")
    assert (done.wallets, done.booked, done.unknown_nanos) == (2, 3, 500 - 13 * 2 - 12 * 3)
    await world.settle_down()
    async with books.connection() as connection:
        accounts = await views.accounts(connection)
        assert not await wallets.waiting(connection)
    assert accounts[f"unknown:p{part:02d}"] == 13 * 2 + 12 * 3 - 500
    assert accounts["clearing:x"] == -700
    await world.one.charge(new, "after", 5)
    for _ in range(2):
        await world.till.redis.flushall()
        await asyncio.sleep(0.3)
        await world.settle_down()
    assert (await keys.show(world.stores, old.key_id)).balance_nanos == 10_000 + 700 - 1 - 30 - 40
    shown = await keys.show(world.stores, new.key_id)
    assert (shown.balance_nanos, shown.spent_nanos) == (500 - 45 - 5, 50)
    assert await world.booked(old.wallet) == {"early": 1, "old13": 2, "old14": 2, "now": 40}
    assert await world.booked(new.wallet) == {"new12": 3, "new13": 3, "new14": 3, "after": 5}
    with pytest.raises(LookupError, match="goes on where the books end"):
        await ledger.bridge(world.stores, part, reason="again")
