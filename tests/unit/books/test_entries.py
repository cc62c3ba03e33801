"""The books' guards one at a time: the lock, the cursor, the chain."""

import msgspec
import pytest

from corvus_proxy.books import entries
from corvus_proxy.books.db import Books
from corvus_proxy.money.event import Event, Mark

pytestmark = pytest.mark.anyio
PART = 5
W = "w_entries0001"


def credit(seq: int, *, epoch: int = 1) -> Event:
    """The `seq`-th credit of 10 nanos to a wallet."""
    return Event(
        partition=PART, epoch=epoch, seq=seq, type="C", id=f"c{epoch}.{seq}", wallet=W,
        delta_nanos=10, balance_nanos=10 * seq, wallet_seq=seq, actual_nanos=10, shortfall_nanos=0,
        outcome="credit", counter="grants",
    )  # fmt: skip


@pytest.fixture
async def wallet(books: Books) -> None:
    """The books know the wallet."""
    async with books.connection() as connection:
        await connection.execute("insert into wallet (wallet, part) values ($1, $2)", W, PART)


async def book(books: Books, *events: Event) -> entries.Written | None:
    async with books.transaction() as connection:
        return await entries.write(connection, PART, events)


async def cursor(books: Books) -> Mark:
    async with books.connection() as connection:
        return (await entries.cursors(connection))[PART]


@pytest.mark.usefixtures("wallet")
async def test_a_writer_that_finds_another_at_work_leaves(books: Books) -> None:
    """By the partition's lock, before it has read anything; another partition is free."""
    async with books.transaction() as other:
        await entries.lock(other, PART)
        assert await book(books, credit(1)) is None
        async with books.transaction() as connection:
            assert await connection.fetchval(
                "select pg_try_advisory_xact_lock($1, $2)", entries._LOCK, PART + 1
            )
    assert await book(books, credit(1)) == entries.Written([credit(1)], [])


@pytest.mark.usefixtures("wallet")
async def test_events_follow_the_cursor_without_a_gap(books: Books) -> None:
    """A gap and a foreign epoch are broken chains; what is booked already is somebody's work."""
    assert await book(books, credit(1), credit(2)) is not None
    for wrong in ([credit(4)], [credit(3), credit(5)], [credit(3, epoch=2)]):
        with pytest.raises(entries.ChainBroken):
            await book(books, *wrong)
    assert await book(books, credit(2)) is None
    assert await cursor(books) == Mark(1, 2)
    assert await book(books, credit(3)) is not None
    assert await cursor(books) == Mark(1, 3)


@pytest.mark.usefixtures("wallet")
async def test_what_does_not_follow_from_its_wallet_is_quarantined(books: Books) -> None:
    """The balance before and the wallet's own number have to fit, each alone."""
    for wrong in ({"balance_nanos": 11}, {"wallet_seq": 2}):
        odd = msgspec.structs.replace(credit(1), **wrong)
        async with books.connection() as connection:
            undone = connection.transaction()
            await undone.start()
            written = await entries.write(connection, PART, [odd])
            await undone.rollback()
        assert written is not None
        assert [len(part) for part in written] == [0, 1]
    assert await book(books, credit(1)) == entries.Written([credit(1)], [])


@pytest.mark.usefixtures("wallet")
async def test_an_epoch_begins_only_at_the_cursor_that_was_seen(books: Books) -> None:
    """Compare-and-set: a coordinator that looked too early begins nothing."""
    await book(books, credit(1), credit(2))
    async with books.connection() as connection:
        for seen in (Mark(1, 1), Mark(2, 2), Mark(1, 3)):
            assert not await entries.begin_epoch(connection, PART, seen, 7)
        assert await entries.begin_epoch(connection, PART, Mark(1, 2), 7)
    assert await cursor(books) == Mark(7, 2)
    with pytest.raises(entries.ChainBroken):
        await book(books, credit(3))  # the old epoch's
    assert await book(books, credit(3, epoch=7)) is not None
