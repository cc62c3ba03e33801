"""Which session a request belongs to, and how a streamed answer begins."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from corvus_proxy._fast import scan_body
from corvus_proxy.catalogue import book
from corvus_proxy.errors import UpstreamFault
from corvus_proxy.gateway.admission import in_upstreams_words
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.routing.beginning import begin
from corvus_proxy.gateway.routing.session import session_of
from corvus_proxy.gateway.stopping import Stopping
from corvus_proxy.settings import PoolSettings, PricingSettings, RelaySettings, Settings
from corvus_proxy.upstream.faults import Cut, TimedOut
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.refusal import Relayed
from corvus_proxy.wire.translate import Translation
from corvus_proxy.wire.translate.reply import Reply

pytestmark = pytest.mark.anyio
USER = {"role": "user", "content": "the question"}
GROWN = [USER, {"role": "assistant", "content": "an answer"}, {"role": "user", "content": "and"}]
BOOK = book.load(PricingSettings())
CLAUDE, GPT = "claude-haiku-4-5", "gpt-5.5"


class Client(SimpleNamespace):
    """A client that is there and says nothing."""

    gone = False
    head_sent = False

    def watch(self) -> None: ...

    def on_gone(self, callback: Any) -> None:
        pass


def exchange(
    dialect: Dialect, body: dict[str, Any], *, wallet: str = "w_1", **headers: str
) -> Exchange:
    client = Client(
        headers=[(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    )
    found = Exchange(client, dialect, "req_1", 0.0)  # type: ignore[arg-type]
    found.wallet = wallet
    found.body = json.dumps(body).encode()
    found.asked = request.read(dialect, found.body)
    turn = SimpleNamespace(begun=lambda: None)
    found.lease = SimpleNamespace(family="openai", turn=turn)  # type: ignore[assignment]
    return found


def messages(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": CLAUDE, "max_tokens": 9, "messages": list(turns), **more}


def session(body: dict[str, Any], dialect: Dialect = Dialect.MESSAGES, **more: str) -> bytes:
    return session_of(exchange(dialect, body, **more))


@pytest.mark.parametrize(
    "word",
    [
        lambda n: session(messages(USER, number=n), x_claude_code_session_id=f"s{n}"),
        lambda n: session(messages(USER), session_id=f"s{n}"),
        lambda n: session(messages(USER, metadata={"user_id": f"s{n}"})),
        lambda n: session({"model": GPT, "messages": [USER], "prompt_cache_key": f"s{n}"},
                          Dialect.CHAT),
        lambda n: session(messages({"role": "user", "content": f"{n}"})),
        lambda n: session(messages(USER, system=f"you are {n}")),
        lambda n: session({"model": GPT, "input": f"{n}"}, Dialect.RESPONSES),
        lambda n: session(messages(USER), wallet=f"w_{n}"),
    ],
)  # fmt: skip
def test_each_word_tells_a_session_from_another(word: Any) -> None:
    """Header, body, prompt, and always the wallet."""
    assert word(1) == word(1) != word(2)


@pytest.mark.parametrize(
    ("caller", "slug", "words"),
    [
        (Dialect.CHAT, CLAUDE, {"prompt_cache_key": "s", "user": "u"}),
        (Dialect.MESSAGES, GPT, {"metadata": {"user_id": "s"}}),
        (Dialect.RESPONSES, CLAUDE, {"prompt_cache_key": "s"}),
    ],
)
def test_a_translated_requests_own_word_is_its_callers(
    caller: Dialect, slug: str, words: dict[str, Any]
) -> None:
    """Though the upstream's dialect has no member for it."""

    def session_of_turns(*texts: str, **more: Any) -> bytes:
        body: dict[str, Any] = {"model": slug, **more}
        turns = [{"role": "user", "content": text} for text in texts]
        body |= {"input": turns} if caller is Dialect.RESPONSES else {"messages": turns}
        body |= {"max_tokens": 9} if caller is Dialect.MESSAGES else {}
        made = exchange(caller, body)
        model = BOOK.find(slug)
        assert model is not None
        upstream = Dialect.MESSAGES if slug == CLAUDE else Dialect.CHAT
        made.body, made.asked, made.translation = in_upstreams_words(
            made.body, made.asked, model, lambda _, one: one is upstream,
            request_id="r", created_s=0,
        )  # fmt: skip
        assert made.translation is not None
        return session_of(made)

    assert session_of_turns("a", **words) == session_of_turns("b", **words)
    assert session_of_turns("a") != session_of_turns("b")
    other = json.loads(json.dumps(words).replace('"s"', '"t"'))
    assert session_of_turns("a", **words) != session_of_turns("a", **other)


def test_a_clients_own_word_goes_before_its_prompt() -> None:
    """Two windows with the same first words are two sessions; one that was compacted stays one."""
    one = session(messages(USER), x_claude_code_session_id="s")
    assert one == session(messages(USER, system="other"), x_claude_code_session_id="s")
    assert one != session(messages(USER))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_history_that_grows_stays_a_session(indent: int | None) -> None:
    """However short its first message is, however its client writes JSON."""
    found = set()
    for turns in ([USER], GROWN, [*GROWN, *GROWN[1:]]):
        made = exchange(Dialect.MESSAGES, messages(*turns))
        made.body = json.dumps(messages(*turns), indent=indent).encode()
        made.asked = request.read(Dialect.MESSAGES, made.body)
        found.add(session_of(made))
    assert len(found) == 1
    long = {"role": "user", "content": "x" * 5000}
    assert session(messages(long)) == session(messages(long, *GROWN[1:]))


@pytest.mark.parametrize(
    ("body", "signed"),
    [
        ({"content": [{"type": "thinking", "thinking": "", "signature": "EqQB"}]}, True),
        ({"type": "reasoning", "encrypted_content": "gAAA"}, True),
        ({"type": "reasoning", "encrypted_content": ""}, False),
        ({"content": 'he wrote "signature": "x"'}, False),
        ({"content": "hi"}, False),
    ],
)
def test_a_signature_is_seen_where_it_is_one(body: dict[str, Any], signed: bool) -> None:
    """Not in text that looks like it."""
    assert scan_body(json.dumps(body).encode()).signed_history is signed
    assert scan_body(json.dumps(body, indent=2).encode()).signed_history is signed


class Scripted:
    """An answer that gives these pieces: bytes, a pause in seconds, or the fault that it ends
    with."""

    status, headers = 200, []

    def __init__(self, *parts: Any) -> None:
        self._parts = list(parts)
        self._wait: float | None = None

    async def chunk(self) -> bytes | None:
        while self._parts:
            if isinstance(self._parts[0], float):
                self._wait = asyncio.get_running_loop().time() + self._parts.pop(0)
            if self._wait is not None:
                await asyncio.sleep(max(0.0, self._wait - asyncio.get_running_loop().time()))
                self._wait = None
            part = self._parts.pop(0) if self._parts else None
            if isinstance(part, Exception):
                raise part
            return part
        return None

    def abort(self) -> None:
        self._parts.clear()


def event(**data: Any) -> bytes:
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


ANNOUNCED = event(type="response.created", sequence_number=0, response={"id": "r", "usage": None})
ADDED = event(type="response.output_item.added", sequence_number=2, item={"type": "message"})
QUOTA = event(type="error", sequence_number=1, error={"code": "insufficient_quota", "message": "-"})
CHUNK = event(id="c", choices=[{"index": 0, "delta": {"content": "hi"}}])
BUSY = event(error={"code": "server_is_overloaded", "message": "-"})
WRONG = event(error={"code": "invalid_prompt", "type": "invalid_request_error", "message": "-"})
SETTINGS = Settings(relay=RelaySettings(keepalive_s=1), pool=PoolSettings(holdback_ms=200))


async def began(dialect: Dialect, *parts: Any, keepalive_s: int = 1) -> tuple[bytes, float]:
    """What of an answer is there when it has begun, and after how long."""
    settings = msgspec.structs.replace(SETTINGS, relay=RelaySettings(keepalive_s=keepalive_s))
    body: dict[str, Any] = {"model": GPT, "stream": True}
    body |= {"input": "hi"} if dialect is Dialect.RESPONSES else {"messages": [USER]}
    made = exchange(dialect, body)
    since_s = asyncio.get_running_loop().time()
    answer = await begin(made, Scripted(*parts), settings, Stopping())  # type: ignore[arg-type]
    took_s = asyncio.get_running_loop().time() - since_s
    return b"".join(answer._ahead), took_s  # type: ignore[attr-defined]


async def test_an_answer_begins_with_its_first_own_event() -> None:
    """A chat at once; a response behind its announcement, or when the patience with it is over."""
    assert (await began(Dialect.CHAT, CHUNK, 9.0))[0] == CHUNK
    assert (await began(Dialect.RESPONSES, ANNOUNCED, 0.01, ADDED, 9.0))[0] == ANNOUNCED + ADDED
    ahead, took_s = await began(Dialect.RESPONSES, ANNOUNCED, 9.0, ADDED, keepalive_s=30)
    assert ahead == ANNOUNCED
    assert 0.15 < took_s < 8
    ahead, took_s = await began(Dialect.CHAT, 9.0, CHUNK)
    assert ahead == b""
    assert took_s > 0.9


@pytest.mark.parametrize(
    ("dialect", "parts", "blame"),
    [
        (Dialect.CHAT, [Cut("closed")], "broken"),
        (Dialect.CHAT, [TimedOut("silence")], "slow"),
        (Dialect.CHAT, [], "broken"),
        (Dialect.CHAT, [b": waiting\n\n", Cut("closed")], "broken"),
        (Dialect.CHAT, [BUSY], "busy"),
        (Dialect.RESPONSES, [ANNOUNCED, QUOTA], "account"),
        (Dialect.RESPONSES, [ANNOUNCED, Cut("closed")], "broken"),
    ],
)
async def test_an_answer_that_fails_before_it_began_is_a_failed_try(
    dialect: Dialect, parts: list[Any], blame: str
) -> None:
    """Nothing of it goes out; the fault says whose it is."""
    with pytest.raises(UpstreamFault) as failed:
        await began(dialect, *parts)
    assert failed.value.blame == blame


async def test_an_error_of_the_requests_own_goes_out_as_it_came() -> None:
    """Nobody else would answer otherwise."""
    assert (await began(Dialect.CHAT, WRONG, 9.0))[0] == WRONG


async def test_an_error_behind_the_beginning_goes_out_whichever_way_it_came() -> None:
    """Whether one piece or two: the provider has begun, and may bill, this answer."""
    assert (await began(Dialect.CHAT, CHUNK + BUSY, 9.0))[0] == CHUNK + BUSY
    assert (await began(Dialect.CHAT, CHUNK, BUSY, 9.0))[0] == CHUNK


async def test_an_error_of_the_requests_own_is_a_plain_one_where_it_cannot_go_out() -> None:
    """A translated stream has no words for another dialect's event: the head tells it instead."""
    made = exchange(Dialect.CHAT, {"model": GPT, "stream": True, "messages": [USER]})
    made.translation = Translation(Dialect.MESSAGES, Dialect.CHAT, Reply("glm-5.3", "req_1", 1))
    with pytest.raises(Relayed) as failed:
        await begin(made, Scripted(WRONG), SETTINGS, Stopping())  # type: ignore[arg-type]
    assert (failed.value.upstream_status, failed.value.blame) == (400, "request")
    assert dict(failed.value.upstream_headers)[b"content-type"] == b"application/json"
    told = json.loads(failed.value.upstream_body)
    assert told["error"] == {"type": "invalid_request_error", "message": "-"}
