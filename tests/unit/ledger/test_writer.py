"""From Redis's events to the books: once each, whatever crashes, and provably equal."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy import secret
from corvus_proxy.books import entries, quarantine, release, statements, views, wallets
from corvus_proxy.books.db import Books
from corvus_proxy.ledger import outbox
from corvus_proxy.ledger.explain import explain
from corvus_proxy.ledger.verify import verify
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import Event, Meta, encode_meta, partition_of
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask, Charge, Denied
from tests.conftest import add_wallet

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
    digest = secret.digest(made.secret, PEPPER)
    await stores.till.reserve(
        Ask(rid, made.wallet, digest, nanos, nanos, 0, "pv", "slug", 1), owner="o", lag_limit=10**6
    )
    await stores.till.settle(Charge(rid, made.wallet, "", "", nanos, "completed", META))


async def drain(writer: Writer) -> None:
    while await writer.tick(block_ms=1):
        pass


def test_a_request_row_adds_up_every_line() -> None:
    """Lines of other models and of compactions are tokens of the same request."""
    meta = Meta(
        usage={"input": 1, "compaction/input": 20, "claude-opus-4-8/input": 300, "output": 4,
               "compaction/cache_read": 50, "claude-opus-4-8/long/cache_write_5m": 600,
               "cache_write_1h": 7000, "searches": 9, "reasoning": 3},
        picos={},
    )  # fmt: skip
    event = Event(
        partition=0, epoch=1, seq=1, type="S", id="r", wallet="w", delta_nanos=0, balance_nanos=0,
        wallet_seq=1, actual_nanos=0, shortfall_nanos=0, outcome="completed",
        meta=encode_meta(meta),
    )  # fmt: skip
    row = dict(zip(entries.REQUEST_COLUMNS, entries._request_row(event), strict=True))
    assert (row["input_tokens"], row["cache_read_tokens"]) == (321, 50)
    assert (row["cache_write_tokens"], row["output_tokens"]) == (7600, 4)


async def requests_of(connection: Any, wallet: str) -> list[statements.Request]:
    """A wallet's latest requests in the books."""
    return await statements.requests(
        connection,
        statements.Scope(wallet),
        statements.Filter(),
        before=(statements.LATEST, ""),
        limit=5,
    )


async def test_a_key_its_money_and_its_charges_reach_the_books(stores: Stores) -> None:
    """Wallet, postings, request row, totals: all to the nano."""
    made = await keys.create(stores, credit_nanos=250_000_000_000_001, label="big")
    await spend(stores, made, "r1", 999)
    await spend(stores, made, "r2", 0)
    writer = Writer(stores.till, stores.books, keep=100)
    await drain(writer)
    async with stores.books.connection() as connection:
        rows = await requests_of(connection, made.wallet)
        totals = await statements.totals(
            connection, statements.Scope(made.wallet), statements.Filter(slug="slug")
        )
        accounts = await views.accounts(connection)
        waiting = await wallets.waiting(connection)
    assert {(row.request_id, row.charge_nanos, row.output_tokens) for row in rows} == {
        ("r1", 999, 2), ("r2", 0, 2)}  # fmt: skip
    assert (totals.requests, totals.charge_nanos) == (2, 999)
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
    digest = secret.digest(made.secret, PEPPER)
    await stores.till.reserve(
        Ask("r", made.wallet, digest, 50, 50, 0, "pv", "s", 1), owner="o", lag_limit=9
    )
    await stores.till.settle(Charge("r", made.wallet, "", "", 130, "completed", META))
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
    # Money that no hold holds is lost to its owner.
    assert report.problems == [f"{made.wallet}: its holds sum to 0, not to what is held"]
    await stores.till._redis.hset(name, "hld", "1007")
    report = await verify(stores.till, stores.books)
    assert f"{made.wallet}: 1007 held of 1000" in report.problems


async def test_verify_reads_a_wallet_again_that_is_made_meanwhile(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books have a key before Redis has: its first credit may fall between two readings."""
    made = await keys.create(stores, credit_nanos=0)
    await drain(Writer(stores.till, stores.books, keep=0))
    await stores.till.redis.delete(f"{{p{partition_of(made.wallet):02d}}}:w:{made.wallet}")
    events = stores.till.events

    async def credited_behind(*words: Any, **more: Any) -> Any:
        found = await events(*words, **more)
        monkeypatch.undo()
        await add_wallet(stores.till, made.wallet, 50)
        return found

    monkeypatch.setattr(stores.till, "events", credited_behind)
    report = await verify(stores.till, stores.books)
    assert (report.ok, report.drift_nanos, report.undrained) == (True, 0, 1), report.problems


async def two_of_one_partition(stores: Stores) -> tuple[keys.Created, keys.Created]:
    """Two wallets that share a partition, so that one could stand in the other's way."""
    seen: dict[int, keys.Created] = {}
    while True:
        made = await keys.create(stores, credit_nanos=1000)
        part = partition_of(made.wallet)
        if part in seen:
            return seen[part], made
        seen[part] = made


async def test_an_altered_balance_stops_its_wallet_and_no_other(stores: Stores) -> None:
    """One digit in Redis's log: found at the next event, quarantined, frozen; the partition goes
    on."""
    one, two = await two_of_one_partition(stores)
    writer = Writer(stores.till, stores.books, keep=10)
    await drain(writer)
    part = partition_of(one.wallet)
    await stores.till._redis.hset(f"{{p{part:02d}}}:w:{one.wallet}", "bal", "900")
    await spend(stores, one, "bad", 10)
    await spend(stores, two, "good", 10)
    await spend(stores, one, "after", 10)
    await drain(writer)
    assert writer.broken == {}
    async with stores.books.connection() as connection:
        rows = await requests_of(connection, two.wallet)
        found = await quarantine.waiting(connection, one.wallet)
    assert [row.request_id for row in rows] == ["good"]
    assert [one.raw["id"] for one in found] == ["bad", "after"]
    assert "the books reckon 990" in found[0].why
    assert (await keys.show(stores, one.key_id)).status == "frozen"
    assert (await keys.show(stores, two.key_id)).status == "active"
    while await outbox.tick(stores.till, stores.books):
        pass
    reply = await stores.till.reserve(
        Ask("next", one.wallet, secret.digest(one.secret, PEPPER), 1, 1, 0, "pv", "s", 1),
        owner="o", lag_limit=9,
    )  # fmt: skip
    assert reply == Denied("frozen")


@pytest.mark.parametrize(
    ("field", "value"),
    [("u", b"{not json"), ("d", b"ten"), ("t", b"Z"), ("o", b"nul\0"), ("a", b"9" * 25)],
)
async def test_poison_is_quarantined(stores: Stores, field: str, value: bytes) -> None:
    """What cannot be read, and what Postgres refuses: kept verbatim, the others go on."""
    one, two = await two_of_one_partition(stores)
    writer = Writer(stores.till, stores.books, keep=10)
    await drain(writer)
    part = partition_of(one.wallet)
    stream = f"{{p{part:02d}}}:l"
    await spend(stores, one, "poisoned", 10)
    rows = await stores.till._redis.xrange(stream)
    rows[-1][1][field.encode()] = value
    await stores.till._redis.delete(stream)  # an entry cannot be changed, only written anew
    for name, fields in rows:
        await stores.till._redis.xadd(stream, fields, id=name)
    await spend(stores, two, "good", 10)
    await drain(writer)
    async with stores.books.connection() as connection:
        rows = await requests_of(connection, two.wallet)
        found = await quarantine.waiting(connection)
        cursor = (await entries.cursors(connection))[part]
    assert [row.request_id for row in rows] == ["good"]
    assert [(row.wallet, row.seq) for row in found] == [(one.wallet, cursor.seq - 1)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("d", "-60"), ("d", "ten"), ("b", "490"), ("b", "1990"), ("a", "60"), ("a", "1"), ("s", "5")],
)
async def test_one_altered_digit_is_found_and_not_charged(
    stores: Stores, field: str, value: str
) -> None:
    """Whichever amount of an event it is: the others tell what was charged."""
    one, _ = await two_of_one_partition(stores)
    writer = Writer(stores.till, stores.books, keep=10)
    await spend(stores, one, "before", 100)
    await drain(writer)
    part = partition_of(one.wallet)
    stream = f"{{p{part:02d}}}:l"
    await spend(stores, one, "altered", 10)
    await spend(stores, one, "after", 20)
    rows = await stores.till._redis.xrange(stream)
    rows[-2][1][field.encode()] = value.encode()
    await stores.till._redis.delete(stream)
    for name, fields in rows:
        await stores.till._redis.xadd(stream, fields, id=name)
    await drain(writer)
    async with stores.books.transaction() as connection:
        found = await quarantine.waiting(connection, one.wallet)
        assert [row.raw["id"] for row in found] == ["altered", "after"]
        done = await release.release(connection, one.wallet)
        rows = await connection.fetch(
            "select request_id, charge_nanos, shortfall_nanos from request where wallet = $1",
            one.wallet,
        )
        actual = await connection.fetchval(
            "select array_agg(actual_nanos order by seq) from event where wallet = $1", one.wallet
        )
    assert done == (2, 0, 870)
    assert actual == [1000, 100, 10, 20]
    assert sorted(map(tuple, rows)) == [("after", 20, 0), ("altered", 10, 0), ("before", 100, 0)]


async def test_what_comes_while_a_wallet_is_released_is_not_lost(stores: Stores) -> None:
    """A writer is at work in its partition: the release waits, and books what that has stopped."""
    one, _ = await two_of_one_partition(stores)
    writer = Writer(stores.till, stores.books, keep=10)
    part = partition_of(one.wallet)
    stream = f"{{p{part:02d}}}:l"
    await spend(stores, one, "altered", 10)
    rows = await stores.till._redis.xrange(stream)
    rows[-1][1][b"b"] = b"17"
    await stores.till._redis.delete(stream)
    for name, fields in rows:
        await stores.till._redis.xadd(stream, fields, id=name)
    await drain(writer)
    await spend(stores, one, "meanwhile", 20)

    async def released() -> release.Released:
        async with stores.books.transaction() as connection:
            return await release.release(connection, one.wallet)

    async with stores.books.transaction() as other:
        at = (await entries.cursors(other))[part]
        await entries.lock(other, part)
        releasing = asyncio.create_task(released())
        await asyncio.sleep(0.2)
        events = await stores.till.events({part: at}, count=10, block_ms=0)
        assert [event.id for event in events if isinstance(event, Event)] == ["meanwhile"]
        await entries.write(other, part, events)
    assert await asyncio.wait_for(releasing, 60) == (2, 0, 970)
    async with stores.books.connection() as connection:
        assert await quarantine.waiting(connection) == []
        booked = await requests_of(connection, one.wallet)
    assert {row.request_id for row in booked} == {"altered", "meanwhile"}


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
        deadline = asyncio.get_running_loop().time() + 60
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


async def test_a_writer_that_lost_a_race_goes_on_with_every_partition(stores: Stores) -> None:
    """It was late in one partition and first in another, in one look; a third one comes after."""
    made: dict[int, keys.Created] = {}
    while len(made) < 3:
        one = await keys.create(stores, credit_nanos=1000)
        made[partition_of(one.wallet)] = one
    late, first, third = (made[part] for part in sorted(made))
    here = Writer(stores.till, stores.books, keep=100)
    there = Writer(stores.till, stores.books, keep=100)
    await drain(here)
    await spend(stores, late, "late", 1)
    await drain(there)
    await spend(stores, first, "first", 1)
    await here.tick(block_ms=1)
    await spend(stores, third, "third", 1)
    await here.tick(block_ms=1)
    await drain(here)
    assert await here.lag() == 0


async def refused_rows(stores: Stores, wallet: str) -> list[tuple[str, int, str]]:
    async with stores.books.connection() as connection:
        assert not await wallets.waiting(connection)
        rows = await wallets.refused(connection, wallet)
    return [(row.kind, row.amount_nanos, row.why) for row in rows]


async def test_what_redis_refuses_is_told_and_not_tried_again(stores: Stores) -> None:
    """A credit beyond the cap and a debit beyond the balance that had to wait for Redis."""
    made = await keys.create(stores, credit_nanos=1000)
    async with stores.books.transaction() as connection:
        for kind, nanos in (("credit", 10**15), ("debit", 1001), ("credit", 2**53)):
            row = wallets.OutboxRow(f"{kind}{nanos}", kind, made.wallet, nanos, "grants", "", "")
            await wallets.insert_outbox(connection, row)
    assert await outbox.tick(stores.till, stores.books) == 1  # the first credit: known already
    await drain(Writer(stores.till, stores.books, keep=10))
    assert await outbox.tick(stores.till, stores.books) == 0
    assert await refused_rows(stores, made.wallet) == [
        ("credit", 10**15, "cap"), ("credit", 2**53, "amount"), ("debit", 1001, "balance"),
    ]  # fmt: skip
    found = await explain(stores.till, stores.books, made.wallet, limit=9)
    assert [row.id for row in found.refused] == [
        "credit1000000000000000", "credit9007199254740992", "debit1001"]  # fmt: skip
    assert not found.problems
    with pytest.raises(keys.ServiceRefused, match="at the most"):
        await keys.credit(stores, made.key_id, 10**15 + 1, reason="a slip")


async def test_who_was_told_no_does_not_find_the_money_moved(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has read the row before the operator was refused; then money becomes free."""
    made = await keys.create(stores, credit_nanos=1000)
    await drain(Writer(stores.till, stores.books, keep=10))
    real, seen = wallets.waiting, asyncio.Event()
    told = asyncio.Event()

    async def waiting(*words: object, **more: object) -> list[wallets.OutboxRow]:
        rows = await real(*words, **more)  # type: ignore[arg-type]
        if any(row.kind == "debit" for row in rows):
            seen.set()
            await told.wait()
        return rows

    async def send_at_last(till: Till, books: Books, row: wallets.OutboxRow) -> object:
        work = asyncio.create_task(outbox.tick(stores.till, stores.books))
        await seen.wait()
        try:
            return await send(till, books, row)
        finally:
            jobs.append(work)

    jobs: list[asyncio.Task[int]] = []
    send = outbox.send
    monkeypatch.setattr(wallets, "waiting", waiting)
    monkeypatch.setattr(outbox, "send", send_at_last)
    with pytest.raises(keys.ServiceRefused, match="only 1000 nanos are free"):
        await keys.debit(stores, made.key_id, 1500, reason="too much")
    monkeypatch.setattr(outbox, "send", send)
    monkeypatch.setattr(wallets, "waiting", real)
    assert await keys.credit(stores, made.key_id, 1000, reason="meanwhile") == 2000
    told.set()
    assert await jobs[0] == 0
    assert (await keys.show(stores, made.key_id)).balance_nanos == 2000
    await drain(Writer(stores.till, stores.books, keep=10))
    assert await refused_rows(stores, made.wallet) == [("debit", 1500, "balance")]
