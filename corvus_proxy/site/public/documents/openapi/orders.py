"""Buying by a program: the two endpoints on the site's address."""

from corvus_proxy.account.orders import IDEMPOTENCY_MAX, IDEMPOTENCY_MIN, MEMBERS
from corvus_proxy.site.public.documents.openapi.failures import of_orders
from corvus_proxy.site.public.documents.openapi.shapes import Operation, Schema, within
from corvus_proxy.site.public.page import Facts

_SCHEMAS: dict[str, Schema] = {
    "amount": {"type": "string", "description": "US dollars, such as `20` or `12.50`."},
    "provider": {"type": "string", "description": "The way of payment; the first where missing."},
    "email": {"type": "string", "description": "Where the key is delivered too, if at all."},
}
_AGAIN: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes the same wish twice one order; random, where there is no key.",
    "schema": {"type": "string", "minLength": IDEMPOTENCY_MIN, "maxLength": IDEMPOTENCY_MAX},
}
_BUYER: Schema = {
    "name": "x-corvus-buyer-token",
    "in": "header",
    "description": "From the first answer; with it the order shows its new key.",
    "schema": {"type": "string"},
}


def operations(facts: Facts) -> list[Operation]:
    """Both of them."""
    body = {
        "type": "object",
        "properties": {name: _SCHEMAS[name] for name in MEMBERS},
        "required": ["amount"],
        "additionalProperties": False,
    }
    example = {"amount": facts.settings.shop.preset_usd}
    return [
        Operation(
            "POST", "/v1/orders", "orders", "Order a balance",
            "With a key the order tops that key up; without one it is for a new key.",
            (_AGAIN,), body, examples={"plain": example}, status=201,
            answered="The order, with `token`, `buyer_token` and `pay_url`.",
            failures=of_orders(), key_optional=True,
        ),
        Operation(
            "GET", "/v1/orders/{token}", "orders", "One order as it stands",
            "Settled first. The token is the secret part of the order's address.",
            (*within("/v1/orders/{token}"), _BUYER), failures=of_orders(), key=False,
        ),
    ]  # fmt: skip
