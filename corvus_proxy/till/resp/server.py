"""What stands behind a till: one Redis. Its like for many is `till.cluster.server`.

Scripts go over one `Pipe`; all other commands over redis-py's client and its pool.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import redis.asyncio as aioredis

from corvus_proxy.money.event import PARTITIONS, Mark
from corvus_proxy.till.resp.pipe import Pipe

Rows = list[tuple[int, Sequence[Any]]]
"""Entries of streams as Redis has them, by partition."""


class Server(Protocol):
    """One Redis, or a cluster of them. Whatever redis-py raises comes out of it as it is."""

    client: Any
    """redis-py's, for single commands and pipelines."""

    def ask(self, request: bytes, *, patience_s: float | None = None) -> Awaitable[Any]:
        """The answer to one packed script call. Raises PipeError, TimeoutError."""

    async def replids(self) -> list[str]:
        """By partition, the replication id of the server that has it."""

    async def infos(self, section: str) -> dict[str, Any]:
        """A section of INFO of each server that takes writes, by its address."""

    async def configs(self, name: str) -> dict[str, str]:
        """A setting of each of them."""

    async def read(self, after: Mapping[int, Mark], *, count: int, block_ms: int) -> Rows:
        """Up to `count` entries of each partition's stream behind its mark; waits up to `block_ms`
        for the first."""

    def suspect(self) -> None:
        """Somebody has had no answer: where there are others to ask, they are looked for."""

    async def reconnect(self) -> None:
        """Lets no connection go on talking to a server that was replaced."""

    async def close(self) -> None:
        """Ends every connection."""


class Standalone:
    """One Redis."""

    def __init__(self, client: aioredis.Redis, *, timeout_s: float) -> None:
        self.client: Any = client
        self._pipe = Pipe(client.connection_pool, timeout_s=timeout_s)
        self.ask = self._pipe.ask

    @classmethod
    def open(cls, url: str, *, timeout_s: float, connections: int) -> "Standalone":
        """Connects at the first command; raises ValueError for a URL that redis-py refuses."""
        pool = aioredis.BlockingConnectionPool.from_url(
            url,
            protocol=2,
            max_connections=connections,
            timeout=timeout_s,
            # `Till.wait` has the deadline. The client's own makes a task of every write, and its
            # `asyncio.wait_for` loses a cancellation that comes as the write ends (Python 3.11).
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            retry=None,
            driver_info=None,
        )
        return cls(aioredis.Redis(connection_pool=pool), timeout_s=timeout_s)

    async def replids(self) -> list[str]:
        info = await self.client.info("replication")
        return [str(info["master_replid"])] * PARTITIONS

    async def infos(self, section: str) -> dict[str, Any]:
        return {"Redis": await self.client.info(section)}

    async def configs(self, name: str) -> dict[str, str]:
        return {"Redis": str((await self.client.config_get(name)).get(name, ""))}

    async def read(self, after: Mapping[int, Mark], *, count: int, block_ms: int) -> Rows:
        streams = {stream_key(part): str(at) for part, at in after.items()}
        answer = await self.client.xread(streams, count=count, block=block_ms or None)
        return [(int(name[2:4]), rows) for name, rows in answer or ()]

    def suspect(self) -> None:
        """There is no other to ask."""

    async def reconnect(self) -> None:
        self._pipe.drop("the server was replaced")
        await self.client.connection_pool.disconnect(inuse_connections=True)

    async def close(self) -> None:
        self._pipe.close()
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


def stream_key(part: int) -> str:
    """The stream of a partition's events."""
    return f"{{p{part:02d}}}:l"
