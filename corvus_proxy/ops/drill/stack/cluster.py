"""The drill's stack on a Redis Cluster: three masters, two of them with a replica.

A link stands in front of each server, and the server announces the link's port: so all that anybody
says to it passes the drill, the replicas' copying too. Only what an operator's tools do, and the
servers' own bus, goes to the servers themselves.
"""

import asyncio
import subprocess
from pathlib import Path
from typing import NamedTuple

from corvus_proxy.ops.drill.guard import Guard
from corvus_proxy.ops.drill.links import Link
from corvus_proxy.ops.drill.stack import Stack
from corvus_proxy.ops.drill.stack.process import Process
from corvus_proxy.ops.embedded import cluster

MASTERS = 3
REPLICAS = 2
NODE_TIMEOUT_MS = 1500


class Member(NamedTuple):
    """A server of the cluster."""

    node: cluster.Node
    process: Process
    link: Link


class ClusterStack(Stack):
    """A stack whose Redis is a cluster."""

    clustered = True

    def __init__(self, folder: Path, guard: Guard) -> None:
        super().__init__(folder, guard)
        self.members: list[Member] = []

    @property
    def redis_processes(self) -> list[Process]:
        """Every server of Redis."""
        return [member.process for member in self.members]

    @property
    def redis_links(self) -> list[Link]:
        """The links over which the gateways, and all others, talk to Redis."""
        return [member.link for member in self.members]

    async def until_stores_answer(self) -> None:
        """Until all servers serve, as one cluster. Raises ConfigurationError, CorvusError."""
        for member in self.members:
            await asyncio.to_thread(member.node.wait)
        await asyncio.to_thread(self.postgres_server.wait)
        nodes = [member.node for member in self.members]
        await cluster.form(nodes[:MASTERS], nodes[MASTERS:])

    async def new_member(self) -> Member:
        """A further server with its link; it is not started, and belongs to no cluster yet."""
        name = f"redis-{len(self.members) + 1}"
        ports = []
        for kind in ("", "-bus"):
            self.ports[name + kind] = self.free_port()
            ports.append(self.ports[name + kind])
        link = Link(f"all>{name}", ports[0], speaks_redis=True)
        self.links[link.name] = link
        await link.open()
        node = cluster.Node(
            self.folder / name,
            self.log(name),
            ports=ports,
            announced=link.port,
            timeout_ms=NODE_TIMEOUT_MS,
        )

        def start() -> subprocess.Popen[bytes]:
            node.start()
            return node.child

        member = Member(node, Process(name, start, guard=self._guard), link)
        self.members.append(member)
        return member

    async def _make_redis(self) -> None:
        for _ in range(MASTERS + REPLICAS):
            await self.new_member()

    def _links_to_redis(self) -> list[Link]:
        return []  # they stand: a server has to know its link before it starts

    def _redis_url(self, link: str) -> str:
        return cluster.url_of([member.node for member in self.members[:MASTERS]])
