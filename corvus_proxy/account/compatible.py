"""The shapes in which other services tell a balance, for clients that know those alone.

OpenRouter's credits and key (openrouter.ai/docs/api), and the billing pages that OpenAI's old
dashboard had, which many chat clients and menu-bar meters still ask for. Amounts are JSON numbers
there; ours are written from the exact decimal text, never through a float.
"""

import msgspec

from corvus_proxy.account.asking import Ask, reply, standing
from corvus_proxy.account.quote import Sold
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import format_usd

FAR_S = 4_102_444_800
"""2100-01-01: a balance does not expire, and these shapes have no word for that."""


def number(nanos: int) -> msgspec.Raw:
    """An amount in USD as a JSON number, exact."""
    return msgspec.Raw(format_usd(nanos).encode())


async def credit(sold: Sold, ask: Ask) -> Reply:
    """All that was ever credited, and all that was spent of it."""
    own = standing(ask.look)
    return reply(
        {
            "data": {
                "total_credits": number(own.balance_nanos + own.spent_nanos),
                "total_usage": number(own.spent_nanos),
            }
        }
    )


async def key(sold: Sold, ask: Ask) -> Reply:
    """The key, its spending, and as its limit what the balance leaves."""
    own = standing(ask.look)
    return reply(
        {
            "data": {
                "label": ask.look.label or ask.look.key_id,
                "usage": number(own.spent_nanos),
                "limit": number(own.balance_nanos + own.spent_nanos),
                "limit_remaining": number(own.available_nanos),
                "limit_reset": None,
                "is_free_tier": False,
                "is_provisioning_key": False,
                "is_management_key": False,
                "rate_limit": {"requests": -1, "interval": "10s"},
            }
        }
    )


async def grants(sold: Sold, ask: Ask) -> Reply:
    """OpenAI's summary of credits."""
    own = standing(ask.look)
    return reply(
        {
            "object": "credit_summary",
            "total_granted": number(own.balance_nanos + own.spent_nanos),
            "total_used": number(own.spent_nanos),
            "total_available": number(own.balance_nanos),
            "grants": {"object": "list", "data": []},
        }
    )


async def subscription(sold: Sold, ask: Ask) -> Reply:
    """OpenAI's subscription: its limit is all that was ever credited."""
    own = standing(ask.look)
    limit = number(own.balance_nanos + own.spent_nanos)
    return reply(
        {
            "object": "billing_subscription",
            "has_payment_method": True,
            "soft_limit_usd": limit,
            "hard_limit_usd": limit,
            "system_hard_limit_usd": limit,
            "access_until": FAR_S,
        }
    )
