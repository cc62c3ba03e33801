"""What a stream's meter assumes of output that nobody sees, and what that does."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.quoting import quote
from corvus_proxy.gateway.streaming.relay import Stream
from corvus_proxy.settings import HoldSettings, PricingSettings, RelaySettings
from corvus_proxy.till.reply import Extended
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect

pytestmark = pytest.mark.anyio
BOOK = book.load(PricingSettings())
HOLD = HoldSettings()
WORDS = "the same words again, as they were " * 40
ADAPTIVE = {"thinking": {"type": "adaptive", "display": "omitted"}}


class Fake(SimpleNamespace):
    """A hold that gets nothing more, and an answer that is only aborted."""

    asked: int = 0
    aborted: bool = False

    async def extend(self, total_nanos: int) -> Extended:
        self.asked += 1
        return Extended(self.granted_nanos, True)

    def abort(self) -> None:
        self.aborted = True


def stream(slug: str, fake: Fake, **more: Any) -> Stream:
    model = BOOK.find(slug)
    assert model is not None
    dialect = Dialect.MESSAGES if model.family == "anthropic" else Dialect.CHAT
    raw = {"model": slug, "messages": [], "max_tokens": 50_000, "stream": True, **more}
    exchange = Exchange(SimpleNamespace(gone=False), dialect, "r", 0.0)  # type: ignore[arg-type]
    exchange.body = json.dumps(raw).encode()
    exchange.asked = request.read(dialect, exchange.body)
    exchange.model, exchange.book = model, BOOK
    exchange.quote = quote(exchange.asked, model, HOLD, clamp=True)
    fake.granted_nanos = exchange.quote.most_nanos
    exchange.hold = fake  # type: ignore[assignment]
    return Stream(exchange, fake, relay=RelaySettings(), hold=HOLD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slug", "more", "tokens"),
    [
        ("gpt-5.5", {}, 1500),
        ("gpt-5.5", {"n": 4}, 6000),
        ("gpt-4o", {}, 0),
        ("gpt-4o", {"prediction": None}, 0),
        ("claude-opus-5-5", {}, 0),
        ("claude-opus-5-5", ADAPTIVE, 1500),
        ("claude-opus-5-5", {"thinking": {"type": "disabled"}}, 0),
    ],
)
async def test_silence_counts_for_every_answer_that_may_reason_in_it(
    slug: str, more: dict[str, Any], tokens: int
) -> None:
    """150 tokens a second and answer; also of Claude, where its thinking may not be shown."""
    running = stream(slug, Fake(), **more)
    before = running.output_at_most()
    running.tick(asyncio.get_running_loop().time() + 10)
    assert running.output_at_most() - before == pytest.approx(tokens, abs=9)


async def test_a_prediction_counts_as_output_from_the_start() -> None:
    """What of it is rejected is billed as output, and no text ever shows it."""
    running = stream("gpt-4o", Fake(), prediction={"type": "content", "content": WORDS})
    assert len(WORDS) // 5 < running.output_at_most() < len(WORDS)


async def test_silence_that_nobody_pays_for_ends_the_stream() -> None:
    """No chunk need come that would tell it: the till's last word is enough."""
    fake = Fake()
    running = stream("gpt-5.5", fake)
    running.tick(asyncio.get_running_loop().time() + 10)  # 1,500 of 2,048: asked for more
    await asyncio.sleep(0.01)
    assert (fake.asked, fake.aborted) == (1, False)
    running.tick(asyncio.get_running_loop().time() + 20)
    assert fake.aborted


async def test_a_keep_alive_never_stands_inside_an_event() -> None:
    """Though half of one came in the very moment in which the ping was due."""
    running = stream("claude-opus-5-5", Fake())
    written: list[bytes] = []

    async def write(chunk: bytes) -> None:
        written.append(chunk)

    async def comes(chunk: bytes) -> None:
        await running._write(running._sendable(running.meter.feed(chunk)))

    running._client.write = write  # type: ignore[method-assign]
    running.tick(asyncio.get_running_loop().time() + 20)
    half = b'event: ping\ndata: {"type":"ping"' + b" " * 300
    await comes(half)
    await asyncio.sleep(0.01)
    assert written == [half]
    await comes(b"}\n\n")
    running.tick(asyncio.get_running_loop().time() + 40)
    await asyncio.sleep(0.01)
    assert written == [half, b"}\n\n", b'event: ping\ndata: {"type": "ping"}\n\n']
