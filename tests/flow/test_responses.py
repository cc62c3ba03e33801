"""Responses, counting, embeddings and lists of models, as clients of both vendors use them."""

import base64
import json
import struct
import time
from typing import Any

import httpx
import pytest

from corvus_proxy.money.amount import parse_usd
from tests.oracle import bill
from tests.sdks import anthropic_client, openai_client
from tests.stack import RunningStack

PATH = "/v1/responses"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False}  # fmt: skip
WEATHER: Any = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}


def asked(text: str, *, slug: str = "gpt-5.5", **more: Any) -> dict[str, Any]:
    return {"model": slug, "input": text, **more}


@pytest.fixture(scope="module")
def rich(stack: RunningStack) -> str:
    """A key with enough for all of this page."""
    return str(stack.new_key("50")["secret"])


@pytest.fixture(scope="module")
def empty(stack: RunningStack) -> str:
    """A key with nothing."""
    return str(stack.new_key("0")["secret"])


def balance(stack: RunningStack, key: str) -> int:
    """What the key itself is told, once nothing is held."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = stack.ask_get("/v1/key", key=key).json()
        if found["held_nanos"] == 0:
            return int(found["balance_nanos"])
        time.sleep(0.05)
    raise AssertionError(found)


def events(content: bytes) -> list[dict[str, Any]]:
    """The events of a stream; a comment is none."""
    return [json.loads(line[6:]) for line in content.splitlines() if line.startswith(b"data: ")]


def cost_of(content: bytes) -> int:
    """What the final comment says was charged."""
    return parse_usd(json.loads(content.rsplit(b": corvus ", 1)[1])["cost_usd"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slug", ["gpt-5.5", "gpt-6.1-sol", "gpt-4o-mini"])
def test_a_response_is_charged_what_it_reports(
    stack: RunningStack, rich: str, slug: str, stream: bool
) -> None:
    """To the nano-dollar, in the header of a whole answer and in the last comment of a stream."""
    before = balance(stack, rich)
    answer = stack.ask(
        PATH, asked("hello " * 900, slug=slug, stream=stream, max_output_tokens=500),
        key=rich,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    if stream:
        last = events(answer.content)[-1]
        assert last["type"] == "response.completed"
        found, cost = last["response"], cost_of(answer.content)
    else:
        found, cost = answer.json(), parse_usd(answer.headers["x-corvus-cost-usd"])
    assert found["store"] is False
    assert cost == bill.responses_nanos(slug, found["usage"], 0)
    assert balance(stack, rich) == before - cost


@pytest.mark.parametrize("wish", ["zero_usage", "no_usage"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_report_of_nothing_beside_output_is_no_report(
    stack: RunningStack, rich: str, wish: str, stream: bool
) -> None:
    """A quarter of the request's bytes in, what was seen out: a token a delta, or eight bytes."""
    body = asked(f"[[simulate: {wish}; reasoning=0]]", stream=stream)
    answer = stack.ask(PATH, body, key=rich)
    if stream:
        told = [one for one in events(answer.content) if one["type"].endswith("text.delta")]
        output, cost = len(told), cost_of(answer.content)
    else:
        said = answer.json()["output"][-1]["content"][0]["text"]
        output, cost = len(said) // 8, parse_usd(answer.headers["x-corvus-cost-usd"])
    usage = {"input_tokens": len(json.dumps(body)) // 4, "output_tokens": output}
    assert output > 30
    assert cost == bill.responses_nanos("gpt-5.5", usage, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("wished", "served", "billed"),
    [("flex", "flex", "flex"), ("flex", "default", ""), ("auto", "flex", "flex"),
     ("auto", "priority", ""), ("priority", "priority", "priority")],
)  # fmt: skip
def test_the_tier_of_the_last_event_is_billed(
    stack: RunningStack, rich: str, wished: str, served: str, billed: str, *, stream: bool
) -> None:
    """Not the one that was asked for, nor `auto`, which earlier events repeat; never one dearer
    than asked for."""
    body = asked(f"[[simulate: tier={served}]]", service_tier=wished, stream=stream)
    answer = stack.ask(PATH, body, key=rich)
    found = events(answer.content)[-1]["response"] if stream else answer.json()
    assert found["service_tier"] == served
    cost = cost_of(answer.content) if stream else parse_usd(answer.headers["x-corvus-cost-usd"])
    assert cost == bill.responses_nanos("gpt-5.5", found["usage"], 0, billed)


def test_the_output_limit_is_put_in_where_the_balance_is_small(stack: RunningStack) -> None:
    """Agents send none: the member is inserted, told in a header, and obeyed."""
    key = stack.new_key("0.03")
    answer = stack.ask(PATH, asked("[[simulate: tokens=5000 delay_ms=0]]", stream=True),
                       key=key["secret"])  # fmt: skip
    assert 1024 <= int(answer.headers["x-corvus-max-tokens"]) < 2000
    last = events(answer.content)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert 0 <= balance(stack, key["secret"]) < 10_000_000


def test_a_cut_stream_ends_with_a_failure_of_its_own(stack: RunningStack, rich: str) -> None:
    """Under the id and the next number of what was read, with its charge; no event after it."""
    before = balance(stack, rich)
    answer = stack.ask(PATH, asked("[[simulate: cut_after=7 reasoning=0]]", stream=True),
                       key=rich)  # fmt: skip
    found = events(answer.content)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[-1]["type"] == "response.failed"
    assert found[-1]["response"]["id"] == found[0]["response"]["id"]
    error = found[-1]["response"]["error"]
    assert error["code"] == "upstream_cut"
    spent = before - balance(stack, rich)
    assert 0 < parse_usd(error["charged"]) == spent == cost_of(answer.content)
    assert answer.content.count(b"event: response.failed") == 1


def test_the_upstreams_own_failure_passes_and_ours_is_not_added(stack: RunningStack) -> None:
    """Its error event, its response.failed, then only the comment; what came is charged."""
    answer = stack.ask(PATH, asked("[[simulate: error_after=5]]", stream=True))
    kinds = [event["type"] for event in events(answer.content)]
    assert kinds[-2:] == ["error", "response.failed"]
    assert kinds.count("response.failed") == 1
    assert b'"server_error"' in answer.content


def test_an_empty_account_of_the_operator_is_never_told(stack: RunningStack) -> None:
    """In the middle of a stream, too: an agent would stop for good on that word."""
    wish = "[[simulate: error_after=5; code=insufficient_quota]]"
    answer = stack.ask(PATH, asked(wish, stream=True))
    assert b"quota" not in answer.content.replace(wish.encode(), b"")
    assert events(answer.content)[-1]["response"]["error"]["code"] == "upstream_cut"


def test_silence_is_filled_with_comments_and_then_ended(stack: RunningStack) -> None:
    """Between events; the end is a response.failed."""
    answer = stack.ask(PATH, asked("[[simulate: stall_after=3]]", slug="gpt-4o-mini", stream=True))
    assert answer.content.count(b"\n\n: keep-alive\n\n") >= 1
    assert answer.content.count(b": keep-alive\n\n") >= 2
    assert events(answer.content)[-1]["response"]["error"]["code"] == "upstream_timeout"


def test_an_empty_balance_is_one_call_of_the_sdk(stack: RunningStack, empty: str) -> None:
    """429 with `insufficient_quota`, which it does not repeat."""
    import openai

    client, counting = openai_client(stack.api, empty)
    with pytest.raises(openai.RateLimitError) as refused:
        client.responses.create(model="gpt-5.5", input="hi", stream=True)
    assert refused.value.type == "insufficient_quota"
    assert refused.value.code == "insufficient_balance"
    assert counting.calls == 1


def test_openai_streams_a_tool_loop_of_responses(stack: RunningStack) -> None:
    """Two turns, streamed through the SDK, the reasoning given back as it came."""
    client, _ = openai_client(stack.api, stack.demo_key)
    items: list[Any] = [{"role": "user", "content": "what is it like in Oslo?"}]
    with client.responses.stream(
        model="gpt-5.5", input=items, tools=[WEATHER], tool_choice="required", store=False,
        include=["reasoning.encrypted_content"],
    ) as stream:  # fmt: skip
        first = stream.get_final_response()
    call = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather"
    assert set(json.loads(call.arguments)) == {"city"}
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = client.responses.create(model="gpt-5.5", input=items, tools=[WEATHER], stream=True)
    text = "".join(part.delta for part in second if part.type == "response.output_text.delta")
    assert text


def test_counting_is_free_and_never_refused_for_money(stack: RunningStack, empty: str) -> None:
    """By the upstream's own count under the right name; a model whose upstream counts nothing in
    this dialect is estimated, and the answer says so."""
    messages = [{"role": "user", "content": "hello there"}]
    client, _ = anthropic_client(stack.api, empty)
    counted = client.messages.count_tokens(model="claude-opus-5-5", messages=messages)  # type: ignore[arg-type]
    assert counted.input_tokens == 6
    tokens, _ = openai_client(stack.api, empty)
    assert (
        tokens.responses.input_tokens.count(model="gpt-5.5", input="hello there").input_tokens == 6
    )
    told = stack.ask("/v1/messages/count_tokens", {"model": "gpt-5.5", "messages": messages},
                     key=empty)  # fmt: skip
    assert told.headers["x-corvus-estimated"] == "true"
    assert 5 < told.json()["input_tokens"] < 40
    assert balance(stack, empty) == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v1/messages/count_tokens", {"model": "claude-x", "messages": []}, 404, "claude-x"),
        ("/v1/messages/count_tokens", {"messages": []}, 400, "model"),
        ("/v1/messages/count_tokens",
         {"model": "claude-opus-5-5", "messages": [], "container": "c"}, 400, "container"),
        ("/v1/messages/count_tokens", {"model": "claude-opus-5-5", "messages": []}, 400,
         "messages"),
        ("/v1/responses/input_tokens",
         {"model": "gpt-5.5", "input": "x", "previous_response_id": "r"}, 400, "previous"),
        ("/v1/responses/input_tokens", {"model": "text-embedding-3-small", "input": "x"}, 400,
         "embeddings"),
        ("/v1/embeddings", {"model": "gpt-5.5", "input": "x"}, 400, "/v1/chat/completions"),
        ("/v1/chat/completions", {"model": "text-embedding-3-small", "messages": []}, 400,
         "/v1/embeddings"),
        ("/v1/responses", {"model": "text-embedding-3-small", "input": "x"}, 400, "/v1/embeddings"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_says_why(
    stack: RunningStack, path: str, body: Any, status: int, word: str
) -> None:
    """In the dialect of the path."""
    answer = stack.ask(path, body)
    assert answer.status_code == status
    assert word in answer.json()["error"]["message"]
    assert (answer.json().get("type") == "error") == path.startswith("/v1/messages")


def test_a_frozen_key_counts_nothing(stack: RunningStack) -> None:
    """It may look at itself, not use the upstream."""
    key = stack.new_key("1")
    stack.command("keys", "freeze", key["key_id"], "--reason", "test")
    body = {"model": "gpt-5.5", "input": "x"}
    answer = stack.ask("/v1/responses/input_tokens", body, key=key["secret"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_disabled")


@pytest.mark.parametrize("given", ["one text", ["two", "texts"], [1, 2, 3], [[1, 2], [3]]])
def test_embeddings_are_charged_by_their_input(stack: RunningStack, rich: str, given: Any) -> None:
    """In either encoding, exactly what they report."""
    before = balance(stack, rich)
    client, _ = openai_client(stack.api, rich)
    made = client.embeddings.create(model="text-embedding-3-large", input=given, dimensions=8)
    assert len(made.data) == (2 if given in (["two", "texts"], [[1, 2], [3]]) else 1)
    assert all(len(row.embedding) == 8 for row in made.data)
    plain = stack.ask("/v1/embeddings", {
        "model": "text-embedding-3-large", "input": given, "dimensions": 8,
        "encoding_format": "base64"}, key=rich)  # fmt: skip
    raw = base64.b64decode(plain.json()["data"][0]["embedding"])
    assert list(struct.unpack("<8f", raw)) == pytest.approx(made.data[0].embedding)
    cost = bill.rounded(bill.prices("text-embedding-3-large", 0)["input"] * made.usage.total_tokens)
    assert parse_usd(plain.headers["x-corvus-cost-usd"]) == cost > 0
    assert balance(stack, rich) == before - 2 * cost


def test_models_in_every_shape_that_clients_ask_for(stack: RunningStack) -> None:
    """OpenAI's list, Anthropic's pages through its SDK, Codex's empty list; each row names its
    endpoints."""
    client, _ = openai_client(stack.api, stack.demo_key)
    rows = {row.id: row for row in client.models.list()}
    assert {"/v1/chat/completions", "/v1/responses"} <= {*rows["gpt-5.5"].endpoints}  # type: ignore[attr-defined]
    assert rows["text-embedding-3-small"].endpoints == ["/v1/embeddings"]  # type: ignore[attr-defined]
    assert client.models.retrieve("gpt-5.5").id == "gpt-5.5"
    claude, counting = anthropic_client(stack.api, stack.demo_key)
    assert [row.id for row in claude.models.list(limit=7)] == list(rows)
    assert counting.calls == -(-len(rows) // 7)
    assert stack.ask_get("/v1/models?client_version=0.169.0").json() == {"models": []}
    many = stack.ask_get("/v1/models?limit=1000").json()
    assert len(many["data"]) == len(rows)


@pytest.mark.parametrize(
    ("query", "first", "more"),
    [
        ("limit=2", 0, True),
        ("limit=1000", 0, False),
        ("after_id={1}&limit=2", 2, True),
        ("before_id={3}&limit=2", 1, True),
        ("before_id={1}&limit=5", 0, False),
        ("limit=0", None, None),
        ("limit=x", None, None),
        ("after_id=nobody", None, None),
    ],
)
def test_pages_of_models(stack: RunningStack, query: str, first: Any, more: Any) -> None:
    """Forwards and backwards from a model; what cannot be is a 400 that names the parameter."""
    ids = [row["id"] for row in stack.ask_get("/v1/models").json()["data"]]
    for place in range(4):
        query = query.replace(f"{{{place}}}", ids[place])
    answer = httpx.get(f"{stack.api}/v1/models?{query}", trust_env=False, headers={
        "x-api-key": stack.demo_key, "anthropic-version": "2026-10-21"})  # fmt: skip
    if first is None:
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(query.partition("=")[0])
        return
    found = answer.json()
    assert found["has_more"] is more
    assert found["first_id"] == ids[first] == found["data"][0]["id"]
    assert found["last_id"] == found["data"][-1]["id"]


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("GET", "/v1/responses/resp_1", "not stored"),
        ("POST", "/v1/responses/compact", "Compaction"),
        ("POST", "/v1/messages/batches", "one by one"),
        ("POST", "/v1/files", "content in the request"),
        ("POST", "/openai/v1/chat/completions", "the base URL is"),
        ("POST", "/anthropic/v1/messages", "the base URL is"),
        ("POST", "//v1/messages", "client calls http"),
        ("POST", "/v1/messages/", "nothing before or behind"),
        ("POST", "/v1/messages/v1/messages", "/v1/messages."),
        ("POST", "/v1/chat/completions/chat/completions", "/v1/chat/completions."),
        ("POST", "/openai/deployments/gpt/chat/completions", "/v1/chat/completions."),
        ("POST", "/proxy/v1/messages/count_tokens", "/v1/messages/count_tokens."),
        ("GET", "/proxy/models", "/v1/models."),
        ("POST", "/v1/threads/t_1/messages", "Assistants"),
        ("POST", "/v1/completions", "/v1/chat/completions"),
        ("POST", "/responses", "ends in /v1"),
        ("POST", "/v1/nothing", "Served are"),
    ],
)
def test_a_404_says_what_was_meant(stack: RunningStack, method: str, path: str, word: str) -> None:
    """Or why there is nothing there."""
    answer = httpx.request(method, stack.api + path, trust_env=False)
    assert answer.status_code == 404
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_hello_needs_no_key(stack: RunningStack, method: str) -> None:
    """An agent asks it first, without credentials."""
    answer = httpx.request(method, stack.api + "/api/hello", trust_env=False)
    assert answer.status_code == 200
    assert bool(answer.content) == (method == "GET")


def test_a_quote_takes_the_same_requests(stack: RunningStack) -> None:
    """The ceiling of a response and of embeddings, by their own members."""
    quoted = stack.ask("/v1/quote", asked("hi", max_output_tokens=100)).json()
    assert (quoted["dialect"], quoted["output_tokens_max"]) == ("responses", 100)
    quoted = stack.ask("/v1/quote", asked("hi", slug="text-embedding-3-small")).json()
    assert (quoted["dialect"], quoted["output_tokens_max"]) == ("embeddings", 0)
    assert quoted["ceiling_nanos"] > 0
