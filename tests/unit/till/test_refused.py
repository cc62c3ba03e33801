"""Requests that a wallet was refused since it ran empty: counted by every process, begun anew by a
credit, and never in anybody's way."""

from pathlib import Path

import pytest

from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.refused import Refused, since_empty
from corvus_proxy.till.reply import Ask, Poor
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W, OTHER = "w_refused00001", "w_refused00002"
POOR = Poor(0, 0)


def make(till: Till, folder: Path) -> Holds:
    journal = Node(folder, b"p" * 32).journal("p1", sync_ms=5)
    return Holds(till, journal, lease_s=1, lag_limit=100, wait_s=0.0, waiters_max=4)


def ask(rid: str, nanos: int) -> Ask:
    return Ask(rid, W, "digest", nanos, nanos, 0, "pv", "slug", 1)


async def test_two_processes_count_until_a_credit_comes(valkey_till: Till, tmp_path: Path) -> None:
    """Only refusals for money count; what is spent meanwhile is the same filling, a credit is
    another, and a process that is told to stop tells what it has."""
    await add_wallet(valkey_till, W, 100)
    one, two = make(valkey_till, tmp_path / "1"), make(valkey_till, tmp_path / "2")
    for holds in (one, two):
        holds.start()
        assert isinstance(await holds.reserve(ask("a", 101)), Poor)
    async with await one.reserve(ask("b", 100)) as hold:
        assert isinstance(await two.reserve(ask("c", 1)), Poor)
        await hold.settle(100, "completed", b"{}", wait_s=1)
    assert isinstance(await one.reserve(ask("d", 1)), Poor)
    await one.stop()
    await two.stop()
    assert await since_empty(valkey_till, W) == 4
    await valkey_till.credit("c1", W, 50, counter="grants")
    assert await since_empty(valkey_till, W) == 0
    holds = make(valkey_till, tmp_path / "3")
    assert isinstance(await holds.reserve(ask("e", 51)), Poor)
    await holds.stop()
    assert await since_empty(valkey_till, W) == 1


async def test_what_was_refused_before_a_credit_is_not_counted_after_it(valkey_till: Till) -> None:
    """Though Redis hears of it only then."""
    await add_wallet(valkey_till, W, 0)
    refused = Refused(valkey_till)
    refused.note(W, POOR)
    await valkey_till.credit("c1", W, 50, counter="grants")
    await refused.tell()
    assert await since_empty(valkey_till, W) == 0
    refused.note(W, Poor(50, 0))
    refused.note(W, Poor(50, 0))
    refused.note(OTHER, POOR)  # a wallet that Redis does not have
    await refused.tell()
    await refused.tell()
    assert await since_empty(valkey_till, W) == 2
    assert await since_empty(valkey_till, OTHER) == 0


async def test_a_redis_that_is_away_costs_the_count_alone(
    valkey_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing piles up, and the next refusals are told."""
    await add_wallet(valkey_till, W, 0)
    refused = Refused(valkey_till)
    refused.note(W, POOR)

    async def away(*_: object) -> object:
        raise TillUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(Till, "wallets", away)
        with pytest.raises(TillUnavailable):
            await refused.tell()
    refused.note(W, POOR)
    await refused.tell()
    assert await since_empty(valkey_till, W) == 1
