"""A value that satisfies a JSON schema: the arguments of a simulated tool call."""

import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

DEPTH_MAX = 5
"""A schema that contains itself is filled this deep; what is optional is left out below."""
STEPS_MAX = 16
"""So many references and alternatives are followed for one value."""
TRIES_MAX = 40
"""For an item that has to differ from those before it, and for a text of some length."""
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
    "ipv6": "2001:db8::1",
    "hostname": "bird.example.org",
    "duration": "P1D",
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
    """A value that fits: required members only (all when none is required), enums, bounds,
    patterns, `$ref`, alternatives.

    `not`, `if` and members that depend on others are passed over.
    """
    schema = _resolved(schema, root, depth)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return source.choice(schema["enum"])
    if "default" in schema and depth > 0:
        return schema["default"]
    kind = _kind(schema)
    match kind:
        case "object":
            return _object(schema, source, root, depth)
        case "array":
            return _array(schema, source, root, depth)
        case "integer" | "number":
            return _number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, source)


_TOLD_BY = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""By what a schema without a type speaks of one."""


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((one for one in kind if one != "null"), "null")
    told = (one for one, names in _TOLD_BY.items() if any(name in schema for name in names))
    return str(kind or next(told, "string"))


def _resolved(schema: Any, root: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The schema with its reference followed and its alternatives and parts put together."""
    if not isinstance(schema, Mapping):
        return {}
    found = dict(schema)
    for _ in range(STEPS_MAX):
        if "$ref" in found:
            found = _together(_target(str(found.pop("$ref")), root), found)
            continue
        alternatives = found.pop("anyOf", None) or found.pop("oneOf", None)
        if alternatives:
            found = _together(found, _chosen(alternatives, depth))
            continue
        parts = found.pop("allOf", None)
        if not parts:
            break
        for part in parts:
            found = _together(found, part)
    return found


def _target(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a JSON pointer in this document points at."""
    target: Any = root
    for word in unquote(reference.removeprefix("#")).split("/")[1:]:
        name = word.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(name)] if name.isdigit() and int(name) < len(target) else {}
        else:
            target = target.get(name, {}) if isinstance(target, Mapping) else {}
    return target if isinstance(target, Mapping) else {}


def _chosen(alternatives: list[Any], depth: int) -> Any:
    """The first that is something; deep inside, one that ends there."""
    ends = [one for one in alternatives if isinstance(one, Mapping) and one.get("type") == "null"]
    others = [one for one in alternatives if one not in ends]
    if depth >= DEPTH_MAX:
        flat = [one for one in others if "$ref" not in json.dumps(one)]
        return (ends or flat or others)[0]
    return (others or ends)[0]


def _together(one: Mapping[str, Any], other: Any) -> dict[str, Any]:
    """Both schemas at once; where they name the same bound, the other's."""
    if not isinstance(other, Mapping):
        return dict(one)
    found = {**one, **other}
    mine, theirs = one.get("properties"), other.get("properties")
    if mine and theirs:
        both = {name: {"allOf": [mine[name], theirs[name]]} for name in mine if name in theirs}
        found["properties"] = {**mine, **theirs, **both}
    if "required" in one and "required" in other:
        found["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    if "allOf" in one and "allOf" in other:
        found["allOf"] = [*one["allOf"], *other["allOf"]]
    return found


def _object(
    schema: Mapping[str, Any], source: random.Random, root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    more = schema.get("additionalProperties", {})
    names = schema.get("required")
    if names is None:
        names = list(properties) if depth < DEPTH_MAX else []
    spare = [name for name in (*properties, *WORDS) if name not in names]
    names = [*names, *spare[: max(0, schema.get("minProperties", 0) - len(names))]]
    return {name: fill(properties.get(name, more), source, root, depth + 1) for name in names}


def _array(
    schema: Mapping[str, Any], source: random.Random, root: Mapping[str, Any], depth: int
) -> list[Any]:
    first = schema.get("prefixItems") or []
    size = schema.get("minItems", 0 if depth >= DEPTH_MAX else max(1, len(first)))
    if schema.get("items") is False and "minItems" not in schema:
        size = len(first)
    found: list[Any] = []
    for at in range(min(size, schema.get("maxItems", size))):
        kind = first[at] if at < len(first) else schema.get("items") or {}
        one = fill(kind, source, root, depth + 1)
        for _ in range(TRIES_MAX if schema.get("uniqueItems") else 0):
            if one not in found:
                break
            one = _another(one, kind, source, root, depth)
        found.append(one)
    return found


def _another(
    one: Any, kind: Any, source: random.Random, root: Mapping[str, Any], depth: int
) -> Any:
    """A value that fits like `one`, and may be another."""
    if isinstance(one, bool):
        return not one
    found = _resolved(kind, root, depth)
    if isinstance(one, int | float) and "enum" not in found:
        return one + found.get("multipleOf", 1)
    return fill(kind, source, root, depth + 1)


def _number(schema: Mapping[str, Any], kind: str) -> int | float:
    """The first of some near the bounds that fits."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf") or (1 if kind == "integer" else 0)

    def near() -> Iterator[float]:
        if low is not None:
            yield from (low, low + 1)
        yield 1
        if high is not None:
            yield from (high, high - 1)
        if low is not None and high is not None:
            yield (low + high) / 2

    def fits(value: float) -> bool:
        return (
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and not value <= schema.get("exclusiveMinimum", -math.inf)
            and not value >= schema.get("exclusiveMaximum", math.inf)
        )

    steps = near()
    if step:
        steps = (round_(one / step) * step for one in near() for round_ in (math.ceil, math.floor))
    value = next((one for one in steps if fits(one)), 1)
    return int(value) if kind == "integer" else float(value)


def _string(schema: Mapping[str, Any], source: random.Random) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1 << 16)
    if schema.get("pattern"):
        return _matching(str(schema["pattern"]), least, most)
    text = source.choice(WORDS)
    while len(text) < least:
        text += source.choice(WORDS)
    return text[: max(least, min(len(text), most))]


# -- patterns -----------------------------------------------------------------------------------

_CLASSES = {"DIGIT": "1", "WORD": "a", "SPACE": " ", "NOT_DIGIT": "a", "NOT_WORD": "-"}
_ANYTHING = "a1A-_ .:/" + "".join(map(chr, range(33, 127)))


def _matching(pattern: str, least: int, most: int) -> str:
    """A text that a pattern is found in, of some length: repeats are tried from few to many. What
    looks around, and what refers back, is passed over."""
    try:
        tree = re._parser.parse(pattern)  # type: ignore[attr-defined]
        found = (_said(tree, repeats) for repeats in range(TRIES_MAX + least))
        return next(
            text for text in found if least <= len(text) <= most and re.search(pattern, text)
        )
    except (re.error, StopIteration, OverflowError):
        return WORDS[0].ljust(least, "a")[:most]


def _said(tree: Any, repeats: int) -> str:
    """A text of a parsed pattern with so many of what may be repeated, where that is allowed."""
    text = ""
    for operator, argument in tree:
        match str(operator):
            case "LITERAL":
                text += chr(argument)
            case "NOT_LITERAL":
                text += "a" if argument != ord("a") else "b"
            case "ANY":
                text += "a"
            case "IN":
                text += _one_of(argument)
            case "BRANCH":
                text += _said(argument[1][0], repeats)
            case "SUBPATTERN":
                text += _said(argument[-1], repeats)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                text += _said(inner, repeats) * min(max(least, repeats), int(most))
    return text


def _one_of(members: Any) -> str:
    """A character of a class."""
    if any(str(name) == "NEGATE" for name, _ in members):
        parsed = [(name, value) for name, value in members if str(name) != "NEGATE"]
        return next((one for one in _ANYTHING if not _is_in(one, parsed)), "a")
    name, value = members[0]
    match str(name):
        case "RANGE":
            return chr(value[0])
        case "CATEGORY":
            return _CLASSES.get(str(value).removeprefix("CATEGORY_"), "a")
    return chr(value)


def _is_in(one: str, members: Any) -> bool:
    for name, value in members:
        match str(name):
            case "LITERAL" if ord(one) == value:
                return True
            case "RANGE" if value[0] <= ord(one) <= value[1]:
                return True
            case "CATEGORY":
                kind = str(value).removeprefix("CATEGORY_")
                word = {"DIGIT": r"\d", "WORD": r"\w", "SPACE": r"\s"}.get(kind)
                if word is None or re.match(word, one):
                    return True
    return False
