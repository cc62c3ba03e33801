"""Usage that is not what was made, where a request asks for it: left out, altered, misplaced."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from corvus_proxy.dev.faults import Asked
from corvus_proxy.dev.frames import Frame

HUGE = 10**12


def told(frames: Iterable[Frame], asked: Asked) -> Iterator[Frame]:
    """The frames of a stream, with its final usage where and as often as it is asked for."""
    if asked.lie == "twice":
        for frame in frames:
            if frame.usage:
                yield _with(frame, halved)._replace(usage=False)
            yield frame
    elif asked.lie == "early":
        yield from _early(list(frames))
    else:
        yield from frames


def spoiled(frame: Frame, asked: Asked) -> bytes:
    """The frame's bytes with usage taken out or altered, where that was asked for."""
    always = asked.no_usage or asked.zero_usage or asked.lie in ("negative", "huge")
    if not always and not (frame.usage and asked.report_output >= 0):
        return frame.data
    if asked.no_usage:
        return _without(frame).data
    return _with(frame, lambda usage: claimed(zeroed(usage) if asked.zero_usage else usage, asked)
                 ).data  # fmt: skip


def claimed(usage: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The usage that is to be reported in place of this one."""
    if asked.lie == "negative":
        return _each(usage, lambda count: -count - 1)
    if asked.lie == "huge":
        return _each(usage, lambda _: HUGE)
    if asked.report_output < 0:
        return usage
    return _with_output(usage, asked.report_output)


def zeroed(usage: dict[str, Any]) -> dict[str, Any]:
    """All counts zero."""
    return _each(usage, lambda _: 0)


def halved(usage: dict[str, Any]) -> dict[str, Any]:
    """Half the output."""
    name = "output_tokens" if "output_tokens" in usage else "completion_tokens"
    return _with_output(usage, usage[name] // 2)


def _early(frames: list[Frame]) -> Iterator[Frame]:
    """The final counts come ahead of the text: in Anthropic's first event, else in a chunk of their
    own. Nothing is said at the end."""
    final = next((frame for frame in frames if frame.usage), None)
    counts = _usage_of(final) if final else {}
    told_so_far = final is None
    for frame in frames:
        if not told_so_far and b'"type":"message_start"' in frame.data:
            told_so_far = True
            yield _with(frame, lambda usage: usage | counts)
        elif frame is final:
            rest = _without(frame)
            if rest.data:
                yield rest._replace(usage=False)
        else:
            if not told_so_far and frame.tokens:
                told_so_far = True
                body = json.loads(_text_of(frame.data)) | {"choices": [], "usage": counts}
                yield Frame(_framed(b"", body), usage=True)
            yield frame


def _with(frame: Frame, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Frame:
    """The frame with its usage changed, where it has one."""
    if b'"usage":{' not in frame.data:
        return frame
    head, _, text = frame.data.rpartition(b"data: ")
    body = json.loads(text)
    place = _place(body)
    place["usage"] = change(place["usage"])
    return frame._replace(data=_framed(head, body))


def _without(frame: Frame) -> Frame:
    """The frame without its usage; nothing where it has nothing else to say."""
    if b'"usage":{' not in frame.data:
        return frame
    head, _, text = frame.data.rpartition(b"data: ")
    body = json.loads(text)
    if body.get("choices") == []:
        return frame._replace(data=b"")
    del _place(body)["usage"]
    return frame._replace(data=_framed(head, body))


def _usage_of(frame: Frame) -> dict[str, Any]:
    body = json.loads(_text_of(frame.data))
    found: dict[str, Any] = _place(body)["usage"]
    return found


def _place(body: dict[str, Any]) -> dict[str, Any]:
    """The object that holds an event's usage."""
    found: dict[str, Any] = body.get("message") or body.get("response") or body
    return found


def _text_of(data: bytes) -> bytes:
    return data.rpartition(b"data: ")[2]


def _framed(head: bytes, body: dict[str, Any]) -> bytes:
    return head + b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _with_output(usage: dict[str, Any], tokens: int) -> dict[str, Any]:
    name = "output_tokens" if "output_tokens" in usage else "completion_tokens"
    found = {**usage, name: tokens}
    if "total_tokens" in usage:
        found["total_tokens"] = usage["total_tokens"] - usage[name] + tokens
    return found


def _each(counts: dict[str, Any], change: Callable[[int], int]) -> dict[str, Any]:
    return {
        name: _each(inner, change)
        if isinstance(inner, dict)
        else (change(inner) if isinstance(inner, int) else inner)
        for name, inner in counts.items()
    }
