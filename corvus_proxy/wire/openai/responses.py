"""A request for a response: which of its tools and items are served, and what has to go.

Rule 1: what runs at the upstream, or reaches what is stored there, is refused by its name.
Rule 2: a search or an image tool that agents offer of their own accord, beside tools that their
        client runs, is taken out and named in a header: they work without it. Where it is the only
        one, or asked for by `tool_choice`, it is refused.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire.edits import Splice, first_member

SERVED_TOOLS = (
    "function",
    "custom",
    "namespace",
    "tool_search",
    "local_shell",
    "apply_patch",
    "computer_use_preview",
    "computer",
)
"""Types of tools that the client runs itself, or that only choose among those of the request."""
VENDOR_TOOLS = frozenset(SERVED_TOOLS) - {"function", "custom", "namespace"}
"""Those of them for which the upstream adds instructions of its own."""
REMOVABLE_TOOLS = ("web_search", "image_generation")
"""Beginnings of the types of tools that agents offer unasked; a call of them is billed apart."""
STORED_ITEMS = ("item_reference",)
"""Items of the input that stand for something stored at the upstream; so does one that has neither
a type nor a role, for the type of such an item may be left out."""
SECOND_ANSWERS = ("compaction_trigger",)
"""Items that ask for an answer of their own, which is billed too."""


class Reasoning(msgspec.Struct):
    mode: str | None = None


class CacheOptions(msgspec.Struct):
    prewarm: bool | None = None


class Request(msgspec.Struct):
    """The members that decide price, hold and routing; `input` is read for its items' types."""

    model: str
    input: msgspec.Raw = msgspec.Raw(b"null")
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = msgspec.Raw(b"null")
    reasoning: Reasoning | None = None
    prompt_cache_options: CacheOptions | None = None


class Removed(NamedTuple):
    """What of a request is not sent, and the names to tell."""

    splices: tuple[Splice, ...] = ()
    tools: tuple[str, ...] = ()
    vendor_tools: int = 0
    """Tools that stay and are the vendor's own."""


class _Tool(msgspec.Struct):
    type: Any = None
    tools: Any = None


class _Item(msgspec.Struct):
    type: Any = None
    role: Any = None
    tools: Any = None


_TOOL = msgspec.json.Decoder(_Tool)
_ITEMS = msgspec.json.Decoder(list[_Item | str])


def check(request: Request) -> None:
    """Refuses items and ways of reasoning that are not served. Raises InvalidRequest."""
    if request.reasoning and request.reasoning.mode not in (None, "default", "standard"):
        raise InvalidRequest(
            f"reasoning.mode {request.reasoning.mode!r} reads its input more than once, at a cost"
            " that cannot be told ahead.",
            param="reasoning",
        )
    for item in check_items(bytes(request.input)):
        for kind in _types_in(item.tools):
            if not _is_served(kind):
                raise _not_served(kind, "input")


def check_items(raw: bytes) -> list[_Item]:
    """The items of an input, none of which stands for something stored or asks for a second answer.
    Raises InvalidRequest."""
    found = _items(raw)
    for item in found:
        kind = item.type
        if kind in STORED_ITEMS or (kind is None and item.role is None):
            raise InvalidRequest(
                f"An item of type {kind or STORED_ITEMS[0]!r} reaches what is stored on the"
                " upstream account; send the item itself.",
                param="input",
            )
        if kind in SECOND_ANSWERS:
            raise InvalidRequest(
                f"An item of type {kind!r} asks for an answer of its own, which is not priced"
                " here.",
                param="input",
            )
    return found


def removed(request: Request, body: bytes, place: tuple[int, int, int] | None) -> Removed:
    """The tools that are taken out of `body`, whose `tools` stand at `place`. Raises
    InvalidRequest for one that can neither be served nor go."""
    if place is None or not request.tools:
        return Removed()
    kinds = [_kinds(bytes(raw)) for raw in request.tools]
    gone = [
        any(not _is_served(kind) for kind in found) and _is_removable(found[0]) for found in kinds
    ]
    for found, goes in zip(kinds, gone, strict=True):
        unserved = next((kind for kind in found if not _is_served(kind)), None)
        if unserved is not None and (not goes or all(gone) or _is_chosen(request, found[0])):
            raise _not_served(unserved, "tools")
    vendor = sum(kind in VENDOR_TOOLS for found in kinds for kind in found)
    if not any(gone):
        return Removed(vendor_tools=vendor)
    names = tuple(found[0] for found, goes in zip(kinds, gone, strict=True) if goes)
    cuts = tuple(_cuts(body, place[1], request.tools, gone))
    return Removed(cuts, tuple(dict.fromkeys(names)), vendor)


def store_splices(body: bytes, place: tuple[int, int, int] | None) -> tuple[Splice, ...]:
    """The edit that has nothing stored at the upstream."""
    if place is None:
        at = first_member(body)
        return (Splice(at, at, b'"store":false,'),)
    if body[place[1] : place[2]] == b"false":
        return ()
    return (Splice(place[1], place[2], b"false"),)


def _items(raw: bytes) -> list[_Item]:
    if raw[:1] != b"[":
        return []
    try:
        return [item for item in _ITEMS.decode(raw) if isinstance(item, _Item)]
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The items of input are not valid: {error}.", param="input") from None


def _kinds(raw: bytes) -> list[str]:
    """A tool's type, then those of the tools that it holds."""
    try:
        tool = _TOOL.decode(raw)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"A tool is not valid: {error}.", param="tools") from None
    return [str(tool.type), *_types_in(tool.tools)]


def _types_in(tools: Any) -> Iterator[str]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            yield str(tool.get("type"))
            yield from _types_in(tool.get("tools"))


def _is_served(kind: str) -> bool:
    return kind in SERVED_TOOLS


def _is_removable(kind: str) -> bool:
    return kind.startswith(REMOVABLE_TOOLS)


def _is_chosen(request: Request, kind: str) -> bool:
    """Whether `tool_choice` asks for that tool."""
    return re.search(rb'"%s' % re.escape(kind.encode()), bytes(request.tool_choice)) is not None


def _cuts(
    body: bytes, start: int, elements: Sequence[msgspec.Raw], gone: list[bool]
) -> Iterator[Splice]:
    """Each element that goes, with one comma beside it; one at least stays."""
    places = []
    at = start
    for element in elements:
        raw = bytes(element)
        found = body.index(raw, at)
        at = found + len(raw)
        places.append((found, at))
    kept = False
    for number, goes in enumerate(gone):
        if not goes:
            kept = True
        elif kept:
            yield Splice(places[number - 1][1], places[number][1], b"")
        else:
            yield Splice(places[number][0], places[number + 1][0], b"")


def _not_served(kind: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"The tool type {kind!r} runs at the upstream, at a cost not priced here; tools that your"
        " client runs itself are served.",
        param=param,
    )
