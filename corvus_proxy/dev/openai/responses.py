"""A plan as a response: the events of its stream, or one JSON object.

Shapes as of recorded answers: every event numbered, each item announced, told piece by piece and
told again when it is done; usage and the tier that served stand in the last event alone.
"""

import json
from collections.abc import Iterator
from typing import Any

from corvus_proxy.dev.answers import Plan
from corvus_proxy.dev.frames import CREATED, Frame

_STATUS = {"length": "max_output_tokens", "refusal": "content_filter"}
"""Why an answer is incomplete, by how it finishes."""


def usage(plan: Plan, output_tokens: int) -> dict[str, Any]:
    """The usage of a response of `output_tokens` so far."""
    prompt = plan.prompt
    details = {"cached_tokens": prompt.read}
    if plan.charges_writes:
        details["cache_write_tokens"] = prompt.write_5m + prompt.write_1h
    return {
        "input_tokens": prompt.tokens,
        "input_tokens_details": details,
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": min(plan.reasoning_tokens, output_tokens)},
        "total_tokens": prompt.tokens + output_tokens,
    }


def whole(plan: Plan) -> dict[str, Any]:
    """The answer of a request without `stream`."""
    return _response(plan, _ended(plan), _items(plan), usage(plan, plan.output_tokens))


def stream(plan: Plan) -> Iterator[Frame]:
    """The events of a streamed answer."""
    for number, (frame, name, body) in enumerate(_told(plan)):
        yield frame._replace(data=_event(name, number, body))


def failed(plan: Plan, number: int, code: str, message: str) -> bytes:
    """How a response fails in its middle: an error that stands nested, then the end without
    usage."""
    error = {"type": code, "code": code, "message": message, "param": None}
    response = _response(plan, "failed", [], None) | {"error": {"code": code, "message": message}}
    return _event("error", number, {"error": error}) + _event(
        "response.failed", number + 1, {"response": response}
    )


def _event(name: str, number: int, body: dict[str, Any]) -> bytes:
    text = json.dumps({"type": name, "sequence_number": number, **body}, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def _told(plan: Plan) -> Iterator[tuple[Frame, str, dict[str, Any]]]:
    plain = Frame(b"")
    opened = _response(plan, "in_progress", [], None)
    yield plain, "response.created", {"response": opened}
    yield plain, "response.in_progress", {"response": opened}
    items = _items(plan)
    for at, item in enumerate(items):
        place = {"output_index": at}
        begun = {**item, **_blank(item)}
        yield plain, "response.output_item.added", {**place, "item": begun}
        inside = {**place, "item_id": item["id"]}
        if item["type"] == "message":
            yield from _message(plan, inside, item["content"][0])
        elif item["type"] != "reasoning" and plan.tool:
            word, member = ("function_call_arguments", "arguments")
            if item["type"] == "custom_tool_call":
                word, member = ("custom_tool_call_input", "input")
            for piece in plan.tool.pieces:
                yield (
                    Frame(b"", 1),
                    f"response.{word}.delta",
                    {**inside, "delta": piece, **_padding(plan, piece)},
                )
            yield plain, f"response.{word}.done", {**inside, member: item[member]}
        yield plain, "response.output_item.done", {**place, "item": item}
    ended = _response(plan, _ended(plan), items, usage(plan, plan.output_tokens))
    yield Frame(b"", usage=True), f"response.{_ended(plan)}", {"response": ended}


def _message(
    plan: Plan, inside: dict[str, Any], part: dict[str, Any]
) -> Iterator[tuple[Frame, str, dict[str, Any]]]:
    plain, place = Frame(b""), {**inside, "content_index": 0}
    yield plain, "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for piece in plan.text:
        yield (
            Frame(b"", 1),
            "response.output_text.delta",
            {**place, "delta": piece, "logprobs": [], **_padding(plan, piece)},
        )
    yield plain, "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield plain, "response.content_part.done", {**place, "part": part}


def _padding(plan: Plan, piece: str) -> dict[str, str]:
    return {"obfuscation": plan.answer_id[: 1 + len(piece) % 13]} if plan.obfuscate else {}


def _blank(item: dict[str, Any]) -> dict[str, Any]:
    """What an item does not have yet where it is announced."""
    empty: dict[str, Any] = {"content": [], "arguments": "", "input": "", "status": "in_progress"}
    return {name: value for name, value in empty.items() if name in item}


def _items(plan: Plan) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    status = "incomplete" if plan.finish in _STATUS else "completed"
    if plan.hidden_reasoning:
        found.append(
            {
                "id": f"rs_{plan.answer_id}",
                "type": "reasoning",
                "summary": [],
                "encrypted_content": f"gAAAA{plan.answer_id * 4}",
            }
        )
    if plan.tool:
        custom = plan.tool.kind == "custom"
        item = {
            "id": f"{'ctc' if custom else 'fc'}_{plan.answer_id}",
            "type": "custom_tool_call" if custom else "function_call",
            "status": status,
            "call_id": f"call_{plan.answer_id}",
            "name": plan.tool.name,
            "input" if custom else "arguments": "".join(plan.tool.pieces),
        }
        found.append(item | ({"namespace": plan.tool.namespace} if plan.tool.namespace else {}))
    else:
        found.append(
            {
                "id": f"msg_{plan.answer_id}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "annotations": [],
                        "logprobs": [],
                        "text": "".join(plan.text),
                    }
                ],
            }
        )
    return found


def _ended(plan: Plan) -> str:
    return "incomplete" if plan.finish in _STATUS else "completed"


def _response(
    plan: Plan, status: str, output: list[dict[str, Any]], counts: dict[str, Any] | None
) -> dict[str, Any]:
    why = _STATUS.get(plan.finish) if status == "incomplete" else None
    tools = {"web_search": {"num_requests": 0}}
    return {
        "id": f"resp_{plan.answer_id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": plan.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        # What serves is told where all is told; before, only that nothing is decided.
        "service_tier": (plan.tier or None) if counts else "auto",
        "store": plan.stored,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "usage": counts,
        "metadata": {},
        **({"tool_usage": tools} if counts else {}),
    }
