"""`/openapi.json`: the API described from its own tables, in OpenAPI 3.1.

Rule 1: paths, parameters, error codes and statuses come from the tables that answer by them; a path
        that is not served stands nowhere here.
Rule 2: an example is a request that works as it stands, but for the key; the tests send each.
"""

import re
from typing import Any

from corvus_proxy import __version__
from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.site.public import sending
from corvus_proxy.site.public.document import Document, Given
from corvus_proxy.site.public.documents.indexes import documents
from corvus_proxy.site.public.documents.openapi import accounts, failures, inference, orders
from corvus_proxy.site.public.documents.openapi.shapes import OPEN, SCHEMAS, Operation
from corvus_proxy.site.public.page import Facts

VERSION = "3.1.0"
TAGS = {
    "inference": "Requests to models. Each path speaks one dialect, errors included.",
    "counting": "Counts the input of a request; free.",
    "models": "What this key may use.",
    "account": "The caller's own key, usage, ledger, sub-keys and alarms.",
    "orders": "Buying by a program, on the site's address.",
    "documents": "Public documents, on the site's address; no key is needed.",
}
_NO_WORD = re.compile(r"[^a-z0-9]+")


async def make(given: Given) -> object:
    """The document."""
    facts = given.facts
    brand = facts.settings.brand
    paths: dict[str, dict[str, Any]] = {}
    for one in (*inference.operations(facts), *accounts.operations(facts)):
        paths.setdefault(one.path, {})[one.method.lower()] = _told(one)
    site = [{"url": brand.site_url, "description": "The site"}]
    for one in (*orders.operations(facts), *_public(given)):
        paths.setdefault(one.path, {"servers": site})[one.method.lower()] = _told(one)
    return {
        "openapi": VERSION,
        "info": {
            "title": f"{brand.name} API",
            "version": __version__,
            "summary": "A prepaid gateway to language models: one key, one balance.",
            "description": (
                f"{brand.independence}\n\nAmounts are decimal strings of US dollars; beside each"
                " stands the same as an integer of nano-dollars named `…_nanos`. Every answer has"
                " `x-request-id`, by which a charge is known everywhere."
            ),
            "contact": {"name": brand.support or "not stated by the operator"},
        },
        "externalDocs": {"url": f"{facts.site}/docs", "description": "Documentation"},
        "servers": [{"url": facts.api, "description": "The API"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{"key": []}, {"header": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "The key."},
                "header": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same key, as Anthropic's clients send it.",
                },
            },
            "schemas": {**SCHEMAS, **failures.SCHEMAS},
            "responses": failures.responses(),
        },
    }


def _public(given: Given) -> list[Operation]:
    """The documents themselves."""
    kinds = {one.path: one.kind for one in given.documents}
    return [
        Operation(
            "GET", one["path"], "documents", one["title"], one["description"],
            answer=OPEN, kind=kinds.get(one["path"], sending.JSON).partition(";")[0], key=False,
        )
        for one in documents(given)
        if one["path"] != "/.well-known/security.txt"
        or given.facts.settings.trust.security_contact
    ]  # fmt: skip


def _told(one: Operation) -> dict[str, Any]:
    """An operation in OpenAPI's words."""
    found: dict[str, Any] = {
        "tags": [one.tag],
        "operationId": _NO_WORD.sub("_", f"{one.method} {one.path}".lower()).strip("_"),
        "summary": one.summary,
        "description": one.description,
    }
    if one.parameters:
        found["parameters"] = list(one.parameters)
    if one.body is not None:
        content: dict[str, Any] = {"schema": one.body}
        if one.examples:
            content["examples"] = {name: {"value": value} for name, value in one.examples.items()}
        found["requestBody"] = {
            "required": one.body_required,
            "content": {"application/json": content},
        }
    contents = {one.kind: {"schema": one.answer}, **{kind: {} for kind in one.kinds}}
    answer: dict[str, Any] = {"description": one.answered, "content": contents}
    if one.headers:
        answer["headers"] = dict(one.headers)
    found["responses"] = {str(one.status): answer, **one.failures}
    if not one.key:
        found["security"] = []
    elif one.key_optional:
        found["security"] = [{}, {"key": []}]
    return found


def operations(facts: Facts) -> list[Operation]:
    """Every operation on the API's own address."""
    return [*inference.operations(facts), *accounts.operations(facts)]


DOCUMENT = Document(
    "/openapi.json",
    "OpenAPI description",
    f"The API in OpenAPI 3.1, from its own tables: {len(ENDPOINTS)} account endpoints beside"
    " inference, orders and documents.",
    make,
)
