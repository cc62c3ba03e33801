"""Caps and ends of keys, as tables: what is granted, refused, and when a period begins anew."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.money.period import ends_at
from corvus_proxy.till import reply, scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door
from corvus_proxy.till.recovery.claims import Claim
from corvus_proxy.till.reply import (
    Ask,
    Charge,
    Denied,
    Extended,
    Granted,
    KeyEntry,
    KeyFigures,
    KeyRow,
    Limited,
    Look,
    Poor,
    Settled,
)

pytestmark = pytest.mark.anyio
W = "w_caps00000001"
SUB, MAIN = "key_sub", "key_main"
PART = partition_of(W)
NAME = f"{{p{PART:02d}}}:w:{W}"


@pytest.fixture(autouse=True)
async def away_from_midnight() -> None:
    """No period ends while a test runs."""
    if (left_s := ends_s("day") - datetime.now(UTC).timestamp()) < 10:
        await asyncio.sleep(left_s + 0.1)


def ask(rid: str, least: int, most: int, *, share: int = 0, digest: str = "sub") -> Ask:
    return Ask(rid, W, digest, least, most, share, "pv", "slug", 10)


async def reserve(till: Till, one: Ask) -> Any:
    return await till.reserve(one, owner="me", lag_limit=10_000)


async def settle(till: Till, rid: str, nanos: int) -> Any:
    return await till.settle(Charge(rid, W, "", "", nanos, "completed", b"{}"))


async def extend(till: Till, rid: str, total: int) -> Any:
    return await till.extend(rid, W, total_nanos=total, checkpoint_nanos=0, owner="me", meta=b"")


def ends_s(period: str) -> int:
    end = ends_at(period, datetime.now(UTC))
    return int(end.timestamp()) if end else 0


async def add(
    till: Till, *, cap: int | None, period: str = "total", balance: int = 10_000,
    expires_ms: int = 0, version: int = 1, spent: int = 0, status: str = "1",
) -> None:  # fmt: skip
    """A wallet with a main key without limits and a sub-key with some."""
    ends = ends_s(period) if cap is not None else 0
    row = KeyRow(W, version, "1", [
        KeyEntry(MAIN, "1", [("main", 0)]),
        KeyEntry(SUB, status, [("sub", 0)], False, "ci", cap, period, expires_ms, ends, spent),
    ])  # fmt: skip
    assert (await till.push(row))[0] == "OK"
    if balance and version == 1:
        await till.credit(f"start{W}", W, balance, counter="grants")


async def held(till: Till) -> int:
    return (await till.key_figures(W, [SUB]))[0].held_nanos


async def in_period(till: Till) -> int:
    found = await till.look(W, "sub")
    assert isinstance(found, Look)
    return found.period_spent_nanos


@pytest.mark.parametrize("period", ["total", "day", "week", "month"])
@pytest.mark.parametrize(
    ("cap", "balance", "least", "most", "share", "answer"),
    [
        (1000, 10_000, 100, 300, 0, Granted(300, 700, SUB)),
        (1000, 10_000, 100, 5000, 0, Granted(1000, 0, SUB)),
        (1000, 10_000, 1000, 1000, 0, Granted(1000, 0, SUB)),
        (1000, 600, 100, 5000, 0, Granted(600, 0, SUB)),
        (1000, 50, 100, 100, 0, Poor(50, 0)),
        (10**15, 10_000, 100, 300, 0, Granted(300, 9700, SUB)),
        # A whole answer takes half of what the cap leaves.
        (1000, 10_000, 100, 900, 200, Granted(500, 500, SUB)),
        (1000, 10_000, 100, 9000, 700, Granted(700, 300, SUB)),
        (0, 10_000, 0, 0, 0, Granted(0, 0, SUB)),
    ],
)
async def test_a_grant_is_bounded_by_what_the_cap_leaves(
    till: Till, period: str, cap: int, balance: int, least: int, most: int, share: int, answer: Any
) -> None:
    await add(till, cap=cap, period=period, balance=balance)
    assert await reserve(till, ask("r", least, most, share=share)) == answer
    granted = answer.granted_nanos if isinstance(answer, Granted) else 0
    assert await held(till) == granted
    assert await reserve(till, ask("main", 1, 1, digest="main")) != answer  # it has no cap


@pytest.mark.parametrize("period", ["total", "day", "week", "month"])
async def test_at_the_cap_it_says_how_much_and_until_when(till: Till, period: str) -> None:
    """Spent and held count; the reset is the beginning of the next period in UTC."""
    await add(till, cap=1000, period=period)
    await reserve(till, ask("a", 300, 300))
    await settle(till, "a", 250)
    await reserve(till, ask("b", 400, 400))
    assert await reserve(till, ask("c", 350, 900)) == Granted(350, 0, SUB)
    await settle(till, "c", 0)
    resets_ms = ends_s(period) * 1000
    found = await reserve(till, ask("d", 351, 900))
    assert isinstance(found, Limited)
    assert found[2:] == (1000, 250, 400, resets_ms)
    assert found.reason == "cap"
    left_ms = resets_ms - datetime.now(UTC).timestamp() * 1000
    assert abs(found.retry_ms - left_ms) < 5000 if period != "total" else found.retry_ms == 0
    assert await reserve(till, ask("e", 9000, 9000, digest="main")) == Granted(9000, 350, MAIN)


async def test_the_same_request_holds_once_of_the_cap(till: Till) -> None:
    await add(till, cap=1000, period="day")
    assert await reserve(till, ask("r", 100, 300)) == Granted(300, 700, SUB)
    assert await reserve(till, ask("r", 100, 300)) == Granted(300, 700, SUB)
    assert await held(till) == 300
    assert await settle(till, "r", 300) == Settled(300, 0, 9700, 2, 1)
    assert await held(till) == 0
    assert await in_period(till) == 300


async def test_a_slice_ends_at_the_cap(till: Till) -> None:
    """FINAL with what the cap left; more money does not help, a higher cap does."""
    await add(till, cap=1000, period="week")
    await reserve(till, ask("r", 100, 600))
    await reserve(till, ask("other", 150, 150))
    assert await extend(till, "r", 700) == Extended(700, final=False)
    assert await extend(till, "r", 900) == Extended(850, final=True, reason="cap")
    assert await held(till) == 1000
    assert await extend(till, "r", 850) == Extended(850, final=False)
    await add(till, cap=1500, period="week", version=2)
    assert await extend(till, "r", 1000) == Extended(1000, final=False)
    await add(till, cap=10, period="week", version=3)  # below what is held already
    assert await extend(till, "r", 1100) == Extended(1000, final=True, reason="cap")
    assert await settle(till, "r", 1000) == Settled(1000, 0, 9000, 2, 1)
    assert await held(till) == 150


async def test_where_money_ends_before_the_cap_it_is_the_money(till: Till) -> None:
    await add(till, cap=1000, balance=500)
    await reserve(till, ask("r", 100, 100))
    assert await extend(till, "r", 900) == Extended(500, final=True, reason="")


@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_a_period_begins_with_the_first_request_admitted_in_it(
    till: Till, period: str
) -> None:
    """A mark of a period that is over counts nothing; what a running request of that period costs
    counts in the new one only once that has begun."""
    await add(till, cap=1000, period=period)
    await reserve(till, ask("a", 900, 900))
    await reserve(till, ask("over", 100, 100))
    await settle(till, "a", 900)
    assert isinstance(await reserve(till, ask("b", 1, 1)), Limited)
    over = ends_s(period) - 24 * 3600
    await till.redis.hset(NAME, f"b:{SUB}", f"{over}|0|0")
    assert await in_period(till) == 0
    assert await extend(till, "over", 1001) == Extended(1000, final=True, reason="cap")
    await settle(till, "over", 100)
    assert await reserve(till, ask("c", 1, 600)) == Granted(600, 400, SUB)
    await settle(till, "c", 600)
    assert await in_period(till) == 600
    assert (await till.key_figures(W, [SUB]))[0] == KeyFigures(1600, 0, (ends_s(period), 1000, 0))


@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_a_refused_request_begins_no_period(till: Till, period: str) -> None:
    await add(till, cap=1000, period=period)
    await till.redis.hset(NAME, f"b:{SUB}", "86400|0|0")
    assert isinstance(await reserve(till, ask("a", 1001, 1001)), Limited)
    assert (await till.key_figures(W, [SUB]))[0].mark == (86400, 0, 0)


async def test_periods_end_where_python_says(till: Till) -> None:
    """The script's own calendar, on days of four years, leap day and century included."""
    text = scripts.SCRIPTS["reserve"].text
    start = text.index("-- The first day of the month")
    body = text[start : text.index("-- What a total has grown by")]
    script = body + "return string.format('%.0f', period_end(ARGV[1], tonumber(ARGV[2])))"
    days = [datetime(1999, 12, 25, 23, 59, 59, tzinfo=UTC) + timedelta(days=n, seconds=n % 3)
            for n in (*range(800), *range(9000, 9500), *range(36_500, 36_700))]  # fmt: skip
    pipe = till.redis.pipeline(transaction=False)
    for now in days:
        for period in ("day", "week", "month", "total"):
            pipe.eval(script, 0, period, int(now.timestamp()))
    answers = iter(await pipe.execute())
    for now in days:
        for period in ("day", "week", "month", "total"):
            end = ends_at(period, now)
            assert int(next(answers)) == (int(end.timestamp()) if end else 0), (now, period)


async def test_a_key_ends(till: Till) -> None:
    """Refused by its own word, unlike a secret that was changed; a running request goes on."""
    soon = int(datetime.now(UTC).timestamp() * 1000) + 60_000
    await add(till, cap=None, expires_ms=soon)
    assert await reserve(till, ask("r", 100, 100)) == Granted(100, 9900, SUB)
    past = int(datetime.now(UTC).timestamp() * 1000) - 1
    await add(till, cap=None, version=2, expires_ms=past)
    assert await reserve(till, ask("s", 100, 100)) == Denied("expired_key")
    assert await extend(till, "r", 200) == Extended(200, final=False)
    look = await till.look(W, "sub")
    assert isinstance(look, Look)
    assert (look.status, look.expires_ms) == ("expired", past)
    assert await settle(till, "r", 150) == Settled(150, 0, 9850, 2, 1)
    await add(till, cap=None, version=3)
    assert isinstance(await reserve(till, ask("t", 1, 1)), Granted)


@pytest.mark.parametrize(("status", "reason"), [("0", "frozen"), ("2", "revoked")])
async def test_a_stopped_key_with_a_cap_is_stopped(till: Till, status: str, reason: str) -> None:
    await add(till, cap=1000)
    await reserve(till, ask("r", 100, 100))
    await add(till, cap=1000, version=2, status=status)
    assert await reserve(till, ask("s", 1, 1)) == Denied(reason)
    assert await extend(till, "r", 200) == Extended(100, final=True, reason=reason)
    look = await till.look(W, "sub")
    assert isinstance(look, Look)
    assert look.status == reason


async def test_look_tells_the_limits(till: Till) -> None:
    await add(till, cap=1000, period="month", expires_ms=10**14)
    await reserve(till, ask("r", 100, 100))
    await settle(till, "r", 40)
    await reserve(till, ask("s", 70, 70))
    assert await till.look(W, "sub") == Look(
        SUB, "active", 9960, 70, 40, 40, False, "ci", 1000, "month", 40,
        ends_s("month") * 1000, 10**14, 70,
    )  # fmt: skip
    assert await till.look(W, "main") == Look(MAIN, "active", 9960, 70, 40, 0)


async def test_a_cap_that_is_set_later_knows_what_was_spent(till: Till) -> None:
    """By the books, where Redis has not counted; what Redis has counted is never overwritten."""
    await add(till, cap=None)
    await reserve(till, ask("r", 100, 100))
    await settle(till, "r", 100)
    await add(till, cap=1000, period="day", version=2, spent=60)
    assert await in_period(till) == 60
    await reserve(till, ask("s", 100, 100))
    await settle(till, "s", 100)
    await add(till, cap=500, period="day", version=3, spent=60)
    assert await in_period(till) == 160
    await add(till, cap=None, version=4)
    await add(till, cap=500, period="day", version=5, spent=0)
    assert await in_period(till) == 160
    await add(till, cap=500, period="month", version=6, spent=90)
    assert await in_period(till) == 90


async def test_fifty_at_once_overshoot_by_nothing_but_a_shortfall(till: Till) -> None:
    """Each holds what it may cost; what is charged beyond a hold is all that passes the cap."""
    cap = 1_000_000
    await add(till, cap=cap, period="day", balance=10**9)
    short = 0

    async def one(n: int) -> None:
        nonlocal short
        for turn in range(6):
            rid = f"r{n}.{turn}"
            found = await reserve(till, ask(rid, 5000, 40_000 + n))
            if isinstance(found, Limited):
                continue
            assert isinstance(found, Granted)
            more = await extend(till, rid, found.granted_nanos + 10_000)
            assert isinstance(more, Extended)
            beyond = 77 if n == 7 else 0
            short += beyond
            await settle(till, rid, more.granted_total_nanos - (n % 3) * 100 + beyond)

    await asyncio.gather(*(one(n) for n in range(50)))
    spent = await in_period(till)
    assert cap - 5000 < spent <= cap + short
    assert await held(till) == 0


async def test_a_rebuild_keeps_the_period(till: Till) -> None:
    """From the books; what is charged again counts in no period, what runs is held of the cap."""
    await add(till, cap=1000, period="day")
    replid = await till.replid()
    assert (await door.close(till, PART, 1))[0] == "OK"
    assert (await door.rebuild(till, PART, 2, base=Mark(1, 5), replid=replid))[0] == "OK"
    key = KeyEntry(SUB, "1", [("sub", 0)], False, "ci", 1000, "day", 0, ends_s("day"), 300)
    row = door.WalletRow(KeyRow(W, 2, "1", [key]), 9000, 9, 800, {SUB: 800})
    await door.load(till, PART, 2, [row])
    state = (await till.partitions())[PART]
    assert (await till.open_partition(PART, state, replid=replid, to="REPLAY"))[0] == "OK"
    charge = Claim("S", "again", W, SUB, "slug", 50, "completed", "{}")
    assert [type(one) for one in await door.direct(till, PART, 2, [charge])] == [Settled]
    runs = Claim("A", "runs", W, SUB, "slug", 120, owner="me", price="pv")
    assert await door.adopt(till, PART, 2, [runs]) == [reply.Adopted(120)]
    state = (await till.partitions())[PART]
    assert (await till.open_partition(PART, state, replid=replid))[0] == "OK"
    await till.look(W, "sub")  # learns the epoch
    found = await reserve(till, ask("r", 581, 581))
    assert isinstance(found, Limited)
    assert found[2:5] == (1000, 300, 120)
    assert await reserve(till, ask("s", 580, 580)) == Granted(580, 0, SUB)
    assert (await till.key_figures(W, [SUB]))[0] == KeyFigures(850, 700, (ends_s("day"), 850, 300))
    told = await door.wallet_row(till, W)
    assert told is not None
    again = told.keys[0]
    assert (again.main, again.label, again.cap_nanos, again.period) == (False, "ci", 1000, "day")
