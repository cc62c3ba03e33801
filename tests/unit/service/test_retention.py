"""Retention over real stores: detail goes by its age, amounts never, and nobody deletes more."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from corvus_proxy import clock, metrics
from corvus_proxy.account.statements import document
from corvus_proxy.books import retention as pieces
from corvus_proxy.books import views
from corvus_proxy.books.db import Books
from corvus_proxy.books.published import days
from corvus_proxy.books.statements import Filter, Scope, Span
from corvus_proxy.ledger import explain
from corvus_proxy.ledger.verify import verify
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops import migrate
from corvus_proxy.service import keys, proof, retention, statements
from corvus_proxy.service.statements.explained import Explained
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import RetentionSettings, Settings
from corvus_proxy.settings.retention import KEPT, KINDS, Kind, too_short
from corvus_proxy.site.app import create
from corvus_proxy.till.client import Till
from tests.unit.service.test_statements import PEPPER, Traffic, write_books

pytestmark = pytest.mark.anyio
REQUEST = retention.REQUEST
NEVER = RetentionSettings(**{kind.option: 0 for kind in KINDS})
AGED = "update {} set {} = {} - interval '500 days' where {}"


def only(kind: str, days: int) -> RetentionSettings:
    return msgspec.structs.replace(NEVER, **{f"{kind}_days": days})


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is not cut short because this machine is busy."""
    monkeypatch.setattr(retention, "WORK_S", 600)


@asynccontextmanager
async def owner(books: Books) -> AsyncIterator[Any]:
    """A connection of the role that migrates."""
    connection = await asyncpg.connect(books._url)
    yield connection
    await connection.close()


async def age(books: Books, where: str = "true") -> None:
    """Makes requests 500 days older, with their events: as only the owner can, past the trigger."""
    async with owner(books) as connection:
        await connection.execute("alter table event disable trigger event_append_only")
        await connection.execute(AGED.format("request", "ended_at", "ended_at", where))
        spent = (
            f"type in ('S', 'X', 'L') and ext_id in (select request_id from request where {where})"
        )
        await connection.execute(AGED.format("event", "written_at", "written_at", spent))
        await connection.execute("alter table event enable trigger event_append_only")


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


async def figures(stores: Stores, wallet: str) -> dict[str, Any]:
    """Everything that is told of amounts: the verification, totals of days and of the customer."""
    scope = Scope(wallet)
    asked = [
        await statements.usage(stores, scope, wanted, bucket=bucket, by_model=True, by_key=True)
        for wanted in (Filter(), Filter(outcome="completed"), Filter(slug="gpt-x.1"))
        for bucket in ("", "1d")
    ]
    report = await verify(stores.till, stores.books)
    async with stores.books.connection() as connection:
        return {
            "verified": report,
            "proof": await days.read(connection, datetime(2000, 1, 1, tzinfo=UTC).date()),
            "accounts": await views.accounts(connection),
            "usage": [(one.rows, one.totals) for one in asked],
            "footer": (await statements.requests(stores, scope, Filter(), limit=1)).totals,
            "ledger": (await statements.ledger(stores, scope, Span(), limit=1000)).entries,
            "months": await statements.months(stores, scope),
            "postings": [tuple(row) for row in await connection.fetch(
                "select * from posting order by part, epoch, seq, line")],
        }  # fmt: skip


async def forget_piece(books: Books, settings: RetentionSettings) -> int:
    """One piece of seven requests."""
    cut = REQUEST.cut(settings, clock.utc_now())
    assert cut is not None
    async with books.transaction() as connection:
        assert await pieces.lock(connection)
        at = await pieces.begin(connection, "request", cut)
        gone, more = await pieces.forget(connection, at, most=7)
    assert (gone, more) == (7, True)
    return gone


async def forget_and_crash(books: Books) -> None:
    async with books.transaction() as connection:
        at = await pieces.begin(connection, "request", clock.utc_now() - timedelta(days=36))
        assert (await pieces.forget(connection, at, most=7))[0] == 7
        raise ZeroDivisionError


async def test_amounts_are_the_same_before_and_after(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random traffic, most of it old: in pieces of seven, one of them lost in a crash, and by two
    workers at once. Verification, proof and every sum stay; the detail is gone."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 7)
    for _ in range(90):
        await traffic.step()
    await write_books(stores)
    await proof.count_days(stores)
    await age(stores.books, "request_id < 'req_0070'")
    before = await figures(stores, made.wallet)
    assert before["verified"].ok
    assert len(before["footer"]) == 7
    monkeypatch.setattr(retention, "AT_ONCE", 7)
    counted = metrics.FORGOTTEN.labels("request")._value.get()
    rows = "select count(*) from request"
    async with stores.books.connection() as connection:
        had = await connection.fetchval(rows)
        lines = "select count(*) from event where meta ? 't'"
        billed = await connection.fetchval(lines)
    settings = only("request", 35)
    with pytest.raises(ZeroDivisionError):
        await forget_and_crash(stores.books)
    assert await figures(stores, made.wallet) == before
    first = await forget_piece(stores.books, settings)
    assert await figures(stores, made.wallet) == before
    metrics.FORGOTTEN.labels("request").inc(first)
    both = await asyncio.gather(*(retention.tick(stores.books, settings) for _ in range(2)))
    rest = await retention.tick(stores.books, settings)
    gone = first + sum(both) + rest
    after = await figures(stores, made.wallet)
    assert after == before
    async with stores.books.connection() as connection:
        assert await connection.fetchval(rows) == had - gone > 0
        assert await connection.fetchval(lines) < billed
        assert await connection.fetchval(
            "select count(*) from event where meta = '{\"gone\": true}'") == gone  # fmt: skip
        assert await connection.fetchval("select sum(requests) from request_day") > 0
    assert gone > 30
    assert metrics.FORGOTTEN.labels("request")._value.get() - counted == gone
    assert await retention.tick(stores.books, settings) == 0


async def test_what_is_gone_is_said(stores: Stores) -> None:
    """By the lists, by one request, by its page and by the operator's explanation; young ones keep
    all."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 3)
    for _ in range(40):
        await traffic.step()
    await write_books(stores)
    await proof.count_days(stores)
    scope = Scope(made.wallet)
    page = await statements.requests(stores, scope, Filter(), limit=100)
    assert page.deleted_before is None
    settled = [row for row in page.rows if row.charge_nanos and row.outcome == "completed"]
    young, old = [row for row in settled if not row.request_id.endswith(":L")][:2]
    await age(stores.books, f"request_id = '{old.request_id}'")
    assert await retention.tick(stores.books, RetentionSettings()) == 1
    cut = REQUEST.cut(RetentionSettings(), clock.utc_now())
    page = await statements.requests(stores, scope, Filter(), limit=100)
    used = await statements.usage(stores, scope, Filter())
    assert page.deleted_before == used.deleted_before == cut
    assert old.request_id not in {row.request_id for row in page.rows}
    found = await statements.request(stores, scope, old.request_id)
    assert isinstance(found, Explained)
    told = document(found)
    assert (told["detail_deleted"], told["lines"], told["charge_nanos"]) == (
        True,
        [],
        old.charge_nanos,
    )
    assert "older than such detail is kept" in told["why"]
    async with owner(stores.books) as connection:
        raw = await connection.fetchval(
            "select meta::text from event where ext_id = $1", old.request_id)  # fmt: skip
    assert raw == '{"gone": true}'
    explained = await explain.explain(stores.till, stores.books, made.wallet, limit=100)
    [step] = [one for one in explained.steps if one.id == old.request_id]
    assert "retention.request_days" in " ".join(step.notes)
    transport = httpx.ASGITransport(create(stores, Settings()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        await client.post("/login", data={"key": made.secret})
        listed = (await client.get("/dashboard/requests")).text
        assert "is deleted by its age" in listed
        assert old.request_id not in listed
        one = await client.get(f"/dashboard/requests/{old.request_id}")
        assert one.status_code == 200
        assert "The lines are gone" in one.text
        assert "How long it took" not in one.text
        one = await client.get(f"/dashboard/requests/{young.request_id}")
        assert "How long it took" in one.text


async def test_what_days_have_not_counted_waits(stores: Stores) -> None:
    """A worker that was away for long counts first: totals of days are made from requests."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 5)
    for _ in range(20):
        await traffic.step()
    await write_books(stores)
    await age(stores.books)
    assert await retention.tick(stores.books, only("request", 35)) == 0
    await proof.count_days(stores)
    assert await retention.tick(stores.books, only("request", 35)) > 5


async def test_redis_forgets_too(stores: Stores) -> None:
    """What was booked long ago leaves the streams, but for the last event of a partition; balances,
    verification and what comes after stay sound. With no time set, nothing leaves."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 9)
    for _ in range(30):
        await traffic.step()
    await write_books(stores)
    await age(stores.books)
    stream = f"{{p{partition_of(made.wallet):02d}}}:l"
    length = await stores.till._redis.xlen(stream)
    await retention.trim(stores, NEVER)
    assert await stores.till._redis.xlen(stream) == length > 10
    before = await verify(stores.till, stores.books)
    await retention.trim(stores, only("request", 35))
    async with stores.books.connection() as connection:
        old = await connection.fetchval(
            "select max(seq) from event where written_at < now() - interval '400 days'"
        )
    assert await stores.till._redis.xlen(stream) == max(1, length - old) < length
    assert await verify(stores.till, stores.books) == before
    async with stores.books.connection() as connection:
        assert (await pieces.read(connection))[retention.STREAM].done
    for _ in range(10):
        await traffic.step()
    await write_books(stores)
    assert (await verify(stores.till, stores.books)).ok
    assert await statements.is_current(stores, made.wallet)


async def test_a_writer_does_not_wait_for_who_deletes(stores: Stores) -> None:
    """While a piece of a wallet's past is being deleted, its present is booked."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 13)
    for _ in range(20):
        await traffic.step()
    await write_books(stores)
    await proof.count_days(stores)
    await age(stores.books)
    cut = REQUEST.cut(only("request", 35), clock.utc_now())
    assert cut is not None
    async with stores.books.transaction() as connection:
        assert await pieces.lock(connection)
        at = await pieces.begin(connection, "request", cut)
        assert (await pieces.forget(connection, at, most=500))[0] > 0
        for _ in range(10):
            await traffic.step()
        await asyncio.wait_for(write_books(stores), 10)
        async with stores.books.transaction() as other:
            assert not await pieces.lock(other)
    assert (await verify(stores.till, stores.books)).ok


ORDER = """
insert into shop_order (order_id, token_digest, token_sealed, browser_digest, form_digest, pay_url,
    provider, email, status, refund, disputed, amount_nanos, total_nanos, new_key, created_at,
    expires_at, watched_until, next_check_at)
values ($1, $1, 'sealed', 'b', $1, 'https://pay', 'stripe', 'me@example.com', $2, $3, $4, 1, 1,
    true, now() - interval '300 days', now() - interval '300 days',
    now() - $5 * interval '1 day', $6)
"""
MAIL = """
insert into mail (mail_id, kind, order_id, address, view_sealed, state, ended_at)
values ('m_' || $1, 'delivered', $1, 'me@example.com', '', 'accepted', now() - interval '290 days')
"""
ORDERS: dict[str, tuple[str, str, bool, int, bool]] = {
    # status, refund, disputed, days since it was watched, still asked about
    "paid": ("paid_confirmed", "", False, 290, False),
    "refunded": ("paid_confirmed", "sent", False, 290, False),
    "never-paid": ("expired", "", False, 290, False),
    "young": ("paid_confirmed", "", False, 20, False),
    "open": ("awaiting_payment", "", False, 290, False),
    "seen": ("payment_seen", "", False, 290, False),
    "watched": ("expired", "", False, 290, True),
    "disputed": ("paid_confirmed", "", True, 290, False),
    "refund-asked": ("paid_confirmed", "requested", False, 290, False),
    "refund-approved": ("paid_confirmed", "approved", False, 290, False),
}
GO = {"paid", "refunded", "never-paid"}


async def test_an_orders_address_goes_once_nothing_is_open(books: Books) -> None:
    """And its mails with it; what is disputed goes after the dispute is over."""
    async with owner(books) as connection:
        for name, (status, refund, disputed, watched, asked) in ORDERS.items():
            again = clock.utc_now() if asked else None
            await connection.execute(ORDER, name, status, refund, disputed, watched, again)
            await connection.execute(MAIL, name)
        await connection.execute(
            "insert into mail (mail_id, kind, address, view_sealed) values ('m', 'x', 'a@b', '')"
        )
    assert await retention.tick(books, RetentionSettings()) == len(GO) + len(GO) + 1
    cleared = (
        "select order_id from shop_order where email = '' and browser_digest = '' and pay_url = ''"
    )
    async with owner(books) as connection:
        assert {row[0] for row in await connection.fetch(cleared)} == GO
        mails = {row[0] for row in await connection.fetch("select mail_id from mail")}
        assert mails == {"m"} | {f"m_{name}" for name in ORDERS if name not in {*GO, "young"}}
        assert await connection.fetchval("select count(*) from shop_order") == len(ORDERS)
        # The dispute is won, a day later.
        await connection.execute("update shop_order set disputed = false where disputed")
        await connection.execute("update retention set cut = cut - interval '1 day'")
    assert await retention.tick(books, RetentionSettings()) == 2
    async with owner(books) as connection:
        assert {row[0] for row in await connection.fetch(cleared)} == {*GO, "disputed"}


AGO = "now() - interval '1 day' * "
OTHERS: dict[str, str] = {
    "link": "link (token_digest, kind, email, expires_at) values ('{id}', 'login', 'a@b', {at})",
    "recovery": "recovery (recovery_id, token_digest, stop_digest, how, wallet, key_id, opens_at,"
    " expires_at, stopped_at)"
    " values ('{id}', '{id}', '{id}', 'mail', 'w_1', 'k', now(), now(), {at})",
    "session": "session (session_id, wallet, key_id, kind, seen_at)"
    " values ('{id}', 'w', 'k', 'key', {at})",
    "token": "read_token (digest, token_id, wallet, key_id, masked, expires_at)"
    " values ('{id}', '{id}', 'w', 'k', '…', {at})",
    "notice": "notice (notice_id, alarm_id, wallet, url, body, ended_at)"
    " values ('{id}', 'a', 'w', 'https://x', '{{}}', {at})",
    "webhook": "webhook (provider, event_id, kind, received_at)"
    " values ('stripe', '{id}', 'paid', {at})",
    "quarantine": "quarantine (part, epoch, seq, wallet, raw, why, released_at)"
    " values (1, 1, {n}, 'w', '{{\"u\": 1}}', 'why', {at})",
    "mail": "mail (mail_id, kind, address, view_sealed, ended_at)"
    " values ('{id}', 'x', 'a@b', '', {at})",
}


async def test_every_other_kind_goes_by_its_own_days(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five old rows and one young of each, in pieces of two; what has not ended stays."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    settings = RetentionSettings()
    kinds = {kind.name: kind for kind in KINDS}
    async with owner(books) as connection:
        await connection.execute("insert into wallet (wallet, part) values ('w_1', 1)")
        for name, row in OTHERS.items():
            ages = [*range(kinds[name].days(settings) + 1, kinds[name].days(settings) + 6), 0]
            for n, ago in enumerate(ages):
                await connection.execute(
                    "insert into " + row.format(id=f"i{n}", n=n, at=f"{AGO}{ago}"))  # fmt: skip
        await connection.execute(  # a log-in that is old and in use, a token without an end
            "insert into session (session_id, wallet, key_id, kind, created_at)"
            f" values ('used', 'w', 'k', 'key', {AGO}900)"
        )
        await connection.execute(
            "insert into read_token (digest, token_id, wallet, key_id, masked, created_at)"
            f" values ('for-ever', 'f', 'w', 'k', '…', {AGO}900)"
        )
    assert await retention.tick(books, settings) == 5 * len(OTHERS)
    async with owner(books) as connection:
        for name in OTHERS:
            table = kinds[name].tables[0]
            left = 6 if name == "quarantine" else 2 if name in ("session", "token") else 1
            assert await connection.fetchval(f"select count(*) from {table}") == left, name
        emptied = "select count(*) from quarantine where raw = '{}'"
        assert await connection.fetchval(emptied) == 5
    async with books.connection() as connection:
        progress = await pieces.read(connection)
    assert {name for name, one in progress.items() if one.done} == set(kinds) - {"request"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_the_database_refuses_what_is_younger_than_each_kinds_least(
    books: Books, kind: Kind
) -> None:
    """Whatever settings or a thief with the services' role ask for."""
    now = clock.utc_now()
    most = now - timedelta(days=kind.least_days)
    async with books.connection() as connection:
        young = pieces.Progress(kind.name, most + timedelta(hours=1), "", False, 0, now)
        with pytest.raises(asyncpg.RaiseError, match=f"at least {kind.least_days} days"):
            await pieces.forget(connection, young, most=5)
        old = young._replace(cut=most - timedelta(hours=1))
        assert (await pieces.forget(connection, old, most=5))[0] == 0
        for table in kind.tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"delete from {table}")
    assert too_short(only(kind.name, kind.least_days)) == []
    if kind.least_days > 1:
        [sentence] = too_short(only(kind.name, kind.least_days - 1))
        assert f"retention.{kind.option}" in sentence


async def test_nothing_else_of_an_event_changes_for_anybody(stores: Stores) -> None:
    """Not even for the owner, and not by the function's own sentence on a young one or a credit."""
    made = await keys.create(stores, credit_nanos=50_000)
    traffic = Traffic(stores, made, 11)
    for _ in range(12):
        await traffic.step()
    await write_books(stores)
    gone = "update event set meta = '{\"gone\": true}'"
    async with owner(stores.books) as connection:
        refused = [
            f"{gone} where type = 'S'",
            f"{gone}, delta_nanos = 0 where type = 'S' and written_at < now() - interval '99 days'",
            "update event set meta = '{}' where type = 'S'",
            f"{gone} where type = 'C'",
            "delete from event",
            "update posting set amount_nanos = 1",
            "delete from posting",
        ]
        for statement in refused[:1]:
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await connection.execute(statement)
        await age(stores.books)
        for statement in refused[1:]:
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await connection.execute(statement)
    async with stores.books.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"{gone} where type = 'S'")


def test_every_table_is_in_one_kind_or_kept_with_its_reason() -> None:
    made: list[str] = []
    for path in sorted(migrate.folder().glob("*.sql")):
        up = path.read_text().partition("-- migrate:down")[0]
        made += re.findall(r"^create table (?:if not exists )?(\w+)", up, re.MULTILINE)
    named = [table for kind in KINDS for table in kind.tables] + list(KEPT)
    assert sorted(named) == sorted(made)
    assert all(kind.reason and kind.what and kind.stays and kind.since for kind in KINDS)
    assert all(KEPT.values())
    options = set(RetentionSettings.__struct_fields__)
    assert {kind.option for kind in KINDS} == options
