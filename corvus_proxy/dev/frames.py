"""A plan in the bytes of its family: streamed frames as the recordings show them, or one JSON body."""

import json
from typing import Any

from corvus_proxy.dev.answers import Plan

CREATED = 1_790_000_000
_CHAT_FINISH = {"stop": "stop", "length": "length", "tool": "tool_calls"}
_MESSAGES_STOP = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}


class Frame(tuple[bytes, bool]):
    """The bytes of one event, and whether it carries one token of output."""

    __slots__ = ()

    def __new__(cls, data: bytes, *, token: bool = False) -> "Frame":
        return super().__new__(cls, (data, token))


def usage(plan: Plan, output_tokens: int) -> dict[str, Any]:
    """The usage object as the family reports it."""
    if plan.family == "anthropic":
        written = plan.cache_write
        return {
            "input_tokens": plan.prompt_tokens - plan.cache_read - written,
            "cache_creation_input_tokens": written, "cache_read_input_tokens": plan.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if plan.cache_1h else written,
                "ephemeral_1h_input_tokens": written if plan.cache_1h else 0},
            "output_tokens": output_tokens, "service_tier": "standard",
        }
    reasoning = len(plan.reasoning) + plan.hidden_reasoning
    details: dict[str, int] = {"cached_tokens": plan.cache_read}
    if plan.family == "openai":
        details |= {"audio_tokens": 0, "cache_write_tokens": plan.cache_write}
    return {
        "prompt_tokens": plan.prompt_tokens, "completion_tokens": output_tokens,
        "total_tokens": plan.prompt_tokens + output_tokens, "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": min(reasoning, output_tokens)},
    }


def whole(plan: Plan) -> dict[str, Any]:
    """The answer of a request without `stream`."""
    counts = usage(plan, plan.output_tokens)
    if plan.family == "anthropic":
        content: list[dict[str, Any]] = []
        if plan.reasoning:
            content.append({"type": "thinking", "thinking": "".join(plan.reasoning),
                            "signature": f"sig-{plan.answer_id}"})
        if plan.tool:
            content.append({"type": "tool_use", "id": f"toolu_{plan.answer_id}",
                            "name": plan.tool[0], "input": json.loads(plan.tool[1])})
        elif plan.text:
            content.append({"type": "text", "text": "".join(plan.text)})
        return {
            "id": f"msg_{plan.answer_id}", "type": "message", "role": "assistant",
            "model": plan.model, "content": content, "stop_sequence": None,
            "stop_reason": _MESSAGES_STOP[plan.finish], "usage": counts,
        }
    message: dict[str, Any] = {"role": "assistant", "content": "".join(plan.text) or None}
    if plan.reasoning:
        message["reasoning_content"] = "".join(plan.reasoning)
    if plan.tool:
        message["tool_calls"] = [_call(plan, plan.tool[1])]
    return {
        "id": f"chatcmpl-{plan.answer_id}", "object": "chat.completion", "created": CREATED,
        "model": plan.model, "usage": counts,
        "choices": [{"index": 0, "message": message, "finish_reason": _CHAT_FINISH[plan.finish]}],
    }


def stream(plan: Plan) -> list[Frame]:
    """The frames of a streamed answer."""
    return _messages(plan) if plan.family == "anthropic" else _chat(plan)


def _event(name: str, body: dict[str, Any], *, token: bool = False) -> Frame:
    # The real API pads its objects with spaces before the last brace.
    text = json.dumps({"type": name, **body}, separators=(",", ":"))
    data = f"event: {name}\ndata: {text[:-1]}{' ' * (len(text) % 7)}}}\n\n"
    return Frame(data.encode(), token=token)


def _messages(plan: Plan) -> list[Frame]:
    start = usage(plan, 1)
    message = {"id": f"msg_{plan.answer_id}", "type": "message", "role": "assistant",
               "model": plan.model, "content": [], "stop_reason": None, "stop_sequence": None,
               "usage": start}
    frames = [_event("message_start", {"message": message}), Frame(
        b'event: ping\ndata: {"type": "ping"}\n\n')]
    index = 0
    if plan.reasoning:
        frames += _block(index, {"type": "thinking", "thinking": "", "signature": ""}, [
            ({"type": "thinking_delta", "thinking": piece}, True) for piece in plan.reasoning
        ] + [({"type": "signature_delta", "signature": f"sig-{plan.answer_id}"}, False)])
        index += 1
    if plan.tool:
        block = {"type": "tool_use", "id": f"toolu_{plan.answer_id}", "name": plan.tool[0],
                 "input": {}}
        frames += _block(index, block, [
            ({"type": "input_json_delta", "partial_json": piece}, True) for piece in plan.pieces])
    elif plan.text:
        frames += _block(index, {"type": "text", "text": ""}, [
            ({"type": "text_delta", "text": piece}, True) for piece in plan.text])
    counts = usage(plan, plan.output_tokens)
    del counts["cache_creation"], counts["service_tier"]
    frames.append(_event("message_delta", {
        "delta": {"stop_reason": _MESSAGES_STOP[plan.finish], "stop_sequence": None},
        "usage": counts}))
    frames.append(_event("message_stop", {}))
    return frames


def _block(
    index: int, block: dict[str, Any], deltas: list[tuple[dict[str, Any], bool]]
) -> list[Frame]:
    frames = [_event("content_block_start", {"index": index, "content_block": block})]
    frames += [_event("content_block_delta", {"index": index, "delta": delta}, token=token)
               for delta, token in deltas]
    frames.append(_event("content_block_stop", {"index": index}))
    return frames


def _call(plan: Plan, arguments: str) -> dict[str, Any]:
    name = plan.tool[0] if plan.tool else ""
    return {"id": f"call_{plan.answer_id}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


def _chat(plan: Plan) -> list[Frame]:
    def chunk(choices: list[dict[str, Any]], *, token: bool = False, **more: Any) -> Frame:
        body: dict[str, Any] = {
            "id": f"chatcmpl-{plan.answer_id}", "object": "chat.completion.chunk",
            "created": CREATED, "model": plan.model, "choices": choices}
        if plan.family == "openai" and plan.include_usage and "usage" not in more:
            body["usage"] = None
        if plan.family == "openai":
            more["obfuscation"] = "x" * (8 + len(plan.answer_id) % 5)
        text = json.dumps({**body, **more}, separators=(",", ":"))
        return Frame(f"data: {text}\n\n".encode(), token=token)

    def delta(part: dict[str, Any], *, token: bool = False, finish: str | None = None,
              **more: Any) -> Frame:
        return chunk([{"index": 0, "delta": part, "finish_reason": finish}], token=token, **more)

    counts = usage(plan, plan.output_tokens)
    frames = [delta({"role": "assistant", "content": ""})] if plan.family == "openai" else []
    frames += [delta({"role": "assistant", "reasoning_content": piece}, token=True)
               for piece in plan.reasoning]
    if plan.tool and plan.family == "glm":
        frames.append(delta({"tool_calls": [{"index": 0, **_call(plan, plan.tool[1])}]}, token=True))
    elif plan.tool:
        frames.append(delta({"tool_calls": [{"index": 0, **_call(plan, "")}]}))
        frames += [delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]},
                         token=True) for piece in plan.pieces]
    else:
        frames += [delta({"content": piece}, token=True) for piece in plan.text]
    if plan.family == "glm":
        # Usage stands beside the last choice, as in every recorded stream of this family.
        frames.append(delta({}, finish=_CHAT_FINISH[plan.finish], usage=counts))
    else:
        frames.append(delta({}, finish=_CHAT_FINISH[plan.finish]))
        if plan.include_usage:
            frames.append(chunk([], usage=counts))
    frames.append(Frame(b"data: [DONE]\n\n"))
    return frames
