"""Requests to a gateway somewhere, with the times at which parts of an answer came.

`Caller(url, key).ask("POST", "/v1/chat/completions", {…})` answers with an `Answer` whatever
happens: what broke stands in it. One connection, kept; one request at a time.
"""

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httptools

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.amount import parse_usd

TIMEOUT_S = 600.0
CONNECT_S = 10.0
READ_BYTES = 65536
COMMENT = b": corvus "
DONE = b"data: [DONE]"


@dataclass
class Answer:
    """What came back. Times by the monotonic clock, in seconds."""

    began_s: float
    ended_s: float = 0.0
    status: int = 0
    """0: no head of an answer came."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    arrivals_s: list[float] = field(default_factory=list)
    """When each piece of the body came."""
    complete: bool = False
    """The body came to its end."""
    broken: str = ""

    @property
    def streamed(self) -> bool:
        """Whether it is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def whole(self) -> bool:
        """Status 200, the end of the body, and in a stream its terminal event."""
        ended = self.complete and self.status == 200
        return ended and (not self.streamed or DONE in self.body)

    @property
    def why(self) -> str:
        """What is wrong with it, in a few words; empty for a whole one."""
        if self.whole:
            return ""
        if self.broken or not self.status:
            return self.broken or "no answer"
        if self.status != 200:
            error = self.document().get("error")
            code = error.get("code", "") if isinstance(error, dict) else ""
            return f"{self.status} {code}".strip()
        return "cut" if not self.complete else "no terminal event"

    @property
    def request_id(self) -> str:
        """The gateway's handle of it."""
        return self.headers.get("x-request-id", "")

    @property
    def cost_nanos(self) -> int | None:
        """As told by the head, the last comment of a stream, or the error; None: not told."""
        told = self.headers.get("x-corvus-cost-usd") or self.comment().get("cost_usd")
        if told is None and self.status != 200:
            error = self.document().get("error")
            told = error.get("charged") if isinstance(error, dict) else None
        return None if told is None else parse_usd(told)

    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(bytes(self.body))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def comment(self) -> dict[str, Any]:
        """The last comment of a stream; empty where there is none."""
        for line in reversed(bytes(self.body).splitlines()):
            if line.startswith(COMMENT):
                return dict(json.loads(line[len(COMMENT) :]))
        return {}

    def chunks(self) -> list[dict[str, Any]]:
        """The documents of a stream's events, or the one of a plain answer."""
        if not self.streamed:
            return [self.document()]
        lines = bytes(self.body).splitlines()
        texts = [line[5:].strip() for line in lines if line.startswith(b"data:")]
        return [json.loads(text) for text in texts if text.startswith(b"{")]

    def text(self) -> str:
        """What the model said."""
        said = []
        for chunk in self.chunks():
            for choice in chunk.get("choices") or []:
                part = choice.get("delta") or choice.get("message") or {}
                said.append(part.get("content") or "")
        return "".join(said)

    def output_tokens(self) -> int | None:
        """By the usage in it."""
        for chunk in reversed(self.chunks()):
            if chunk.get("usage"):
                return int(chunk["usage"]["completion_tokens"])
        return None

    # What the parser calls.

    def on_status(self, _reason: bytes) -> None:
        """Nothing: the status stands in the parser."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.arrivals_s.append(perf_counter())
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Caller:
    """One connection to the gateway, made again when it was closed."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{url} is no http or https address")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._head = (
            f"host: {parts.netloc.rpartition('@')[2]}\r\nauthorization: Bearer {key}\r\n"
            "user-agent: corvus-bench\r\naccept: */*\r\n"
        )
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, document: Any = None) -> Answer:
        """Asks, and reads to the end."""
        body = b"" if document is None else json.dumps(document).encode()
        kind = "content-type: application/json\r\n" if body else ""
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}{kind}"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        answer = Answer(perf_counter())
        try:
            if self._writer is None or self._reader.at_eof():
                await self._connect()
                answer.began_s = perf_counter()
            async with asyncio.timeout(TIMEOUT_S):
                await self._exchange(request, answer)
        except (OSError, httptools.HttpParserError) as error:
            # Of TLS and of time too: they are kinds of OSError.
            answer.broken = str(error) or type(error).__name__
        answer.ended_s = perf_counter()
        if not answer.complete or answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _connect(self) -> None:
        self.close()
        async with asyncio.timeout(CONNECT_S):
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls
            )

    async def _exchange(self, request: bytes, answer: Answer) -> None:
        assert self._writer is not None
        self._writer.write(request)
        await self._writer.drain()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            data = await self._reader.read(READ_BYTES)
            if not data:
                return
            parser.feed_data(data)
            answer.status = parser.get_status_code()
