"""Statements over real stores: every sum the same, whatever happened to the wallet."""

import asyncio
import csv
import io
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from corvus_proxy import secret
from corvus_proxy.books import statements as rows
from corvus_proxy.books.db import Books
from corvus_proxy.books.statements import Filter, Request, Scope, Span
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.money.event import Meta, encode_meta
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.service import keys, statements
from corvus_proxy.service.statements.explained import WHY, Explained
from corvus_proxy.service.statements.exported import FORMATS, write
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask, Charge, Settled

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
PICOS = {"input": 1_750, "output": 10_333}


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


@pytest.fixture
async def made(stores: Stores) -> keys.Created:
    return await keys.create(stores, credit_nanos=50_000)


async def write_books(stores: Stores) -> None:
    writer = Writer(stores.till, stores.books, keep=10_000)
    while await writer.tick(block_ms=1):
        pass


def meta_of(tokens: int, output: int, **more: Any) -> tuple[int, bytes]:
    """A charge in nanos and the meta it was made from."""
    picos = tokens * PICOS["input"] + output * PICOS["output"]
    found = Meta(
        price_version="pv", picos=PICOS, usage={"input": tokens, "output": output},
        source="upstream", ended_ms=1_790_000_000_000 + tokens, total_ms=9, attempts=1,
        hold_nanos=60_000, **more,
    )  # fmt: skip
    return (picos + 500) // 1000, encode_meta(found)


class Traffic:
    """Random lives of requests of one wallet, and money in and out of it."""

    def __init__(self, stores: Stores, made: keys.Created, seed: int) -> None:
        self.stores, self.made, self.draw = stores, made, random.Random(seed)
        self.digest = secret.digest(made.secret, PEPPER)
        self.count = 0

    async def step(self) -> None:
        self.count += 1
        rid = f"req_{self.count:04d}"
        kind = self.draw.choice(["settle"] * 6 + ["zero", "expire", "late", "credit", "debit"])
        if kind in ("credit", "debit"):
            nanos = self.draw.randint(1, 30_000)
            move = self.stores.till.credit if kind == "credit" else self.stores.till.debit
            more = {} if kind == "credit" else {"up_to": True}
            counter = "clearing:stripe" if kind == "credit" else "refunds"
            await move(f"{kind}:{rid}", self.made.wallet, nanos, counter=counter,
                       key=self.made.key_id, reason='a "note"', **more)  # fmt: skip
            return
        slug = self.draw.choice(["gpt-x.1", "claude-y"])
        ask = Ask(rid, self.made.wallet, self.digest, 100, 100, 0, "pv", slug, 1)
        reply = await self.stores.till.reserve(ask, owner="o", lag_limit=10**6)
        if not hasattr(reply, "granted_nanos"):
            return
        # Above the balance now and then: a shortfall.
        nanos, meta = meta_of(self.draw.randint(1, 40), self.draw.randint(0, 2_000))
        if kind == "zero":
            nanos, meta = 0, encode_meta(Meta(price_version="pv", ended_ms=1_790_000_000_000))
        charge = Charge(rid, self.made.wallet, self.made.key_id, slug, nanos, "completed", meta)
        if kind in ("expire", "late"):
            assert isinstance(
                await self.stores.till.expire(rid, self.made.wallet, renewals=0), Settled
            )
            if kind == "late":
                await self.stores.till.late(charge)
            return
        assert isinstance(await self.stores.till.settle(charge), Settled)


async def file(stores: Stores, scope: Scope, form: str) -> str:
    pieces = write(FORMATS[form](), scope, statements.export(stores, scope, Span()))
    return b"".join([piece async for piece in pieces]).decode()


@pytest.mark.parametrize("seed", range(4))
async def test_tile_footer_rows_exports_and_balance_agree(
    stores: Stores, made: keys.Created, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the nano after random traffic with zero charges, shortfalls, expiries, late charges,
    payments and refunds; the books catch up while the questions are asked."""
    monkeypatch.setattr(statements, "EXPORT_ROWS", 7)
    traffic = Traffic(stores, made, seed)
    for _ in range(120):
        await traffic.step()
    catching_up = asyncio.create_task(write_books(stores))
    scope = await statements.scope_of(stores, made.wallet, made.key_id)
    listed: list[Request] = []
    cursor = ""
    while True:
        page = await statements.requests(stores, scope, Filter(), cursor=cursor, limit=11)
        assert page.current
        listed += page.rows
        cursor = page.next_cursor
        if not cursor:
            break
    await catching_up
    state = await stores.till.wallet(made.wallet)
    assert state is not None
    assert len({row.request_id for row in listed}) == len(listed)
    assert sum(row.charge_nanos for row in listed) == state.spent_nanos == page.totals.charge_nanos
    assert sum(row.shortfall_nanos for row in listed) == page.totals.shortfall_nanos > 0
    used = await statements.usage(stores, scope, Filter(), bucket="1h", by_model=True, by_key=True)
    assert sum(row.totals.charge_nanos for row in used.rows) == state.spent_nanos
    assert used.totals == page.totals
    text = await file(stores, scope, "csv")
    table = list(csv.DictReader(io.StringIO(text)))
    assert sum(int(row["amount_nanos"]) for row in table) == state.balance_nanos
    assert sum(parse_usd(row["amount_usd"]) for row in table if row["request_id"]) == (
        -state.spent_nanos
    )
    assert [int(row["seq"]) for row in table] == list(range(1, state.wallet_seq + 1))
    document = json.loads(await file(stores, scope, "json"))
    assert document["sum_nanos"] == document["balance_nanos"] == state.balance_nanos
    assert [one["amount_nanos"] for one in document["entries"]] == [
        int(row["amount_nanos"]) for row in table
    ]
    check_beancount(await file(stores, scope, "beancount"), state.balance_nanos, len(table))
    months = await statements.months(stores, scope)
    assert sum(one.in_nanos - one.out_nanos for one in months) == state.balance_nanos
    told = await statements.statement(stores, scope, months[0])
    assert (told.opening_nanos, told.closing_nanos) == (0, state.balance_nanos)
    assert told.steps[-1][1] == state.balance_nanos


def check_beancount(text: str, balance_nanos: int, entries: int) -> None:
    """Every transaction folds to zero, accounts are opened before use, the balance is asserted."""
    opened, transactions, sums = set(), 0, {}  # type: ignore[var-annotated]
    now = Decimal()
    for line in text.splitlines():
        words = line.split()
        if line.startswith("  ") and line.endswith(" USD"):
            account, amount = words[0], Decimal(words[1])
            assert account in opened
            sums[account] = sums.get(account, Decimal()) + amount
            now += amount
        elif " open " in line:
            opened.add(words[2])
        elif " * " in line:
            assert now == 0
            transactions += 1
    assert now == 0
    assert transactions == entries
    assert sum(sums.values()) == 0
    last = text.splitlines()[-1].split()
    assert last[1] == "balance"
    assert Decimal(last[3]) * 10**9 == balance_nanos == sums[last[2]] * 10**9


async def test_one_request_explained(stores: Stores, made: keys.Created) -> None:
    """Lines and the rounding come to the charge; a shortfall, a late part and a running one are
    told as such."""
    digest = secret.digest(made.secret, PEPPER)
    for rid in ("req_a", "req_b", "req_c", "req_d"):
        ask = Ask(rid, made.wallet, digest, 100, 100, 0, "pv", "gpt-x", 1)
        await stores.till.reserve(ask, owner="o", lag_limit=10**6)
    nanos, meta = meta_of(3, 7, flags=["cache_unused"])
    charge = Charge("req_a", made.wallet, made.key_id, "gpt-x", nanos, "completed", meta)
    await stores.till.settle(charge)
    await stores.till.expire("req_b", made.wallet, renewals=0)
    late = Charge("req_b", made.wallet, made.key_id, "gpt-x", nanos, "completed", meta)
    await stores.till.late(late)
    more, meta = meta_of(3, 7_000)
    short = Charge("req_c", made.wallet, made.key_id, "gpt-x", more, "completed", meta)
    await stores.till.settle(short)
    await write_books(stores)
    scope = Scope(made.wallet)
    found = await statements.request(stores, scope, "req_a")
    assert isinstance(found, Explained)
    assert (found.charged, found.agrees, found.late) == ("yes", True, False)
    assert found.charge_nanos == nanos == 78
    assert sum(line.amount_picos for line in found.lines) + found.rounding_picos == nanos * 1000
    assert statements.formula(found) == (
        "3 input × 0.00000000175 + 7 output × 0.000000010333"
        " + rounding 0.000000000419 = 0.000000078 USD"
    )
    assert (found.hold_nanos, found.released_nanos) == (60_000, 60_000 - 78)
    assert found.notes[0].startswith("caching was asked for")
    found = await statements.request(stores, scope, "req_b")
    assert isinstance(found, Explained)
    assert (found.late, found.charge_nanos, found.agrees) == (True, nanos, True)
    found = await statements.request(stores, scope, "req_c")
    assert isinstance(found, Explained)
    assert found.charged == "partly"
    assert found.charge_nanos + found.shortfall_nanos == more == found.used_nanos
    assert found.agrees
    running = await statements.request(stores, scope, "req_d")
    assert running == statements.Running("req_d", 100)
    assert await statements.request(stores, scope, "req_e") is None
    assert await statements.request(stores, Scope("w_other"), "req_a") is None


async def test_a_sub_key_sees_itself_alone(stores: Stores, made: keys.Created) -> None:
    """Neither other keys' rows, nor credits, nor the wallet's balance."""
    digest = secret.digest(made.secret, PEPPER)
    ask = Ask("req_a", made.wallet, digest, 100, 100, 0, "pv", "gpt-x", 1)
    await stores.till.reserve(ask, owner="o", lag_limit=10**6)
    nanos, meta = meta_of(3, 7)
    await stores.till.settle(Charge("req_a", made.wallet, made.key_id, "", nanos, "x", meta))
    await write_books(stores)
    async with stores.books.transaction() as connection:
        await connection.execute(
            "insert into key (key_id, wallet, main) values ('key_sub', $1, false)", made.wallet
        )
    scope = await statements.scope_of(stores, made.wallet, "key_sub")
    assert scope == Scope(made.wallet, "key_sub")
    page = await statements.requests(stores, scope, Filter(), limit=5)
    assert (page.rows, page.totals.requests) == ([], 0)
    sly = await statements.requests(stores, scope, Filter(key_id=made.key_id), limit=5)
    assert (sly.rows, sly.totals.charge_nanos) == ([], 0)
    assert await statements.request(stores, scope, "req_a") is None
    assert (await statements.ledger(stores, scope, Span(), limit=5)).entries == []
    assert await statements.months(stores, scope) == []
    own = await statements.scope_of(stores, made.wallet, made.key_id)
    assert own == Scope(made.wallet)
    assert len((await statements.ledger(stores, own, Span(), limit=5)).entries) == 2
    stranger = await statements.scope_of(stores, "w_other", made.key_id)
    assert stranger == Scope("w_other", made.key_id)


async def test_books_that_are_behind_are_said_to_be(
    stores: Stores, made: keys.Created, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer without what Redis has already decided is not current."""
    monkeypatch.setattr(statements, "PATIENCE_S", 0.05)
    assert not await statements.is_current(stores, made.wallet)
    page = await statements.requests(stores, Scope(made.wallet), Filter(), limit=5)
    assert not page.current
    await write_books(stores)
    assert await statements.is_current(stores, made.wallet)


async def test_a_month_begins_where_the_last_one_ended(stores: Stores, made: keys.Created) -> None:
    """Entries are cut by when they were booked; each month's closing is the next one's opening."""
    scope = Scope(made.wallet)
    await write_books(stores)
    async with stores.books.connection() as connection:
        await connection.execute("reset role")
        await connection.execute("alter table event disable trigger event_append_only")
        await connection.execute(
            "update event set written_at = $1", datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC)
        )
        await connection.execute("alter table event enable trigger event_append_only")
    await stores.till.credit("x", made.wallet, 5, counter="grants", key=made.key_id)
    await write_books(stores)
    now, september = await statements.months(stores, scope)
    assert (september.month, september.entries) == ("2026-09", 1)
    first = await statements.statement(stores, scope, september)
    second = await statements.statement(stores, scope, now)
    assert first.closing_nanos == second.opening_nanos == 50_000
    assert second.closing_nanos == 50_005
    until = datetime(2026, 10, 1, tzinfo=UTC)
    assert await statements.span(stores, scope, until=until) == Span(1, 1)
    assert await statements.span(stores, scope, until, until + timedelta(days=1)) == Span(1, 0)
    assert await statements.span(stores, scope, since=until) == Span(2, 2)


def test_every_outcome_is_explained() -> None:
    """In a sentence of its own; a cursor is read as it was written."""
    assert set(WHY) == set(Outcome) - {Outcome.REFUSED_ADMISSION}
    assert len(set(WHY.values())) == len(WHY)
    row = Request("req_1", *[""] * 3, *[0] * 6, "", "", 0, 0, 0, datetime.now(UTC))
    assert statements.read_cursor(statements.make_cursor(row)) == (row.ended_at, "req_1")
    assert statements.read_cursor("") == (rows.LATEST, "")
    for wrong in ("x", "1.", ".req", "-1.req", "1" * 18 + ".req", "²3.req"):
        with pytest.raises(ValueError):
            statements.read_cursor(wrong)
