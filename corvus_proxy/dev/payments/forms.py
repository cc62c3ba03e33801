"""Stripe's request bodies: form fields whose names are paths, `line_items[0][quantity]=1`."""

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"[^\[\]]+|\[\]")


def nested(text: str) -> dict[str, Any]:
    """The tree that a form or a query stands for; all leaves are strings.

    Lists may be written with numbers or with `[]`. Raises ValueError.
    """
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=1000):
        parts = _PART.findall(name)
        if not parts:
            raise ValueError(f"no field name in {name!r}")
        node = tree
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            key = str(len(node)) if part == "[]" else part
            if following is None:
                node[key] = value
            else:
                node = node.setdefault(key, {})
                if not isinstance(node, dict):
                    raise ValueError(f"{name} is a value and a tree at once")
    return {name: _listed(value) for name, value in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    inner = {name: _listed(value) for name, value in node.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner
