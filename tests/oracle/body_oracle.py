"""The body scanner, slow and obvious: `json.loads` and a walk over the tree."""

import json
import re
from typing import Any, NamedTuple


class Found(NamedTuple):
    """What `scan_body` should have found, offsets apart."""

    members: dict[str, Any]
    duplicates: list[str]
    images: int
    cache_control: bool
    media_bytes: int
    text: str


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    return pairs


def read(body: bytes) -> Found:
    """Everything the scanner should know of a valid body."""
    top = json.loads(body, object_pairs_hook=_pairs)
    names = [name for name, _ in top]
    nodes = list(_nodes(json.loads(body)))
    media = 0
    for node in nodes:
        if node.get("type") == "base64" and len(str(node.get("data", ""))) >= 64:
            media += len(node["data"])
        for name in ("url", "image_url", "file_data"):
            value = node.get(name)
            if (
                isinstance(value, str)
                and re.match(r"data:[^,]*;base64,", value)
                and len(value) >= 64
            ):
                media += len(value.partition(",")[2])
    return Found(
        members=json.loads(body),
        duplicates=[name for at, name in enumerate(names) if name in names[:at]],
        images=sum(node.get("type") in ("image", "image_url", "input_image") for node in nodes),
        cache_control=any(node.get("cache_control") is not None for node in nodes),
        media_bytes=media,
        text="",
    )


def _nodes(value: Any):
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
