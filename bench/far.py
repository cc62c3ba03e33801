"""The far end: a provider that costs next to nothing (`bench/c/far.c`), and what to ask of it.

Its usage is true: 1,000 tokens of input, 600 of them cached; 32 tokens of output an event of 300
bytes, 256 in a plain answer of 1 KB.
"""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.c import program

INPUT_TOKENS, CACHED_TOKENS, PLAIN_TOKENS, EVENT_TOKENS = 1_000, 600, 256, 32
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}
SLUGS = {"chat": "gpt-4.1", "messages": "claude-opus-5-5"}
TERMINALS = {"chat": "data: [DONE]", "messages": "event: message_stop"}
_FRAMES = {"chat": 2, "messages": 5}
"""Events of a stream besides those that are paced; usage comes only to who asks for it."""
_WORDS = "Tell me about the tide in this bay. "


class Far(NamedTuple):
    """A running far end."""

    port: int
    pid: int


class Asked(NamedTuple):
    """One request, as often as a load sends it."""

    path: str
    body: bytes
    events: int = 0
    """Of the stream, all of them; 0: a plain answer."""
    terminal: str = ""
    paced: int = 0
    """Of the events those that carry text, `EVENT_TOKENS` each."""


@contextmanager
def running(port: int = 0) -> Iterator[Far]:
    """A far end on loopback; it ends with the block, or with this process."""
    child = subprocess.Popen([str(program("far")), str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield Far(int(child.stdout.readline()), child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate()


def whole(asked: Asked) -> bytes:
    """One answer as it comes, its head with it."""
    head = f"POST {asked.path} HTTP/1.1\r\nhost: far\r\ncontent-length: {len(asked.body)}\r\n\r\n"
    received = b""
    with running() as far, socket.create_connection(("127.0.0.1", far.port)) as near:
        near.sendall(head.encode() + asked.body)
        while not _is_whole(received, streamed=bool(asked.events)):
            received += near.recv(65536)
    return received


def _is_whole(received: bytes, *, streamed: bool) -> bool:
    if streamed:
        return received.endswith(b"\r\n0\r\n\r\n")
    head, found, body = received.partition(b"\r\n\r\n")
    return bool(found) and len(body) == int(head.rpartition(b"content-length: ")[2].split()[0])


def pieces(dialect: str, events: int) -> list[bytes]:
    """A stream's body as it comes, an event a piece, its usage with it."""
    received = whole(stream(dialect=dialect, events=events, gap_us=0))
    framed, found = received.partition(b"\r\n\r\n")[2], []
    while (size := int(framed.partition(b"\r\n")[0], 16)) > 0:
        begin = framed.index(b"\r\n") + 2
        found.append(framed[begin : begin + size])
        framed = framed[begin + size + 2 :]
    return found


def plain(*, body_bytes: int = 0, plain_bytes: int = 1024, slug: str = "") -> Asked:
    """A chat request for a plain answer of about `plain_bytes`; the prompt fills `body_bytes`."""
    return Asked(
        PATHS["chat"], _body("chat", f"plain_bytes={plain_bytes}", PLAIN_TOKENS, body_bytes, slug)
    )


def stream(
    *,
    dialect: str = "chat",
    events: int = 64,
    gap_us: int = 10_000,
    event_bytes: int = 300,
    body_bytes: int = 0,
    slug: str = "",
) -> Asked:
    """A request for a stream: `events` of about `event_bytes`, `gap_us` apart (0: as fast as it is
    read)."""
    words = f"events={events} gap_us={gap_us} event_bytes={event_bytes}"
    body = _body(dialect, words, events * EVENT_TOKENS, body_bytes, slug)[:-1] + b',"stream":true}'
    total = events + _FRAMES[dialect]
    return Asked(PATHS[dialect], body, total, TERMINALS[dialect], events)


def picture(size_bytes: int) -> Asked:
    """A plain chat request whose body is one large picture in base-64: most of what large bodies
    are, and no more tokens than its header says."""
    head = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJ"  # PNG, 64 x 64
    data = head + "A" * (size_bytes // 4 * 4)
    turn = [
        {"type": "text", "text": f"[far plain_bytes=1024] {_WORDS}"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    ]
    return Asked(PATHS["chat"], _json("chat", turn, PLAIN_TOKENS, ""))


def _body(dialect: str, words: str, max_tokens: int, size_bytes: int, slug: str) -> bytes:
    text = f"[far {words}] {_WORDS}"
    text += (_WORDS * (size_bytes // len(_WORDS) + 1))[: max(0, size_bytes - 150)]
    return _json(dialect, text, max_tokens, slug)


def _json(dialect: str, content: Any, max_tokens: int, slug: str) -> bytes:
    asked = {
        "model": slug or SLUGS[dialect],
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    return json.dumps(asked, separators=(",", ":")).encode()
