"""A provider that costs next to nothing: the fast far end of a measurement.

`python -m bench.upstream` prints its port. It answers POST with one prepared body, or with a
stream of prepared events at a fixed pace, by path: `…/messages` in Anthropic's form, else as chat.

Rule 1: nothing is parsed but the head and the text `"stream":true`; the body is not JSON to it.
Rule 2: usage is true: 1,000 tokens of input, 600 of them cached, one token of output an event.
"""

import argparse
import asyncio
import json
import re
import sys
from typing import Any, NamedTuple, cast

import uvloop

INPUT_TOKENS, CACHED_TOKENS = 1_000, 600
PLAIN_TOKENS = 64
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream" ?: ?true')
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Script(NamedTuple):
    """The prepared answers of one dialect, chunk framing included."""

    plain: bytes
    first: bytes
    """What leaves at once with the head."""
    event: bytes
    last: bytes


def chunked(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _plain(body: dict[str, Any], place: dict[str, Any], key: str, size_bytes: int) -> bytes:
    """An answer of about `size_bytes` whose text fills what is left."""
    place[key] = "tide " * max(1, (size_bytes - len(json.dumps(body))) // 5)
    data = json.dumps(body).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(data), data)
    )


def _padded(body: dict[str, Any], place: dict[str, Any], key: str, frame: str, size: int) -> bytes:
    """An event of `size` bytes whose text fills what is left."""
    place[key] = ""
    empty = len(frame.format(json.dumps(body)))
    place[key] = ("tide " * (size // 5 + 1))[: max(1, size - empty)]
    return chunked(frame.format(json.dumps(body)).encode())


def chat(events: int, event_bytes: int, plain_bytes: int) -> Script:
    """OpenAI's form; the usage chunk always comes: the gateway always asks for it."""

    def usage(output: int) -> dict[str, Any]:
        return {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": output,
            "total_tokens": INPUT_TOKENS + output,
            "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
        }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        return {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": "bench",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }

    message: dict[str, Any] = {"role": "assistant", "content": ""}
    whole = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "bench",
        "usage": usage(PLAIN_TOKENS),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    delta: dict[str, Any] = {}
    counts = {**chunk({}, usage=usage(events)), "choices": []}
    return Script(
        plain=_plain(whole, message, "content", plain_bytes),
        first=b"",
        event=_padded(chunk(delta), delta, "content", "data: {}\n\n", event_bytes),
        last=b"".join(
            chunked(f"data: {text}\n\n".encode())
            for text in (json.dumps(chunk({}, "stop")), json.dumps(counts), "[DONE]")
        )
        + b"0\r\n\r\n",
    )


def messages(events: int, event_bytes: int, plain_bytes: int) -> Script:
    """Anthropic's form."""

    def usage(output: int) -> dict[str, int]:
        return {
            "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
            "output_tokens": output,
            "cache_read_input_tokens": CACHED_TOKENS,
            "cache_creation_input_tokens": 0,
        }

    def event(name: str, **body: Any) -> bytes:
        text = json.dumps({"type": name, **body})
        return chunked(f"event: {name}\ndata: {text}\n\n".encode())

    block = {"type": "text", "text": ""}
    head: dict[str, Any] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "stop_sequence": None,
    }
    delta: dict[str, Any] = {"type": "text_delta"}
    body = {"type": "content_block_delta", "index": 0, "delta": delta}
    text = dict(block)
    whole = {**head, "content": [text], "stop_reason": "end_turn", "usage": usage(PLAIN_TOKENS)}
    return Script(
        plain=_plain(whole, text, "text", plain_bytes),
        first=event(
            "message_start", message={**head, "content": [], "stop_reason": None, "usage": usage(1)}
        )
        + event("content_block_start", index=0, content_block=block),
        event=_padded(body, delta, "text", "event: content_block_delta\ndata: {}\n\n", event_bytes),
        last=event("content_block_stop", index=0)
        + event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage=usage(events),
        )
        + event("message_stop")
        + b"0\r\n\r\n",
    )


class Far(asyncio.Protocol):
    """One connection; requests follow each other, as an upstream client's pool sends them."""

    def __init__(self, scripts: dict[bool, Script], events: int, delay_s: float) -> None:
        self._scripts = scripts
        self._events = events
        self._delay_s = delay_s
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(received, 0, end + 2)
        size = end + 4 + (int(found[1]) if found else 0)
        if len(received) < size:
            return
        self._received = received[size:]
        script = self._scripts[b"/messages" in received[: received.find(b"\r\n")]]
        if not _STREAMS.search(received, end, size):
            self._transport.write(script.plain)
            return
        self._transport.write(_STREAM_HEAD + script.first + script.event)
        self._left, self._due_s = self._events - 1, self._loop.time()
        self._script = script
        self._next()

    def _next(self) -> None:
        """Waits for the next event's time; the last one leaves with what ends the stream."""
        self._due_s += self._delay_s
        self._timer = self._loop.call_at(self._due_s, self._send)

    def _send(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._transport.write(self._script.event)
            self._next()
        else:
            self._transport.write(self._script.event + self._script.last)


async def serve(
    port: int, *, events: int, delay_ms: float, event_bytes: int, plain_bytes: int
) -> asyncio.Server:
    """Listens on loopback; port 0 takes a free one."""
    scripts = {
        False: chat(events, event_bytes, plain_bytes),
        True: messages(events, event_bytes, plain_bytes),
    }
    return await asyncio.get_running_loop().create_server(
        lambda: Far(scripts, events, delay_ms / 1000), "127.0.0.1", port, backlog=4096
    )


def main() -> None:
    """`python -m bench.upstream`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.upstream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--events", type=int, default=64)
    parser.add_argument("--delay-ms", type=float, default=10)
    parser.add_argument("--event-bytes", type=int, default=300)
    parser.add_argument("--plain-bytes", type=int, default=1024)
    options = parser.parse_args()

    async def forever() -> None:
        server = await serve(
            options.port,
            events=options.events,
            delay_ms=options.delay_ms,
            event_bytes=options.event_bytes,
            plain_bytes=options.plain_bytes,
        )
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()

    uvloop.run(forever())


if __name__ == "__main__":
    main()
