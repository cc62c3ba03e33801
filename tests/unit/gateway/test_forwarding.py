"""What is sent upstream of a request's body."""

import json
from typing import Any

import pytest

from corvus_proxy.catalogue import book
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.forwarding import edited_body
from corvus_proxy.settings import PricingSettings
from corvus_proxy.wire import request
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.tenancy.names import Tenant

BOOK = book.load(PricingSettings())


@pytest.mark.parametrize(
    ("slug", "limits", "clamp", "sent"),
    [
        # Z.AI documents no other limit than max_tokens: what it does not know would limit nothing.
        ("glm-5.3", {"max_completion_tokens": 5}, None, {"max_tokens": 5}),
        ("glm-5.3", {"max_tokens": None}, 77, {"max_tokens": 77}),
        ("glm-5.3", {}, 77, {"max_tokens": 77}),
        ("gpt-5.5", {"max_tokens": 5, "max_completion_tokens": None}, None,
         {"max_completion_tokens": 5, "max_tokens": None}),
        ("gpt-5.5", {"max_completion_tokens": None, "max_tokens": 500}, 77,
         {"max_completion_tokens": 77, "max_tokens": None}),
        ("gpt-4o", {"max_tokens": 5}, None, {"max_tokens": 5}),
        ("gpt-4o", {"max_completion_tokens": 5}, 3, {"max_completion_tokens": 3}),
    ],
)  # fmt: skip
def test_the_limit_is_sent_once_under_the_name_that_the_upstream_obeys(
    slug: str, limits: dict[str, Any], clamp: int | None, sent: dict[str, Any]
) -> None:
    """What was quoted is what binds the upstream, nulls or not."""
    model = BOOK.find(slug)
    assert model is not None
    body = json.dumps({"model": slug, "messages": [], **limits}).encode()
    exchange = Exchange(None, Dialect.CHAT, "req_1", 0.0)  # type: ignore[arg-type]
    exchange.asked, exchange.body = request.read(Dialect.CHAT, body), body
    exchange.model, exchange.limit_tokens = model, clamp
    exchange.tenant = Tenant(b"p" * 32, "w_alice")
    members = json.loads(edited_body(exchange), object_pairs_hook=list)
    assert sorted(pair for pair in members if pair[0].startswith("max_")) == sorted(sent.items())
