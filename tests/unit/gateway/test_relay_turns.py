"""When what an upstream sends reaches the client: in the loop turn in which it came."""

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
from corvus_proxy.wire import request, translate
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.translate import Translation
from corvus_proxy.wire.translate.reply import Reply

pytestmark = pytest.mark.anyio
BOOK = book.load(PricingSettings())
HOLD = HoldSettings()
CHAT, MESSAGES, RESPONSES = Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES


class Source:
    """An upstream's answer whose chunks come when the test says so."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[bytes | None] | None = None

    async def chunk(self) -> bytes | None:
        self._waiting = asyncio.get_running_loop().create_future()
        return await self._waiting

    def send(self, chunk: bytes | None) -> None:
        assert self._waiting is not None
        self._waiting.set_result(chunk)

    def abort(self) -> None:
        pass


class Reader:
    """A client that takes everything at once."""

    gone = False

    def __init__(self) -> None:
        self.had: list[bytes] = []

    def watch(self) -> None: ...

    def on_gone(self, callback: Any) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        self.had.append(chunk)


def relayed(
    source: Source, reader: Reader, slug: str, caller: Dialect, upstream: Dialect
) -> Stream:
    """A stream of the upstream's dialect for a client of the caller's."""
    model = BOOK.find(slug)
    assert model is not None
    raw: dict[str, Any] = {"model": slug, "stream": True}
    if caller is RESPONSES:
        raw["input"] = "hello"
    else:
        raw |= {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 900}
    exchange = Exchange(reader, caller, "r", 0.0)  # type: ignore[arg-type]
    exchange.body = json.dumps(raw).encode()
    if caller is not upstream:
        exchange.body = translate.request(caller, upstream, exchange.body, model)
        exchange.translation = Translation(caller, upstream, Reply(slug, "r", 0, thinks=True))
    exchange.asked = request.read(upstream, exchange.body)
    exchange.model, exchange.book = model, BOOK
    exchange.quote = quote(exchange.asked, model, HOLD, clamp=True)
    hold: Any = SimpleNamespace(granted_nanos=exchange.quote.most_nanos)
    exchange.hold = hold
    return Stream(exchange, source, relay=RelaySettings(), hold=HOLD)  # type: ignore[arg-type]


def event(name: str, **body: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n".encode()


def chunk(delta: dict[str, Any]) -> bytes:
    body = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def block(index: int, opening: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    begun = event("content_block_start", index=index, content_block=opening)
    return [begun, *(event("content_block_delta", index=index, delta=one) for one in deltas)]


CLAUDE = [
    event("message_start", message={"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}),
    *block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "hm"}),
    *block(1, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": "so "}] * 3),
    *block(2, {"type": "tool_use", "id": "t", "name": "f", "input": {}},
           *[{"type": "input_json_delta", "partial_json": piece} for piece in ('{"a"', ": 1}")]),
]  # fmt: skip


def call(index: int, arguments: str, **more: Any) -> bytes:
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}, **more}]})


GPT = [
    chunk({"reasoning_content": "hm"}), chunk({"content": "so "}), chunk({"content": "so "}),
    call(0, "", id="a"), call(0, '{"x":'), call(0, "1}"),
    call(1, "", id="b"), call(1, '{"y":'), call(1, "2}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("slug", "caller", "upstream"),
    [
        ("claude-opus-5-5", MESSAGES, MESSAGES),
        ("claude-opus-5-5", CHAT, MESSAGES),
        ("claude-opus-5-5", RESPONSES, MESSAGES),
        ("gpt-5.5", CHAT, CHAT),
        ("gpt-5.5", MESSAGES, CHAT),
        ("glm-5.3", RESPONSES, CHAT),
    ],
)
async def test_each_event_leaves_in_the_turn_in_which_it_came(
    slug: str, caller: Dialect, upstream: Dialect
) -> None:
    """Untouched or translated: the client has it before the loop does anything else. Only that a
    block of Claude's begins has no word in other dialects."""
    source, reader = Source(), Reader()
    task = asyncio.ensure_future(relayed(source, reader, slug, caller, upstream).run())
    await asyncio.sleep(0)
    for sent in CLAUDE if upstream is MESSAGES else GPT:
        before = len(reader.had)
        source.send(sent)
        await asyncio.sleep(0)
        says_nothing = b"content_block_start" in sent and b"tool_use" not in sent
        if caller is upstream or not says_nothing:
            assert len(reader.had) == before + 1, sent
    source.send(None)
    await task
