"""Members that touch the upstream account: refused, sent as null, or made the customer's own."""

import json
from typing import Any

import pytest

from corvus_proxy._fast import scan_body
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire import edits, request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.tenancy import names
from corvus_proxy.wire.tenancy.fields import TABLE, Deed, Field

MINE, THEIRS = names.Tenant(b"p" * 32, "w_mine"), names.Tenant(b"p" * 32, "w_theirs")
LEAST: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"model": "m", "messages": []},
    Dialect.MESSAGES: {"model": "m", "messages": [], "max_tokens": 9},
    Dialect.RESPONSES: {"model": "m", "input": "x", "store": False},
    Dialect.EMBEDDINGS: {"model": "m", "input": "x"},
}
VALUES = ["text", 5, True, ["a"], {"a": "b"}]
"""Of members whatever their type: what is not null is judged."""


def rows(deed: Deed) -> list[Any]:
    """The table's rows with a deed."""
    return [pytest.param(dialect, one, id=f"{dialect.value}-{one.member}")
            for dialect, table in TABLE.items() for one in table if one.deed is deed]  # fmt: skip


def body_with(dialect: Dialect, member: str, value: Any) -> bytes:
    """The least body of a dialect, and one member more in its middle."""
    outer, _, inner = member.partition(".")
    given = {**LEAST[dialect], outer: {"before": 1, inner: value} if inner else value}
    return json.dumps({**given, "temperature": 1}).encode()


def sent(dialect: Dialect, body: bytes, tenant: names.Tenant = MINE) -> bytes:
    return edits.apply(body, names.splices(dialect, body, scan_body(body), tenant))


def value_of(body: bytes, member: str) -> Any:
    found: Any = json.loads(body)
    for name in member.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize(("dialect", "one"), rows(Deed.REFUSED))
def test_a_member_that_reaches_the_account_is_refused_by_its_name(
    dialect: Dialect, one: Field
) -> None:
    """Whatever is in it, but null and what the row says is served."""
    for value in VALUES:
        if json.dumps(value).encode() in one.served:
            continue
        body = body_with(dialect, one.member, value)
        with pytest.raises(InvalidRequest) as refused:
            request.read(dialect, body)
        assert refused.value.param == one.member
    for served in (b"null", *one.served):
        body = body_with(dialect, one.member, "HERE").replace(b'"HERE"', served)
        asked = request.read(dialect, body)
        assert asked.model == "m"
        assert sent(dialect, body) == body


@pytest.mark.parametrize(("dialect", "one"), rows(Deed.NULLED))
def test_a_member_that_clients_do_without_is_sent_as_null(dialect: Dialect, one: Field) -> None:
    """By a splice of its value; nothing else changes, and null stays as it is."""
    for value in VALUES:
        body = body_with(dialect, one.member, value)
        request.read(dialect, body)
        assert sent(dialect, body) == body_with(dialect, one.member, None)
    untouched = body_with(dialect, one.member, None)
    assert sent(dialect, untouched) is untouched


@pytest.mark.parametrize(("dialect", "one"), rows(Deed.OWN))
def test_a_name_is_made_the_customers_own(dialect: Dialect, one: Field) -> None:
    """The same for the same text, another for another text, member or wallet; 32 hex digits."""
    body = body_with(dialect, one.member, "alice")
    request.read(dialect, body)
    mine = value_of(sent(dialect, body), one.member)
    assert sent(dialect, body) == body_with(dialect, one.member, mine)
    assert len(mine) == names.DIGITS
    assert int(mine, 16) >= 0
    assert value_of(sent(dialect, body), one.member) == mine
    assert value_of(sent(dialect, body, THEIRS), one.member) != mine
    other = body_with(dialect, one.member, "bob")
    assert value_of(sent(dialect, other), one.member) != mine
    other_pepper = names.Tenant(b"q" * 32, "w_mine")
    assert value_of(sent(dialect, body, other_pepper), one.member) != mine
    assert b"alice" not in sent(dialect, body)
    absent = json.dumps(LEAST[dialect]).encode()
    assert sent(dialect, absent) is absent
    assert sent(dialect, body_with(dialect, one.member, None)) == body_with(
        dialect, one.member, None
    )


@pytest.mark.parametrize(("dialect", "one"), rows(Deed.FORCED))
@pytest.mark.parametrize("given", [True, False, None, "absent"])
def test_nothing_is_stored_whatever_a_client_says(dialect: Dialect, one: Field, given: Any) -> None:
    """True, null and silence become false; false stays in its place."""
    least = {**LEAST[dialect], one.member: given}
    if given == "absent":
        del least[one.member]
    body = json.dumps(least).encode()
    edited = edits.apply(body, list(request.read(dialect, body).splices))
    assert json.loads(edited) == {**least, one.member: False}
    assert (edited == body) is (given is False)


def test_the_way_a_name_is_written_does_not_matter() -> None:
    """Escapes say the same text; a caches' key hits again whoever wrote it."""
    plain = b'{"model":"m","messages":[],"prompt_cache_key":"a/\xc3\xa9"}'
    escaped = b'{"model":"m","messages":[],"prompt\\u005fcache_key" : "a\\/\\u00e9" }'
    found = [value_of(sent(Dialect.CHAT, body), "prompt_cache_key") for body in (plain, escaped)]
    assert found[0] == found[1]


def test_names_that_are_no_texts_are_told_apart_all_the_same() -> None:
    """Numbers, objects, texts with half a character: each has a name, and no two the same."""
    bodies = [b'{"user":%b}' % value for value in
              (b"5", b'"5"', b"[5]", b'{"a":5}', b'"\\ud800"', b'"\\ud801"', b"true")]  # fmt: skip
    found = [value_of(sent(Dialect.CHAT, body), "user") for body in bodies]
    assert len({*found}) == len(found)


def test_a_name_that_stands_twice_is_refused() -> None:
    """Of two the provider may take either."""
    body = b'{"metadata":{"user_id":"a","user\\u005fid":"b"}}'
    with pytest.raises(InvalidRequest, match=r"metadata\.user_id stands more than once"):
        sent(Dialect.MESSAGES, body)
    assert sent(Dialect.MESSAGES, b'{"metadata":[1]}') == b'{"metadata":[1]}'


def test_a_stored_file_is_refused_with_its_place() -> None:
    """The client is told which of its blocks it is."""
    call = {"type": "tool_use", "input": {"file_id": "mine"}}
    image = {"type": "image", "source": {"file_id": "f"}}
    turn = {"role": "user", "content": [{"type": "text", "text": "x"}, call, image]}
    body = json.dumps({**LEAST[Dialect.MESSAGES], "messages": [turn]}).encode()
    with pytest.raises(InvalidRequest) as refused:
        request.read(Dialect.MESSAGES, body)
    assert refused.value.param == "messages[0].content[2].source.file_id"
    spoken = {**LEAST[Dialect.CHAT], "messages": [{"role": "assistant", "audio": {"id": "a"}}]}
    with pytest.raises(InvalidRequest) as refused:
        request.read(Dialect.CHAT, json.dumps(spoken).encode())
    assert refused.value.param == "messages[0].audio"


PASSED: dict[Dialect, set[str]] = {
    Dialect.CHAT: {
        "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "moderation",
        "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_options",
        "prompt_cache_retention", "reasoning_effort", "response_format", "seed", "stop",
        "temperature", "tool_choice", "top_logprobs", "top_p", "verbosity",
        # read for price and hold
        "max_completion_tokens", "max_tokens", "messages", "modalities", "model", "n",
        "service_tier", "stream_options", "tools",
    },
    Dialect.MESSAGES: {
        "cache_control", "output_config", "stop_sequences", "system", "tool_choice",
        "betas",  # the SDK's name of a header
        "context_management", "inference_geo", "max_tokens", "messages", "metadata", "model",
        "service_tier", "speed", "thinking", "tools",
    },
    Dialect.RESPONSES: {
        "image", "include", "instructions", "max_tool_calls", "moderation", "parallel_tool_calls",
        "prompt_cache_options", "prompt_cache_retention", "stream_options", "temperature", "text",
        "tool_choice", "top_logprobs", "top_p", "truncation",
        "betas",  # the SDK's name of a header
        "input", "max_output_tokens", "model", "reasoning", "service_tier", "tools",
    },
    Dialect.EMBEDDINGS: {"dimensions", "encoding_format", "input", "model"},
}  # fmt: skip
"""Members that touch nothing that customers share, or that are read where they are priced."""


def test_every_member_that_the_sdks_know_has_been_looked_at() -> None:
    """In the table, or harmless: a new member of a new SDK is to be judged before it passes."""
    from anthropic.types.beta.message_create_params import MessageCreateParamsBase
    from openai.types.beta.response_create_params import ResponseCreateParamsBase as BetaParamsBase
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase
    from openai.types.embedding_create_params import EmbeddingCreateParams
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    for dialect, params in (
        (Dialect.CHAT, CompletionCreateParamsBase), (Dialect.MESSAGES, MessageCreateParamsBase),
        (Dialect.RESPONSES, ResponseCreateParamsBase), (Dialect.RESPONSES, BetaParamsBase),
        (Dialect.EMBEDDINGS, EmbeddingCreateParams),
    ):  # fmt: skip
        table = {one.member for one in TABLE[dialect]}
        assert not table & PASSED[dialect]
        assert set(params.__annotations__) - table - PASSED[dialect] == set()
