"""`GET /v1/key`: a key's own figures, answered from Redis alone."""

from datetime import UTC, datetime

from corvus_proxy import clock
from corvus_proxy.account.asking import Ask, reply, standing
from corvus_proxy.account.quote import Sold
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import format_usd


async def show(sold: Sold, ask: Ask) -> Reply:
    """The key's standing."""
    look = ask.look
    amounts: dict[str, int | None] = {
        **standing(look)._asdict(),
        "key_spent_nanos": look.key_spent_nanos,
        "cap_nanos": look.cap_nanos,
        "period_spent_nanos": None if look.cap_nanos is None else look.period_spent_nanos,
    }
    return reply(
        {
            "key_id": look.key_id,
            "wallet": ask.caller.wallet,
            "label": look.label,
            "main": look.main,
            "status": look.status,
            **{
                name.removesuffix("_nanos"): None if nanos is None else format_usd(nanos)
                for name, nanos in amounts.items()
            },
            **amounts,
            "period": look.period if look.cap_nanos is not None else None,
            "resets_at": _instant(look.resets_ms),
            "expires_at": _instant(look.expires_ms),
            **look.rates._asdict(),
        }
    )


def _instant(ms: int) -> str | None:
    return clock.iso_utc(datetime.fromtimestamp(ms / 1000, UTC)) if ms else None
