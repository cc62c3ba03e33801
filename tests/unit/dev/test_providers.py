"""The simulated providers, asked over real sockets as a gateway asks them."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from corvus_proxy._fast import StreamMeter
from corvus_proxy.dev.providers import PACE_MS, Providers, serve
from corvus_proxy.money.usage import from_chat, from_messages

pytestmark = pytest.mark.anyio

ANTHROPIC = ("/v1/messages", "claude-opus-5-5")
OPENAI = ("/v1/chat/completions", "gpt-5.5")
GLM = ("/api/paas/v4/chat/completions", "glm-5.3")
EVERY = pytest.mark.parametrize(
    "where", [ANTHROPIC, OPENAI, GLM], ids=["anthropic", "openai", "glm"]
)
KEY = {"authorization": "Bearer good-key"}


def body(where: tuple[str, str], text: str = "hello", **more: Any) -> dict[str, Any]:
    """A small request of the family."""
    found = {"model": where[1], "messages": [{"role": "user", "content": text}], **more}
    if where is ANTHROPIC:
        found.setdefault("max_tokens", 1000)
    elif found.get("stream"):
        found.setdefault("stream_options", {"include_usage": True})
    return found


async def post(
    url: str, where: tuple[str, str], asked: dict[str, Any], **headers: str
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url) as client:
        return await client.post(where[0], json=asked, headers={**KEY, **headers})


def metered(where: tuple[str, str], answer: httpx.Response) -> StreamMeter:
    """The answer as the gateway's meter reads it."""
    meter = StreamMeter("messages" if where is ANTHROPIC else "chat", False)
    meter.feed(answer.content)
    meter.finish()
    return meter


def used(where: tuple[str, str], meter: StreamMeter) -> Any:
    if where is ANTHROPIC:
        return from_messages(json.loads(meter.usage_start), json.loads(meter.usage_last))
    return from_chat(json.loads(meter.usage_last))


async def logged(providers: Providers, rows: int = 1) -> Any:
    """The last row, once there are so many: a row is written when its request has ended."""
    async with asyncio.timeout(20):
        while len(providers.served) < rows:  # noqa: ASYNC110 -- another task's list, no event
            await asyncio.sleep(0.005)
    return providers.served[-1]


@EVERY
async def test_a_stream_says_what_it_used(where: tuple[str, str]) -> None:
    """The meter finds a whole stream, whose usage is the log's and whose deltas are its tokens."""
    async with serve(pace_ms=0) as (providers, url):
        answer = await post(url, where, body(where, stream=True))
        meter, row = metered(where, answer), await logged(providers)
    assert meter.started
    assert meter.finished
    assert meter.ended
    assert (
        used(where, meter).output
        == row.tokens_made
        == row.usage_made["output_tokens" if (where is ANTHROPIC) else "completion_tokens"]
    )
    hidden = used(where, meter).reasoning if where is OPENAI else 0
    assert meter.deltas == row.deltas_sent == row.tokens_made - hidden
    assert row.outcome == "completed"
    assert row.usage == row.usage_made
    assert row.request_id == (answer.headers.get("request-id") or answer.headers["x-request-id"])


@EVERY
async def test_whole_answers_use_the_same_counts(where: tuple[str, str]) -> None:
    """An answer that is not streamed reports as much input as its stream, and its true output."""
    async with serve(pace_ms=0) as (providers, url):
        answer = await post(url, where, body(where))
        streamed = used(where, metered(where, await post(url, where, body(where, stream=True))))
    usage = answer.json()["usage"]
    found = from_messages(None, usage) if where is ANTHROPIC else from_chat(usage)
    assert found.input_total == streamed.input_total
    assert found.output == streamed.output == providers.served[0].tokens_made


@EVERY
@pytest.mark.parametrize("limit", [1, 5, 20, 40])
async def test_the_limit_ends_the_answer(where: tuple[str, str], limit: int) -> None:
    """No answer exceeds its limit, reasoning included, and one that meets it says so."""
    name = "max_completion_tokens" if where is OPENAI else "max_tokens"
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, where, body(where, **{name: limit}))
    found = answer.json()
    said = found.get("stop_reason") or found["choices"][0]["finish_reason"]
    assert said in ("length", "max_tokens")
    assert found["usage"].get("output_tokens", found["usage"].get("completion_tokens")) == limit


async def test_default_answer_is_quick() -> None:
    """64 tokens at the default pace, and 16 of silent reasoning, are paced over at most 0.3 s.

    The pauses are reckoned; the clock only bounds what no pause explains, for machines are busy.
    """
    async with serve() as (_, url):
        began = time.perf_counter()
        answer = await post(url, OPENAI, body(OPENAI, stream=True))
        took_s = time.perf_counter() - began
    output = used(OPENAI, metered(OPENAI, answer)).output
    assert output == 80
    assert output * PACE_MS <= 300
    assert took_s < 3


async def test_usage_in_a_chat_stream_comes_only_when_asked() -> None:
    """OpenAI's stream has `usage: null` and a last chunk with include_usage, otherwise nothing."""
    async with serve(pace_ms=0) as (_, url):
        asked = await post(url, OPENAI, body(OPENAI, stream=True))
        not_asked = await post(url, OPENAI, body(OPENAI, stream=True, stream_options={}))
    assert b'"usage":null' in asked.content
    assert b'"choices":[],"usage":{' in asked.content
    assert b'"usage"' not in not_asked.content
    assert b'"obfuscation"' in not_asked.content


async def test_seed_decides_everything() -> None:
    """Two providers with one seed answer the same bytes; another seed answers others."""
    found = []
    for seed in (7, 7, 8):
        async with serve(pace_ms=0, seed=seed) as (_, url):
            found.append((await post(url, ANTHROPIC, body(ANTHROPIC, stream=True))).content)
    assert found[0] == found[1] != found[2]


TOOL = {
    "name": "weather",
    "schema": {
        "type": "object",
        "required": ["city", "days"],
        "properties": {"city": {"type": "string", "enum": ["Oslo"]}, "days": {"type": "integer"}},
    },
}


def with_tool(where: tuple[str, str]) -> dict[str, Any]:
    if where is ANTHROPIC:
        return {
            "tools": [{"name": TOOL["name"], "input_schema": TOOL["schema"]}],
            "tool_choice": {"type": "any"},
        }
    return {
        "tools": [
            {"type": "function", "function": {"name": TOOL["name"], "parameters": TOOL["schema"]}}
        ],
        "tool_choice": "required",
    }


@EVERY
async def test_tool_calls_and_their_results(where: tuple[str, str]) -> None:
    """A required tool is called with arguments that fit; after its result the answer is text."""
    async with serve(pace_ms=0) as (_, url):
        called = (await post(url, where, body(where, **with_tool(where)))).json()
        result: dict[str, Any] = {"role": "tool", "tool_call_id": "c", "content": "rain"}
        if where is ANTHROPIC:
            result = {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c", "content": "rain"}],
            }
        after = body(where, **with_tool(where))
        after["messages"].append(result)
        answered = (await post(url, where, after)).json()
    if where is ANTHROPIC:
        block = called["content"][-1]
        assert (block["name"], block["input"]) == ("weather", {"city": "Oslo", "days": 1})
        assert called["stop_reason"] == "tool_use"
        assert answered["content"][-1]["type"] == "text"
    else:
        call = called["choices"][0]["message"]["tool_calls"][0]["function"]
        assert json.loads(call["arguments"]) == {"city": "Oslo", "days": 1}
        assert called["choices"][0]["finish_reason"] == "tool_calls"
        assert answered["choices"][0]["message"]["content"]


SHELL = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


@EVERY
@pytest.mark.parametrize("said", ["run echo hi", '"run echo hi"\n', "Run echo hi"])
async def test_a_command_is_run_by_the_tool_that_takes_one(
    where: tuple[str, str], said: str
) -> None:
    """Whichever tools stand ahead of it, and whatever instructions behind the message."""
    schemas = {"weather": TOOL["schema"], "shell": SHELL}
    asked = body(where, said)
    if where is ANTHROPIC:
        asked["tools"] = [{"name": name, "input_schema": one} for name, one in schemas.items()]
        asked["tool_choice"] = {"type": "auto"}
    else:
        asked["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": one}}
            for name, one in schemas.items()
        ]
        asked["messages"].append({"role": "system", "content": "Be brief."})
    async with serve(pace_ms=0) as (_, url):
        answer = (await post(url, where, asked)).json()
    if where is ANTHROPIC:
        block = answer["content"][-1]
        assert (block["name"], block["input"]) == ("shell", {"command": "echo hi"})
    else:
        call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
        assert (call["name"], json.loads(call["arguments"])) == ("shell", {"command": "echo hi"})


@EVERY
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_is_named_is_called(where: tuple[str, str], stream: bool) -> None:
    """Not the first one, but the one that the choice names, with arguments that fit."""
    messages = where is ANTHROPIC
    asked = with_tool(where)
    other: dict[str, Any] = {"name": "other", "input_schema": {"type": "object"}}
    choice: dict[str, Any] = {"type": "tool", "name": "weather"}
    if not messages:
        other = {"type": "function", "function": {"name": "other", "parameters": {}}}
        choice = {"type": "function", "function": {"name": "weather"}}
    asked = {**asked, "tools": [other, *asked["tools"]], "tool_choice": choice}
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, where, body(where, stream=stream, **asked))
    assert b'"weather"' in answer.content
    assert b'"other"' not in answer.content
    if not stream:
        text = json.dumps(answer.json()).replace("\\", "")
        assert '"city":"Oslo"' in text.replace(": ", ":")


@EVERY
async def test_streamed_tool_calls_are_metered(where: tuple[str, str]) -> None:
    """Streamed arguments are tokens: usage counts them and the whole JSON arrives."""
    async with serve(pace_ms=0) as (providers, url):
        answer = await post(url, where, body(where, stream=True, **with_tool(where)))
        row = await logged(providers)
    assert used(where, metered(where, answer)).output == row.tokens_made
    assert row.outcome == "completed"


async def test_thinking_has_a_signature() -> None:
    """Claude thinks when asked to: deltas, a signature, and thinking tokens inside the output."""
    asked = body(ANTHROPIC, stream=True, thinking={"type": "enabled", "budget_tokens": 100})
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, ANTHROPIC, asked)
    assert b"thinking_delta" in answer.content
    assert b"signature_delta" in answer.content
    found = used(ANTHROPIC, metered(ANTHROPIC, answer))
    assert (found.reasoning, found.output) == (8, 72)


async def test_several_choices_multiply_the_output() -> None:
    """`n` answers are n times the tokens, in every choice the whole text."""
    async with serve(pace_ms=0) as (_, url):
        answer = (await post(url, OPENAI, body(OPENAI, n=3))).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 240


REFUSED = [
    (OPENAI, {"max_tokens": 5}, 400, "unsupported_parameter"),
    (OPENAI, {"model": "nobody"}, 404, "model_not_found"),
    (OPENAI, {"messages": []}, 400, "missing_required_parameter"),
    (OPENAI, {"messages": "text"}, 400, "missing_required_parameter"),
    (ANTHROPIC, {"max_tokens": None}, 400, "max_tokens"),
    (ANTHROPIC, {"thinking": {"type": "enabled", "budget_tokens": 1000}}, 400, "budget_tokens"),
    (ANTHROPIC, {"model": "gpt-5.5"}, 404, "not_found_error"),
    (GLM, {"model": "gpt-5.5"}, 404, "1211"),
    (GLM, {"model": None}, 400, "1210"),
]


@pytest.mark.parametrize(("where", "change", "status", "says"), REFUSED)
async def test_real_refusals(
    where: tuple[str, str], change: dict[str, Any], status: int, says: str
) -> None:
    """What real providers refuse is refused, in the family's shape, and made nothing."""
    async with serve() as (providers, url):
        answer = await post(url, where, {**body(where), **change})
        row = await logged(providers)
    assert answer.status_code == status
    assert says in json.dumps(answer.json()["error"])
    assert (row.outcome, row.tokens_made, row.usage) == ("refused", 0, None)


async def test_older_openai_models_take_max_tokens() -> None:
    """Only the newer models refuse `max_tokens`."""
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, OPENAI, {**body(OPENAI), "model": "gpt-4.1", "max_tokens": 5})
    assert answer.json()["usage"]["completion_tokens"] == 5


@EVERY
@pytest.mark.parametrize("key", ["Bearer bad-key", "Bearer"])
async def test_bad_keys_are_refused(where: tuple[str, str], key: str) -> None:
    """A bad or missing key is a 401 before anything else."""
    async with serve() as (_, url):
        answer = await post(url, where, {}, authorization=key)
    assert answer.status_code == 401


async def test_statuses_by_directive_header_and_control() -> None:
    """Trouble comes by message, by header, or queued for a credential's next requests."""
    async with serve(pace_ms=0) as (providers, url):
        told = await post(url, OPENAI, body(OPENAI, "hi [[simulate: status=503]]"))
        headed = await post(url, ANTHROPIC, body(ANTHROPIC), **{"x-simulate": "status=529"})
        quota = await post(url, OPENAI, body(OPENAI, "[[simulate: status=insufficient_quota]]"))
        credential = providers.served[0].credential
        async with httpx.AsyncClient(base_url=url) as client:
            await client.post(
                "/__control",
                json={
                    "faults": [
                        {"status": 500, "credential": "another"},
                        {"status": 429, "retry_after": 7, "credential": credential, "times": 2},
                    ]
                },
            )
        queued = [await post(url, GLM, body(GLM)) for _ in range(3)]
    assert (told.status_code, headed.status_code) == (503, 529)
    assert headed.json()["error"]["type"] == "overloaded_error"
    assert quota.json()["error"]["code"] == "insufficient_quota"
    assert [one.status_code for one in queued] == [429, 429, 200]
    assert queued[0].headers["retry-after"] == "7"


async def test_an_unknown_wish_is_refused() -> None:
    """A mistyped directive is a 400, not an answer that proves nothing."""
    async with serve() as (_, url):
        answer = await post(url, OPENAI, body(OPENAI, "[[simulate: cut_aftr=3]]"))
        async with httpx.AsyncClient(base_url=url) as client:
            control = await client.post("/__control", json={"faults": [{"no": "thing"}]})
    assert (answer.status_code, control.status_code) == (400, 400)
    assert "cut_aftr" in answer.text


@EVERY
async def test_cut_streams_are_logged_as_far_as_they_got(where: tuple[str, str]) -> None:
    """A cut stream breaks off after its deltas; the log tells the tokens made until then."""
    async with serve(pace_ms=1) as (providers, url):
        with pytest.raises(httpx.RemoteProtocolError):
            await post(url, where, body(where, "[[simulate: cut_after=10]]", stream=True))
        row = await logged(providers)
    hidden = 16 if where is OPENAI else 0
    assert (row.outcome, row.deltas_sent, row.tokens_made) == ("cut", 10, 10 + hidden)
    assert not row.usage_sent


async def test_a_whole_answer_can_be_cut_or_missing() -> None:
    """Half a body, or no byte at all."""
    async with serve(pace_ms=0) as (_, url):
        for wish in ("cut_after=0", "no_answer"):
            with pytest.raises(httpx.RemoteProtocolError):
                await post(url, GLM, body(GLM, f"[[simulate: {wish}]]"))


@EVERY
async def test_error_event_in_the_middle(where: tuple[str, str]) -> None:
    """The family's error event ends the stream: no terminal event, no usage."""
    async with serve(pace_ms=0) as (providers, url):
        answer = await post(url, where, body(where, "[[simulate: error_after=3]]", stream=True))
        row = await logged(providers)
    meter = metered(where, answer)
    assert meter.failed
    assert not meter.ended
    assert meter.usage_last == b""
    assert (row.outcome, meter.deltas) == ("failed", 3)


@EVERY
async def test_a_stream_can_end_without_a_word(where: tuple[str, str]) -> None:
    """A clean end of body with neither usage nor terminal event."""
    async with serve(pace_ms=0) as (_, url):
        answer = await post(url, where, body(where, "[[simulate: end_after=3]]", stream=True))
    meter = metered(where, answer)
    assert (meter.deltas, meter.ended, meter.failed, meter.usage_last) == (3, False, False, b"")


@EVERY
@pytest.mark.parametrize("stream", [True, False])
async def test_missing_and_zero_usage(where: tuple[str, str], stream: bool) -> None:
    """Usage can be left out or be all zeros; the log still has the truth."""
    async with serve(pace_ms=0) as (providers, url):
        without = await post(url, where, body(where, "[[simulate: no_usage]]", stream=stream))
        zero = await post(url, where, body(where, "[[simulate: zero_usage]]", stream=stream))
        row = await logged(providers, 2)
    assert providers.served[0].usage_sent is False
    assert row.tokens_made > 0
    if not stream:
        assert "usage" not in without.json()
        assert set(_numbers(zero.json()["usage"])) == {0}
        return
    assert metered(where, without).usage_last == b""
    assert metered(where, without).ended
    assert used(where, metered(where, zero)).output == 0


def _numbers(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _numbers(inner)]
    return [value] if isinstance(value, int) else []


@EVERY
@pytest.mark.parametrize("wish", ["delay_ms=20", "stall_after=2", "ttfb_ms=60000"])
async def test_a_peer_that_leaves_is_noticed(where: tuple[str, str], wish: str) -> None:
    """A client that goes while tokens come, in a stall or before the head ends the work at once."""
    asked = body(where, f"[[simulate: {wish}; reasoning=0]]", stream=True)
    # The client is made ahead: on a busy machine that alone takes longer than it stays.
    async with serve(pace_ms=0) as (providers, url), httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15 if wish[0] == "d" else 1):
                await client.post(where[0], json=asked, headers=KEY)
        row = await logged(providers)
    assert row.outcome == "aborted"
    assert not row.completed
    assert row.tokens_made == {"s": 2, "t": 0}.get(wish[0], row.tokens_made)
    assert row.tokens_made < 64


async def test_models_and_count_tokens() -> None:
    """Both listings, one model, an unknown one, and a free count."""
    version = {"anthropic-version": "2023-06-01"}
    async with serve() as (_, url), httpx.AsyncClient(base_url=url, headers=KEY) as client:
        ours = (await client.get("/v1/models")).json()
        theirs = (await client.get("/v1/models?limit=1000", headers=version)).json()
        one = await client.get("/v1/models/gpt-4.1")
        none = await client.get("/v1/models/nobody", headers=version)
        refused = await client.get("/v1/models", headers={"authorization": "Bearer bad"})
        counted = await client.post("/v1/messages/count_tokens?beta=true", json=body(ANTHROPIC))
        unknown = await client.get("/v2/else")
    assert {row["object"] for row in ours["data"]} == {"model"}
    assert {row["type"] for row in theirs["data"]} == {"model"}
    assert one.json()["id"] == "gpt-4.1"
    assert (none.status_code, refused.status_code, unknown.status_code) == (404, 401, 404)
    assert counted.json() == {"input_tokens": 5}


async def test_the_log_file_has_a_line_a_request(tmp_path: Any) -> None:
    """The file and `/__log` tell the same, without the credential itself."""
    log = tmp_path / "served.jsonl"
    async with serve(pace_ms=0, log=log) as (_, url):
        await post(url, OPENAI, body(OPENAI))
        await post(url, OPENAI, {**body(OPENAI), "model": "nobody"})
        async with httpx.AsyncClient(base_url=url) as client:
            told = (await client.get("/__log")).json()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == told
    assert [line["status"] for line in lines] == [200, 404]
    assert "good-key" not in log.read_text()
