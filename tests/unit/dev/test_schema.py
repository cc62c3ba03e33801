"""Arguments that satisfy a tool's schema."""

import json
import random
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
