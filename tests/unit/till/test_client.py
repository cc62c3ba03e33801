"""The till and its holds while Redis errs, is full, frozen, killed or restarted."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.ops import embedded
from corvus_proxy.till.checks import check_server
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node
from corvus_proxy.till.recovery.report import Reporter, read_reports
from corvus_proxy.till.reply import Ask, Fenced
from tests.conftest import add_wallet, open_all

pytestmark = pytest.mark.anyio
W = "w_client000001"
PART = partition_of(W)


def ask(rid: str) -> Ask:
    return Ask(rid, W, "digest", 100, 100, 0, "pv", "slug", 1)


def make(till: Till, folder: Path) -> tuple[Holds, Node]:
    node = Node(folder, b"p" * 32)
    journal = node.journal("p1", sync_ms=5)
    return Holds(till, journal, lease_s=1, lag_limit=99, wait_s=0.3, waiters_max=4), node


async def figures(till: Till) -> tuple[int, int]:
    state = await till.wallet(W)
    assert state is not None
    return state.balance_nanos, state.held_nanos


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[embedded.Redis, Till]]:
    """A server of its own that a test may kill, and an open till with 1000 nanos."""
    server = embedded.Redis(tmp_path / "redis", tmp_path / "log", port=embedded.free_port())
    server.start()
    server.wait()
    till = Till.open(server.url, timeout_ms=5000)
    await open_all(till)
    await add_wallet(till, W, 1000)
    yield server, till
    await till.close()
    server.stop()


async def test_a_full_redis_is_unavailable(valkey_till: Till) -> None:
    """Out of memory refuses new requests as an absent Redis does: 503, not a defect."""
    await add_wallet(valkey_till, W, 1000)
    limit = (await valkey_till._redis.config_get("maxmemory"))["maxmemory"]
    await valkey_till._redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(TillUnavailable, match="maxmemory"):
            await valkey_till.reserve(ask("a"), owner="me", lag_limit=9)
    finally:
        await valkey_till._redis.config_set("maxmemory", limit)


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_was_reset_while_idle_is_unavailable(turns: int) -> None:
    """In the loop that serves, however far it has come to know of the reset: the next call is
    refused, and the one after it is answered."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):
                writer.write(b":1\r\n")
        writer.close()

    async def asked() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        till = Till.open(f"redis://127.0.0.1:{port}/0", timeout_ms=5000)
        try:
            assert await till.simulated()
            plain = ends[0].get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ends[0].transport.abort()
            for _ in range(turns):
                await asyncio.sleep(0)
            with pytest.raises(TillUnavailable, match="Redis: "):
                await till.simulated()
            assert await till.simulated()
        finally:
            await till.close()
            server.close()
            await asyncio.sleep(0.05)

    ends: list[asyncio.StreamWriter] = []
    uvloop.run(asked())


async def test_a_charge_outlasts_every_error_of_redis(valkey_till: Till, tmp_path: Path) -> None:
    """NOREPLICAS, as after a lost replica: tried again until it is settled."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    hold = await holds.reserve(ask("a"))
    await valkey_till._redis.config_set("min-replicas-to-write", "1")
    try:
        assert await hold.settle(40, "completed", b"{}", wait_s=0.3) is None
    finally:
        await valkey_till._redis.config_set("min-replicas-to-write", "0")
    assert await holds.drain(30)
    assert await figures(valkey_till) == (960, 0)


async def test_a_request_that_is_cancelled_while_it_asks_holds_nothing(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Granted, and the answer never seen: released, and its OPEN line is ended."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    real = holds._reserve_once

    async def granted_unseen(one: Ask) -> object:
        await real(one)
        return await asyncio.sleep(60)

    monkeypatch.setattr(holds, "_reserve_once", granted_unseen)
    asking = asyncio.create_task(holds.reserve(ask("a")))
    await asyncio.sleep(0.1)
    assert await figures(valkey_till) == (1000, 100)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await holds.drain(30)
    assert await figures(valkey_till) == (1000, 0)
    assert not holds.journal._segments[-1].unsettled


async def test_renewals_follow_a_moved_epoch(valkey_till: Till, tmp_path: Path) -> None:
    """A process that only renews learns the epoch too; otherwise its streams would expire."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    hold = await holds.reserve(ask("a"))
    await valkey_till._redis.hset(f"{{p{PART:02d}}}:m", "ep", "2")
    for _ in range(2):
        hold.renewed_s -= 10
        await holds._renew()
    assert (await valkey_till.holds(PART))["a"].renewals == 1


async def test_a_killed_redis_loses_nothing(
    own: tuple[embedded.Redis, Till], tmp_path: Path
) -> None:
    """kill -9 between reserve and settle: fenced after the start, and then charged once."""
    server, till = own
    holds, node = make(till, tmp_path / "journal")
    ending, living = await holds.reserve(ask("a")), await holds.reserve(ask("b"))
    reporter = Reporter(till, holds, node)
    await reporter.tick()
    before = await till.replid()
    os.kill(server.child.pid, signal.SIGKILL)
    server.child.wait()
    assert await ending.settle(30, "completed", b"{}", wait_s=0.3) is None
    with pytest.raises(TillUnavailable):
        await holds.reserve(ask("c"))
    server.start()
    await asyncio.to_thread(server.wait)
    assert isinstance(await holds.reserve(ask("d")), Fenced)
    await reporter.tick()
    (report,) = await read_reports(till)
    assert report.replid == await till.replid() != before
    assert report.missing == {}
    for part, state in enumerate(await till.partitions()):
        assert (await till.open_partition(part, state, replid=await till.replid()))[0] == "OK"
    await living.settle(20, "completed", b"{}", wait_s=20)
    assert await holds.drain(30)
    assert await figures(till) == (950, 0)
    events = await till.events({PART: Mark(1, 1)}, count=9, block_ms=0)
    assert [event.id for event in events if event.delta_nanos] in (["a", "b"], ["b", "a"])


async def test_a_frozen_redis_refuses_in_time(own: tuple[embedded.Redis, Till]) -> None:
    """No answer is a refusal within 300 ms, in the best of five tries (the machine is not ours
    alone), and the next answer is the right one."""
    server, patient = own
    till = Till.open(server.url, timeout_ms=250)

    async def answered() -> Any:
        for _ in range(200):
            with contextlib.suppress(TillUnavailable):
                return await till.look(W, "digest")
        raise AssertionError("no answer")

    try:
        await answered()
        os.kill(server.child.pid, signal.SIGSTOP)
        try:
            times_s = []
            for _ in range(5):
                began = asyncio.get_running_loop().time()
                with pytest.raises(TillUnavailable):
                    await till.look(W, "digest")
                times_s.append(asyncio.get_running_loop().time() - began)
            assert min(times_s) < 0.3, times_s
        finally:
            os.kill(server.child.pid, signal.SIGCONT)
        assert (await answered()).balance_nanos == 1000
        assert isinstance(await patient.reserve(ask("r"), owner="me", lag_limit=9), tuple)
    finally:
        await till.close()


@pytest.mark.parametrize(
    ("option", "bad", "good"),
    [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
async def test_a_redis_that_could_lose_money_is_refused(
    valkey_till: Till, option: str, bad: str, good: str
) -> None:
    """Each required setting by itself; where CONFIG is forbidden, only the operator's word."""
    await check_server(valkey_till, durability_confirmed=False)
    await valkey_till._redis.config_set(option, bad)
    try:
        with pytest.raises(ConfigurationError, match=option):
            await check_server(valkey_till, durability_confirmed=True)
    finally:
        await valkey_till._redis.config_set(option, good)


async def test_a_redis_that_forbids_config_needs_the_operators_word(
    own: tuple[embedded.Redis, Till],
) -> None:
    """NOPERM is "cannot be checked", not "unavailable"."""
    server, till = own
    await till._redis.acl_setuser(
        "gate", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-config"]
    )
    limited = Till.open(server.url.replace("//", "//gate:pw@"), timeout_ms=5000)
    try:
        with pytest.raises(ConfigurationError, match="durability_confirmed"):
            await check_server(limited, durability_confirmed=False)
        await check_server(limited, durability_confirmed=True)
    finally:
        await limited.close()


def test_a_write_to_a_connection_that_was_just_reset_is_an_absence(tmp_path: Path) -> None:
    """uvloop says so by a RuntimeError."""

    async def asked() -> None:
        server = embedded.Redis(tmp_path / "redis", tmp_path / "log", port=embedded.free_port())
        server.start()
        server.wait()
        till = Till.open(server.url, timeout_ms=5000)
        try:
            await open_all(till)
            await add_wallet(till, W, 1000)
            break_next_write(till)
            with pytest.raises(TillUnavailable):
                await till.wallet(W)
            assert await figures(till) == (1000, 0)
        finally:
            await till.close()
            server.stop()

    def break_next_write(till: Till) -> None:
        """The reset comes after the pool has looked at the connection."""
        pool = till.redis.connection_pool
        look = pool.ensure_connection

        async def ensure_connection(connection: Any) -> None:
            await look(connection)
            pool.ensure_connection = look
            connection._writer.transport.abort()
            await asyncio.sleep(0.05)
            assert "closed=True" in repr(connection._writer.transport)

        pool.ensure_connection = ensure_connection

    uvloop.run(asked())


def test_a_charge_outlasts_a_connection_that_was_just_reset(tmp_path: Path) -> None:
    """It is asked again, and made once."""

    async def settled() -> tuple[int, int]:
        server = embedded.Redis(tmp_path / "redis", tmp_path / "log", port=embedded.free_port())
        server.start()
        server.wait()
        till = Till.open(server.url, timeout_ms=5000)
        try:
            await open_all(till)
            await add_wallet(till, W, 1000)
            holds, _ = make(till, tmp_path)
            hold = await holds.reserve(ask("r1"))
            till._server._pipe._transport.abort()
            await hold.settle(40, "completed", b"", wait_s=20)
            return await figures(till)
        finally:
            await till.close()
            server.stop()

    assert uvloop.run(settled()) == (960, 0)
