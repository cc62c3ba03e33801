"""A value that satisfies a JSON schema: the arguments of a simulated tool call."""

import json
import random
from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 8
"""A schema that contains itself is filled this deep; what is optional is left out below."""
WORDS = (
    "able",
    "bird",
    "calm",
    "dawn",
    "each",
    "fern",
    "gold",
    "hill",
    "iris",
    "jade",
    "kite",
    "lark",
    "moss",
    "noon",
    "opal",
    "pine",
    "quay",
    "rain",
    "sand",
    "tide",
)
COMMANDS = ("command", "cmd")
"""Names under which the tools of agents take a line for a shell."""
_FORMATS = {
    "date": "2026-10-21",
    "date-time": "2026-10-21T12:00:00Z",
    "time": "12:00:00Z",
    "email": "bird@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "uuid": "6f0a4a52-36a2-4d0f-8a3f-0d0f0b9c1a77",
}


def arguments(schema: Mapping[str, Any], source: random.Random) -> str:
    """JSON text of an object that fits `schema`."""
    filled = fill(schema or {"type": "object"}, source, schema)
    return json.dumps(filled if isinstance(filled, dict) else {}, separators=(",", ":"))


def command(schema: Mapping[str, Any], text: str, source: random.Random) -> str:
    """JSON text of arguments that run `text`, a line for a shell; empty where the tool has no
    argument that takes one."""
    properties = schema.get("properties") or {}
    for name in COMMANDS:
        wanted = _resolved(properties.get(name), schema).get("type")
        kinds = wanted if isinstance(wanted, list) else [wanted]
        if "string" in kinds or "array" in kinds:
            line = text if "string" in kinds else ["bash", "-lc", text]
            others = {**schema, "required": schema.get("required") or []}
            filled = {**fill(others, source, schema), name: line}
            return json.dumps(filled, separators=(",", ":"))
    return ""


def fill(schema: Any, source: random.Random, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits: required members only (all when none is required), enums, bounds, `$ref`.

    `pattern` is not solved; such a string may not match.
    """
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return source.choice(schema["enum"])
    if "default" in schema and depth > 0:
        return schema["default"]
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    match kind:
        case "object":
            return _object(schema, source, root, depth)
        case "array":
            size = schema.get("minItems", 0 if depth >= DEPTH_MAX else 1)
            return [fill(schema.get("items") or {}, source, root, depth + 1) for _ in range(size)]
        case "integer" | "number":
            return _number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, source)


def _resolved(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its reference followed and its alternatives and parts put together."""
    if not isinstance(schema, Mapping):
        return {}
    found = dict(schema)
    for _ in range(DEPTH_MAX):
        if "$ref" in found:
            target: Any = root
            for name in str(found.pop("$ref")).removeprefix("#").strip("/").split("/"):
                target = target.get(name, {}) if isinstance(target, Mapping) else {}
            found = {**target, **found}
            continue
        alternatives = found.pop("anyOf", None) or found.pop("oneOf", None)
        if alternatives:
            chosen = next(
                (one for one in alternatives if one.get("type") != "null"), alternatives[0]
            )
            found = {**found, **chosen}
            continue
        parts = found.pop("allOf", None)
        if not parts:
            break
        for part in parts:
            merged = {
                name: {**found.get(name, {}), **part.get(name, {})}
                for name in ("properties",)
                if name in part
            }
            required = [*found.get("required", []), *part.get("required", [])]
            found = {**found, **part, **merged, **({"required": required} if required else {})}
    return found


def _object(
    schema: Mapping[str, Any], source: random.Random, root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    names = schema.get("required")
    if names is None:
        names = list(properties) if depth < DEPTH_MAX else []
    return {name: fill(properties.get(name, {}), source, root, depth + 1) for name in names}


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    low = schema.get("minimum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    high = schema.get("maximum", schema.get("exclusiveMaximum", 2) - 1)
    value = low if low is not None else min(1, high)
    step = schema.get("multipleOf")
    if step:
        value = -(-value // step) * step
    return int(value) if kind == "integer" else float(value)


def _string(schema: Mapping[str, Any], source: random.Random) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = source.choice(WORDS)
    least = schema.get("minLength", 0)
    while len(text) < least:
        text += source.choice(WORDS)
    return text[: max(least, min(len(text), schema.get("maxLength", len(text))))]
