"""A plan in its family's bytes: streamed frames as real ones look, or one JSON body.

The shapes follow recorded answers of the three families: Anthropic names every event and pads its
JSON with spaces before the last brace; OpenAI adds `obfuscation`, and a last chunk with usage and
no choices only when asked; Z.AI puts usage beside the choice that finishes.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from corvus_proxy.dev.answers import Plan

CREATED = 1_790_000_000
_OPENAI_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool": "tool_calls",
    "refusal": "content_filter",
}
_CHAT_FINISH = {"openai": _OPENAI_FINISH, "glm": {**_OPENAI_FINISH, "refusal": "sensitive"}}
_MESSAGES_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "refusal": "refusal",
}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_DONE = b"data: [DONE]\n\n"
PING_EVERY_DELTAS = 48
CONTENT_TYPE = {
    "anthropic": "text/event-stream; charset=utf-8",
    "openai": "text/event-stream; charset=utf-8",
    "glm": "text/event-stream;charset=UTF-8",
}


class Frame(NamedTuple):
    """The bytes of one event, and what it carries."""

    data: bytes
    tokens: int = 0
    """Tokens of output."""
    usage: bool = False
    """The answer's final usage."""


def usage(plan: Plan, output_tokens: int) -> dict[str, Any]:
    """The usage object as the family reports it, of an answer of `output_tokens` so far."""
    prompt, written = plan.prompt, plan.prompt.write_5m + plan.prompt.write_1h
    reasoning = min(plan.reasoning_tokens, output_tokens)
    if plan.family == "anthropic":
        found: dict[str, Any] = {
            "input_tokens": prompt.tokens - prompt.read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": prompt.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": prompt.write_5m,
                "ephemeral_1h_input_tokens": prompt.write_1h,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
            "inference_geo": plan.geo,
        }
        if plan.tier:
            found["speed"] = plan.tier
        if reasoning:
            found["output_tokens_details"] = {"thinking_tokens": reasoning}
        return found
    if plan.dialect == "messages":  # Z.AI's, which has no more than these
        return {
            "input_tokens": prompt.tokens - prompt.read,
            "cache_read_input_tokens": prompt.read,
            "output_tokens": output_tokens,
        }
    details: dict[str, int] = {"cached_tokens": prompt.read}
    output_details: dict[str, int] = {"reasoning_tokens": reasoning}
    if plan.family == "openai":
        details["audio_tokens"] = 0
        if plan.charges_writes:
            details["cache_write_tokens"] = written
        output_details |= {
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return {
        "prompt_tokens": prompt.tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt.tokens + output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": output_details,
    }


def headers(family: str, request_id: str) -> list[tuple[str, str]]:
    """Headers as the family sends them; most of them describe the operator's account."""
    if family == "anthropic":
        return [
            ("request-id", request_id),
            ("anthropic-organization-id", "org-simulated"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2026-10-21T12:00:00Z"),
            ("anthropic-ratelimit-tokens-remaining", "399000"),
            ("strict-transport-security", "max-age=31536000"),
            ("cf-cache-status", "DYNAMIC"),
            ("server", "simulated"),
        ]
    if family == "openai":
        return [
            ("x-request-id", request_id),
            ("openai-organization", "org-simulated"),
            ("openai-project", "proj-simulated"),
            ("openai-processing-ms", "21"),
            ("openai-version", "2020-10-01"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("set-cookie", "__cf_bm=simulated; path=/"),
            ("cf-ray", "simulated-AMS"),
            ("server", "simulated"),
        ]
    return [("x-request-id", request_id), ("x-log-id", request_id), ("server", "simulated")]


def whole(plan: Plan) -> dict[str, Any]:
    """The answer of a request without `stream`."""
    counts = usage(plan, plan.output_tokens)
    if plan.dialect == "messages":
        return {
            "id": f"msg_{plan.answer_id}",
            "type": "message",
            "role": "assistant",
            "model": plan.model,
            "content": _content(plan),
            "stop_sequence": None,
            "stop_reason": _MESSAGES_STOP[plan.finish],
            "usage": counts,
        }
    message: dict[str, Any] = {"role": "assistant", "content": "".join(plan.text) or None}
    if plan.reasoning:
        message["reasoning_content"] = "".join(plan.reasoning)
    if plan.tool:
        message["tool_calls"] = [_call(plan, "".join(plan.tool.pieces))]
    choices = [
        {
            "index": index,
            "message": message,
            "finish_reason": _CHAT_FINISH[plan.family][plan.finish],
        }
        for index in range(plan.choices)
    ]
    body: dict[str, Any] = {
        "id": _chat_id(plan),
        "object": "chat.completion",
        "created": CREATED,
        "model": plan.model,
        "choices": choices,
        "usage": counts,
    }
    if plan.family == "glm":
        body["request_id"] = body["id"]
    else:
        message["refusal"] = None
        body |= {"system_fingerprint": "fp_simulated"} | _told_tier(plan)
    return body


def _content(plan: Plan) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if plan.reasoning:
        content.append(
            {
                "type": "thinking",
                "thinking": "".join(plan.reasoning),
                "signature": f"sig-{plan.answer_id}",
            }
        )
    if plan.tool:
        text = "".join(plan.tool.pieces)
        # Arguments that the limit cut short are no JSON; the real API then shows what it has.
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_{plan.answer_id}",
                "name": plan.tool.name,
                "input": json.loads(text) if plan.finish == "tool" else {},
            }
        )
    elif plan.text:
        content.append({"type": "text", "text": "".join(plan.text)})
    return content


def stream(plan: Plan) -> Iterator[Frame]:
    """The frames of a streamed answer."""
    return _messages(plan) if plan.dialect == "messages" else _chat(plan)


# -- Anthropic ----------------------------------------------------------------------------------


def _event(name: str, body: dict[str, Any], *, tokens: int = 0, counts: bool = False) -> Frame:
    text = json.dumps({"type": name, **body}, separators=(",", ":"))
    data = f"event: {name}\ndata: {text[:-1]}{' ' * (len(text) % 7)}}}\n\n"
    return Frame(data.encode(), tokens, counts)


def _first_usage(plan: Plan) -> dict[str, Any]:
    """Of `message_start`: the input, and a place for the output; Z.AI tells nothing there."""
    if plan.family == "glm":
        return {"input_tokens": 0, "output_tokens": 0}
    return usage(plan, min(1, plan.output_tokens))


def _messages(plan: Plan) -> Iterator[Frame]:
    yield _event(
        "message_start",
        {
            "message": {
                "id": f"msg_{plan.answer_id}",
                "type": "message",
                "role": "assistant",
                "model": plan.model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": _first_usage(plan),
            }
        },
    )
    index = 0
    if plan.reasoning:
        yield from _block(
            index,
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": piece} for piece in plan.reasoning],
            signature=f"sig-{plan.answer_id}",
        )
        index += 1
    if plan.tool:
        yield from _block(
            index,
            {
                "type": "tool_use",
                "id": f"toolu_{plan.answer_id}",
                "name": plan.tool.name,
                "input": {},
            },
            [{"type": "input_json_delta", "partial_json": piece} for piece in plan.tool.pieces],
        )
    elif plan.text:
        yield from _block(
            index,
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": piece} for piece in plan.text],
        )
    counts = usage(plan, plan.output_tokens)
    # What served stands in `message_start` alone.
    for name in ("cache_creation", "service_tier", "inference_geo", "speed"):
        counts.pop(name, None)
    yield _event(
        "message_delta",
        {
            "delta": {"stop_reason": _MESSAGES_STOP[plan.finish], "stop_sequence": None},
            "usage": counts,
        },
        counts=True,
    )
    yield _event("message_stop", {})


def _block(
    index: int, block: dict[str, Any], deltas: list[dict[str, Any]], *, signature: str = ""
) -> Iterator[Frame]:
    yield _event("content_block_start", {"index": index, "content_block": block})
    for at, delta in enumerate(deltas):
        if at % PING_EVERY_DELTAS == 0:
            yield Frame(_PING)
        yield _event("content_block_delta", {"index": index, "delta": delta}, tokens=1)
    if signature:
        yield _event(
            "content_block_delta",
            {"index": index, "delta": {"type": "signature_delta", "signature": signature}},
        )
    yield _event("content_block_stop", {"index": index})


# -- OpenAI and Z.AI ----------------------------------------------------------------------------


def _chat_id(plan: Plan) -> str:
    return f"chatcmpl-{plan.answer_id}" if plan.family == "openai" else plan.answer_id


def _told_tier(plan: Plan) -> dict[str, str]:
    return {"service_tier": plan.tier} if plan.tier else {}


def _call(plan: Plan, arguments: str) -> dict[str, Any]:
    name = plan.tool.name if plan.tool else ""
    if plan.tool and plan.tool.kind == "custom":
        custom = {"name": name, "input": arguments}
        return {"id": f"call_{plan.answer_id}", "type": "custom", "custom": custom}
    return {
        "id": f"call_{plan.answer_id}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _chunk(
    plan: Plan,
    choices: list[dict[str, Any]],
    counts: dict[str, Any] | None = None,
    *,
    tokens: int = 0,
) -> Frame:
    body: dict[str, Any] = {
        "id": _chat_id(plan),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": plan.model,
    }
    if plan.family == "openai":
        body |= _told_tier(plan) | {"system_fingerprint": "fp_simulated"}
    body["choices"] = choices
    if counts is not None or (plan.family == "openai" and plan.include_usage):
        body["usage"] = counts
    if plan.family == "openai" and plan.obfuscate:
        body["obfuscation"] = plan.answer_id[: 1 + len(json.dumps(choices)) % 13]
    text = json.dumps(body, separators=(",", ":"))
    return Frame(f"data: {text}\n\n".encode(), tokens, counts is not None)


def _chat(plan: Plan) -> Iterator[Frame]:
    counts = usage(plan, plan.output_tokens)
    for index in range(plan.choices):
        yield from (_openai if plan.family == "openai" else _glm)(plan, index)
    if plan.family == "openai" and plan.include_usage:
        yield _chunk(plan, [], counts)
    yield Frame(_DONE)


def _openai(plan: Plan, index: int) -> Iterator[Frame]:
    def delta(part: dict[str, Any], *, tokens: int = 0, finish: str | None = None) -> Frame:
        return _chunk(
            plan,
            [{"index": index, "delta": part, "logprobs": None, "finish_reason": finish}],
            tokens=tokens,
        )

    if plan.tool:
        yield delta(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": 0, **_call(plan, "")}],
                "refusal": None,
            }
        )
        custom = plan.tool.kind == "custom"
        for piece in plan.tool.pieces:
            told = {"custom": {"input": piece}} if custom else {"function": {"arguments": piece}}
            yield delta({"tool_calls": [{"index": 0, **told}]}, tokens=1)
    else:
        yield delta({"role": "assistant", "content": "", "refusal": None})
        for piece in plan.text:
            yield delta({"content": piece}, tokens=1)
    yield delta({}, finish=_CHAT_FINISH[plan.family][plan.finish])


def _glm(plan: Plan, index: int) -> Iterator[Frame]:
    def delta(part: dict[str, Any], *, tokens: int = 1) -> Frame:
        return _chunk(plan, [{"index": index, "delta": part}], tokens=tokens)

    for piece in plan.reasoning:
        yield delta({"role": "assistant", "reasoning_content": piece})
    for piece in plan.text:
        yield delta({"role": "assistant", "content": piece})
    if plan.tool:
        # This family sends all arguments in one chunk.
        yield delta(
            {"tool_calls": [{"index": 0, **_call(plan, "".join(plan.tool.pieces))}]},
            tokens=len(plan.tool.pieces),
        )
    last = index == plan.choices - 1
    yield _chunk(
        plan,
        [
            {
                "index": index,
                "finish_reason": _CHAT_FINISH[plan.family][plan.finish],
                "delta": {"role": "assistant", "content": ""},
            }
        ],
        usage(plan, plan.output_tokens) if last else None,
    )
