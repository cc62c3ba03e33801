"""A till on a Redis Cluster: three masters, of which each has some of the partitions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import hiredis
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.event import partition_of
from corvus_proxy.ops.doctor import servers
from corvus_proxy.ops.embedded import cluster
from corvus_proxy.service import keys
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.checks import check_server
from corvus_proxy.till.client import Lease, Till, TillUnavailable
from corvus_proxy.till.cluster.address import Seeds, seeds
from corvus_proxy.till.cluster.server import SLOTS, Cluster
from corvus_proxy.till.recovery.report import Report
from corvus_proxy.till.reply import Credited
from corvus_proxy.till.scripts import key
from tests.world import World

pytestmark = pytest.mark.anyio
USD = 10**9


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[cluster.Node]]:
    folder, taken = tmp_path_factory.mktemp("cluster"), set[int]()
    found = [cluster.new_node(folder / f"{n}", folder / f"{n}.log", taken) for n in range(3)]
    for node in found:
        node.start()
    try:
        for node in found:
            node.wait()
        asyncio.run(cluster.form(found))
        yield found
    finally:
        for node in found:
            node.stop()


@pytest.fixture
async def till(nodes: list[cluster.Node]) -> AsyncIterator[Till]:
    found = Till.open(cluster.url_of(nodes), timeout_ms=5000)
    await found.redis.flushall()
    yield found
    await found.close()


@pytest.fixture
async def world(
    till: Till, books: Books, nodes: list[cluster.Node], tmp_path: Path
) -> AsyncIterator[World]:
    found = World(nodes[0], till, books, tmp_path)
    found.work()
    await found.until(found.opened)
    yield found
    await found.rest()
    for process in (found.one, found.two):
        await process.reporter.stop(leave=False)


async def a_key_on_each(world: World) -> list[keys.Created]:
    """Three keys, of which each server has one."""
    found: dict[str, keys.Created] = {}
    while len(found) < 3:
        made = await keys.create(world.stores, credit_nanos=USD)
        found.setdefault((await world.till.replids())[partition_of(made.wallet)], made)
    return list(found.values())


async def move(nodes: list[cluster.Node], part: int) -> None:
    """Moves a partition's slot to another server."""
    slot = SLOTS[part]
    source = await holder(nodes, slot)
    target, *others = [node for node in nodes if node is not source]
    await cluster.move_slot(slot, source, target, others)


async def holder(nodes: list[cluster.Node], slot: int) -> cluster.Node:
    async with nodes[0].client() as client:
        rows = await client.execute_command("CLUSTER SLOTS")
    (port,) = [row[2][1] for row in rows if row[0] <= slot <= row[1]]
    return next(node for node in nodes if node.port == port)


async def test_money_is_held_charged_and_booked_on_every_server(world: World) -> None:
    """Reports, writer, renewals and comparisons go to all servers at once."""
    made = await a_key_on_each(world)
    for one in made:
        await world.one.charge(one, f"r-{one.key_id}", 1000)
        held = await world.two.begin(one, f"h-{one.key_id}", 500)
        assert held.granted_nanos == 500
    await world.until(world.drained)
    for one in made:
        assert await world.booked(one.wallet) == {f"r-{one.key_id}": 1000}
    assert set(await _wallets(world.till)) >= {one.wallet for one in made}
    leases = [Lease(f"h-{one.key_id}", one.wallet, 500, 0, b"{}") for one in made]
    renewed = await world.till.renew(leases, owner=world.two.holds.owner)
    assert [answer.granted_total_nanos for answer in renewed] == [500] * 3
    for one in made:
        await world.two.holds.living[f"h-{one.key_id}"].settle(7, "completed", b"{}", wait_s=5)
    await world.settle_down()
    states = await world.till.wallets([one.wallet for one in made])
    assert [state and state.balance_nanos for state in states] == [USD - 1007] * 3


async def test_what_each_server_has_lost_is_rebuilt(world: World) -> None:
    """A partition's wallets, charges and running requests' holds come back."""
    made = await a_key_on_each(world)
    held = [await world.two.begin(one, f"h-{one.key_id}", 500) for one in made]
    for one in made:
        await world.one.charge(one, f"r-{one.key_id}", 1000)
    await world.until(world.drained)
    for one in made:
        async for name in world.till.redis.scan_iter(f"{{p{partition_of(one.wallet):02d}}}:*"):
            await world.till.redis.delete(name)

    async def rebuilt() -> bool:
        epochs = [(await world.till.partitions())[partition_of(one.wallet)].epoch for one in made]
        return min(epochs) >= 2 and await world.opened()

    await world.until(rebuilt, timeout_s=60)
    for one in held:
        assert await one.settle(100, "completed", b"{}", wait_s=30)
    await world.settle_down()
    states = await world.till.wallets([one.wallet for one in made])
    assert [state and state.balance_nanos for state in states] == [USD - 1100] * 3


async def test_a_server_without_slots_is_found_by_the_first_that_moves_there() -> None:
    """No map names it yet, and an answer sends the question there."""
    found = Cluster.open("redis+cluster://127.0.0.1:7000", timeout_s=1).client
    new = found.get_node(node_name="127.0.0.1:7009")
    assert (new.name, new.server_type) == ("127.0.0.1:7009", "primary")
    assert found.get_node("127.0.0.1", 7009) is new
    assert found.get_primaries() == [new]


async def test_servers_that_send_us_to_each_other_are_not_asked_without_a_pause() -> None:
    """As when one of them has not heard yet of a slot's move. Then it is the caller's to repeat."""
    found = Cluster.open("redis+cluster://127.0.0.1:7000", timeout_s=0.1)
    found._again_s = float("inf")  # no map is read
    one, two = (found.client.get_node("127.0.0.1", port) for port in (7000, 7001))
    found.client.nodes_manager.slots_cache[SLOTS[7]] = [one]
    asked = []

    class Elsewhere:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, request: bytes, *, patience_s: float | None) -> Any:
            asked.append(self.name)
            return asyncio.sleep(0, hiredis.ReplyError(f"MOVED {SLOTS[7]} {self.name}"))

    found._pipes = {
        one.name: cast(Any, Elsewhere(two.name)),
        two.name: cast(Any, Elsewhere(one.name)),
    }
    answer = await found.ask(b"*1\r\n$7\r\n{p07}:m\r\n")
    assert str(answer).startswith("MOVED ")
    assert {*asked} == {one.name, two.name}
    assert len(asked) <= 12


async def _wallets(till: Till) -> list[str]:
    return [wallet async for wallet in till.wallet_ids()]


async def test_a_slot_that_moved_is_opened_again_where_it_is(
    world: World, nodes: list[cluster.Node]
) -> None:
    """Its new server has another identity: fenced, compared, opened; nothing is lost, and a
    request that ran meanwhile is charged there."""
    made = (await a_key_on_each(world))[0]
    part = partition_of(made.wallet)
    stranger = Till.open(cluster.url_of(nodes), timeout_ms=5000)
    before = (await stranger.replids())[part]
    await world.one.charge(made, "before", 1000)
    running = await world.one.begin(made, "running", 1000)
    await move(nodes, part)
    assert await running.settle(300, "completed", b"{}", wait_s=10)
    await world.settle_down()
    assert await world.booked(made.wallet) == {"before": 1000, "running": 300}
    # Whoever has not asked since has the old map, and is told.
    assert isinstance(await stranger.credit("c", made.wallet, 5, counter="grants"), Credited)
    after = (await stranger.replids())[part]
    assert before != after == (await world.till.stamp(part))
    await stranger.close()
    epoch = (await world.till.partitions())[part].epoch
    assert epoch == 1, "the quick path, and no rebuild"


async def test_a_slot_on_its_way_is_asked_for_where_its_keys_are(
    world: World, nodes: list[cluster.Node]
) -> None:
    """ASK is followed; a call whose keys are in two places is refused and loses nothing."""
    made = (await a_key_on_each(world))[0]
    part = partition_of(made.wallet)
    slot, quick = SLOTS[part], Till.open(cluster.url_of(nodes), timeout_ms=1500)
    assert (await quick.call("init", [key(part, "m")], (64,)))[0] == "EXISTS"
    source = await holder(nodes, slot)
    target, *others = [node for node in nodes if node is not source]
    names = {node.port: await cluster.id_of(node) for node in nodes}
    async with source.client() as old, target.client() as new:
        await new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source.port])
        await old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target.port])
        await old.execute_command(
            "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", key(part, "m")
        )
        assert (await quick.call("init", [key(part, "m")], (64,)))[0] == "EXISTS"
        with pytest.raises(TillUnavailable, match="TRYAGAIN"):
            await quick.credit("c", made.wallet, 5, counter="grants")
    await cluster.move_slot(slot, source, target, others)
    await world.until(world.opened)
    assert isinstance(await quick.credit("c", made.wallet, 5, counter="grants"), Credited)
    await quick.close()
    await world.settle_down()


async def test_every_master_has_to_keep_what_it_acknowledges(
    till: Till, nodes: list[cluster.Node]
) -> None:
    """One that does not is named."""
    await check_server(till, durability_confirmed=False)
    async with nodes[1].client() as client:
        await client.config_set("appendfsync", "everysec")
        try:
            with pytest.raises(ConfigurationError, match=f"{nodes[1].port} has appendfsync"):
                await check_server(till, durability_confirmed=False)
        finally:
            await client.config_set("appendfsync", "always")
    assert (await till.version())[0] == "valkey"


async def test_a_cluster_that_is_away_refuses_in_time() -> None:
    """No seed answers: a refusal within the deadline, for scripts and for all else."""
    away = Till.open("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout_ms=250)
    for call in (away.look("w_1", "d"), away.partitions(), away.replids()):
        async with asyncio.timeout(10):
            with pytest.raises(TillUnavailable):
                await call
    with contextlib.suppress(TillUnavailable):
        await away.reconnect()
    await away.close()


def test_a_url_names_servers_user_and_options() -> None:
    """As redis-py's URLs, with a list of servers."""
    assert seeds("redis+cluster://a:1,b") == Seeds("redis://a:1", [("a", 1), ("b", 6379)])
    assert seeds("rediss+cluster://u:p@a:1,[::1]:2/0?x=1") == Seeds(
        "rediss://u:p@a:1/0?x=1", [("a", 1), ("::1", 2)]
    )
    for wrong, why in (
        ("redis+cluster://", "at least one"),
        ("redis+cluster://a:1/3", "no databases"),
        ("redis+cluster://a:port", "no host:port"),
        ("redis+cluster://a:1?socket_timeout=x", "Invalid value"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            Till.open(wrong, timeout_ms=250)


def test_a_process_has_seen_a_partition_on_the_server_it_names() -> None:
    """One id for all of them, or, in a cluster, each with its own."""
    alone = Report("n", "p", "a", {}, {}, 0, 0)
    assert alone.has_seen(7, "a")
    assert not alone.has_seen(7, "b")
    many = Report("n", "p", "", {}, {}, 0, 0, replids={"a": [7], "b": [8]})
    assert many.has_seen(7, "a")
    assert not many.has_seen(8, "a")


async def test_a_master_that_goes_on_without_its_replica_is_told(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where it has one; what the settings say otherwise is said of each server."""
    stores = Stores(till, cast(Any, None), b"")  # it asks no books
    assert not await servers.replication(stores, production=False)
    infos = await till.infos("replication")
    first, *_ = infos
    infos[first]["connected_slaves"] = 1
    monkeypatch.setattr(till, "infos", lambda _: asyncio.sleep(0, infos))
    found, *others = await servers.replication(stores, production=True)
    assert all("has no replica" in other.text for other in others)
    assert (found.level, found.text.split()[0]) == ("error", f"{first}:")
    assert "min-replicas-to-write = 0" in found.text
