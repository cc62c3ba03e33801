"""A cluster behind a till: a pipe to each master for scripts, redis-py's client for the rest.

Rule 1: a question that a server did not run (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) goes where it
        belongs, for as long as its patience lasts. One that may have run is its caller's to repeat.
Rule 2: whoever had no answer has the map of the slots read again: a failover is told by nobody
        else. It is read by one task at a time, which no caller's deadline ends.
Rule 3: a pipe lives for as long as its server is a master.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import hiredis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError

from corvus_proxy import jobs
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.event import PARTITIONS, Mark
from corvus_proxy.till.cluster.address import seeds
from corvus_proxy.till.resp.pipe import Pipe, PipeError
from corvus_proxy.till.resp.server import Rows, stream_key

SLOTS = [key_slot(f"{{p{part:02d}}}".encode()) for part in range(PARTITIONS)]
REFRESH_S = 2.0
"""Patience with a server that is asked for the map; another is asked next."""
REFRESH_EVERY_S = 0.1
AGAIN_S = 0.01
"""Before a question is repeated that a slot's move, or an election, stands in the way of."""
POLL_S = 0.25
"""Between two readings of all streams: a blocking one can wait for one server only."""
CONNECTIONS_MAX = 256
"""To each server. redis-py has no pool that waits here: beyond it a command is refused."""
_REPLID = """#!lua flags=no-writes,allow-stale
return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
"""
_PARTITION = re.compile(rb"\r\n\{p(\d\d)\}:")
_ASKING = b"*1\r\n$6\r\nASKING\r\n"
_ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")


class _Client(RedisCluster):
    """redis-py's, that also knows a server which has no slot yet: the first slot that moves there
    is asked for before any map names it."""

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode:
        """As redis-py's, but for a server that it would not find."""
        found: ClusterNode | None = super().get_node(host, port, node_name)
        if found is None:
            if node_name:
                host, _, text = node_name.rpartition(":")
                port = int(text)
            manager = self.nodes_manager
            found = ClusterNode(host or "", port or 0, "primary", **manager.connection_kwargs)
            manager.set_nodes(manager.nodes_cache, {found.name: found})
        return found


class Cluster:
    """Many Redis servers, each with some of the partitions."""

    def __init__(self, client: RedisCluster, *, timeout_s: float) -> None:
        self.client: Any = client
        self._timeout_s = timeout_s
        self._pipes: dict[str, Pipe] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._again_s = 0.0
        """Loop time before which the map is not read again."""
        self._why = ""
        """Why it could not be read last."""

    @classmethod
    def open(cls, url: str, *, timeout_s: float) -> "Cluster":
        """Connects at the first command. Raises ConfigurationError for a URL that names none."""
        found = seeds(url)
        try:
            client = _Client.from_url(
                found.url,
                startup_nodes=[ClusterNode(host, port) for host, port in found.nodes],
                protocol=2,
                max_connections=CONNECTIONS_MAX,
                socket_timeout=None,  # as in `Standalone`
                socket_connect_timeout=timeout_s,
                # Its ways to begin anew end everybody's connections, and wait: `suspect` has ours.
                retry=Retry(NoBackoff(), 0),
                reinitialize_steps=0,
                driver_info=None,
            )
        except (RedisClusterException, ValueError) as error:
            raise ConfigurationError(f"redis.url: {error}") from None
        return cls(client, timeout_s=timeout_s)

    # -- scripts --------------------------------------------------------------------------------

    async def ask(self, request: bytes, *, patience_s: float | None = None) -> Any:
        """As `Server.ask`."""
        found = _PARTITION.search(request)
        if found is None:
            raise ValueError("a call that names no partition")
        slot = SLOTS[int(found[1])]
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + (self._timeout_s if patience_s is None else patience_s)
        moved = False
        try:
            while True:
                node = await self._node(slot)
                answer = await self._pipe(node).ask(request, patience_s=patience_s)
                word = _word(answer)
                if word == "ASK":
                    answer = await self._ask_there(node, str(answer), request, patience_s)
                    word = _word(answer)
                if word not in _ELSEWHERE or loop.time() > deadline_s:
                    return answer
                if word == "MOVED":
                    where = MovedError(_address(str(answer), node))
                    await self.client.nodes_manager.move_slot(where)
                    self.suspect()  # it is seldom the only one
                if word != "MOVED" or moved:  # two may send us to each other for a while
                    await asyncio.sleep(AGAIN_S)
                moved = word == "MOVED"
        except (PipeError, TimeoutError):
            self.suspect()
            raise

    async def _node(self, slot: int) -> ClusterNode:
        nodes = self.client.nodes_manager.slots_cache.get(slot)
        if not nodes:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.shield(self._refresh_now())
            nodes = self.client.nodes_manager.slots_cache.get(slot)
            if not nodes:
                raise PipeError(self._why or f"slot {slot} is nobody's")
        found: ClusterNode = nodes[0]
        return found

    def _pipe(self, node: ClusterNode) -> Pipe:
        pipe = self._pipes.get(node.name)
        if pipe is None:
            pipe = self._pipes[node.name] = Pipe(_Dial(node), timeout_s=self._timeout_s)
        return pipe

    async def _ask_there(
        self, node: ClusterNode, answer: str, request: bytes, patience_s: float | None
    ) -> Any:
        """Asks the server to which the slot is on its way, for this one time."""
        where = AskError(_address(answer, node))
        pipe = self._pipe(self.client.get_node(where.host, where.port))
        _, found = await asyncio.gather(
            pipe.ask(_ASKING, patience_s=patience_s), pipe.ask(request, patience_s=patience_s)
        )
        return found

    # -- the map of the slots -------------------------------------------------------------------

    def suspect(self) -> None:
        """As `Server.suspect`."""
        if self._refreshing is None and asyncio.get_running_loop().time() >= self._again_s:
            self._refresh_now()

    def _refresh_now(self) -> "asyncio.Task[None]":
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)
        return self._refreshing

    def _refreshed(self, _: object) -> None:
        self._refreshing = None
        self._again_s = asyncio.get_running_loop().time() + REFRESH_EVERY_S

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_S):
                await self.client.initialize()
                await self.client.nodes_manager.initialize()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            self._why = str(error) or "no server of the cluster answers in time"
            return
        self._why = ""
        masters = {node.name for node in self.client.get_primaries()}
        for name in self._pipes.keys() - masters:
            self._pipes.pop(name).close()

    # -- all of them ----------------------------------------------------------------------------

    async def replids(self) -> list[str]:
        """As `Server.replids`. Each partition is asked for by a key of its own: a map of the slots
        that is a moment old would name the server that had it."""
        pipe = self.client.pipeline()
        for part in range(PARTITIONS):
            pipe.eval(_REPLID, 1, f"{{p{part:02d}}}:m")
        return [answer.decode() for answer in await pipe.execute()]

    async def infos(self, section: str) -> dict[str, Any]:
        """As `Server.infos`."""
        await self.client.initialize()
        masters = self.client.get_primaries()
        return await self._each(masters, lambda node: self._info(node, section))

    async def configs(self, name: str) -> dict[str, str]:
        """As `Server.configs`."""
        await self.client.initialize()
        masters = self.client.get_primaries()
        found = await self._each(
            masters, lambda node: self.client.config_get(name, target_nodes=node)
        )
        return {server: str(rows.get(name, "")) for server, rows in found.items()}

    async def read(self, after: Mapping[int, Mark], *, count: int, block_ms: int) -> Rows:
        """As `Server.read`: one range a slot, in one write to each server, and again after a while
        where none has anything."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + block_ms / 1000
        while True:
            pipe = self.client.pipeline()
            for part, at in after.items():
                pipe.xrange(stream_key(part), min=f"({at}", count=count)
            answers = await pipe.execute()
            found = [(part, rows) for part, rows in zip(after, answers, strict=True) if rows]
            if found or loop.time() + POLL_S > deadline_s:
                return found
            await asyncio.sleep(POLL_S)

    async def reconnect(self) -> None:
        """As `Server.reconnect`: the servers that are none of ours any more are left, and no
        other's callers are disturbed."""
        async with asyncio.timeout(self._timeout_s):
            await asyncio.shield(self._refresh_now())

    async def close(self) -> None:
        """As `Server.close`."""
        await jobs.end(self._refreshing)
        for pipe in self._pipes.values():
            pipe.close()
        await self.client.aclose()

    def _info(self, node: ClusterNode, section: str) -> Any:
        return self.client.info(section, target_nodes=node)

    @staticmethod
    async def _each(nodes: list[ClusterNode], ask: Any) -> dict[str, Any]:
        answers = await asyncio.gather(*map(ask, nodes))
        return {node.name: answer for node, answer in zip(nodes, answers, strict=True)}


class _Dial:
    """Makes connections to one server of a cluster, as redis-py would."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def make_connection(self) -> Any:
        """A connection that is not open yet."""
        return self._node.connection_class(**self._node.connection_kwargs)


def _word(answer: object) -> str:
    """The first word of an error; nothing for an answer."""
    return str(answer).partition(" ")[0] if isinstance(answer, hiredis.ReplyError) else ""


def _address(answer: str, node: ClusterNode) -> str:
    """Slot and address of a redirection; where it names no host, its sender's is meant."""
    _, slot, address = answer.split(" ")
    host, _, port = address.rpartition(":")
    return f"{slot} {host or node.host}:{port}"
