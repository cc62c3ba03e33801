"""Limits a minute, at once and by model, as tables: what is granted, refused, and for how long."""

import asyncio
import time
from typing import Any

import pytest

from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.money.period import NO_RATES, Rates, parse_rates
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door
from corvus_proxy.till.recovery.claims import Claim
from corvus_proxy.till.reply import (
    Adopted,
    Ask,
    Charge,
    Denied,
    Granted,
    KeyEntry,
    KeyRow,
    Look,
    Paced,
)
from tests.oracle.till_oracle import Partition

pytestmark = pytest.mark.anyio
W = "w_rates0000001"
SUB, MAIN = "key_sub", "key_main"
PART = partition_of(W)
NAME = f"{{p{PART:02d}}}:w:{W}"


def ask(rid: str, tokens: int = 10, *, digest: str = "sub", slug: str = "slug") -> Ask:
    return Ask(rid, W, digest, 10, 10, 0, "pv", slug, tokens)


async def reserve(till: Till, one: Ask) -> Any:
    return await till.reserve(one, owner="me", lag_limit=10_000)


async def settle(till: Till, rid: str, *, minute: str = "", tokens: int = 0) -> Any:
    return await till.settle(Charge(rid, W, "", "", 1, "completed", b"{}", minute, tokens))


async def add(till: Till, rates: Rates, *, version: int = 1, cap: int | None = None) -> None:
    """A wallet with a main key without limits and a sub-key with some."""
    row = KeyRow(W, version, "1", [
        KeyEntry(MAIN, "1", [("main", 0)]),
        KeyEntry(SUB, "1", [("sub", 0)], False, "ci", cap, rates=rates),
    ])  # fmt: skip
    assert (await till.push(row))[0] == "OK"
    if version == 1:
        await till.credit(f"start{W}", W, 100_000, counter="grants")


async def minute(till: Till) -> tuple[int, ...]:
    text = await till.redis.hget(NAME, f"q:{SUB}")
    return tuple(map(int, text.split(b"|"))) if text else ()


async def begin(till: Till, ago_ms: int, requests: int, tokens: int) -> int:
    """A minute of the key that began so long ago; when."""
    began = int(time.time() * 1000) - ago_ms
    await till.redis.hset(NAME, f"q:{SUB}", f"{began}|{requests}|{tokens}")
    return began


async def test_requests_of_a_minute_are_counted_and_refused(till: Till) -> None:
    """The refusal tells until when, and counts nothing; the main key has no limit."""
    await add(till, Rates(requests_per_minute=2))
    for rid, left in (("a", 1), ("b", 0)):
        found = await reserve(till, ask(rid))
        assert isinstance(found, Granted)
        assert found.pace is not None
        assert found.pace[:4] == (2, left, None, None)
        assert 50_000 < found.pace.resets_ms <= 60_000
    refused = await reserve(till, ask("c"))
    assert isinstance(refused, Paced)
    assert (refused.reason, *refused[2:]) == ("rate", 2, 2)
    assert 50_000 < refused.retry_ms <= 60_000
    assert (await minute(till))[1:] == (2, 20)
    assert await reserve(till, ask("d", digest="main")) == Granted(10, 99_970, MAIN)


@pytest.mark.parametrize(("ago_ms", "granted"), [(30_000, False), (60_001, True), (-30_000, True)])
async def test_a_minute_ends_and_the_next_begins_with_a_request(
    till: Till, ago_ms: int, granted: bool
) -> None:
    """A clock that went back ends it, too: nobody waits for longer than a minute."""
    await add(till, Rates(requests_per_minute=1))
    began = await begin(till, ago_ms, 1, 10)
    found = await reserve(till, ask("a"))
    assert isinstance(found, Granted) is granted
    now = await minute(till)
    assert now[1:] == (1, 10)
    assert (now[0] == began) is not granted
    if not granted:
        assert 0 < found.retry_ms <= 60_000 - ago_ms


@pytest.mark.parametrize(
    ("used", "tokens", "answer"),
    [
        (0, 100, "granted"), (0, 101, "never"), (60, 40, "granted"), (60, 41, "later"),
        (100, 0, "granted"), (140, 0, "later"), (140, 101, "never"),
    ],
)  # fmt: skip
async def test_tokens_of_a_minute_are_counted_and_refused(
    till: Till, used: int, tokens: int, answer: str
) -> None:
    await add(till, Rates(tokens_per_minute=100))
    began = await begin(till, 1_000, 5, used)
    found = await reserve(till, ask("a", tokens))
    if answer == "granted":
        assert found.pace[:5] == (None, None, 100, 100 - used - tokens, str(began))
        assert await minute(till) == (began, 6, used + tokens)
    else:
        assert (found.reason, *found[2:]) == ("tokens", 100, used)
        assert (found.retry_ms > 0) is (answer == "later")
        assert await minute(till) == (began, 5, used)


@pytest.mark.parametrize(
    ("ago_ms", "same", "more", "counted"),
    [
        # Of its own minute: what was more and what was less.
        (1_000, True, 40, 90), (1_000, True, -40, 10), (1_000, True, -90, 0),
        # Of one before: only what was more.
        (1_000, False, 40, 90), (1_000, False, -40, 50),
        # No minute runs: what was more begins one.
        (70_000, True, 40, 40), (70_000, True, -40, 50), (1_000, True, 0, 50),
    ],
)  # fmt: skip
async def test_a_settle_corrects_the_tokens_of_the_minute(
    till: Till, ago_ms: int, same: bool, more: int, counted: int
) -> None:
    await add(till, Rates(tokens_per_minute=100))
    await reserve(till, ask("a", 20))
    began = await begin(till, ago_ms, 2, 50)
    await settle(till, "a", minute=str(began if same else began - 60_000), tokens=more)
    assert (await minute(till))[2] == counted
    again = await settle(till, "a", minute=str(began), tokens=7)
    assert type(again).__name__ == "Duplicate"
    assert (await minute(till))[2] == counted


async def test_as_many_run_at_once_as_may(till: Till) -> None:
    """By their holds: one that ended in whatever way lets the next in, and one that is asked for
    again is the same."""
    await add(till, Rates(concurrency=2))
    for rid in ("a", "b"):
        assert await reserve(till, ask(rid)) == Granted(
            10, 100_000 - 10 * (rid == "a") - 20 * (rid == "b"), SUB
        )
    assert await reserve(till, ask("c")) == Paced("concurrency", 1000, 2, 2)
    assert isinstance(await reserve(till, ask("a")), Granted)
    assert isinstance(await reserve(till, ask("m", digest="main")), Granted)
    await settle(till, "a")
    assert isinstance(await reserve(till, ask("d")), Granted)
    assert await reserve(till, ask("c")) == Paced("concurrency", 1000, 2, 2)
    await till.expire("b", W, renewals=0)
    assert isinstance(await reserve(till, ask("c")), Granted)
    assert await till.redis.hget(NAME, f"a:{SUB}") == b"d,c"
    await add(till, NO_RATES, version=2)
    assert isinstance(await reserve(till, ask("e")), Granted)


async def test_what_runs_through_a_rebuild_still_counts_among_those_at_once(till: Till) -> None:
    """The wallet is new then, and the holds are given back: of a key without the limit nothing is
    noted, and one that ends lets the next in."""
    replid = await till.replid()
    assert (await door.close(till, PART, 1))[0] == "OK"
    assert (await door.rebuild(till, PART, 2, base=Mark(1, 1), replid=replid))[0] == "OK"
    row = KeyRow(W, 1, "1", [
        KeyEntry(MAIN, "1", [("main", 0)], rates=Rates(5, 500)),
        KeyEntry(SUB, "1", [("sub", 0)], False, "ci", rates=Rates(concurrency=2)),
    ])  # fmt: skip
    await door.load(till, PART, 2, [door.WalletRow(row, 9000, 1, 0, {})])
    state = (await till.partitions())[PART]
    assert (await till.open_partition(PART, state, replid=replid, to="REPLAY"))[0] == "OK"
    runs = [
        Claim("A", rid, W, key, "slug", 10, owner="me", price="pv")
        for rid, key in (("a", SUB), ("b", SUB), ("m", MAIN))
    ]
    assert await door.adopt(till, PART, 2, runs) == [Adopted(10)] * 3
    assert await door.adopt(till, PART, 2, runs[:1]) == [Adopted(10)]
    state = (await till.partitions())[PART]
    assert (await till.open_partition(PART, state, replid=replid))[0] == "OK"
    await till.look(W, "sub")  # learns the epoch
    assert await till.redis.hget(NAME, f"a:{SUB}") == b"a,b"
    assert await till.redis.hget(NAME, f"a:{MAIN}") is None
    assert await reserve(till, ask("c")) == Paced("concurrency", 1000, 2, 2)
    await settle(till, "a")
    assert isinstance(await reserve(till, ask("c")), Granted)
    assert await reserve(till, ask("d")) == Paced("concurrency", 1000, 2, 2)


@pytest.mark.parametrize(
    ("status", "rates", "kept"),
    [("1", Rates(9, None, 9), True), ("0", Rates(9, None, 9), True), ("1", NO_RATES, False),
     ("2", Rates(9, None, 9), False), ("", NO_RATES, False)],
)  # fmt: skip
async def test_the_counts_of_a_key_go_with_its_limits(
    till: Till, status: str, rates: Rates, kept: bool
) -> None:
    """So Redis keeps no more than the keys that have them; a frozen key still has its own."""
    await add(till, Rates(5, None, 5))
    assert isinstance(await reserve(till, ask("a")), Granted)
    before = await till.redis.hmget(NAME, f"q:{SUB}", f"a:{SUB}")
    assert all(before)
    entries = [KeyEntry(MAIN, "1", [("main", 0)])]
    if status:
        entries.append(KeyEntry(SUB, status, [("sub", 0)], False, "ci", rates=rates))
    assert (await till.push(KeyRow(W, 2, "1", entries)))[0] == "OK"
    after = await till.redis.hmget(NAME, f"q:{SUB}", f"a:{SUB}")
    assert after == (before if kept else [None, None])


async def test_fifty_at_once_and_never_more_than_may(till: Till) -> None:
    await add(till, Rates(requests_per_minute=30, concurrency=4))
    answers = await asyncio.gather(*(reserve(till, ask(f"r{n}")) for n in range(50)))
    assert sum(isinstance(one, Granted) for one in answers) == 4
    for one in range(50):
        await settle(till, f"r{one}")
        answers += await asyncio.gather(*(reserve(till, ask(f"s{one}.{n}")) for n in range(2)))
    assert sum(isinstance(one, Granted) for one in answers) <= 30


@pytest.mark.parametrize(
    ("models", "slug", "allowed"),
    [
        ((), "slug", True), (("slug",), "slug", True), (("a", "slug"), "slug", True),
        (("slug", "b"), "slug", True), (("slugs",), "slug", False), (("a-slug",), "slug", False),
        (("s.ug",), "slug", False), (("a",), "slug", False),
    ],
)  # fmt: skip
async def test_a_key_may_use_the_models_of_its_list(
    till: Till, models: tuple[str, ...], slug: str, allowed: bool
) -> None:
    """Decided before money, caps and rates: it tells nothing of them."""
    await add(till, Rates(requests_per_minute=1, models=models), cap=10)
    found = await reserve(till, ask("a", slug=slug))
    assert isinstance(found, Granted) if allowed else found == Denied("model")
    if not allowed:
        assert await minute(till) == ()


async def test_caps_and_ends_are_judged_beside_rates(till: Till) -> None:
    rates = Rates(1, 1000, 5, ("slug",))
    await add(till, rates, cap=5)
    found = await reserve(till, ask("a"))
    assert (found.reason, found.cap_nanos) == ("cap", 5)
    assert await minute(till) == ()
    look = await till.look(W, "sub")
    assert isinstance(look, Look)
    assert (look.rates, look.cap_nanos, look.status) == (rates, 5, "active")
    main = await till.look(W, "main")
    assert isinstance(main, Look)
    assert main.rates == NO_RATES
    told = await door.wallet_row(till, W)
    assert told is not None
    assert {key.key_id: key.rates for key in told.keys} == {MAIN: NO_RATES, SUB: rates}


async def test_the_oracle_agrees_about_minutes(till: Till) -> None:
    """The same asks and ends to both: the same words, and the same counts left behind."""
    await add(till, Rates(6, 100, 3, ("slug",)))
    server = await till.replid()
    oracle = Partition("1", server, "OPEN", seq=1, committed=1, now_ms=int(time.time() * 1000))
    text = Rates(6, 100, 3, ("slug",)).text()
    keys = f'[{{"id": "{SUB}", "st": "1||total|0{text}", "ds": [["sub", 0]]}}]'
    assert oracle.key(server, "1", W, "1", "1", keys) == ("OK", "1")
    oracle.wallets[W].balance = 100_000
    for at in range(24):
        rid, tokens = f"r{at}", str((at * 7) % 31)
        wanted = oracle.reserve(
            server, "1", rid, W, "sub", "me", "10", "10", "0", "pv", "slug", tokens, "10000",
            "2026-11-26", "2026-11",
        )  # fmt: skip
        found = await reserve(till, ask(rid, int(tokens)))
        if wanted[0] == "OK":
            assert [str(n) if n is not None else "" for n in found.pace[:4]] == list(wanted[4:8])
        else:
            assert ("LIMITED", found.reason, *map(str, found[2:])) == (*wanted[:2], *wanted[3:])
        if at % 3 == 2:
            ended, began = f"r{at - 2}", (await minute(till))[0]
            mine = oracle.wallets[W].minutes[SUB][0]
            oracle.settle(server, "1", ended, "1", "completed", "{}", str(mine), "-2", wallet=W)
            await settle(till, ended, minute=str(began), tokens=-2)
        assert (await minute(till))[1:] == oracle.wallets[W].minutes[SUB][1:]


@pytest.mark.parametrize(
    "rates",
    [NO_RATES, Rates(1), Rates(None, 2), Rates(None, None, 3), Rates(models=("a", "b/c:d"))],
)
def test_rates_are_read_as_they_are_written(rates: Rates) -> None:
    assert parse_rates(rates.text()) == rates
