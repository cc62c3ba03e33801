"""Simulated embeddings: numbers that depend on the text alone, in either encoding."""

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from corvus_proxy.dev import prompt

DIMENSIONS = {"text-embedding-3-large": 3072}
DIMENSIONS_DEFAULT = 1536
INPUTS_MAX = 2048


def usage(inputs: list[str | list[int]]) -> dict[str, int]:
    """The counts of a request: tokens as given, or those of the text."""
    tokens = sum(prompt.tokens_of(one) if isinstance(one, str) else len(one) for one in inputs)
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def whole(body: Mapping[str, Any], inputs: list[str | list[int]]) -> dict[str, Any]:
    """The answer of a request with `inputs`."""
    size = int(body.get("dimensions") or DIMENSIONS.get(str(body["model"]), DIMENSIONS_DEFAULT))
    plain = body.get("encoding_format") != "base64"
    rows = []
    for at, one in enumerate(inputs):
        numbers = _numbers(repr(one), size)
        encoded = base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
        rows.append(
            {"object": "embedding", "index": at, "embedding": numbers if plain else encoded}
        )
    return {"object": "list", "data": rows, "model": body["model"], "usage": usage(inputs)}


def _numbers(text: str, size: int) -> list[float]:
    """A vector of length one."""
    stream = hashlib.shake_256(text.encode()).digest(size)
    raw = [byte - 127.5 for byte in stream]
    length = sum(number * number for number in raw) ** 0.5
    return [round(number / length, 9) for number in raw]
