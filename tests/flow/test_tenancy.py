"""Many customers, one account, seen from outside: bodies, names, headers and errors."""

import gzip
import hashlib
import json
import zlib
from typing import Any

import brotli
import httpx
import pytest
import zstandard

from tests.stack import RunningStack

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
SAY = "words [[simulate: tokens=20 delay_ms=0]]"
TURNS = [{"role": "user", "content": SAY}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4o-mini", "messages": TURNS, "max_tokens": 30},
    MESSAGES: {"model": "claude-opus-5-5", "messages": TURNS, "max_tokens": 30},
    RESPONSES: {"model": "gpt-5.5", "input": SAY, "max_output_tokens": 30, "store": False},
}
PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def sent(stack: RunningStack) -> str:
    """The hash of the body that the provider had last."""
    return str(stack.served()[-1]["body_sha256"])


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("path", BODIES)
def test_a_compressed_body_is_served_as_the_plain_one_is(
    stack: RunningStack, path: str, name: str
) -> None:
    """The provider has the same bytes, and the customer pays the same."""
    body = json.dumps({**BODIES[path], "temperature": 0.5, "stop": None}).encode()
    spent = []
    for content, headers in ((body, {}), (PACKED[name](body), {"content-encoding": name})):
        key = stack.new_key("1")
        answer = stack.ask(path, content, key=key["secret"], **headers)
        assert answer.status_code == 200, answer.text
        assert sent(stack) == hashlib.sha256(body).hexdigest()
        spent.append(stack.settled(key["key_id"])["spent_nanos"])
    assert spent[0] == spent[1] > 0


@pytest.mark.parametrize("name", PACKED)
def test_a_large_compressed_body_is_decoded_beside_the_loop(stack: RunningStack, name: str) -> None:
    """Of hundreds of kilobytes, also when compressed."""
    noise = hashlib.shake_256(name.encode()).hexdigest(150_000)
    body = json.dumps({**BODIES[CHAT], "messages": [{"role": "user", "content": noise + SAY}]})
    packed = PACKED[name](body.encode())
    assert len(packed) > 100_000
    answer = stack.ask(CHAT, packed, **{"content-encoding": name})
    assert answer.status_code == 200, answer.text
    assert sent(stack) == hashlib.sha256(body.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "encoding", "status", "code"),
    [
        (gzip.compress(bytes(40_000_000)), "gzip", 413, "request_too_large"),
        (zstandard.ZstdCompressor().compress(bytes(40_000_000)), "zstd", 413, "request_too_large"),
        (brotli.compress(bytes(40_000_000), quality=2), "br", 413, "request_too_large"),
        (b"{}", "compress", 415, "unsupported_encoding"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", 415, "unsupported_encoding"),
        (b"{}", "gzip", 400, "invalid_request"),
        (gzip.compress(b"{}" * 500)[:-9], "gzip", 400, "invalid_request"),
        (zstandard.ZstdCompressor().compress(b'{"model":"m"' * 99)[:-9], "zstd", 400,
         "invalid_request"),
    ],
    # Packed bytes hold the time: they are no names, for those have to be the same in each process.
    ids=["gzip-bomb", "zstd-bomb", "br-bomb", "unserved", "twice", "no-gzip", "cut-gzip",
         "cut-zstd"],
)  # fmt: skip
@pytest.mark.parametrize("path", BODIES)
def test_what_cannot_be_decoded_is_refused_and_costs_nothing(
    stack: RunningStack, path: str, content: bytes, encoding: str, status: int, code: str
) -> None:
    """Bombs, unknown encodings, damage: in the caller's dialect, before any provider is asked."""
    before = len(stack.served())
    answer = stack.ask(path, content, **{"content-encoding": encoding})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["charged"]) == (status, code, "0.00")
    assert len(stack.served()) == before


def test_an_unserved_encoding_lists_the_served_ones(stack: RunningStack) -> None:
    """So that a client can be set right without a page of documents."""
    answer = stack.ask(CHAT, b"{}", **{"content-encoding": "compress"})
    assert all(name in answer.json()["error"]["message"] for name in PACKED)


@pytest.mark.parametrize(
    ("path", "members", "written"),
    [
        (CHAT, {"user": "alice", "prompt_cache_key": "k", "safety_identifier": "s"},
         {"user": "alice", "prompt_cache_key": "k", "safety_identifier": "s"}),
        (MESSAGES, {"metadata": {"user_id": "alice"}}, {"metadata.user_id": "alice"}),
        (RESPONSES, {"prompt_cache_key": "k", "safety_identifier": "s", "user": "u"},
         {"prompt_cache_key": "k", "safety_identifier": "s", "user": "u"}),
    ],
)  # fmt: skip
def test_two_customers_of_one_name_are_two_at_the_provider(
    stack: RunningStack, path: str, members: dict[str, Any], written: dict[str, str]
) -> None:
    """One customer's is the same again and again, by each of its keys."""
    body = json.dumps({**BODIES[path], **members}).encode()
    hashes = []
    for _ in range(2):
        key = stack.new_key("1")["secret"]
        wanted = body
        for member, text in written.items():
            digits = stack.tenant(key).name(member, b"s" + text.encode())
            wanted = wanted.replace(b': "%b"' % text.encode(), b': "%b"' % digits)
        for _ in range(2):
            answer = stack.ask(path, body, key=key)
            assert answer.status_code == 200, answer.text
            assert sent(stack) == hashlib.sha256(wanted).hexdigest()
        hashes.append(sent(stack))
    assert hashes[0] != hashes[1]
    assert hashlib.sha256(body).hexdigest() not in hashes


def test_labels_of_what_is_stored_go_nowhere(stack: RunningStack) -> None:
    """Nothing is stored, so they are sent as null."""
    body = json.dumps({**BODIES[CHAT], "metadata": {"customer": "acme"}}).encode()
    assert stack.ask(CHAT, body).status_code == 200
    wanted = body.replace(b'{"customer": "acme"}', b"null")
    assert sent(stack) == hashlib.sha256(wanted).hexdigest()


@pytest.mark.parametrize(
    ("path", "slug", "directive", "status", "code"),
    [
        (CHAT, "glm-5.3", "status=400; code=1210", 400, "1210"),
        (CHAT, "glm-5.3", "status=429; code=1301", 400, "1301"),
        (CHAT, "glm-5.3", "status=500; code=1211", 404, "1211"),
        (CHAT, "glm-5.3", "status=435; code=1214", 413, "1214"),
        (CHAT, "glm-5.3", "status=429; code=1113; retry_after=none", 429, "upstream_overloaded"),
        (CHAT, "glm-5.3", "status=429; code=1302; retry_after=1", 429, "upstream_overloaded"),
        (CHAT, "glm-5.3", "status=429; code=1305; retry_after=none", 429, "upstream_overloaded"),
        (CHAT, "glm-5.3", "status=401; code=1002", 502, "upstream_unavailable"),
        (CHAT, "glm-5.3", "status=434; code=1220", 502, "upstream_unavailable"),
        (CHAT, "gpt-4o-mini", "status=402", 502, "upstream_unavailable"),
        (CHAT, "gpt-4o-mini", "status=403", 502, "upstream_unavailable"),
        (CHAT, "gpt-4o-mini", "status=503; code=slow_down", 429, "upstream_overloaded"),
        (CHAT, "gpt-4o-mini", "status=504", 504, "upstream_timeout"),
        (RESPONSES, "gpt-5.5", "status=529", 429, "upstream_overloaded"),
        (MESSAGES, "claude-opus-5-5", "status=529", 529, "upstream_overloaded"),
        (MESSAGES, "claude-opus-5-5", "status=429; retry_after=1", 529, "upstream_overloaded"),
        (MESSAGES, "claude-opus-5-5", "status=402", 502, "upstream_unavailable"),
        (MESSAGES, "claude-opus-5-5", "status=413", 413, None),
    ],
)  # fmt: skip
def test_an_upstreams_error_is_told_by_whose_fault_it_is(
    stack: RunningStack, path: str, slug: str, directive: str, status: int, code: str | None
) -> None:
    """Free, in the caller's dialect, with a truthful word on trying again."""
    text = f"[[simulate: {directive}]]"
    body = {**BODIES[path], "model": slug}
    body |= {"input": text} if path == RESPONSES else {"messages": [{"role": "user",
                                                                    "content": text}]}  # fmt: skip
    answer: httpx.Response = stack.ask(path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error.get("code")) == (status, code)
    relayed = code is None or code.isdigit()
    assert error["message"] == "Simulated failure." if relayed else error["charged"] == "0.00"
    assert answer.headers["x-request-id"]
    if not relayed:
        assert answer.headers["x-should-retry"] == "true"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
