"""JSON schemas between vendors that enforce different parts of them. Pure.

An answer that fits what is sent fits what was asked for: a schema is only ever made narrower, or
enforced less and told so in its descriptions.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from corvus_proxy.wire.translate.fields import Json

ANSWER_IN_SCHEMA = "Answer with one JSON object and nothing else. It fits this JSON schema:\n"
"""Stands before a schema for a vendor that enforces JSON and no schema."""
_BOUNDS = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
        "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    }
)  # fmt: skip
"""What Claude refuses in a schema that it enforces (docs.claude.com, structured outputs)."""
_BY_NAME = ("properties", "$defs", "definitions", "patternProperties")
_IN_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ALONE = ("items", "additionalProperties", "not")
_LOOSE = ("allOf", "oneOf", "not", "patternProperties", "if")


def enforceable(schema: Json) -> Json:
    """The schema as Claude enforces it: an object that lists its members allows no others, and
    bounds stand in descriptions."""
    found = _with_parts(schema, enforceable)
    told = {name: value for name, value in found.items() if _is_bound(name, value)}
    for name in told:
        del found[name]
    if told:
        words = msgspec.json.encode(told).decode()
        found["description"] = "\n".join(filter(None, (found.get("description"), words)))
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def is_strict(schema: Json) -> bool:
    """Whether OpenAI takes the schema as `strict`: an object without alternatives on top; in every
    object all members are required and no others allowed."""
    return schema.get("type") == "object" and "anyOf" not in schema and _all_required(schema)


def _is_bound(name: str, value: Any) -> bool:
    return name in _BOUNDS or (name == "minItems" and value not in (0, 1))


def _all_required(schema: Json) -> bool:
    if any(name in schema for name in _LOOSE):
        return False
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties") or {}, schema.get("required") or []
        if schema.get("additionalProperties") is not False or set(properties) - set(required):
            return False
    return all(_all_required(part) for part in _parts(schema))


def _parts(schema: Json) -> Iterator[Json]:
    """The schemas inside a schema."""
    found: list[Json] = []

    def keep(part: Json) -> Json:
        found.append(part)
        return part

    _with_parts(schema, keep)
    yield from found


def _with_parts(schema: Json, change: Callable[[Json], Json]) -> Json:
    """A copy whose inner schemas are changed; what is no schema stays."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, dict) else value

    found = dict(schema)
    for name, value in schema.items():
        if name in _BY_NAME and isinstance(value, dict):
            found[name] = {key: changed(part) for key, part in value.items()}
        elif name in _IN_LISTS and isinstance(value, list):
            found[name] = [changed(part) for part in value]
        elif name in _ALONE:
            found[name] = changed(value)
    return found
