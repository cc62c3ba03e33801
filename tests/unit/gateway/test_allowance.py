"""How far a stream may go: never past what the till has said yes to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.gateway.streaming.allowance import Allowance
from corvus_proxy.money.pricing import Bound, Price, Rates, ceiling
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Hold, Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.reply import Ask, KeyEntry, KeyRow
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_allowance001"
PRICE = Price("m", "v", Rates(1000, 5000, 100, 1250, 2000, 1000))
"""One nano an input token, five an output token."""
BOUND = Bound(100, 0)
SLICE = 20


def nanos(tokens: int) -> int:
    return ceiling(BOUND._replace(output_tokens=tokens), PRICE)


@pytest.fixture
async def hold(valkey_till: Till, tmp_path: Path) -> AsyncIterator[Hold]:
    """A hold of the first slice, in a wallet that can pay for 50 tokens."""
    await add_wallet(valkey_till, W, nanos(50))
    journal = Node(tmp_path, b"p" * 32).journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=60, lag_limit=99, wait_s=0, waiters_max=1)
    first = nanos(SLICE)
    async with await holds.reserve(Ask("r", W, "digest", first, first, 0, "v", "m", 1)) as one:
        yield one
    await holds.drain(1)


async def test_what_is_beyond_the_hold_waits_for_the_tills_yes(hold: Hold) -> None:
    """Nothing passes before `extend` has answered; what is reached then is paid for."""
    allowance = Allowance(hold, BOUND, PRICE, limit=10**6, slice_tokens=SLICE)
    assert (allowance.tokens, allowance.ask_at) == (SLICE, SLICE * 6 // 10)
    answered = asyncio.Event()
    extend = hold.extend

    async def slow(total_nanos: int) -> Any:
        await answered.wait()
        return await extend(total_nanos)

    hold.extend = slow  # type: ignore[method-assign]
    assert await allowance.reach(SLICE)
    waiting = asyncio.create_task(allowance.reach(SLICE + 1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert hold.granted_nanos == nanos(SLICE)
    answered.set()
    assert await waiting
    assert hold.granted_nanos == nanos(allowance.tokens) == nanos(2 * SLICE + 1)


async def test_the_last_slice_ends_at_what_the_wallet_has(hold: Hold) -> None:
    """The till's FINAL is believed: up to the last token paid for, and not one more."""
    allowance = Allowance(hold, BOUND, PRICE, limit=10**6, slice_tokens=SLICE)
    assert await allowance.reach(50)
    assert (allowance.tokens, allowance.final, allowance.away) == (50, True, False)
    assert not await allowance.reach(51)
    assert hold.granted_nanos == nanos(50)


async def test_a_till_that_is_away_pays_for_nothing_more(hold: Hold) -> None:
    """A fenced partition: what is held is used up, and no further."""
    allowance = Allowance(hold, BOUND, PRICE, limit=10**6, slice_tokens=SLICE)
    redis = hold._holds.till.redis
    name = next(iter(await redis.keys("*:w:*"))).split(b":")[0] + b":m"
    stamp = await redis.hget(name, "rs")
    await redis.hset(name, "rs", "0" * 40)
    assert await allowance.reach(SLICE)
    assert not await allowance.reach(SLICE + 1)
    assert allowance.away
    await redis.hset(name, "rs", stamp)


async def test_a_cap_ends_it_by_its_own_word(valkey_till: Till, tmp_path: Path) -> None:
    """The wallet has more; the key's cap is what ends the stream."""
    await add_wallet(valkey_till, W, nanos(500))
    key = KeyEntry(f"key_{W}", "1", [("digest", 0)], False, "", nanos(30))
    await valkey_till.push(KeyRow(W, 2, "1", [key]))
    journal = Node(tmp_path, b"p" * 32).journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=60, lag_limit=99, wait_s=0, waiters_max=1)
    first = nanos(SLICE)
    async with await holds.reserve(Ask("r", W, "digest", first, first, 0, "v", "m", 1)) as one:
        allowance = Allowance(one, BOUND, PRICE, limit=10**6, slice_tokens=SLICE)
        assert await allowance.reach(30)
        assert not await allowance.reach(31)
        assert (allowance.tokens, allowance.capped, allowance.disabled) == (30, True, False)
    await holds.drain(1)
