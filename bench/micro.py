"""Micro benchmarks: `python -m pytest bench/micro.py`. Reported, never a gate.

Each compiled or exact part stands beside its slow, obvious oracle on the same input, in one group;
a row that disagrees with its oracle fails, so that nothing fast and wrong is ever timed.
"""

import asyncio
import functools
import gzip
import hmac
import itertools
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import hiredis
import pytest
import uvloop
import zstandard
from pytest_benchmark.fixture import BenchmarkFixture

from bench import far
from corvus_proxy import clock, secret
from corvus_proxy._fast import StreamMeter, pack, scan_body
from corvus_proxy.catalogue import book
from corvus_proxy.gateway import admission
from corvus_proxy.gateway.quoting import quote
from corvus_proxy.money.event import Mark
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import from_chat
from corvus_proxy.ops import embedded
from corvus_proxy.settings import HoldSettings, PricingSettings
from corvus_proxy.till import reply, scripts
from corvus_proxy.till.client import Till
from corvus_proxy.till.journal import Node
from corvus_proxy.wire import answer, edits, encoding, headers, request
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import bill, body_oracle, stream_oracle

BODY_SIZES_KB = (2, 48)
EVENTS = 64
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


@functools.cache
def chunks(dialect: str) -> list[bytes]:
    """A stream as it comes: the body's bytes, one piece an event."""
    return far.pieces(dialect, EVENTS)


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


HEADERS = [
    (b"host", b"api.example.com"),
    (b"user-agent", b"claude-cli/2.0 (external, cli)"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"connection", b"keep-alive, x-own"),
    (b"content-type", b"application/json"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"claude-code-20250219,interleaved-thinking-2025-05-14"),
    (b"x-stainless-lang", b"js"),
    (b"x-own", b"1"),
    (b"content-length", b"2048"),
]


@pytest.mark.parametrize("way", ["product", "oracle"])
def test_caller(benchmark: BenchmarkFixture, way: str) -> None:
    """The secret of a request: its header, its checksum, the digest that Redis knows."""
    benchmark.group = "find the caller"
    pepper, text = b"p" * 32, secret.new_secret(secret.new_wallet_id())
    headers = [*HEADERS, (b"authorization", f"Bearer {text}".encode())]

    def oracle(headers: list[tuple[bytes, bytes]], pepper: bytes) -> tuple[str, str]:
        given = dict(headers)[b"authorization"].decode().split()[1]
        number = zlib.crc32(given[:-6].encode())
        digits = [clock.BASE62[number // 62**place % 62] for place in range(5, -1, -1)]
        assert "".join(digits) == given[-6:]
        return "w_" + given[10:22], hmac.new(pepper, given.encode(), "sha256").hexdigest()

    found = benchmark({"product": admission.caller, "oracle": oracle}[way], headers, pepper)
    assert tuple(found) == oracle(headers, pepper)


@pytest.mark.parametrize("size_kb", BODY_SIZES_KB)
@pytest.mark.parametrize("way", ["product", "oracle"])
def test_read_request(benchmark: BenchmarkFixture, way: str, size_kb: int) -> None:
    """A request's body until it is known what it asks for: decoded, scanned, checked. The oracle
    only decodes it, and checks nothing."""
    benchmark.group = f"read a request of {size_kb} KB"
    data = body(size_kb)
    if way == "product":
        asked = benchmark(request.read, Dialect.CHAT, data)
        found = (asked.model, asked.stream, asked.limit_tokens)
    else:
        raw = benchmark(json.loads, data)
        found = (raw["model"], raw["stream"], raw["max_tokens"])
    assert found == ("gpt-4.1", True, 1000)


def test_quote(benchmark: BenchmarkFixture) -> None:
    """What is held for a request of 48 KB, from what was read; the oracle of its bound is compared
    in the tests of `quoting`."""
    benchmark.group = "quote a request"
    model = book.load(PricingSettings()).find("gpt-4.1")
    assert model is not None
    asked = request.read(Dialect.CHAT, body(48))
    found = benchmark(quote, asked, model, HoldSettings(), clamp=True)
    assert 0 < found.least_nanos <= found.most_nanos


@pytest.mark.parametrize("way", ["product", "oracle"])
def test_headers(benchmark: BenchmarkFixture, way: str) -> None:
    """The headers that reach the upstream."""
    benchmark.group = "headers to the upstream"

    def oracle(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = (b"accept", b"content-type", b"user-agent", b"anthropic-version", b"anthropic-beta")
        return [pair for pair in given if pair[0] in kept]

    found = benchmark({"product": headers.to_upstream, "oracle": oracle}[way], HEADERS)
    assert (b"anthropic-version", b"2023-06-01") in found
    assert all(name not in (b"host", b"x-own", b"connection") for name, _ in found)


@pytest.mark.parametrize("way", ["product", "oracle"])
def test_edits(benchmark: BenchmarkFixture, way: str) -> None:
    """Another model's name and the wish for usage in a body of 48 KB."""
    benchmark.group = "edit a body of 48 KB"
    data = body(48)
    asked = request.read(Dialect.CHAT, data)
    splices = [*request.model_splices(asked, "other"), *request.usage_splices(asked, data)]

    def oracle(data: bytes) -> bytes:
        raw = json.loads(data)
        raw |= {"model": "other", "stream_options": {"include_usage": True}}
        return json.dumps(raw).encode()

    work = {"product": (edits.apply, data, splices), "oracle": (oracle, data)}[way]
    made = benchmark(*work)
    assert json.loads(made) == json.loads(oracle(data))


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("way", ["product", "oracle"])
def test_read_answer(benchmark: BenchmarkFixture, way: str, dialect: str) -> None:
    """A plain answer of 1 KB: its usage, and whether it says anything."""
    benchmark.group = f"read a plain {dialect} answer"
    text = "tide " * 150
    counts = {"prompt_tokens": 1000, "completion_tokens": 64}
    turn = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole: dict[str, Any] = {"id": "a", "model": "m", "usage": counts, "choices": [turn]}
    if dialect == "messages":
        content = [{"type": "text", "text": text}]
        whole = {"id": "a", "model": "m", "usage": counts, "content": content}
        whole["stop_reason"] = "end_turn"
    data = json.dumps(whole).encode()
    if way == "product":
        seen = benchmark(answer.read_whole, Dialect(dialect), data)
        assert seen is not None
        found = seen.usage
    else:
        found = benchmark(json.loads, data)["usage"]
    assert found == counts


@pytest.mark.parametrize("name", ["reserve", "settle"])
@pytest.mark.parametrize("way", ["product", "oracle"])
def test_reply(benchmark: BenchmarkFixture, way: str, name: str) -> None:
    """A script's reply as a value, from the bytes on the wire."""
    benchmark.group = f"read the reply of {name}"
    words = {
        "reserve": [b"OK", b"2000", b"99999999998000", b"key_bench0000000"],
        "settle": [b"OK", b"1500", b"0", b"99999999998500", b"123456", b"1"],
    }[name]
    wire = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
    reader = hiredis.Reader()

    def product(wire: bytes) -> Any:
        reader.feed(wire)
        return scripts.decode(name, reader.gets())

    def oracle(wire: bytes) -> Any:
        parts = wire.split(b"\r\n")[2::2]
        return [int(part) for part in parts[1:] if part.isdigit()]

    found = benchmark({"product": product, "oracle": oracle}[way], wire)
    assert [part for part in found if isinstance(part, int)] == oracle(wire)


def test_journal(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The lines of one request, written to a file; its sync is a thread's. No oracle: what is
    written is read back in the tests of the journal."""
    benchmark.group = "journal a request"
    loop = uvloop.new_event_loop()
    ask = reply.Ask("req_0", WALLET, "digest", 1_000, 2_000, 0, "pv", "gpt-4.1", 100)
    charge = reply.Charge("req_0", WALLET, "key_bench", "gpt-4.1", 1, "completed", b'{"pv":"pv"}')

    async def rounds() -> None:
        journal = Node(tmp_path, b"p" * 32).journal("bench", sync_ms=20)

        def once() -> None:
            assert journal.opened(ask)
            journal.settling(charge)
            journal.ended("req_0", 1, Mark(1, 1))

        benchmark(once)

    loop.run_until_complete(rounds())
    loop.close()


def packed_plainly(words: list[bytes | str | int]) -> bytes:
    """An array of bulk strings, as the protocol's document says it."""
    texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(x), x) for x in texts)


@pytest.mark.parametrize("how", [lambda words: pack(0, b"", words), packed_plainly],
                         ids=["ours", "oracle"])  # fmt: skip
def test_request_to_redis(benchmark: BenchmarkFixture, how: Any) -> None:
    """A reserve as it is written."""
    benchmark.group = "a call packed for Redis"
    words: list[bytes | str | int] = [
        "EVALSHA", "a" * 40, 7, *scripts.money_keys(1, WALLET), "1", "req_" + "0" * 24, WALLET,
        "d" * 64, "bench", 1_000, 2_000_000, 0, "2026-11-26", "gpt-4.1", 100, 10_000, "2026-11-26",
        "2026-11",
    ]  # fmt: skip
    assert benchmark(how, words) == packed_plainly(words)


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
