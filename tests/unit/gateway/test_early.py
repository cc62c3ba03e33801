"""A stream that begins before its upstream answers; keep-alives stand between events."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from corvus_proxy.gateway import answering
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.front.client import ClientGone
from corvus_proxy.gateway.streaming.early import Early
from corvus_proxy.gateway.streaming.ticker import Ticker
from corvus_proxy.settings import RelaySettings
from corvus_proxy.wire.dialect import Dialect

pytestmark = pytest.mark.anyio
PING = b": keep-alive\n\n"


class Client(SimpleNamespace):
    """Notes what is written; `stuck` takes nothing."""

    gone = False
    head_sent = False
    stuck = False

    async def head(self, status: int, headers: Any) -> None:
        self.head_sent = True
        self.written.append(status)

    async def write(self, chunk: bytes) -> None:
        if self.stuck:
            await asyncio.sleep(60)
        self.written.append(chunk)


@pytest.fixture(autouse=True)
def plain_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "stream_headers", lambda exchange: [])


def early(*, stream: bool = True, wait_s: float = 1.0, **client: Any) -> tuple[Early, Client]:
    made = Client(written=[], **client)
    exchange = Exchange(made, Dialect.CHAT, "r", 0.0)  # type: ignore[arg-type]
    exchange.asked = SimpleNamespace(stream=stream)  # type: ignore[assignment]
    relay = RelaySettings(keepalive_s=5, keepalive_before_headers_s=wait_s, client_stall_s=0)
    return Early(exchange, relay, Ticker()), made


async def test_the_head_comes_when_it_is_time_and_then_keep_alives() -> None:
    """One head; a ping each `keepalive_s`; nothing once it is over."""
    waiting, client = early()
    now_s = asyncio.get_running_loop().time()
    async with waiting:
        for after_s, written in [
            (0.9, []), (1.1, [200, PING]), (5.0, [200, PING]), (6.2, [200, PING, PING]),
        ]:  # fmt: skip
            waiting.tick(now_s + after_s)
            await asyncio.sleep(0.001)
            assert client.written == written
    waiting.tick(now_s + 60)
    await asyncio.sleep(0.001)
    assert client.written == [200, PING, PING]


@pytest.mark.parametrize("off", [{"wait_s": 0.0}, {"stream": False}, {"gone": True}])
async def test_nothing_begins_early_unless_it_is_wished_and_read(off: dict[str, Any]) -> None:
    waiting, client = early(**off)
    async with waiting:
        waiting.tick(asyncio.get_running_loop().time() + 60)
        await asyncio.sleep(0.001)
    assert client.written == []


async def test_who_does_not_take_the_head_is_let_go() -> None:
    """Its hold ends, whatever its socket does."""
    waiting, _ = early(stuck=True)
    await waiting.__aenter__()
    waiting.tick(asyncio.get_running_loop().time() + 2)
    await asyncio.sleep(0.001)
    with pytest.raises(ClientGone):
        await waiting.over()
