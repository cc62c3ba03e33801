"""The till's door: one method per script, Redis behind it.

A call that Redis leaves without an answer and without any sign for `timeout_ms` raises
`TillUnavailable`: refused, never guessed. Calls are repeatable: the same id gives the same effect
once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis
import msgspec
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError, RedisClusterException, RedisError

from corvus_proxy import clock
from corvus_proxy._fast import pack
from corvus_proxy.errors import CorvusError
from corvus_proxy.money.event import PARTITIONS, Event, Mark, Poison, partition_of
from corvus_proxy.till import reply, scripts
from corvus_proxy.till.cluster.address import is_cluster
from corvus_proxy.till.cluster.server import Cluster
from corvus_proxy.till.events import read_event
from corvus_proxy.till.reply import HoldState, PartitionState, WalletState
from corvus_proxy.till.resp.pipe import PipeError
from corvus_proxy.till.resp.server import Server, Standalone

NODES_KEY = "corvus:nodes"
SIMULATED_KEY = "corvus:simulated"
Keys = list[str] | scripts.Block
CLOSED = "the handler is closed"
"""uvloop's words in a RuntimeError where a transport has ended and its owner does not know yet."""


class Lease(NamedTuple):
    """A hold that is to be renewed as it is."""

    rid: str
    wallet: str
    total_nanos: int
    checkpoint_nanos: int
    meta: bytes


class TillUnavailable(CorvusError):
    """Redis did not answer in time, or not at all."""


class Till:
    """All that is asked of Redis. One per process; safe for concurrent use."""

    def __init__(self, server: Server, *, timeout_ms: int) -> None:
        self._server = server
        self._redis = server.client
        self._timeout_s = timeout_ms / 1000
        self._ask = server.ask
        self._epochs = ["1"] * PARTITIONS
        self.fenced = asyncio.Event()
        """Set by every answer that a partition does not serve; whoever looks into it clears it."""

    @property
    def redis(self) -> Any:
        """redis-py's client, for `till.recovery.door`: of one Redis, or of a cluster."""
        return self._redis

    @property
    def timeout_s(self) -> float:
        """How long Redis may say nothing while it is asked."""
        return self._timeout_s

    def epoch(self, partition: int) -> int:
        """The epoch that calls of a partition name, as its last answer taught it."""
        return int(self._epochs[partition])

    @classmethod
    def open(cls, url: str, *, timeout_ms: int, connections: int = 16) -> "Till":
        """A till over `url`; connects at the first call, so it opens while Redis is away.

        Scripts share one connection of their own to each server; `connections` are for all other
        commands to a Redis that is alone. Few on purpose: in a burst it costs longer to open
        another than to wait for one. Raises ConfigurationError.
        """
        timeout_s = timeout_ms / 1000
        if is_cluster(url):
            return cls(Cluster.open(url, timeout_s=timeout_s), timeout_ms=timeout_ms)
        server = Standalone.open(url, timeout_s=timeout_s, connections=connections)
        return cls(server, timeout_ms=timeout_ms)

    async def close(self) -> None:
        await self._server.close()

    # -- requests -------------------------------------------------------------------------------

    async def reserve(self, ask: reply.Ask, *, owner: str, lag_limit: int) -> Any:
        """Granted, Poor, Limited, Paced, Denied, NoKey, Backpressure, Duplicate or Fenced."""
        day = clock.utc_day()
        return await self._money(
            "reserve",
            ask.wallet,
            ask.rid,
            ask.wallet,
            ask.digest,
            owner,
            ask.least_nanos,
            ask.most_nanos,
            ask.share_floor_nanos,
            ask.price_version,
            ask.slug,
            ask.request_tokens,
            lag_limit,
            day,
            day[:7],
        )

    async def extend(
        self,
        rid: str,
        wallet: str,
        *,
        total_nanos: int,
        checkpoint_nanos: int,
        owner: str,
        meta: bytes,
    ) -> Any:
        """Extended, NotOwner, Unknown or Fenced. `total_nanos` is absolute, so it may be
        repeated."""
        return await self._money("extend", wallet, rid, total_nanos, checkpoint_nanos, owner, meta)

    async def renew(self, leases: Sequence[Lease], *, owner: str) -> list[Any]:
        """`extend` of many holds in one write, each at its present total: the leases' renewal."""
        calls = []
        for lease in leases:
            partition = partition_of(lease.wallet)
            args = (lease.rid, lease.total_nanos, lease.checkpoint_nanos, owner, lease.meta)
            keys = scripts.money_keys(partition, lease.wallet)
            calls.append((keys, (self._epochs[partition], *args)))
        answers = await self.many("extend", calls)
        for lease, answer in zip(leases, answers, strict=True):
            self._learn(partition_of(lease.wallet), answer)
        return answers

    async def settle(self, charge: reply.Charge, *, patience_s: float | None = None) -> Any:
        """Settled, Duplicate, Unknown or Fenced. `patience_s`: with a Redis that is busy."""
        return await self._money(
            "settle",
            charge.wallet,
            charge.rid,
            charge.actual_nanos,
            charge.outcome,
            charge.meta,
            charge.minute,
            charge.tokens,
            patience_s=patience_s,
        )

    async def late(self, charge: reply.Charge) -> Any:
        """Charges what an expired hold's request cost beyond its checkpoint: Settled, Duplicate
        (nothing beyond it, or done before), Unknown or Fenced."""
        return await self._money(
            "late",
            charge.wallet,
            charge.rid,
            charge.wallet,
            charge.key,
            charge.slug,
            charge.actual_nanos,
            charge.outcome,
            charge.meta,
        )

    async def expire(self, rid: str, wallet: str, *, renewals: int) -> Any:
        """Settled, Live, Duplicate, Unknown or Fenced."""
        return await self._money("expire", wallet, rid, renewals)

    async def look(self, wallet: str, digest: str) -> Any:
        """Look, Denied, NoKey or Fenced."""
        partition = partition_of(wallet)
        keys = scripts.money_keys(partition, wallet)[:2]
        return await self._fenced("look", partition, keys, (digest,))

    # -- money in and out -----------------------------------------------------------------------

    async def credit(
        self,
        credit_id: str,
        wallet: str,
        nanos: int,
        *,
        counter: str,
        key: str = "",
        reason: str = "",
    ) -> Any:
        """Credited, Duplicate, Cap, NoKey or Fenced."""
        return await self._money("credit", wallet, credit_id, wallet, nanos, counter, key, reason)

    async def debit(
        self,
        debit_id: str,
        wallet: str,
        nanos: int,
        *,
        up_to: bool,
        counter: str,
        key: str = "",
        reason: str = "",
    ) -> Any:
        """Debited, Poor, Duplicate, NoKey or Fenced."""
        return await self._money(
            "debit", wallet, debit_id, wallet, nanos, int(up_to), counter, key, reason
        )

    async def push(self, row: reply.KeyRow) -> Any:
        """Sets a wallet's status and keys: `("OK", version)`, `("OLD", version)` or Fenced."""
        partition = partition_of(row.wallet)
        keys = scripts.money_keys(partition, row.wallet)[:2]
        entries = [key.as_json() for key in row.keys]
        return await self._fenced(
            "key",
            partition,
            keys,
            (row.wallet, row.version, row.status, msgspec.json.encode(entries)),
        )

    # -- the worker's part ----------------------------------------------------------------------

    async def init(self, partition: int) -> Any:
        """`("OK", epoch)`, or `("EXISTS", epoch, state)`."""
        return await self.call("init", [scripts.key(partition, "m")], (PARTITIONS,))

    async def open_partition(
        self, partition: int, seen: PartitionState, *, replid: str, to: str = "OPEN"
    ) -> Any:
        """Opens it if it is still as `seen`, and on the server `replid`: `("OK", seq)`,
        `("MOVED", …)` or Fenced."""
        return await self.call(
            "open",
            [scripts.key(partition, "m")],
            (seen.epoch, seen.state, seen.seq, seen.stamp, replid, to),
        )

    async def ack(self, partition: int, committed: int, *, keep: int) -> Any:
        """`("OK", pruned)`, `("AHEAD", seq)` or Fenced."""
        keys = [scripts.key(partition, name) for name in ("m", "l", "d", "dz")]
        return await self._fenced("ack", partition, keys, (committed, keep))

    async def partitions(self) -> list[PartitionState]:
        """`m` of every partition, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hmget(scripts.key(partition, "m"), "ep", "rs", "st", "sq", "cs", "be")
        found = []
        for row in await self.wait(pipe.execute()):
            epoch, stamp, state, seq, committed, base = [(part or b"").decode() for part in row]
            numbers = (int(seq or 0), int(committed or 0), int(base or 0))
            found.append(PartitionState(int(epoch or 0), stamp, state, *numbers))
        return found

    async def stamp(self, partition: int) -> str:
        """The server that a partition was opened on last; empty where it has never been."""
        found = await self.wait(self._redis.hget(scripts.key(partition, "m"), "rs"))
        return (found or b"").decode()

    async def replids(self) -> list[str]:
        """By partition, the replication id of the server that has it: the fence's identity."""
        return list(await self.wait(self._server.replids()))

    async def replid(self, partition: int = 0) -> str:
        """The replication id of the server that has a partition."""
        return (await self.replids())[partition]

    async def closed(self) -> list[int]:
        """Partitions that do not serve: they are not open on the server that has them."""
        # In this order: what moves in between is told closed, and not open where it was.
        states, replids = await self.partitions(), await self.replids()
        return [
            part
            for part, state in enumerate(states)
            if state.state != "OPEN" or state.stamp != replids[part]
        ]

    async def events(
        self, cursors: Mapping[int, Mark], *, count: int, block_ms: int
    ) -> list[Event | Poison]:
        """Events after each partition's (epoch, seq), in their order; waits up to `block_ms`."""
        call = self._server.read(cursors, count=count, block_ms=block_ms)
        return [
            read_event(partition, entry_id, fields)
            for partition, rows in await self.wait(call, extra_s=block_ms / 1000)
            for entry_id, fields in rows
        ]

    async def last_event(self, partition: int) -> Mark | None:
        """The end of a partition's stream, which may be there when `m` is not."""
        rows = await self.wait(self._redis.xrevrange(scripts.key(partition, "l"), count=1))
        return Mark(*map(int, rows[0][0].split(b"-"))) if rows else None

    async def holds(self, partition: int) -> dict[str, HoldState]:
        """Every hold of a partition by request id."""
        rows = await self.wait(self._redis.hgetall(scripts.key(partition, "h")))
        return {rid.decode(): reply.hold_state(text) for rid, text in rows.items()}

    async def knows(self, partition: int, rids: Sequence[str]) -> list[bool]:
        """Which of these requests have a hold, or a tombstone."""
        pipe = self._redis.pipeline(transaction=False)
        for name in ("h", "d"):  # one that is settled in between has left the first for the second
            pipe.hmget(scripts.key(partition, name), list(rids))
        holds, ended = await self.wait(pipe.execute())
        return [one is not None or end is not None for one, end in zip(holds, ended, strict=True)]

    async def wallet(self, wallet: str) -> WalletState | None:
        """A wallet's figures, or None."""
        return (await self.wallets([wallet]))[0]

    async def wallets(self, wallets: Sequence[str]) -> list[WalletState | None]:
        """The figures of many wallets in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for wallet in wallets:
            name = scripts.key(partition_of(wallet), f"w:{wallet}")
            pipe.hmget(name, "bal", "hld", "ws", "st", "spt", "v")
        rows = await self.wait(pipe.execute(), extra_s=1.0)
        return [reply.wallet_state(row) for row in rows]

    async def key_figures(self, wallet: str, key_ids: Sequence[str]) -> list[reply.KeyFigures]:
        """What each of a wallet's keys has spent and holds."""
        name = scripts.key(partition_of(wallet), f"w:{wallet}")
        fields = [f"{kind}:{key_id}" for key_id in key_ids for kind in "shb"]
        found = await self.wait(self._redis.hmget(name, fields)) if fields else []
        texts = [(text or b"").decode() for text in found]
        figures = []
        for at in range(0, len(texts), 3):
            end, base, before = map(int, (texts[at + 2] or "0|0|0").split("|"))
            mark = (end, base, before) if end else None
            figures.append(reply.KeyFigures(int(texts[at] or 0), int(texts[at + 1] or 0), mark))
        return figures

    async def wallet_ids(self) -> AsyncIterator[str]:
        """Every wallet that Redis has, each at least once."""
        async for name in self._redis.scan_iter(match="{p??}:w:*", count=1000):
            yield name.decode().partition(":w:")[2]

    # -- outside the fence ----------------------------------------------------------------------

    async def report(self, field: str, text: bytes | None) -> None:
        """Writes or removes (None) one process's report in `corvus:nodes`."""
        if text is None:
            await self.wait(self._redis.hdel(NODES_KEY, field))
        else:
            await self.wait(self._redis.hset(NODES_KEY, field, text))

    async def reports(self) -> dict[str, bytes]:
        """All processes' reports."""
        rows = await self.wait(self._redis.hgetall(NODES_KEY))
        return {field.decode(): text for field, text in rows.items()}

    async def hand_in(self, name: str, rows: Mapping[str, bytes]) -> None:
        """Claims of a partition that is rebuilt, by request id."""
        texts = list(rows.items())
        for at in range(0, len(texts), 1000):
            await self.wait(
                self._redis.hset(name, mapping=dict(texts[at : at + 1000])), extra_s=1.0
            )

    async def simulated(self) -> bool:
        """Whether this Redis has ever held simulated money."""
        return bool(await self.wait(self._redis.exists(SIMULATED_KEY)))

    async def mark_simulated(self) -> None:
        await self.wait(self._redis.set(SIMULATED_KEY, "1"))

    async def configs(self, name: str) -> dict[str, str] | None:
        """One setting of each server that takes writes, by its address; None where CONFIG is
        forbidden."""
        try:
            return dict(await self.wait(self._server.configs(name)))
        except TillUnavailable as error:
            why = error.__cause__
            if isinstance(why, NoPermissionError) or "unknown command" in str(why):
                return None
            raise

    async def infos(self, section: str) -> dict[str, dict[str, Any]]:
        """A section of INFO of each server that takes writes, by its address."""
        return dict(await self.wait(self._server.infos(section)))

    async def version(self) -> tuple[str, str]:
        """Name and version of the server; of a cluster, the oldest."""
        found = []
        for info in (await self.infos("server")).values():
            name = "valkey" if "valkey_version" in info else "redis"
            found.append((name, str(info[f"{name}_version"])))
        return min(found, key=lambda one: [int(part) for part in one[1].split(".")[:2]])

    # -- calls ----------------------------------------------------------------------------------

    async def reconnect(self) -> None:
        """Lets no connection go on talking to a server that was replaced."""
        await self.wait(self._server.reconnect())

    async def many(
        self, name: str, calls: Sequence[tuple[list[str], Sequence[Any]]], *, extra_s: float = 1.0
    ) -> list[Any]:
        """One script many times in one write; a reply each, or the exception of that call."""
        script = scripts.SCRIPTS[name]
        pipe = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            # Not `evalsha`: redis-py refuses it by name in a cluster's pipeline.
            pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        answers = await self.wait(pipe.execute(raise_on_error=False), extra_s=extra_s)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            await self.wait(self._redis.script_load(script.text))
            return await self.many(name, calls, extra_s=extra_s)
        return [
            answer if isinstance(answer, Exception) else scripts.decode(name, answer)
            for answer in answers
        ]

    async def _money(
        self, name: str, wallet: str, *args: Any, patience_s: float | None = None
    ) -> Any:
        partition, keys = scripts.money_block(wallet)
        return await self._fenced(name, partition, keys, args, patience_s)

    async def _fenced(
        self,
        name: str,
        partition: int,
        keys: Keys,
        args: Sequence[Any],
        patience_s: float | None = None,
    ) -> Any:
        """Calls with this partition's epoch, and once more when it has moved on and is open."""
        answer = await self.call(name, keys, (self._epochs[partition], *args), patience_s)
        if self._learn(partition, answer):
            return await self.call(name, keys, (self._epochs[partition], *args), patience_s)
        return answer

    def _learn(self, partition: int, answer: object) -> bool:
        """Takes the epoch that a fenced reply names; whether it was a new one."""
        if not isinstance(answer, reply.Fenced):
            return False
        self.fenced.set()
        if answer.epoch in ("", self._epochs[partition]):
            return False
        self._epochs[partition] = answer.epoch
        return True

    async def call(
        self, name: str, keys: Keys, args: Sequence[Any], patience_s: float | None = None
    ) -> Any:
        """One script. Raises TillUnavailable."""
        script = scripts.SCRIPTS[name]
        block = keys if isinstance(keys, scripts.Block) else scripts.block(keys)
        ask, words = self._ask, 2 + block.words
        try:
            answer = await ask(pack(words, script.begin + block.text, args), patience_s=patience_s)
            if isinstance(answer, hiredis.ReplyError) and str(answer).startswith("NOSCRIPT"):
                begin = scripts.bulk(["EVAL", script.text])
                answer = await ask(pack(words, begin + block.text, args), patience_s=patience_s)
        except (PipeError, TimeoutError) as error:
            raise TillUnavailable(f"Redis: {error}") from None
        if isinstance(answer, hiredis.ReplyError):
            # NOREPLICAS, READONLY, OOM, BUSY …: whatever it is, a charge has to be tried again and
            # a request refused.
            raise TillUnavailable(f"Redis: {answer}")
        return scripts.decode(name, answer)

    async def wait(self, call: Any, *, extra_s: float = 0.0) -> Any:
        """A command's answer within the deadline. Raises TillUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s + extra_s):
                return await call
        except (TimeoutError, RedisConnectionError, OSError) as error:
            self._server.suspect()
            raise TillUnavailable(f"Redis: {error or 'no answer in time'}") from None
        except RuntimeError as error:
            # A write to a connection that was reset a moment ago. Whoever settles has to try again:
            # nobody else would, while this process lives.
            if CLOSED not in str(error):
                raise
            raise TillUnavailable("Redis: the connection was reset") from None
        except (RedisError, RedisClusterException, PipeError) as error:
            # NOREPLICAS, READONLY, OOM, BUSY …: whatever it is, a charge has to be tried again and
            # a request refused.
            raise TillUnavailable(f"Redis: {error}") from error


@contextlib.asynccontextmanager
async def opened(url: str, *, timeout_ms: int) -> AsyncIterator[Till]:
    """A till that is closed with the block."""
    till = Till.open(url, timeout_ms=timeout_ms)
    try:
        yield till
    finally:
        await till.close()
