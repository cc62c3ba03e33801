"""Requests that real clients sent, through the whole gateway: what the upstream has is what they
wrote, but for the named edits.

The simulated provider tells the SHA-256 of the body that it had; what it should be is made here
from the client's bytes by plain text edits.
"""

import hashlib
import hmac
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from corvus_proxy.secret import parse
from corvus_proxy.settings import load
from tests.stack import RunningStack

SLUGS = {
    "/v1/messages": "claude-opus-5-5",
    "/v1/messages/count_tokens": "claude-opus-5-5",
    "/v1/chat/completions": "gpt-5.5",
    "/v1/responses": "gpt-5.5",
    "/v1/responses/input_tokens": "gpt-5.5",
    "/v1/embeddings": "text-embedding-3-small",
}
"""The current slug under which a path's requests are sent, where theirs is none of its family."""
FAMILIES = {"claude-": "/v1/messages", "gpt-": "/v1/chat", "text-embedding-": "/v1/embed"}
FORWARDED = {"/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/embeddings"}
PASSED_HEADERS = ("anthropic-version", "anthropic-beta", "openai-beta", "user-agent")


class Captured(NamedTuple):
    """One request of a client."""

    name: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def why_not(one: dict[str, Any]) -> str:
    """Why a captured exchange has no body to forward; empty where it has."""
    if "websocket" in one:
        return "a frame of a WebSocket, which is answered 426"
    if one.get("websocket_upgrade"):
        return "an upgrade to WebSocket, which is answered 426"
    if one["method"] != "POST":
        return f"{one['method']} without a body, answered by the gateway itself"
    if one["path"].removeprefix("/anthropic") not in SLUGS:
        return f"{one['path']} is not served"
    return ""


def passed(one: dict[str, Any]) -> dict[str, str]:
    """The headers of a captured request that change how it is answered."""
    found = {name.lower(): value for name, value in one["headers"]}
    return {name: found[name] for name in PASSED_HEADERS if name in found}


def as_sent(value: Any) -> Any:
    """A captured value with the texts that the capture shows as what they hold."""
    if isinstance(value, list):
        return [as_sent(one) for one in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["<json string of>"]:
        return json.dumps(value["<json string of>"])
    return {name: as_sent(one) for name, one in value.items()}


def captured() -> tuple[list[Captured], Counter[str]]:
    """Every request that is forwarded, and how many are not, by reason."""
    found, left_out = [], Counter[str]()
    folder = os.environ.get("CORVUS_CLIENTS")
    for path in sorted(Path(folder).glob("*.json")) if folder else ():
        for number, one in enumerate(json.loads(path.read_text())["requests"]):
            reason = why_not(one)
            if reason:
                left_out[reason] += 1
                continue
            headers = passed(one)
            served = one["path"].removeprefix("/anthropic")
            body = as_sent(one["body"])
            found.append(Captured(f"{path.stem}-{number}", served, headers, body))
    return found, left_out


ALL, LEFT_OUT = captured()


def sent_body(one: Captured) -> bytes:
    """The client's body, under a slug that is sold."""
    name = str(one.body["model"])
    fits = any(name.startswith(begin) and one.path.startswith(path)
               for begin, path in FAMILIES.items())  # fmt: skip
    responses = one.path.startswith("/v1/responses") and name.startswith("gpt-")
    model = name if fits or responses else SLUGS[one.path]
    return json.dumps({**one.body, "model": model}).encode()


@pytest.fixture(scope="module")
def rich(stack: RunningStack) -> str:
    """A secret whose balance covers every request's ceiling: no output limit is lowered."""
    return str(stack.new_key("1000")["secret"])


def own_name(stack: RunningStack, key: str, member: str, text: str) -> str:
    """What a customer's name is sent as: keyed by the installation and the wallet."""
    pepper = load(stack.state / "up.toml").pepper()
    found = parse(key)
    assert found is not None
    said = b"\0".join([b"tenant", found.wallet.encode(), member.encode(), b"s" + text.encode()])
    return hmac.new(pepper, said, hashlib.sha256).hexdigest()[:32]


def expected(stack: RunningStack, key: str, path: str, body: bytes) -> tuple[bytes, list[str]]:
    """The body that the upstream should have, and the names of the edits."""
    given = json.loads(body)
    edits = []
    for member, outer in (("prompt_cache_key", given), ("user_id", given.get("metadata") or {})):
        if member in outer:
            whole = member if outer is given else f"metadata.{member}"
            old = json.dumps({member: outer[member]})[1:-1].encode()
            new = json.dumps({member: own_name(stack, key, whole, outer[member])})[1:-1].encode()
            assert body.count(old) == 1
            body = body.replace(old, new)
            edits.append(whole)
    if path == "/v1/responses":
        if given.get("store") is None:
            body = b'{"store":false,' + body[1:]
            edits.append("store")
        for tool in given.get("tools") or ():
            if tool["type"] == "web_search":
                body = body.replace(b", " + json.dumps(tool).encode(), b"")
                edits.append("web_search")
    if path == "/v1/chat/completions":
        if given.get("stream") and "stream_options" not in given:
            body = b'{"stream_options":{"include_usage":true},' + body[1:]
            edits.append("include_usage")
        if given.get("max_tokens") and re.match(r"gpt-[5-9]", given["model"]):
            body = body.replace(b'"max_tokens"', b'"max_completion_tokens"')
            edits.append("max_completion_tokens")
    return body, edits


@pytest.mark.clients
@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_captured_request_reaches_the_upstream_as_it_was_written(
    stack: RunningStack, rich: str, one: Captured
) -> None:
    """Identical, or with exactly the named edit."""
    body = sent_body(one)
    answer = stack.ask(one.path, body, key=rich, **one.headers)
    assert answer.status_code == 200, answer.text
    if one.path not in FORWARDED:
        assert answer.json()["input_tokens"] > 0
        return
    wanted, edits = expected(stack, rich, one.path, body)
    assert (wanted == body) == (not edits)
    row = stack.served()[-1]
    assert row["body_sha256"] == hashlib.sha256(wanted).hexdigest(), (edits, wanted[:200])
    removed = answer.headers.get("x-corvus-removed-tools", "")
    assert removed == ("web_search" if "web_search" in edits else "")


@pytest.mark.clients
def test_what_is_not_forwarded_is_counted_with_its_reason() -> None:
    """No captured exchange is left out in silence."""
    folder = Path(os.environ["CORVUS_CLIENTS"])
    total = sum(len(json.loads(path.read_text())["requests"]) for path in folder.glob("*.json"))
    assert len(ALL) + sum(LEFT_OUT.values()) == total
    assert len(ALL) >= 40
    assert not [reason for reason in LEFT_OUT if "not served" in reason], LEFT_OUT


@pytest.mark.clients
def test_what_has_no_body_is_answered_by_the_gateway_itself(stack: RunningStack) -> None:
    """Every captured GET, HEAD and upgrade, under the path and query that the client used."""
    folder = Path(os.environ["CORVUS_CLIENTS"])
    seen = 0
    for path in sorted(folder.glob("*.json")):
        for one in json.loads(path.read_text())["requests"]:
            if one.get("method") not in ("GET", "HEAD"):
                continue
            seen += 1
            upgrade = {"upgrade": "websocket", "connection": "upgrade"}
            headers: dict[str, str] = upgrade if one.get("websocket_upgrade") else {}
            headers = {**passed(one), **headers}
            answer = httpx.request(
                one["method"], f"{stack.api}{one['path']}?{one.get('query') or ''}",
                headers={**headers, "authorization": f"Bearer {stack.demo_key}"},
                trust_env=False, timeout=20,
            )  # fmt: skip
            wanted = 426 if one.get("websocket_upgrade") else 200
            if one["path"].startswith("/anthropic/"):
                wanted = 404  # the base URL has nothing before it: the hint says so
            assert answer.status_code == wanted, (path.name, one["path"], answer.text)
    assert seen >= 5
