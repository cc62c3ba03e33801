"""`corvus ledger finish`: a node that will not come back, settled from elsewhere."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from corvus_proxy.books.db import Books
from corvus_proxy.ops import embedded
from corvus_proxy.service import keys, ledger
from corvus_proxy.till.client import Till
from corvus_proxy.till.journal import Node
from corvus_proxy.till.recovery import finishing
from corvus_proxy.till.reply import Charge
from tests.world import META, PEPPER, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(
    redis_server: embedded.Redis, valkey_till: Till, books: Books, tmp_path: Path
) -> AsyncIterator[World]:
    made = World(redis_server, valkey_till, books, tmp_path)
    made.work()
    await made.until(made.opened)  # who is stopped while it connects leaves an error in the loop
    yield made
    await made.rest()
    for process in (made.one, made.two):
        await process.reporter.stop(leave=False)


async def test_what_a_node_left_is_charged_and_nobody_waits_for_it(world: World) -> None:
    """It died with one charge journalled that Redis never heard of, and one that the books have."""
    made = await keys.create(world.stores, credit_nanos=10**9)
    await world.until(world.opened)
    await world.two.charge(made, "req_told", 300)
    hold = await world.two.begin(made, "req_left", 1000)
    world.two.journal.settling(
        Charge("req_left", made.wallet, hold.key_id, "slug", 700, "completed", META)
    )
    folder = world.two.node.folder
    with pytest.raises(ValueError, match="a gateway runs on"):
        await ledger.finish(world.stores, folder, timeout_s=5)
    await world.two.kill()
    with pytest.raises(ValueError, match="signed under no pepper"):
        await finishing.finish(world.till, folder, b"another" * 8, timeout_s=5)
    found = await ledger.finish(world.stores, folder, timeout_s=15, actor="cli:ada")
    assert found == (1, 1, 0)
    async with world.books.connection() as connection:
        deed = await connection.fetchrow(
            "select actor, details from audit where action = 'ledger.finish'"
        )
    assert deed["actor"] == "cli:ada"
    told = {"folder": str(folder), "processes": 1, "charges": 1, "waiting": 0}
    assert json.loads(deed["details"]) == told
    await world.settle_down()
    assert await world.booked(made.wallet) == {"req_told": 300, "req_left": 700}
    assert (await keys.show(world.stores, made.key_id)).balance_nanos == 10**9 - 1000
    assert not list(folder.glob("*.journal"))
    for _ in range(600):
        names = [row.process for row in await ledger.processes(world.stores)]
        if names == ["p1"]:
            break
        await asyncio.sleep(0.1)
    assert names == ["p1"]
    assert await ledger.finish(world.stores, folder, timeout_s=5) == (0, 0, 0)
    with pytest.raises(ValueError, match="is no journal folder"):
        await ledger.finish(world.stores, folder / "elsewhere", timeout_s=1)
    assert not (folder / "elsewhere").exists()


async def test_a_process_that_lives_and_does_not_speak_is_left_alone(
    world: World, tmp_path: Path
) -> None:
    """As one that starts, or that has given the speaker's place back and not yet ended."""
    folder = tmp_path / "node3"
    journal = Node(folder, PEPPER).journal("p3", sync_ms=5)
    for _ in range(2):  # the place is free again after the refusal
        with pytest.raises(ValueError, match="a gateway runs on"):
            await ledger.finish(world.stores, folder, timeout_s=1)
    journal.retire()
    assert await ledger.finish(world.stores, folder, timeout_s=1) == (0, 0, 0)


async def test_what_the_books_do_not_have_yet_stays_in_the_folder(world: World) -> None:
    """No writer runs: the charge is made, its journal is kept, and the next call ends it."""
    made = await keys.create(world.stores, credit_nanos=10**9)
    await world.settle_down()
    await world.rest()
    hold = await world.two.begin(made, "req_left", 1000)
    world.two.journal.settling(
        Charge("req_left", made.wallet, hold.key_id, "slug", 700, "completed", META)
    )
    await world.two.kill()
    folder = world.two.node.folder
    away = Books("postgresql://127.0.0.1:1/away")
    with structlog.testing.capture_logs() as logged:
        found = await ledger.finish(
            dataclasses.replace(world.stores, books=away), folder, timeout_s=0.5
        )
    assert [one["waiting"] for one in logged if one["event"] == "finish_not_audited"] == [1]
    assert found == (1, 1, 1)
    assert len(list(folder.glob("p2.*.journal"))) == 1
    world.work()
    assert (await ledger.finish(world.stores, folder, timeout_s=15)).waiting == 0
    await world.settle_down()
    assert await world.booked(made.wallet) == {"req_left": 700}
