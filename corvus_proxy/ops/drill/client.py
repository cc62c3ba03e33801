"""One client's request and what it got: the first of the four independent logs."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any, cast

import httptools

from corvus_proxy import clock
from corvus_proxy.money.amount import parse_usd

TIMEOUT_S = 40.0
NO_END = "no end"
_COMMENT = re.compile(rb": corvus (\{[^\n]*\})\n\n")
_ERROR_CODE = re.compile(rb'"code":\s*"(\w+)"')
DELTAS = {"chat": b'"content":"', "messages": b'"type":"content_block_delta"'}
TERMINAL = {"chat": b"data: [DONE]", "messages": b'"type":"message_stop"'}


@dataclass
class Wish:
    """What a client is going to do."""

    tag: str
    """Stands in the prompt, and so in the providers' log."""
    secret: str
    wallet: str
    dialect: str
    """`chat` or `messages`."""
    slug: str
    stream: bool
    directive: str = ""
    """Words for the simulated provider."""
    max_tokens: int = 200
    leave_after: int = -1
    """Closes the connection after so many events."""
    headers: dict[str, str] = field(default_factory=dict)
    heard: int = 0
    """Events of the answer that have come so far."""

    def body(self) -> bytes:
        """The request's JSON."""
        text = f"[[simulate: tag={self.tag}; {self.directive}]] Say it."
        found: dict[str, Any] = {
            "model": self.slug,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": text}],
        }
        if self.stream:
            found["stream"] = True
        return json.dumps(found).encode()

    def request(self) -> bytes:
        """The whole HTTP request."""
        body = self.body()
        path = "/v1/messages" if self.dialect == "messages" else "/v1/chat/completions"
        head = {
            "host": "drill",
            "authorization": f"Bearer {self.secret}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **({"anthropic-version": "2023-06-01"} if self.dialect == "messages" else {}),
            **self.headers,
        }
        lines = "".join(f"{name}: {text}\r\n" for name, text in head.items())
        return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@dataclass
class Answer:
    """What a client got. Times by the monotonic clock, in seconds."""

    wish: Wish
    gateway: str
    began_s: float
    head_s: float = 0.0
    ended_s: float = 0.0
    status: int = 0
    """0: no head of an answer came."""
    request_id: str = ""
    code: str = ""
    """The error's code, in the body or in the stream."""
    retry_after: str = ""
    cost_nanos: int | None = None
    """As told by the answer's head or its last comment."""
    settled: bool = False
    """The cost was told as final."""
    deltas: int = 0
    whole: bool = False
    """The body came to its end: in a stream with the terminal event."""
    left: bool = False
    """The client closed before the end, on purpose."""
    broken: str = ""
    """The connection broke, or the time was up."""

    @property
    def ok(self) -> bool:
        """Whether it is what this client may expect of a service that is well."""
        return self.status == 200 and not self.broken and (self.whole or self.left or self.asked)

    @property
    def well(self) -> bool:
        """Whether a service that is well gives this answer: an empty wallet is no fault of it."""
        return self.ok or self.code == "insufficient_balance"

    @property
    def asked(self) -> bool:
        """Whether the upstream was asked to misbehave: an in-band error is the right end."""
        return "cut_after" in self.wish.directive and bool(self.code)


async def ask(wish: Wish, gateway: str, port: int) -> Answer:
    """Sends one request on a connection of its own and reads the answer to its end."""
    answer = Answer(wish, gateway, clock.monotonic_s())
    reading = _Reading(wish, answer)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await loop.create_connection(lambda: reading, "127.0.0.1", port)
            await reading.done
    except TimeoutError:
        answer.broken = f"{NO_END} after {TIMEOUT_S} s"
        reading.abort()
    except OSError as error:
        answer.broken = error.strerror or type(error).__name__
    answer.ended_s = clock.monotonic_s()
    reading.read_body()
    return answer


class _Reading(asyncio.Protocol):
    """An answer as it comes."""

    def __init__(self, wish: Wish, answer: Answer) -> None:
        self._wish = wish
        self._answer = answer
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._complete = False
        self._transport: asyncio.Transport | None = None
        self._events = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._wish.request())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer.broken = f"no HTTP: {error}"
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if not self._complete and not answer.left and not answer.broken:
            answer.broken = "reset" if exc else "closed before the end"
        if not self.done.done():
            self.done.set_result(None)

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- httptools ----------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        answer, text = self._answer, value.decode("latin-1")
        match name.lower():
            case b"x-request-id":
                answer.request_id = text
            case b"retry-after":
                answer.retry_after = text
            case b"x-corvus-cost-usd":
                answer.cost_nanos, answer.settled = parse_usd(text), True

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._answer.head_s = clock.monotonic_s()

    def on_body(self, body: bytes) -> None:
        self._body += body
        self._events += body.count(b"data: ")
        self._wish.heard = self._events
        if 0 <= self._wish.leave_after <= self._events and not self._answer.left:
            self._answer.left = True
            self.abort()

    def on_message_complete(self) -> None:
        self._complete = True
        if self._transport is not None:
            self._transport.close()

    def read_body(self) -> None:
        """Notes what the body says."""
        answer, body, dialect = self._answer, bytes(self._body), self._wish.dialect
        self._body.clear()
        if not answer.status:
            return
        streamed = answer.status == 200 and self._wish.stream
        answer.deltas = body.count(DELTAS[dialect]) if streamed else 0
        answer.whole = self._complete and (not streamed or TERMINAL[dialect] in body)
        failed = answer.status != 200 or b'data: {"error"' in body or b"event: error" in body
        if failed and (code := _ERROR_CODE.search(body)):
            answer.code = code[1].decode()
        if streamed and (comment := _COMMENT.search(body)):
            facts = json.loads(comment[1])
            answer.request_id = facts["request_id"]
            answer.cost_nanos = parse_usd(facts["cost_usd"])
            answer.settled = facts.get("settled", True)
