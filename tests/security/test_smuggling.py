"""The corpus of malformed and smuggling requests over raw sockets: at the gateway's own server, and
through nginx with the front's configuration.

The oracle is the simulated provider's log, where each body stands as its hash: what a case hides is
never there, what it admits to at most once. On every connection that is left open an innocent
request follows, and gets its own answer.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.security import nginx
from tests.security.smuggling import (
    ANY,
    CASES,
    LAST,
    NO,
    ONE,
    TWO,
    WAIT,
    Case,
    Made,
    length,
    request,
)
from tests.stack import RunningStack

PATIENCE_S = 30.0
QUIET_S = 1.5
"""Without a byte for so long, a connection that is still open has nothing more to say."""
SERVED = {NO: {0}, ONE: {1}, TWO: {1}, ANY: {0, 1}, LAST: {0, 1}, WAIT: {0}}
HIDDEN = {TWO: 1}
THROUGH_NGINX = {NO: ANY, ONE: ANY, TWO: TWO, ANY: ANY, LAST: NO, WAIT: ANY}
"""It hands a request on in words of its own: some that we would refuse it mends, as a line that
ends with a bare LF, some that we would serve it refuses. No length stands beside an encoding."""
OWN_REFUSALS = (501, 505)
"""nginx's word for encodings of a body, and for versions, that it does not know."""


class Told(NamedTuple):
    """What a connection answered. `after`: to the innocent request, where it could be asked."""

    text: bytes
    closed: bool
    after: bytes
    took_s: float

    @property
    def statuses(self) -> list[int]:
        lines = self.text.split(b"HTTP/1.")[1:]
        return [int(line[2:5]) for line in lines if line[2:5].isdigit()]


def made(key: str, name: str) -> Made:
    """Bodies that no other case has."""
    body, hidden = (
        json.dumps({
            "model": "gpt-4o-mini", "max_tokens": 9,
            "messages": [{"role": "user",
                          "content": f"{name} {part} [[simulate: tokens=3 delay_ms=0]]"}],
        }).encode()
        for part in ("shown", "hidden")
    )  # fmt: skip
    empty = Made(key, body, b"", hidden)
    return Made(key, body, request(empty, length(hidden), body=hidden), hidden)


async def _read(reader: asyncio.StreamReader, quiet_s: float) -> tuple[bytes, bool]:
    """What comes until the end, or until nothing more does; whether it was the end."""
    found = b""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(quiet_s):
                piece = await reader.read(65536)
            if not piece:
                return found, True
            found += piece
            if found.endswith((b"}", b"\r\n0\r\n\r\n")) and b"HTTP/1.1 100" not in found:
                quiet_s = min(quiet_s, 0.5)
    return found, False


async def play(port: int, what: bytes, *, slow: float = 1.0) -> Told:
    """Writes a case to a connection of its own, then an innocent request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    text = after = b""
    closed = True
    try:
        async with asyncio.timeout(PATIENCE_S * slow):
            writer.write(what)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                text, closed = await _read(reader, QUIET_S * slow)
            took_s = time.monotonic() - began_s
            if not closed:
                writer.write(b"GET /livez HTTP/1.1\r\nhost: innocent\r\nconnection: close\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    after, _ = await _read(reader, QUIET_S * slow)
    finally:
        writer.close()
    return Told(text, closed, after, took_s)


def judge(case: Case, becomes: str, told: Told, served: Counter[str], seen: Made) -> str:
    """What is wrong with a case; empty where nothing is."""
    shown = served[hashlib.sha256(seen.body).hexdigest()]
    hidden = served[hashlib.sha256(seen.second).hexdigest()]
    finals = [status for status in told.statuses if status != 100]
    if any(status >= 500 and status not in OWN_REFUSALS for status in finals):
        return f"a {max(finals)}: {told.text[:300]!r}"
    if hidden != HIDDEN.get(becomes, 0):
        return f"the hidden request was served {hidden} times: {told.text[:300]!r}"
    if shown not in SERVED[becomes]:
        return f"served {shown} times: {told.text[:300]!r}"
    if becomes == NO and any(status < 300 for status in finals) and "as body" not in case.name:
        return f"not refused: {told.text[:200]!r}"
    if becomes == NO and not told.closed and not finals:
        return "neither refused nor closed"
    if becomes == LAST and not told.closed:
        return "the connection was left open"
    if sum(status < 400 for status in finals) > (2 if becomes == TWO else 1):
        return f"{len(finals)} answers to one request: {told.text[:500]!r}"
    if told.after and becomes != WAIT and b" 200 " not in told.after[:20]:
        first = told.after.split(b"\r\n", 1)[0]
        if b" 400 " not in first:
            return f"the next request got {told.after[:200]!r}"
    return ""


def served(stack: RunningStack) -> Counter[str]:
    """How often each body reached the provider."""
    log = httpx.get(f"{stack.providers}/__log", trust_env=False, timeout=30).json()
    return Counter(row["body_sha256"] for row in log)


async def trouble(stack: RunningStack, port: int, cases: tuple[Case, ...], name: str) -> list[str]:
    """All cases at once; what is wrong with them."""
    key = await asyncio.to_thread(stack.new_key, "5")
    known = served(stack)
    all_made = [made(key["secret"], f"{name} {case.name}") for case in cases]
    gate = asyncio.Semaphore(32)

    async def one(case: Case, seen: Made) -> Told:
        async with gate:
            return await play(port, case.write(seen))

    told = await asyncio.gather(*(one(*pair) for pair in zip(cases, all_made, strict=True)))
    now = await asyncio.to_thread(served, stack)
    own = {
        hashlib.sha256(text).hexdigest() for seen in all_made for text in (seen.body, seen.second)
    }
    found = [f"unknown body at the upstream: {sha}" for sha in now - known if sha not in own]
    for case, seen, what in zip(cases, all_made, told, strict=True):
        becomes = THROUGH_NGINX[case.becomes] if name == "nginx" else case.becomes
        if problem := judge(case, becomes, what, now - known, seen):
            found.append(f"{case.name}: {becomes}: {problem}")
    return found


@pytest.mark.anyio
async def test_the_gateways_own_server_takes_no_smuggled_request(stack: RunningStack) -> None:
    """4xx or a closed connection, never 5xx; what it serves is one whole request."""
    assert len(CASES) >= 120
    port = int(stack.api.rpartition(":")[2])
    found = await trouble(stack, port, CASES, "direct")
    assert not found, "\n".join(found)


@pytest.mark.anyio
@pytest.mark.slow
async def test_no_smuggled_request_passes_through_nginx(
    stack: RunningStack, tmp_path: Path
) -> None:
    """Over the connections that nginx keeps to the gateway, and that all customers share."""
    gateway = int(stack.api.rpartition(":")[2])
    async with nginx.before(gateway, tmp_path) as port:
        found = await trouble(stack, port, CASES, "nginx")
    assert not found, "\n".join(found)
