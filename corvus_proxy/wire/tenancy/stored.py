"""Where a request names something that is stored at the provider: for the refusal that says so.

The scanner has found that there is one (`BodyScan.stored`); this looks for the place, slowly, which
only a request that is refused pays for.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from corvus_proxy.errors import InvalidRequest

_TURNS = ("messages", "input")


def refusal(body: bytes) -> InvalidRequest:
    """The refusal of a body that names what is stored, with the place of the first such name."""
    place = next(_places(msgspec.json.decode(body)), "")
    return InvalidRequest(
        f"{place or 'A member'} names what is stored at the provider, where nothing of yours is;"
        " send the content itself.",
        param=place or None,
    )


def _places(body: dict[str, Any]) -> Iterator[str]:
    for name in _TURNS:
        turns = body.get(name)
        for number, turn in enumerate(turns if isinstance(turns, list) else ()):
            if isinstance(turn, dict) and isinstance(turn.get("audio"), dict):
                yield f"{name}[{number}].audio"
            yield from _inside(turn, f"{name}[{number}]")


def _inside(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("file_id", "container_id") and isinstance(inner, str):
                yield f"{place}.{name}"
            elif not (name == "input" and value.get("type") == "tool_use"):
                yield from _inside(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _inside(inner, f"{place}[{number}]")
