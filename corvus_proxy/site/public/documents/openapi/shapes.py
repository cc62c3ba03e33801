"""What an operation is, and the schemas that several share."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Schema = dict[str, Any]

OPEN: Schema = {"type": "object"}
"""An object whose members are the vendor's, or told elsewhere."""
LIST: Schema = {"$ref": "#/components/schemas/List"}
SCHEMAS: dict[str, Schema] = {
    "Usd": {
        "type": "string",
        "pattern": r"^-?[0-9]+\.[0-9]{2,9}$",
        "description": "US dollars, exact.",
        "examples": ["5.00", "0.000123"],
    },
    "Nanos": {"type": "integer", "description": "Nano-dollars: USD times 1,000,000,000."},
    "List": {
        "type": "object",
        "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": OPEN}},
        "required": ["data"],
    },
    "Standing": {
        "type": "object",
        "description": "What the key may spend, holds and has spent.",
        "properties": {
            "key_id": {"type": "string"},
            "status": {"type": "string"},
            **{
                name: {"$ref": "#/components/schemas/Usd"}
                for name in ("balance", "held", "available", "spent")
            },
            **{
                f"{name}_nanos": {"$ref": "#/components/schemas/Nanos"}
                for name in ("balance", "held", "available", "spent")
            },
        },
        "required": ["key_id", "status", "balance_nanos", "held_nanos", "available_nanos"],
    },
    "Quote": {
        "type": "object",
        "properties": {
            "object": {"const": "quote"},
            "of": {"enum": ["usage", "request"]},
            "model": {"type": "string"},
            "price_version": {"type": "string"},
        },
        "required": ["object", "of", "model", "price_version"],
    },
}


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    parameters: tuple[Schema, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    examples: Mapping[str, Any] = {}
    """Bodies that work as they stand, by name."""
    status: int = 200
    answered: str = "The answer."
    answer: Schema = OPEN
    kind: str = "application/json"
    kinds: tuple[str, ...] = ()
    """Further content types that the answer may have."""
    headers: Mapping[str, Schema] = {}
    failures: Mapping[str, Schema] = {}
    """Responses by status."""
    key: bool = True
    """Whether it takes a key."""
    key_optional: bool = False


def within(path: str) -> tuple[Schema, ...]:
    """The parameters that stand in a path."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return tuple(
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    )


def ref(name: str) -> Schema:
    """A shared schema."""
    return {"$ref": f"#/components/schemas/{name}"}
