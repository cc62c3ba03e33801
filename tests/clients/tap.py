"""What a client really sends: a relay in front of the gateway that reads along, byte for byte."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httptools

from tests.link import Link


class Request:
    """One request as it left the client."""

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.statuses: list[int] = []
        """Of the answers that came on the same connection from here on; the first is its own."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.method} {self.target} → {self.statuses[:1]}"


class _Reader:
    """httptools' callbacks for one connection."""

    def __init__(self, requests: list[Request]) -> None:
        self._requests = requests
        self._parser = httptools.HttpRequestParser(self)
        self.current = Request()
        self._upgraded = False

    def feed(self, piece: bytes) -> None:
        if not self._upgraded:
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._upgraded = True

    def on_message_begin(self) -> None:
        self.current = Request()

    def on_url(self, url: bytes) -> None:
        self.current.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.current.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.current.method = self._parser.get_method().decode()
        self._requests.append(self.current)

    def on_body(self, body: bytes) -> None:
        self.current.body += body


class Tap:
    """The relay: `url` stands for the gateway's, `requests` grows as they come."""

    def __init__(self, api: str) -> None:
        self.requests: list[Request] = []
        self._readers: dict[int, _Reader] = {}
        self._link = Link(urlsplit(api).port or 80)
        self._link.tap = self._hear
        self.url = f"http://127.0.0.1:{self._link.port}"

    @property
    def calls(self) -> list[Request]:
        """Those that ask for inference: what costs money, or would."""
        return [request for request in self.requests if request.method == "POST"]

    def outputs(self) -> str:
        """What the tools of the client put out, as its last request tells the model."""
        return json.dumps(self.calls[-1].json, ensure_ascii=False)

    def _hear(self, number: int, sent: bool, piece: bytes) -> None:
        reader = self._readers.setdefault(number, _Reader(self.requests))
        if sent:
            reader.feed(piece)
        elif piece.startswith(b"HTTP/1."):
            reader.current.statuses.append(int(piece[9:12]))

    async def start(self) -> None:
        await self._link.start()

    async def stop(self) -> None:
        await self._link.stop()


@contextmanager
def tapped(api: str) -> Iterator[Tap]:
    """A running relay in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    tap = Tap(api)
    asyncio.run_coroutine_threadsafe(tap.start(), loop).result(10)
    try:
        yield tap
    finally:
        asyncio.run_coroutine_threadsafe(_end(tap), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(tap: Tap) -> None:
    await tap.stop()
    me = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not me]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
