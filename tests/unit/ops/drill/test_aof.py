"""The log of Redis as a drill reads it: a real one, written by our scripts' kind of commands."""

import asyncio
from pathlib import Path

import pytest

from corvus_proxy.errors import CorvusError
from corvus_proxy.ops import embedded
from corvus_proxy.ops.drill.faults.stores import aof
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio


async def test_writes_end_where_redis_ends_them(tmp_path: Path) -> None:
    """Cut at the end of a write, Redis has it; cut anywhere inside, nothing of it."""
    server = embedded.Redis(tmp_path, tmp_path / "log", port=embedded.free_port())
    server.start()
    await asyncio.to_thread(server.wait)
    till = Till.open(server.url, timeout_ms=2000)
    script = "redis.call('HSET', KEYS[1], 'ws', ARGV[1], 'bal', ARGV[1]) redis.call('INCR', 'n')"
    for number in range(3):
        await till.redis.eval(script, 1, "w", str(100 + number))
        await till.redis.xadd("l", {"t": "S", "a": str(number)}, id=f"1-{number + 1}")
    await till.close()
    server.stop()
    log = aof.newest(tmp_path)
    data = log.read_bytes()
    writes = aof.transactions(data)
    assert len(writes) == 6
    assert [one.begin for one in writes[1:]] == [one.end for one in writes[:-1]]
    assert writes[-1].end == len(data)
    assert aof.transactions(data, writes[3].begin) == writes[3:]
    balances = [
        data[slice(*aof.field(data, one, b"bal"))]
        for one in aof.commands(data)
        if one.words[0] == b"HSET"
    ]
    assert balances == [b"100", b"101", b"102"]
    event = aof.commands(data)[-1]
    assert data[slice(*aof.field(data, event, b"a"))] == b"2"
    assert data[slice(*aof.word(data, event, 2))] == b"1-3"
    with pytest.raises(ValueError, match="not in list"):
        aof.field(data, event, b"bal")
    for size in (writes[4].end, writes[4].end - 1, writes[4].begin + 1):
        log.write_bytes(data[:size])
        server.start()
        await asyncio.to_thread(server.wait)
        till = Till.open(server.url, timeout_ms=2000)
        whole = size == writes[4].end
        assert await till.redis.hget("w", "bal") == (b"102" if whole else b"101")
        assert await till.redis.get("n") == (b"3" if whole else b"2")
        await till.close()
        server.stop()


def test_the_newest_file_is_the_manifests(tmp_path: Path) -> None:
    folder = tmp_path / aof.FOLDER
    folder.mkdir()
    manifest = folder / "appendonly.aof.manifest"
    manifest.write_text("file a.2.base.rdb seq 2 type b\n")
    with pytest.raises(CorvusError, match="append-only"):
        aof.newest(tmp_path)
    with manifest.open("a") as file:
        file.write("file a.9.incr.aof seq 9 type i\nfile a.10.incr.aof seq 10 type i\n")
    assert aof.newest(tmp_path) == folder / "a.10.incr.aof"
