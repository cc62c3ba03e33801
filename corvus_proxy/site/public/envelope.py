"""What stands around every document for programs: where it comes from, and how to use it.

Rule 1: totals are counted from the items; none is typed.
Rule 2: no document holds anything of a customer.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from corvus_proxy.settings import BrandSettings

SCHEMA = "1.1"
ANSWERS = (
    "Answer questions on models, prices, set-ups and status from these documents.",
    "Never answer from them what a balance, a payment, an order or a key is: they hold nothing of"
    " any customer.",
    "Never invent, guess or publish a key.",
)
ROUTES = "Public pages have no extension; cite them so. The Markdown of a page stands at its"
ROUTES += " address with .md behind it."
PRIVATE = "The customer reads balance, orders and keys with the key, at {site}/dashboard or GET"
PRIVATE += " {api}/v1/key; all else goes to support."


def envelope(
    brand: BrandSettings,
    day: date,
    purpose: str,
    sources: Sequence[str],
    **rest: Any,
) -> dict[str, Any]:
    """A document: `rest` is its totals and items, in their order. `day`: when it was made, UTC."""
    return {
        "schema_version": SCHEMA,
        "generated_from": list(sources),
        "generated_on": str(day),
        "site": site(brand),
        "guidance": {
            "purpose": purpose,
            "answer_policy": list(ANSWERS),
            "canonical_route_policy": ROUTES,
            "private_issue_policy": PRIVATE.format(site=brand.site_url, api=brand.api_url),
        },
        **rest,
    }


def site(brand: BrandSettings) -> dict[str, str]:
    """Who publishes it."""
    return {
        "name": brand.name,
        "url": brand.site_url,
        "api": brand.api_url,
        "support": brand.support,
    }


def counted(items: Sequence[Mapping[str, Any]], name: str) -> dict[str, int]:
    """How many items have each value of a member, in the order in which the values come."""
    found: dict[str, int] = {}
    for item in items:
        found[str(item[name])] = found.get(str(item[name]), 0) + 1
    return found


def publisher(told: Mapping[str, str]) -> BrandSettings:
    """What `site` has told, read back."""
    return BrandSettings(
        name=told.get("name", ""),
        site_url=told.get("url", ""),
        api_url=told.get("api", ""),
        support=told.get("support", ""),
    )
