"""Bodies that want to be costly, or to be read in two ways: refused before any upstream is asked,
or sent on byte by byte as they were priced."""

import gzip
import hashlib
import json
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import httpx
import pytest
import zstandard

from tests.stack import RunningStack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
QUICK_S = 0.05
GROWTH_KB = 64 * 1024


def chat(**more: Any) -> bytes:
    turns = [{"role": "user", "content": "word [[simulate: tokens=3 delay_ms=0]]"}]
    return json.dumps({"model": "gpt-4o-mini", "messages": turns, "max_tokens": 9, **more}).encode()


def spliced(text: bytes) -> bytes:
    """An ordinary body with these members in front."""
    return b"{" + text + b"," + chat()[1:]


def turned(text: bytes) -> bytes:
    """An ordinary body with this as the text of its turn."""
    return chat().replace(b"word ", text)


class Hostile(NamedTuple):
    """One of them. `refused`: it has to be."""

    name: str
    body: bytes
    refused: bool = True
    headers: dict[str, str] = {}


PLAIN = (
    Hostile("arrays 100,000 deep", spliced(b'"x":' + b"[" * 100_000 + b"]" * 100_000)),
    Hostile("objects 100,000 deep", spliced(b'"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    Hostile("100,000 open brackets", b"[" * 100_000),
    Hostile("a turn 100,000 deep", chat().replace(b'"word', b"[" * 100_000 + b'"word', 1)),
    Hostile("model twice", spliced(b'"model":"gpt-5.5"')),
    Hostile("model twice, once in escapes", spliced(b'"mod\\u0065l":"gpt-5.5"')),
    Hostile("limit twice", spliced(b'"max_tokens":100000')),
    Hostile("stream twice", spliced(b'"stream":true,"stream":false')),
    Hostile("messages twice", spliced(b'"messages":[]')),
    Hostile("n twice", spliced(b'"n":1,"n":100')),
    Hostile("limit 1e400", chat().replace(b'"max_tokens": 9', b'"max_tokens":1e400')),
    Hostile("limit -0", chat().replace(b'"max_tokens": 9', b'"max_tokens":-0'), refused=False),
    Hostile("limit 9.5", chat().replace(b'"max_tokens": 9', b'"max_tokens":9.5')),
    Hostile("limit 10^400", chat().replace(b'"max_tokens": 9', b'"max_tokens":1' + b"0" * 400)),
    Hostile("limit 2^64", chat().replace(b'"max_tokens": 9', b'"max_tokens":18446744073709551616')),
    Hostile("limit NaN", chat().replace(b'"max_tokens": 9', b'"max_tokens":NaN')),
    Hostile("a negative limit", chat().replace(b'"max_tokens": 9', b'"max_tokens":-9')),
    Hostile("n of 10^9", spliced(b'"n":1000000000')),
    Hostile("n of 0", spliced(b'"n":0'), refused=False),
    Hostile("temperature 1e400", spliced(b'"temperature":1e400'), refused=False),
    Hostile("temperature Infinity", spliced(b'"temperature":Infinity'), refused=False),
    Hostile("a lone surrogate in the model", chat(model="gpt\ud800")),
    Hostile("a lone surrogate in a turn", turned(b"\\ud800"), refused=False),
    Hostile("NUL in a turn, in escapes", turned(b"\\u0000"), refused=False),
    Hostile("NUL in a turn", turned(b"\x00"), refused=False),
    Hostile("bytes that are no text", turned(b"\xff\xfe"), refused=False),
    Hostile("an overlong slash", turned(b"\xc0\xaf"), refused=False),
    Hostile("UTF-16", chat().decode().encode("utf-16")),
    Hostile("a mark in front", b"\xef\xbb\xbf" + chat()),
    Hostile("something behind", chat() + b"x"),
    Hostile("two bodies", chat() + chat()),
    Hostile("a comment", chat()[:-1] + b"/* x */}"),
    Hostile("a comma at the end", chat()[:-1] + b",}"),
    Hostile("single quotes", chat().replace(b'"', b"'")),
    Hostile("cut off", chat()[:-20]),
    Hostile("an array", b"[" + chat() + b"]"),
    Hostile("a text", json.dumps(chat().decode()).encode()),
    Hostile("nothing", b""),
    Hostile("blanks", b" " * 50_000),
    Hostile("100,000 members", spliced(b",".join(b'"x%d":1' % at for at in range(100_000))),
            refused=False),
    Hostile("a name of 1 MB", spliced(b'"' + b"x" * 1_000_000 + b'":1'), refused=False),
    Hostile("multipart", b'--b\r\ncontent-disposition: form-data; name="x"\r\n\r\nx\r\n--b--\r\n',
            headers={"content-type": "multipart/form-data; boundary=b"}),
    Hostile("a form", b"model=gpt-4o-mini&messages=x",
            headers={"content-type": "application/x-www-form-urlencoded"}),
    Hostile("another charset", chat(), refused=False,
            headers={"content-type": "application/json; charset=utf-7"}),
)  # fmt: skip
ZEROS = bytes(24_000_000)
BOMBS = tuple(
    Hostile(name, body, headers={"content-encoding": encoding})
    for name, encoding, body in (
        ("gzip, 1,000 times", "gzip", gzip.compress(ZEROS)),
        ("gzip of blanks that would be JSON", "gzip", gzip.compress(b" " * 24_000_000 + chat())),
        ("gzip in gzip, said once", "gzip", gzip.compress(gzip.compress(ZEROS))),
        ("gzip in gzip, said twice", "gzip, gzip", gzip.compress(gzip.compress(chat()))),
        ("deflate", "deflate", zlib.compress(ZEROS)),
        ("br", "br", brotli.compress(ZEROS, quality=3)),
        ("zstd", "zstd", zstandard.ZstdCompressor().compress(ZEROS)),
        ("zstd frames", "zstd", zstandard.ZstdCompressor().compress(ZEROS[:999_999]) * 40),
        ("zstd with a window of 1 GB", "zstd", b"\x28\xb5\x2f\xfd\x00\xa0" + bytes(40)),
        ("gzip that ends too soon", "gzip", gzip.compress(chat())[:-9]),
        ("gzip that is none", "gzip", chat()),
    )
)


def rss_kb(stack: RunningStack) -> dict[int, int]:
    """Memory of the stack's processes that serve the API port."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = str(stack.state).encode() in path.read_bytes()
            name = (path.parent / "cmdline").read_bytes()
            status = (path.parent / "status").read_text()
        except OSError:
            continue
        if ours and b"gateway" in name:
            lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            found[int(path.parent.name)] = int(lines["VmRSS"].split()[0])
    return found


def ask(client: httpx.Client, one: Hostile) -> tuple[httpx.Response, float]:
    began_s = time.monotonic()
    answer = client.post(CHAT, content=one.body, headers=one.headers)
    return answer, time.monotonic() - began_s


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> httpx.Client:
    key = stack.new_key("5")["secret"]
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return httpx.Client(base_url=stack.api, headers=headers, timeout=60, trust_env=False)


def test_hostile_bodies_are_refused_or_sent_as_they_are(
    stack: RunningStack, client: httpx.Client
) -> None:
    """What is refused reaches no upstream; what is not is there byte by byte."""
    before = len(stack.served())
    wanted, wrong = [], []
    for one in (*PLAIN, *BOMBS[:5]):
        answer, _ = ask(client, one)
        if answer.status_code == 200 and not one.refused:
            wanted.append(hashlib.sha256(one.body).hexdigest())
        elif not 400 <= answer.status_code < 500 or (one.refused and "charged" not in answer.text):
            wrong.append((one.name, answer.status_code, answer.text[:200]))
    sent = [row["body_sha256"] for row in stack.served()[before:]]
    assert not wrong
    assert [sha for sha in sent if sha in wanted] == wanted
    known = {hashlib.sha256(one.body).hexdigest() for one in PLAIN if not one.refused}
    assert set(sent) <= known, "a body was changed, or a refused one was sent"


@pytest.mark.slow
def test_hostile_bodies_cost_neither_time_nor_memory(
    stack: RunningStack, client: httpx.Client
) -> None:
    """Each is refused within 50 ms by the best of eight tries; 50 MB and bombs of all kinds leave
    less than 64 MB behind."""
    before = rss_kb(stack)
    assert before
    large = Hostile("50 MB", b'{"model":"' + b"x" * 50_000_000)
    for one in (*PLAIN, *BOMBS):
        if one.refused:
            tries = [ask(client, one) for _ in range(8)]
            assert all(400 <= answer.status_code < 500 for answer, _ in tries), one.name
            assert min(took_s for _, took_s in tries) < QUICK_S, one.name
    for one in (large, *BOMBS, large):
        try:
            answer, _ = ask(client, one)
        except httpx.WriteError:
            continue  # refused and closed while it was still being sent
        assert 400 <= answer.status_code < 500, one.name
    after = rss_kb(stack)
    assert max(after[pid] - before[pid] for pid in before) < GROWTH_KB
