"""Streams cut anywhere: no half of an event that may not be told leaves, every other byte does."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.quoting import quote
from corvus_proxy.gateway.streaming.relay import Stream
from corvus_proxy.gateway.streaming.tail import KEPT_BYTES
from corvus_proxy.settings import HoldSettings, PricingSettings, RelaySettings
from corvus_proxy.till.reply import Extended
from corvus_proxy.upstream.faults import Cut
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect

pytestmark = pytest.mark.anyio
BOOK = book.load(PricingSettings())
HOLD = HoldSettings()
SLUGS = {Dialect.CHAT: "gpt-4o", Dialect.MESSAGES: "claude-opus-5-5", Dialect.RESPONSES: "gpt-5.5"}
SECRET = b"org-AbC123"


class Client(SimpleNamespace):
    """Takes everything."""

    gone = False

    def watch(self) -> None: ...

    def on_gone(self, callback: Any) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        self.written += chunk


class Hold(SimpleNamespace):
    """One that gets nothing more."""

    async def extend(self, total_nanos: int) -> Extended:
        return Extended(self.granted_nanos, True)


class Answer:
    """A body in pieces, and how it ends."""

    def __init__(self, pieces: list[bytes], end: Exception | None) -> None:
        self._pieces, self._end = pieces, end

    async def chunk(self) -> bytes | None:
        if self._pieces:
            return self._pieces.pop(0)
        if self._end is not None:
            raise self._end
        return None

    def abort(self) -> None:
        self._pieces, self._end = [], None


async def relayed(
    dialect: Dialect, pieces: list[bytes], end: Exception | None = None
) -> tuple[bytes, Exchange]:
    """What a client has of an answer in these pieces, and the request."""
    model = BOOK.find(SLUGS[dialect])
    assert model is not None
    client = Client(written=b"")
    exchange = Exchange(client, dialect, "r", 0.0)  # type: ignore[arg-type]
    raw: dict[str, Any] = {"model": model.slug, "stream": True}
    raw |= (
        {"input": "x"} if dialect is Dialect.RESPONSES else {"messages": [], "max_tokens": 90_000}
    )
    if dialect is Dialect.CHAT:
        raw["stream_options"] = {"include_usage": True}
    exchange.body = json.dumps(raw).encode()
    exchange.asked = request.read(dialect, exchange.body)
    exchange.model, exchange.book = model, BOOK
    exchange.quote = quote(exchange.asked, model, HOLD, clamp=True)
    exchange.hold = Hold(granted_nanos=exchange.quote.most_nanos)  # type: ignore[assignment]
    exchange.lease = SimpleNamespace(family=model.family)  # type: ignore[assignment]
    answer = Answer(list(pieces), end)
    running = Stream(exchange, answer, relay=RelaySettings(), hold=HOLD)  # type: ignore[arg-type]
    exchange.ending = await running.run()
    return client.written, exchange


def event(data: dict[str, Any], *, name: bool, indent: int | None = None) -> bytes:
    lines = json.dumps(data, indent=indent).encode().split(b"\n")
    head = f"event: {data['type']}\n".encode() if name else b""
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


WORDS = f"Rate limit reached in organization {SECRET.decode()}; quota"
BEGUN = {
    Dialect.CHAT: event({"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}}]},
                        name=False),
    Dialect.MESSAGES: event({"type": "message_start", "message": {"id": "m", "usage": {}}},
                            name=True)
    + event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
            name=True),
    Dialect.RESPONSES: event({"type": "response.output_text.delta", "sequence_number": 3,
                              "delta": "hi"}, name=True),
}  # fmt: skip
ERRORS = [
    (Dialect.CHAT, event({"error": {"code": "insufficient_quota", "message": WORDS}}, name=False)),
    (Dialect.CHAT, event({"id": "gen-1", "error": {"code": "rate_limit_exceeded",
                                                   "message": WORDS}}, name=False)),
    (Dialect.MESSAGES, event({"type": "error", "error": {"type": "billing_error",
                                                         "message": WORDS}}, name=True)),
    (Dialect.RESPONSES, event({"type": "error", "sequence_number": 4, "error": {
        "code": "insufficient_quota", "message": WORDS}}, name=True)),
    (Dialect.RESPONSES, event({"type": "response.failed", "sequence_number": 4, "response": {
        "id": "r", "instructions": "words " * 100,
        "error": {"code": "insufficient_quota", "message": WORDS}}}, name=True)),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "error"), ERRORS)
async def test_no_word_about_us_leaves_wherever_its_event_is_cut(
    dialect: Dialect, error: bytes
) -> None:
    """In two pieces at every place, in single bytes, without its last line: the client has what
    came before, whole, and stands between two events."""
    begun = BEGUN[dialect]
    cuts = [[begun + error[:at], error[at:]] for at in range(1, len(error))]
    cuts += [[begun, error[:at], error[at:]] for at in range(1, len(error), 7)]
    cuts.append([bytes([one]) for one in begun + error])
    cuts.append([begun, error.rstrip(b"\n")])
    for pieces in cuts:
        for end in (None, Cut("closed")):
            written, exchange = await relayed(dialect, pieces, end)
            assert written == begun, pieces
            assert exchange.boundary
            assert exchange.ending.error is not None
            assert exchange.told.sequence == (3 if dialect is Dialect.RESPONSES else -1)


async def test_a_response_that_fails_is_kept_however_long_its_request() -> None:
    """Its error may stand anywhere in it."""
    failed = event({"type": "response.failed", "response": {
        "error": {"code": "insufficient_quota", "message": WORDS},
        "instructions": "words " * 60_000}}, name=True)  # fmt: skip
    pieces = [failed[at : at + 9_000] for at in range(0, len(failed), 9_000)]
    written, _ = await relayed(Dialect.RESPONSES, [BEGUN[Dialect.RESPONSES], *pieces])
    assert written == BEGUN[Dialect.RESPONSES]


@pytest.mark.parametrize("dialect", list(BEGUN))
@pytest.mark.parametrize("size", [1, 2, 7, 100, KEPT_BYTES, 1000])
async def test_every_other_byte_leaves_whatever_the_pieces(dialect: Dialect, size: int) -> None:
    """Long events and short ones, lines that end otherwise, a last one without its end."""
    long = {"type": "response.output_text.delta", "delta": "words " * 300, "error": None,
            "choices": [{"index": 0, "delta": {"content": "words " * 90}}]}  # fmt: skip
    body = BEGUN[dialect] + event(long, name=True) + b": waiting\n\n" + event(long, name=False)
    for whole in (body, body.replace(b"\n", b"\r\n"), body + b'data: {"type":"message_stop"}'):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert (await relayed(dialect, pieces))[0] == whole


@pytest.mark.parametrize("end", [None, Cut("closed")])
async def test_a_terminal_event_without_its_last_line_is_one(end: Exception | None) -> None:
    """However short it is, and however the connection ended behind it."""
    begun = BEGUN[Dialect.CHAT]
    written, exchange = await relayed(Dialect.CHAT, [begun, b"data: [DO", b"NE]\n"], end)
    assert written == begun + b"data: [DONE]\n"
    assert exchange.ending.error is None


async def test_half_an_event_that_is_cut_does_not_go_out() -> None:
    """The error in its place can then be read."""
    begun = BEGUN[Dialect.RESPONSES]
    half = begun.replace(b": 3,", b": 4,")[:-9]
    written, exchange = await relayed(Dialect.RESPONSES, [begun + half], Cut("closed"))
    assert (written, exchange.boundary, exchange.told.sequence) == (begun, True, 3)


async def test_where_the_hold_ends_inside_an_event_the_error_begins_on_a_line_of_its_own() -> None:
    """The piece that nobody pays for is not sent, though it would have ended the event."""
    half = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"words " * 60
    rest = b"words " * 20_000 + b'"}}]}\n\n'
    written, exchange = await relayed(Dialect.CHAT, [half, rest])
    assert written == half
    assert exchange.ending.outcome == "out_of_balance_midstream"
    assert not exchange.boundary


async def test_a_long_event_is_not_kept_to_its_end() -> None:
    """Only its beginning is judged: what a model writes leaves as it comes."""
    begun = b'event: response.output_text.delta\ndata: {"delta":"' + b"words " * 60
    written, exchange = await relayed(Dialect.RESPONSES, [begun], Cut("closed"))
    assert written == begun
    assert not exchange.boundary
