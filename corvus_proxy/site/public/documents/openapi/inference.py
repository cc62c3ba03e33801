"""Paths of the dialects: inference, counting, the list of models."""

from typing import Any

from corvus_proxy.catalogue.book import Model
from corvus_proxy.gateway.front.listing import PAGE_ROWS_MAX
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.site.public.documents.openapi.failures import failures
from corvus_proxy.site.public.documents.openapi.shapes import LIST, OPEN, Operation, Schema
from corvus_proxy.site.public.page import Facts
from corvus_proxy.site.public.served import paths
from corvus_proxy.wire.dialect import COUNTING, PATHS, Dialect

SAY = "Say yes."
OUTPUT = 16
"""Tokens that an example asks for at most."""
HEADERS: dict[str, Schema] = {
    name: {"description": told, "schema": {"type": "string"}}
    for name, told in (
        ("x-request-id", "The handle of the request and its charge."),
        ("x-corvus-model", "The model that is billed."),
        ("x-corvus-price-version", "The prices that it is billed by."),
        ("x-corvus-cost-usd", "What it cost, in USD; a stream says it in its last comment."),
        ("x-corvus-max-tokens", "The output limit, where the balance lowered it."),
    )
}
_TOLD = {
    Dialect.CHAT: "Chat Completions, as OpenAI's clients send them; models of every family.",
    Dialect.MESSAGES: "Messages, as Anthropic's clients send them; models of every family.",
    Dialect.RESPONSES: "Responses, as OpenAI's newer clients and Codex send them.",
    Dialect.EMBEDDINGS: "Embeddings of texts.",
}
_TEXT: Schema = {"type": ["string", "array"]}
_MESSAGES: Schema = {"type": "array", "items": OPEN}
_LIMIT: Schema = {"type": "integer", "minimum": 1}
_MEMBERS: dict[Dialect, tuple[dict[str, Schema], tuple[str, ...]]] = {
    Dialect.CHAT: (
        {"messages": _MESSAGES, "max_tokens": _LIMIT, "max_completion_tokens": _LIMIT},
        ("messages",),
    ),
    Dialect.MESSAGES: (
        {"messages": _MESSAGES, "max_tokens": _LIMIT, "system": _TEXT},
        ("messages", "max_tokens"),
    ),
    Dialect.RESPONSES: (
        {"input": _TEXT, "instructions": {"type": "string"}, "max_output_tokens": _LIMIT},
        ("input",),
    ),
    Dialect.EMBEDDINGS: ({"input": _TEXT}, ("input",)),
}
"""Members that are told here; every other one of the vendor's passes as it came, but for those that
are refused by name."""


def operations(facts: Facts) -> list[Operation]:
    """All of them."""
    found = [_inference(facts, path, dialect) for path, dialect in PATHS.items()]
    found += [_counting(facts, path, dialect) for path, dialect in COUNTING.items()]
    return [*found, *_models()]


def model_for(facts: Facts, path: str) -> Model | None:
    """The model of a path's example: the cheapest that is served there."""
    sold = [
        model for model in facts.book.models
        if path in paths(model, facts.settings) and (model.embeddings or model in facts.sold)
    ]  # fmt: skip
    turn = Usage(input=20, output=OUTPUT)
    return min(sold, key=lambda model: charge(turn, model.price), default=None)


def example(facts: Facts, path: str, dialect: Dialect, *, counts: bool = False) -> dict[str, Any]:
    """A request that works; empty where no model is served on the path."""
    model = model_for(facts, path)
    if model is None:
        return {}
    said = {"role": "user", "content": SAY}
    body: dict[str, Any] = {"model": model.slug}
    match dialect:
        case Dialect.CHAT:
            body |= {"max_tokens": OUTPUT, "messages": [said]}
        case Dialect.MESSAGES:
            body |= ({} if counts else {"max_tokens": OUTPUT}) | {"messages": [said]}
        case Dialect.RESPONSES:
            body |= {"input": SAY} | ({} if counts else {"max_output_tokens": OUTPUT})
        case Dialect.EMBEDDINGS:
            body |= {"input": SAY}
    return body


def _schema(dialect: Dialect, *, counts: bool = False) -> Schema:
    members, required = _MEMBERS[dialect]
    streams = not counts and dialect is not Dialect.EMBEDDINGS
    return {
        "type": "object",
        "properties": {
            "model": {"type": "string", "description": "A slug or alias of GET /v1/models."},
            **members,
            **({"stream": {"type": "boolean"}} if streams else {}),
        },
        "required": ["model", *(name for name in required if not counts or name != "max_tokens")],
        "additionalProperties": True,
    }


def _failures(dialect: Dialect) -> dict[str, Schema]:
    return failures("messages" if dialect is Dialect.MESSAGES else "chat")


def _inference(facts: Facts, path: str, dialect: Dialect) -> Operation:
    plain = example(facts, path, dialect)
    examples = {"plain": plain} if plain else {}
    streams = dialect is not Dialect.EMBEDDINGS
    if plain and streams:
        examples["stream"] = {**plain, "stream": True}
    return Operation(
        "POST", path, "inference", f"Ask a model, in the dialect `{dialect.value}`", _TOLD[dialect],
        body=_schema(dialect),
        examples=examples,
        answered="The vendor's answer, or a stream of it.",
        kinds=("text/event-stream",) if streams else (),
        headers=HEADERS,
        failures=_failures(dialect),
    )  # fmt: skip


def _counting(facts: Facts, path: str, dialect: Dialect) -> Operation:
    inference = next(one for one, spoken in PATHS.items() if spoken is dialect)
    body = example(facts, inference, dialect, counts=True)
    return Operation(
        "POST", path, "counting", "Count the input of a request", "Free; takes a key that works.",
        body=_schema(dialect, counts=True),
        examples={"plain": body} if body else {},
        failures=_failures(dialect),
    )  # fmt: skip


def _models() -> list[Operation]:
    slug: Schema = {
        "name": "slug", "in": "path", "required": True, "schema": {"type": "string"},
        "description": "A slug or an alias.",
    }  # fmt: skip
    pages = tuple(
        {"name": name, "in": "query", "schema": schema}
        for name, schema in (
            ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX}),
            ("after_id", {"type": "string"}),
            ("before_id", {"type": "string"}),
        )
    )
    told = "The recommended check of a key. The shape is Anthropic's with `anthropic-version`."
    return [
        Operation("GET", "/v1/models", "models", "The models that this key may use", told, pages,
                  answer=LIST, failures=failures("account")),
        Operation("GET", "/v1/models/{slug}", "models", "One model", told, (slug,),
                  failures=failures("account")),
    ]  # fmt: skip
