"""A payment that was taken back: what is free goes, the rest is receivable, once, whatever
crashes."""

import contextlib

import pytest

from corvus_proxy import secret
from corvus_proxy.books import views, wallets
from corvus_proxy.books.db import Books, BooksUnavailable
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import CHARGEBACKS, Meta, encode_meta
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask, Charge, Debited, Duplicate

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


async def reverse(stores: Stores, made: keys.Created, nanos: int) -> wallets.OutboxRow:
    """The row of a reversal, in the books."""
    row = wallets.OutboxRow(
        "pay:x:1:reversed", "reversal", made.wallet, nanos, CHARGEBACKS, made.key_id, "disputed"
    )
    async with stores.books.transaction() as connection:
        await wallets.insert_outbox(connection, row)
    return row


async def drain(stores: Stores) -> None:
    writer = Writer(stores.till, stores.books, keep=10)
    while await writer.tick(block_ms=1):
        pass


async def receivable(stores: Stores, wallet: str) -> int:
    async with stores.books.connection() as connection:
        return int(
            await connection.fetchval(
                "select receivable_nanos from wallet where wallet = $1", wallet
            )
        )


async def test_it_takes_what_is_free_and_leaves_what_is_held(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=1000)
    digest = secret.digest(made.secret, PEPPER)
    await stores.till.reserve(
        Ask("rid", made.wallet, digest, 300, 300, 0, "pv", "s", 1), owner="o", lag_limit=99
    )
    row = await reverse(stores, made, 5000)
    assert await outbox.send(stores.till, stores.books, row) == Debited(700, 4300, 300, 2)
    await stores.till.settle(
        Charge("rid", made.wallet, made.key_id, "s", 300, "completed", encode_meta(Meta()))
    )
    await drain(stores)
    assert await receivable(stores, made.wallet) == 4300
    async with stores.books.connection() as connection:
        accounts = await views.accounts(connection)
        assert not await wallets.waiting(connection)
    assert accounts[CHARGEBACKS] == 5000
    assert accounts[f"receivable:{made.wallet}"] == -4300
    report = await verify(stores.till, stores.books)
    assert report.ok, report.problems


async def test_of_an_empty_wallet_everything_is_receivable(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=0)
    row = await reverse(stores, made, 70)
    assert await outbox.tick(stores.till, stores.books) == 1
    await drain(stores)
    assert await receivable(stores, made.wallet) == 70
    assert isinstance(await outbox.send(stores.till, stores.books, row), Duplicate)


async def test_a_lost_answer_and_a_crashed_writer_book_it_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent twice, and the batch that books it is rolled back once."""
    made = await keys.create(stores, credit_nanos=10)
    row = await reverse(stores, made, 25)
    await outbox.send(stores.till, stores.books, row)
    assert isinstance(await outbox.send(stores.till, stores.books, row), Duplicate)
    real, crashes = wallets.lower_receivable, []
    writer = Writer(stores.till, stores.books, keep=10)
    commit = Books.transaction

    @contextlib.asynccontextmanager
    async def crash(books: Books):  # type: ignore[no-untyped-def]
        async with commit(books) as connection:
            yield connection
            if not crashes:
                crashes.append(1)
                raise ConnectionResetError("the connection was lost at the commit")

    monkeypatch.setattr(Books, "transaction", crash)
    with pytest.raises(BooksUnavailable):
        await writer.tick(block_ms=1)
    assert crashes
    assert await receivable(stores, made.wallet) == 0
    monkeypatch.undo()
    await drain(stores)
    assert await receivable(stores, made.wallet) == 15
    async with stores.books.transaction() as connection:
        assert await real(connection, made.wallet, 20) == 15
        assert await real(connection, made.wallet, 20) == 0
    assert await receivable(stores, made.wallet) == 0


async def test_other_debits_leave_no_receivable(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=10)
    await stores.till.debit("d", made.wallet, 25, up_to=True, counter="adjustments")
    await drain(stores)
    assert await receivable(stores, made.wallet) == 0
