"""A Redis Cluster of embedded servers on loopback, for tests and the drill."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from corvus_proxy import clock
from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.embedded import Redis, free_port

SLOTS = 16_384
NODE_TIMEOUT_MS = 5000
FORMED_S = 20
AT_ONCE = 4
"""Keys that one step of a slot's move takes: both servers answer nobody meanwhile."""


class Node(Redis):
    """One server of a cluster. `announced`: the port at which all others find it."""

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        ports: Sequence[int],
        announced: int = 0,
        timeout_ms: int = NODE_TIMEOUT_MS,
    ) -> None:
        """`ports`: for clients, and for the other servers. `timeout_ms`: silence after which the
        others hold it to be gone."""
        super().__init__(folder, log, port=ports[0])
        self.bus_port = ports[1]
        self.announced = announced or self.port
        self.flags = (
            *("--cluster-enabled", "yes"),
            *("--cluster-port", str(self.bus_port)),
            *("--cluster-announce-ip", "127.0.0.1"),
            *("--cluster-announce-port", str(self.announced)),
            *("--cluster-node-timeout", str(timeout_ms)),
            *("--repl-diskless-sync-delay", "0"),
            # Who asks for other slots is served while these are nobody's.
            *("--cluster-require-full-coverage", "no"),
            # A replica may take over whatever it has: the fence judges what that is.
            *("--cluster-replica-validity-factor", "0"),
        )

    @contextlib.asynccontextmanager
    async def client(self) -> Any:
        """redis-py's, to this server alone and to no other's announcement of it."""
        client = aioredis.Redis(port=self.port, decode_responses=True)
        try:
            yield client
        finally:
            await client.aclose()


def new_node(folder: Path, log: Path, taken: set[int], **options: Any) -> Node:
    """A server on free ports, which are `taken` then; it is not started."""
    ports = []
    for _ in range(2):
        ports.append(free_port(taken))
        taken.add(ports[-1])
    return Node(folder, log, ports=ports, **options)


def url_of(nodes: Sequence[Node]) -> str:
    """How a till finds the cluster."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.announced}" for node in nodes)


async def form(masters: Sequence[Node], replicas: Sequence[Node] = ()) -> None:
    """Makes a cluster of running servers: the slots in equal parts, a replica each for the first
    masters. Raises CorvusError when they do not agree in time."""
    for at, node in enumerate(masters):
        first = SLOTS * at // len(masters)
        last = SLOTS * (at + 1) // len(masters) - 1
        async with node.client() as client:
            await client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            await client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
    await meet(masters[0], [*masters[1:], *replicas])
    for master, replica in zip(masters, replicas, strict=False):
        await follow(replica, master)
    for replica in replicas:
        await until(functools.partial(in_sync, replica), "a replica is in sync")
    await until(lambda: _well([*masters, *replicas]), "the cluster is formed")


async def meet(first: Node, others: Sequence[Node]) -> None:
    """Makes servers known to a cluster, and waits until they know it."""
    for node in others:
        async with node.client() as client:
            await client.execute_command("CLUSTER MEET", "127.0.0.1", first.port, first.bus_port)

    async def known() -> bool:
        for node in (first, *others):
            async with node.client() as client:
                if len(await client.execute_command("CLUSTER NODES")) < 1 + len(others):
                    return False
        return True

    await until(known, "the servers know each other")


async def follow(replica: Node, master: Node) -> None:
    """Makes a server the master's replica, which begins to copy."""
    name = await id_of(master)
    async with replica.client() as client:

        async def takes() -> bool:
            try:
                await client.execute_command("CLUSTER REPLICATE", name)
            except RedisError:  # it does not know the master yet
                return False
            return True

        await until(takes, "a replica knows its master")


async def in_sync(replica: Node) -> bool:
    """Whether it has all that its master has."""
    async with replica.client() as client:
        return bool((await client.info("replication")).get("master_link_status") == "up")


async def id_of(node: Node) -> str:
    """The name by which its cluster knows it."""
    async with node.client() as client:
        return str(await client.execute_command("CLUSTER MYID"))


async def is_master(node: Node) -> bool:
    """Whether it takes writes."""
    async with node.client() as client:
        return bool((await client.info("replication"))["role"] == "master")


async def move_slot(slot: int, source: Node, target: Node, others: Sequence[Node]) -> None:
    """Moves a slot with its keys, as `redis-cli --cluster reshard` does."""
    names = {node.port: await id_of(node) for node in (source, target)}
    async with source.client() as old, target.client() as new:
        set_slot = "CLUSTER SETSLOT"
        await new.execute_command(set_slot, slot, "IMPORTING", names[source.port])
        await old.execute_command(set_slot, slot, "MIGRATING", names[target.port])
        while keys := await old.execute_command("CLUSTER GETKEYSINSLOT", slot, AT_ONCE):
            words: list[object] = ["127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys]
            await old.execute_command("MIGRATE", *words)
        for node in (target, source, *others):
            async with node.client() as client:
                await client.execute_command(set_slot, slot, "NODE", names[target.port])


async def _well(nodes: Sequence[Node]) -> bool:
    for node in nodes:
        async with node.client() as client:
            info = await client.execute_command("CLUSTER INFO")
            if info["cluster_state"] != "ok" or info["cluster_known_nodes"] != str(len(nodes)):
                return False
    return True


async def until(done: Callable[[], Any], what: str, *, timeout_s: float = FORMED_S) -> None:
    """Waits until `done`. Raises CorvusError that says `what` did not come about."""
    deadline_s = clock.monotonic_s() + timeout_s
    while not await done():
        if clock.monotonic_s() > deadline_s:
            raise CorvusError(f"after {timeout_s:g} s it has not come about that {what}")
        await asyncio.sleep(0.02)
