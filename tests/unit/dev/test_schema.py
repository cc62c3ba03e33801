"""Arguments that satisfy a tool's schema."""

import json
import random
import re
from typing import Any

import pytest

from corvus_proxy.dev.schema import arguments, command

CASES: list[tuple[dict[str, Any], Any]] = [
    ({}, {}),
    ({"type": "object", "properties": {"a": {"type": "boolean"}}}, {"a": True}),
    (
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "string"}},
        },
        {"a": 5},
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "exclusiveMinimum": 6, "multipleOf": 4}},
        },
        {"a": 8},
    ),
    ({"type": "object", "properties": {"a": {"type": "integer", "maximum": -3}}}, {"a": -3}),
    (
        {"type": "object", "properties": {"a": {"const": 3}, "b": {"enum": ["x"]}}},
        {"a": 3, "b": "x"},
    ),
    (
        {"type": "object", "properties": {"a": {"type": ["null", "string"], "format": "date"}}},
        {"a": "2026-10-21"},
    ),
    (
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "boolean"}]}}},
        {"a": True},
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "array", "minItems": 2, "items": {"type": "boolean"}}},
        },
        {"a": [True, True]},
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"type": "object", "properties": {"b": {"type": "boolean"}}}},
        },
        {"a": {"b": True}},
    ),
    (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "boolean"}}},
                {"properties": {"b": {"type": "null"}}, "required": ["b"]},
            ]
        },
        {"b": None},
    ),
]


@pytest.mark.parametrize(("schema", "expected"), CASES)
def test_filled(schema: dict[str, Any], expected: Any) -> None:
    """Required members, enums, bounds, references and alternatives are respected."""
    assert json.loads(arguments(schema, random.Random(1))) == expected


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value satisfies a schema: the standard's words, one after the other."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        target = root
        for name in schema["$ref"].split("/")[1:]:
            target = target[name.replace("~1", "/")]
        if not fits(value, target, root):
            return False
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
             "number": (int, float), "null": type(None)}  # fmt: skip
    wanted = schema.get("type", list(kinds))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    number = isinstance(value, int | float) and not isinstance(value, bool)
    checks = [
        any(isinstance(value, kinds[one]) and (one == "boolean" or not isinstance(value, bool))
            for one in wanted),
        value == schema.get("const", value),
        value in schema.get("enum", [value]),
        all(fits(value, part, root) for part in schema.get("allOf", ())),
        any(fits(value, part, root) for part in schema.get("anyOf", [True])),
        [fits(value, part, root) for part in schema.get("oneOf", [True])].count(True) == 1,
    ]  # fmt: skip
    if number:
        checks += [
            value >= schema.get("minimum", value),
            value <= schema.get("maximum", value),
            value > schema.get("exclusiveMinimum", value - 1),
            value < schema.get("exclusiveMaximum", value + 1),
            value % schema.get("multipleOf", 1) == 0 or "multipleOf" not in schema,
        ]
    if isinstance(value, str):
        checks.append(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 9**9))
        checks.append(re.search(schema.get("pattern", ""), value) is not None)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        texts = [json.dumps(one) for one in value]
        checks += [
            schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 9**9),
            not schema.get("uniqueItems") or len(set(texts)) == len(texts),
            all(fits(one, part, root) for one, part in zip(value, first, strict=False)),
            all(fits(one, schema.get("items", True), root) for one in value[len(first):]),
        ]  # fmt: skip
    if isinstance(value, dict):
        listed = schema.get("properties", {})
        others = [one for name, one in value.items() if name not in listed]
        checks += [
            set(schema.get("required", ())) <= set(value),
            len(value) >= schema.get("minProperties", 0),
            all(fits(value[name], listed[name], root) for name in set(value) & set(listed)),
            all(fits(one, schema.get("additionalProperties", True), root) for one in others),
        ]
    return all(checks)


def of(member: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": member}, "required": ["a"], **more}


WORD = {"type": "string"}
LIST = {"$ref": "#/$defs/List"}
HARD = [
    of({"type": "string", "maxLength": 2}),
    of({"type": "string", "pattern": r"^[A-Z]{3}-\d{4}(/\w+)?$"}),
    of({"type": "string", "pattern": "^(GET|POST) [^a-z]+.$", "minLength": 9}),
    of({"type": "string", "pattern": "[0-9a-f]+", "minLength": 8, "maxLength": 8}),
    of({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}),
    of({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    of({"type": "integer", "minimum": 0, "exclusiveMaximum": 1}),
    of({"type": "integer", "maximum": -3, "multipleOf": 5}),
    of({"type": "array", "maxItems": 0, "items": WORD}),
    of({"type": "array", "minItems": 3, "uniqueItems": True, "items": {"enum": ["x", "y", "z"]}}),
    of({"type": "array", "minItems": 3, "uniqueItems": True, "items": {"type": "integer"}}),
    of({"type": "array", "minItems": 2, "items": False,
        "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}),
    of({"items": {"type": "integer"}}),
    of(True),
    of({"$ref": "#/$defs/x~1y"}, **{"$defs": {"x/y": {"type": "integer"}}}),
    of({"oneOf": [{"type": "null"}, {"const": 3}]}),
    of(WORD, anyOf=[{"properties": {"b": WORD}, "required": ["b"]}, {"required": ["c"]}]),
    of(WORD, allOf=[{"properties": {"a": {"minLength": 9}}, "required": ["a"]}]),
    of({"type": "array", "items": {"$ref": "#"}}),
    of({"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}}),
    of(LIST, **{"$defs": {"List": of({"anyOf": [LIST, {"type": "null"}]})}}),
    of(LIST, **{"$defs": {"List": {"anyOf": [of(LIST), WORD]}}}),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("schema", HARD, ids=json.dumps)
def test_what_is_filled_fits(schema: dict[str, Any], seed: int) -> None:
    """As tools of real clients are described: patterns, lists that contain themselves, bounds."""
    filled = json.loads(arguments(schema, random.Random(seed)))
    assert fits(filled, schema, schema), filled


def test_a_schema_that_contains_itself_ends() -> None:
    """A recursive schema is filled to a finite depth."""
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    assert json.loads(arguments(schema, random.Random(1)))


@pytest.mark.parametrize("bounds", [(0, 2), (9, 12), (30, 30)])
def test_lengths(bounds: tuple[int, int]) -> None:
    """Strings keep their least and greatest length."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": bounds[0], "maxLength": bounds[1]}},
    }
    text = json.loads(arguments(schema, random.Random(1)))["a"]
    assert bounds[0] <= len(text) <= bounds[1]


@pytest.mark.parametrize(
    ("properties", "required", "filled"),
    [
        ({"command": {"type": "string"}}, ["command"], {"command": "ls -l"}),
        ({"cmd": {"type": ["string", "null"]}}, None, {"cmd": "ls -l"}),
        ({"cmd": {"type": "string"}, "wait": {"type": "boolean"}}, ["cmd"], {"cmd": "ls -l"}),
        (
            {"command": {"type": "array"}, "wait": {"type": "boolean"}},
            ["command", "wait"],
            {"command": ["bash", "-lc", "ls -l"], "wait": True},
        ),
        ({"city": {"type": "string"}}, ["city"], None),
        ({}, None, None),
    ],
)
def test_a_line_for_a_shell_goes_where_a_tool_takes_one(
    properties: dict[str, Any], required: list[str] | None, filled: dict[str, Any] | None
) -> None:
    """Beside it stands what the tool requires; a tool that takes no such line is not filled."""
    schema = {"type": "object", "properties": properties}
    if required is not None:
        schema["required"] = required
    text = command(schema, "ls -l", random.Random(1))
    assert (json.loads(text) if text else None) == filled
