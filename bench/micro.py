"""Micro benchmarks: `python -m pytest bench/micro.py`. Reported, never a gate.

Each compiled or exact part stands beside its slow, obvious oracle on the same input, in one group;
a row that disagrees with its oracle fails, so that nothing fast and wrong is ever timed.
"""

import asyncio
import functools
import gzip
import itertools
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import pytest
import uvloop
import zstandard
from pytest_benchmark.fixture import BenchmarkFixture

from bench.upstream import chat, messages
from corvus_proxy._fast import StreamMeter, scan_body
from corvus_proxy.catalogue import book
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import from_chat
from corvus_proxy.ops import embedded
from corvus_proxy.settings import PricingSettings
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from corvus_proxy.wire import encoding
from tests.oracle import bill, body_oracle, stream_oracle

BODY_SIZES_KB = (2, 48)
EVENTS = 64
SCRIPTS = {"chat": chat, "messages": messages}
WALLET = "w_benchbench00"
CALLERS = 64


def body(size_kb: int) -> bytes:
    """A coding agent's request of about that size: tool schemas, escaped code, the model last."""
    tool = {
        "type": "function",
        "function": {
            "name": "edit",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
            },
        },
    }
    turn = {"role": "user", "content": 'def tide(bay):\n\treturn "high" if bay else "low"\n' * 4}
    asked: dict[str, Any] = {
        "tools": [tool] * 3,
        "messages": [turn],
        "max_tokens": 1000,
        "stream": True,
        "model": "gpt-4.1",
    }
    while len(json.dumps(asked)) < size_kb * 1024:
        asked["messages"].append(turn)
    return json.dumps(asked).encode()


def chunks(dialect: str) -> list[bytes]:
    """A stream as it comes: the body's bytes, one piece an event."""
    script = SCRIPTS[dialect](EVENTS, 300, 1024)
    return [
        _unchunked(part) for part in (script.first, *[script.event] * EVENTS, script.last) if part
    ]


def _unchunked(framed: bytes) -> bytes:
    found = b""
    while framed:
        size, _, rest = framed.partition(b"\r\n")
        found += rest[: int(size, 16)]
        framed = rest[int(size, 16) + 2 :]
    return found


def meter(dialect: str, pieces: list[bytes]) -> StreamMeter:
    """A whole stream through the meter."""
    found = StreamMeter(dialect, False)
    for piece in pieces:
        found.feed(piece)
    found.finish()
    return found


@pytest.mark.benchmark(group="decode 1 MB")
@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_decode(benchmark: BenchmarkFixture, name: str) -> None:
    """A compressed request body of hexadecimal words: 2.5 to 1."""
    chance = random.Random(7)
    words = [f"{chance.randrange(10**6):x}" for _ in range(3_000)]
    plain = " ".join(chance.choice(words) for _ in range(150_000)).encode()
    packed = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": functools.partial(brotli.compress, quality=5),
        "zstd": zstandard.ZstdCompressor().compress,
    }[name](plain)
    bound = encoding.Bound(33_554_432, 100)
    assert benchmark(encoding.decode, name, packed, bound) == plain


@pytest.mark.parametrize("size_kb", BODY_SIZES_KB)
@pytest.mark.parametrize("way", ["compiled", "oracle"])
def test_scan_body(benchmark: BenchmarkFixture, way: str, size_kb: int) -> None:
    """One request body, its members and byte classes."""
    benchmark.group = f"scan a body of {size_kb} KB"
    data = body(size_kb)
    found = benchmark({"compiled": scan_body, "oracle": body_oracle.read}[way], data)
    assert set(found.members) == set(json.loads(data))


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("way", ["compiled", "oracle"])
def test_meter(benchmark: BenchmarkFixture, way: str, dialect: str) -> None:
    """A stream of 64 events of 300 bytes, an event a piece."""
    benchmark.group = f"meter a {dialect} stream of {EVENTS} events"
    pieces = chunks(dialect)
    if way == "compiled":
        seen: Any = benchmark(meter, dialect, pieces)
    else:
        seen = benchmark(stream_oracle.read, dialect, b"".join(pieces))
    assert (seen.ended, seen.deltas) == (True, EVENTS)


@pytest.mark.parametrize("way", ["product", "oracle"])
def test_charge(benchmark: BenchmarkFixture, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer's charge from its usage; the oracle's arithmetic is in exact fractions."""
    # The oracle parses the price book's text for each price: that is not what is compared here.
    monkeypatch.setattr(bill, "prices", functools.cache(bill.prices))
    benchmark.group = "charge a usage"
    model = book.load(PricingSettings()).find("gpt-5.6-sol")
    assert model is not None
    usage = {
        "prompt_tokens": 20_000,
        "completion_tokens": 777,
        "prompt_tokens_details": {"cached_tokens": 15_360, "cache_write_tokens": 4_096},
    }
    if way == "product":
        nanos = benchmark(charge, from_chat(usage), model.price)
    else:
        nanos = benchmark(bill.chat_nanos, "gpt-5.6-sol", usage)
    assert nanos == bill.chat_nanos("gpt-5.6-sol", usage)


class OpenTill(NamedTuple):
    """A till on a server of its own and the loop that it lives on."""

    till: Till
    loop: asyncio.AbstractEventLoop


@pytest.fixture(scope="module")
def open_till(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenTill]:
    """The embedded Redis with money-safe settings (fsync before every reply), one rich wallet."""
    folder: Path = tmp_path_factory.mktemp("bench") / "redis"
    server = embedded.Redis(folder, folder.with_suffix(".log"), port=embedded.free_port())
    server.start()
    server.wait()
    loop = uvloop.new_event_loop()
    till = Till.open(server.url, timeout_ms=2000)
    try:
        loop.run_until_complete(_prepare(till))
        yield OpenTill(till, loop)
    finally:
        loop.run_until_complete(till.close())
        loop.close()
        server.stop()


async def _prepare(till: Till) -> None:
    for partition in range(64):
        await till.init(partition)
    for partition, state in enumerate(await till.partitions()):
        await till.open_partition(partition, state, replid=await till.replid())
    capped = reply.KeyEntry("key_sub", "1", [("capped", 0)], False, "", 10**14, "day")
    plain = reply.KeyEntry("key_bench", "1", [("plain", 0)])
    await till.push(reply.KeyRow(WALLET, 1, "1", [plain, capped]))
    await till.credit("start", WALLET, 10**14, counter="grants")


@pytest.mark.parametrize("callers", [1, CALLERS])
@pytest.mark.parametrize("key", ["plain", "capped"])
def test_reserve_and_settle(
    benchmark: BenchmarkFixture, open_till: OpenTill, callers: int, key: str
) -> None:
    """A request's two calls of the till, alone and with 64 requests at once (divide by 64); by a
    key without a cap and by one that has a cap a day."""
    benchmark.group = "reserve and settle"
    till, loop = open_till
    serial = itertools.count()

    async def pair() -> None:
        rid = f"req_{key}_{callers}_{next(serial)}"
        held = await till.reserve(
            reply.Ask(rid, WALLET, key, 1_000, 2_000, 0, "pv", "gpt-4.1", 100),
            owner="bench",
            lag_limit=10**9,
        )
        assert isinstance(held, reply.Granted)
        charge = reply.Charge(rid, WALLET, "key_bench", "gpt-4.1", 1, "completed", b'{"pv":"pv"}')
        settled = await till.settle(charge)
        assert isinstance(settled, reply.Settled)

    async def all_at_once() -> None:
        await asyncio.gather(*(pair() for _ in range(callers)))

    benchmark(lambda: loop.run_until_complete(all_at_once()))
    benchmark.extra_info["pairs"] = callers
