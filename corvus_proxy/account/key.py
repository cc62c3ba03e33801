"""`GET /v1/key`: a key's own figures, answered from Redis alone."""

from corvus_proxy.account.asking import Ask, reply
from corvus_proxy.account.quote import Sold
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import format_usd


async def show(sold: Sold, ask: Ask) -> Reply:
    """The key's standing."""
    look = ask.look
    amounts = {
        "balance": look.balance_nanos,
        "held": look.held_nanos,
        "available": look.balance_nanos - look.held_nanos,
        "spent": look.wallet_spent_nanos,
        "key_spent": look.key_spent_nanos,
    }
    return reply(
        {
            "key_id": look.key_id,
            "wallet": ask.caller.wallet,
            "status": look.status,
            **{name: format_usd(nanos) for name, nanos in amounts.items()},
            **{f"{name}_nanos": nanos for name, nanos in amounts.items()},
        }
    )
