"""`GET /v1/key`: a key's own figures, answered from Redis alone."""

import msgspec

from corvus_proxy.errors import LedgerUnavailable
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.gateway.refusing import raise_key_refusal
from corvus_proxy.money.amount import format_usd
from corvus_proxy.till.client import Till, TillUnavailable
from corvus_proxy.till.reply import Look


async def show(till: Till, caller: Caller) -> bytes:
    """The key's standing as JSON. Raises InvalidKey, KeyDisabled, LedgerUnavailable."""
    try:
        look = await till.look(caller.wallet, caller.digest)
    except TillUnavailable:
        raise LedgerUnavailable("The ledger does not answer.", retry_after_s=2) from None
    if not isinstance(look, Look):
        raise_key_refusal(look)
    amounts = {
        "balance": look.balance_nanos,
        "held": look.held_nanos,
        "available": look.balance_nanos - look.held_nanos,
        "spent": look.wallet_spent_nanos,
    }
    return msgspec.json.encode(
        {
            "key_id": look.key_id,
            "wallet": caller.wallet,
            "status": look.status,
            **{name: format_usd(nanos) for name, nanos in amounts.items()},
            **{f"{name}_nanos": nanos for name, nanos in amounts.items()},
        }
    )
