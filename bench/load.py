"""A load generator on raw sockets: a fixed number of connections, one request at a time each.

`python -m bench.load --port N …` prints one JSON object. A connection sends its next request when
it has read the whole answer of the last one (closed loop) and, with `--rate`, not before its turn.

Rule 1: an answer counts only when it is whole: status 200, the end of the body, and in a stream the
        terminal event.
Rule 2: latencies come from `perf_counter`: the loop's own clock moves in whole milliseconds.
"""

import argparse
import asyncio
import json
import sys
from time import perf_counter
from typing import Any, cast

import httptools
import uvloop

TERMINAL = {True: b"message_stop", False: b"data: [DONE]"}
TAIL_BYTES = 256


class Run:
    """What is sent, and what came back."""

    def __init__(self, request: bytes, terminal: bytes | None) -> None:
        self.request = request
        self.terminal = terminal
        self.running = True
        self.recording = False
        self.open = 0
        self.whole = 0
        self.broken: dict[str, int] = {}
        self.events = 0
        self.total_s: list[float] = []
        self.first_s: list[float] = []

    def fail(self, why: str) -> None:
        self.broken[why] = self.broken.get(why, 0) + 1


class Near(asyncio.Protocol):
    """One client connection."""

    def __init__(self, run: Run, pause_s: float) -> None:
        self._run = run
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._run.open += 1
        self._due_s = self._loop.time()
        self._send()

    def _send(self) -> None:
        if not self._run.running:
            self._transport.close()
            return
        self._busy = True
        self._parser = httptools.HttpResponseParser(self)
        self._events, self._tail, self._first_s = 0, b"", 0.0
        self._sent_s = perf_counter()
        self._transport.write(self._run.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.open -= 1
        if self._busy:
            self._run.fail("closed")

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self._first_s:
            self._first_s = perf_counter()
        if self._run.terminal is not None:
            self._events += body.count(b"data:")
            self._tail = (self._tail + body)[-TAIL_BYTES:]

    def on_message_complete(self) -> None:
        self._busy = False
        run, now_s = self._run, perf_counter()
        if run.recording:
            if self._parser.get_status_code() != 200:
                run.fail(str(self._parser.get_status_code()))
            elif run.terminal is not None and run.terminal not in self._tail:
                run.fail("no terminal event")
            else:
                run.whole += 1
                run.events += self._events
                run.total_s.append(now_s - self._sent_s)
                run.first_s.append(self._first_s - self._sent_s)
        self._due_s += self._pause_s
        if self._pause_s and self._due_s > self._loop.time():
            self._loop.call_at(self._due_s, self._send)
        else:
            # Not inside the parser: the next request gets one of its own.
            self._loop.call_soon(self._send)


def request(path: str, body: bytes, key: str) -> bytes:
    """A whole HTTP request."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        "content-type: application/json\r\nanthropic-version: 2023-06-01\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def percentile_ms(values_s: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies, in milliseconds."""
    if not values_s:
        return 0.0
    ordered = sorted(values_s)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One run. What is under way when the time is up is read to its end and counts."""
    streams = '"stream":true' in options.body
    run = Run(
        request(options.path, options.body.encode(), options.key),
        TERMINAL["/messages" in options.path] if streams else None,
    )
    loop = asyncio.get_running_loop()
    pause_s = options.connections / options.rate if options.rate else 0.0
    run.recording, began_s = not options.warm_s, perf_counter()
    for _ in range(options.connections):
        await loop.create_connection(lambda: Near(run, pause_s), "127.0.0.1", options.port)
        # Spread over the time of one answer, so that streams do not step in time.
        await asyncio.sleep(options.spread_s / options.connections)
    if options.warm_s:
        await asyncio.sleep(options.warm_s)
        run.recording, began_s = True, perf_counter()
    await asyncio.sleep(options.seconds)
    elapsed_s, whole_in_time = perf_counter() - began_s, run.whole
    run.running = False
    async with asyncio.timeout(30):
        while run.open:  # noqa: ASYNC110 -- connections close by themselves
            await asyncio.sleep(0.01)
    return {
        "answers": run.whole,
        "errors": run.broken,
        "seconds": round(elapsed_s, 3),
        "answers_per_s": round(whole_in_time / elapsed_s, 1),
        "events": run.events,
        "p50_ms": percentile_ms(run.total_s, 0.5),
        "p99_ms": percentile_ms(run.total_s, 0.99),
        "first_p50_ms": percentile_ms(run.first_s, 0.5),
        "first_p99_ms": percentile_ms(run.first_s, 0.99),
    }


def main() -> None:
    """`python -m bench.load`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--body", required=True)
    parser.add_argument("--key", default="none")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument(
        "--warm-s",
        type=float,
        default=0.5,
        help="before anything is recorded; 0 counts every answer",
    )
    parser.add_argument("--spread-s", type=float, default=0.0, help="time over which to connect")
    parser.add_argument("--rate", type=float, default=0.0, help="requests/s at most; 0: no limit")
    sys.stdout.write(json.dumps(uvloop.run(measure(parser.parse_args()))) + "\n")


if __name__ == "__main__":
    main()
