"""From Redis's events to the books: once each, whatever crashes, and provably equal."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from corvus_proxy.books import entries, views, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import Meta, encode_meta, partition_of
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
META = encode_meta(Meta(
    price_version="pv", picos={"input": 3, "output": 5}, usage={"input": 7, "output": 2},
    source="upstream", credential="c", upstream_request_id="u", cost_nanos=1,
    ended_ms=1_790_000_000_000,
))  # fmt: skip


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


async def spend(stores: Stores, made: keys.Created, rid: str, nanos: int) -> None:
    from corvus_proxy import secret

    digest = secret.digest(made.secret, PEPPER)
    await stores.till.reserve(
        Ask(rid, made.wallet, digest, nanos, nanos, 0, "pv", "slug", 1), owner="o", lag_limit=10**6
    )
    await stores.till.settle(rid, made.wallet, actual_nanos=nanos, outcome="completed", meta=META)


async def drain(writer: Writer) -> None:
    while await writer.tick(block_ms=1):
        pass


async def test_a_key_its_money_and_its_charges_reach_the_books(stores: Stores) -> None:
    """Wallet, postings, request row, totals: all to the nano."""
    made = await keys.create(stores, credit_nanos=250_000_000_000_001, label="big")
    await spend(stores, made, "r1", 999)
    await spend(stores, made, "r2", 0)
    writer = Writer(stores.till, stores.books, keep=100)
    await drain(writer)
    async with stores.books.connection() as connection:
        rows = await views.requests(connection, made.wallet, limit=5)
        models = await views.models(connection, made.wallet)
        accounts = await views.accounts(connection)
        waiting = await wallets.waiting(connection)
    assert {(row.request_id, row.charge_nanos, row.output_tokens) for row in rows} == {
        ("r1", 999, 2), ("r2", 0, 2)}  # fmt: skip
    assert [(row.slug, row.requests, row.charge_nanos) for row in models] == [("slug", 2, 999)]
    part = f"p{partition_of(made.wallet):02d}"
    assert accounts == {"grants": -250_000_000_000_001, f"revenue:{part}": 999}
    assert waiting == []
    report = await verify(stores.till, stores.books)
    assert (report.ok, report.drift_nanos, report.events, report.undrained) == (True, 0, 3, 0)
    shown = await keys.show(stores, made.key_id)
    assert (shown.balance_nanos, shown.spent_nanos) == (249_999_999_999_002, 999)


async def test_a_shortfall_is_the_operators_loss(stores: Stores) -> None:
    """Charged down to zero; the rest stands in the loss account, and the books balance."""
    made = await keys.create(stores, credit_nanos=100)
    from corvus_proxy import secret

    digest = secret.digest(made.secret, PEPPER)
    await stores.till.reserve(
        Ask("r", made.wallet, digest, 50, 50, 0, "pv", "s", 1), owner="o", lag_limit=9
    )
    await stores.till.settle("r", made.wallet, actual_nanos=130, outcome="completed", meta=META)
    await drain(Writer(stores.till, stores.books, keep=0))
    async with stores.books.connection() as connection:
        accounts = await views.accounts(connection)
    part = f"p{partition_of(made.wallet):02d}"
    assert accounts == {"grants": -100, f"loss:{part}": -30, f"revenue:{part}": 130}


async def test_verify_sees_a_single_wrong_nano(stores: Stores) -> None:
    """In Redis or in the books, one nano-dollar is drift."""
    made = await keys.create(stores, credit_nanos=1000)
    await drain(Writer(stores.till, stores.books, keep=10))
    assert (await verify(stores.till, stores.books)).ok
    name = f"{{p{partition_of(made.wallet):02d}}}:w:{made.wallet}"
    await stores.till._redis.hset(name, "bal", "1001")
    report = await verify(stores.till, stores.books)
    assert (report.ok, report.drift_nanos) == (False, 1)
    await stores.till._redis.hset(name, "bal", "1000")
    await stores.till._redis.hset(name, "hld", "7")
    report = await verify(stores.till, stores.books)
    assert report.drift_nanos == 0
    await stores.till._redis.hset(name, "hld", "1007")
    assert not (await verify(stores.till, stores.books)).ok


async def test_a_broken_chain_stops_its_partition_and_no_other(stores: Stores) -> None:
    """An altered amount is found at its event; nothing wrong is written."""
    one = await keys.create(stores, credit_nanos=1000)
    two = one
    while partition_of(two.wallet) == partition_of(one.wallet):
        two = await keys.create(stores, credit_nanos=1000)
    writer = Writer(stores.till, stores.books, keep=10)
    await drain(writer)
    part = partition_of(one.wallet)
    await stores.till._redis.hset(f"{{p{part:02d}}}:w:{one.wallet}", "bal", "900")
    await spend(stores, one, "bad", 10)
    await spend(stores, two, "good", 10)
    await drain(writer)
    assert set(writer.broken) == {part}
    assert "the books reckon 990" in writer.broken[part]
    async with stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
        rows = await views.requests(connection, two.wallet, limit=5)
    assert cursors[part][1] == 1
    assert [row.request_id for row in rows] == ["good"]


async def test_facts_cannot_be_changed(stores: Stores) -> None:
    """Events and postings are append-only, for the service's role and for its owner."""
    import asyncpg

    await keys.create(stores, credit_nanos=1000)
    await drain(Writer(stores.till, stores.books, keep=10))
    for statement in ("update event set reason = 'x'", "delete from posting",
                      "update posting set amount_nanos = 1"):  # fmt: skip
        for role in ("corvus_app", "corvus"):
            async with stores.books.connection() as connection:
                await connection.execute(f"set role {role}")
                with pytest.raises(asyncpg.PostgresError):
                    await connection.execute(statement)
                await connection.execute("set role corvus_app")


WRITER = """
import asyncio, sys
from corvus_proxy.books.db import Books
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.till.client import Till

async def main():
    writer = Writer(Till.open(sys.argv[1], timeout_ms=2000), Books(sys.argv[2]), keep=50)
    await writer.run()

asyncio.run(main())
"""


async def test_two_writers_killed_at_random_write_every_event_once(
    stores: Stores, redis_server: object, tmp_path: Path
) -> None:
    """kill -9 anywhere, two at once: as many rows as events, no gap, no drift."""
    made = [await keys.create(stores, credit_nanos=10**9) for _ in range(5)]
    source = random.Random(3)
    url = redis_server.url  # type: ignore[attr-defined]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, url, stores.books._url],
            stderr=(tmp_path / "writer.log").open("ab"),
        )

    writers = [start(), start()]
    try:
        for n in range(1200):
            await spend(stores, source.choice(made), f"q{n}", source.randrange(1, 1000))
            if n % 120 == 60:
                victim = writers.pop(0)
                os.kill(victim.pid, signal.SIGKILL)
                victim.wait()
                writers.append(start())
        deadline = asyncio.get_running_loop().time() + 20
        while (await verify(stores.till, stores.books)).undrained:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    report = await verify(stores.till, stores.books)
    assert (report.ok, report.drift_nanos, report.events) == (True, 0, 1205), report
    async with stores.books.connection() as connection:
        gaps = await connection.fetchval("""select count(*) from cursor c where c.seq <>
            (select count(*) from event e where e.part = c.part)""")
    assert gaps == 0


async def test_keys_rotate_freeze_and_debit(stores: Stores) -> None:
    """The old secret has its grace; a frozen key is refused; a debit never touches holds."""
    from corvus_proxy import secret

    made = await keys.create(stores, credit_nanos=1000)
    new = await keys.rotate(stores, made.key_id, grace_s=60)
    for text in (made.secret, new):
        look = await stores.till.look(made.wallet, secret.digest(text, PEPPER))
        assert look.key_id == made.key_id
    await keys.rotate(stores, made.key_id, grace_s=-1)
    assert (await stores.till.look(made.wallet, secret.digest(new, PEPPER))).reason == "expired"
    await keys.set_frozen(stores, made.key_id, frozen=True)
    assert (await keys.show(stores, made.key_id)).status == "frozen"
    assert await keys.credit(stores, made.key_id, 5, reason="while frozen") == 1005
    await keys.set_frozen(stores, made.key_id, frozen=False)
    assert await keys.debit(stores, made.key_id, 1000, reason="back") == 5
    with pytest.raises(keys.ServiceRefused, match="only 5 nanos are free"):
        await keys.debit(stores, made.key_id, 6, reason="too much")
    with pytest.raises(keys.ServiceRefused, match="no key"):
        await keys.show(stores, "key_nobody")
    with contextlib.suppress(keys.ServiceRefused):
        await keys.credit(stores, made.key_id, 10**15, reason="cap")
    await drain(Writer(stores.till, stores.books, keep=10))
    assert (await verify(stores.till, stores.books)).ok
