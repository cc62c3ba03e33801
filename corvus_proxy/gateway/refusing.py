"""The till's "no" as the refusal that the client reads."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

from corvus_proxy.catalogue.book import Model
from corvus_proxy.errors import (
    BodyTooLarge,
    CapReached,
    InvalidKey,
    KeyDisabled,
    KeyExpired,
    LedgerUnavailable,
    LimitReached,
    ModelNotAllowed,
    OutOfBalance,
)
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.money.amount import format_usd
from corvus_proxy.money.pricing import affordable_output
from corvus_proxy.till.reply import Backpressure, Denied, Limited, Look, NoKey, Paced, Poor
from corvus_proxy.wire import headers

RETRY_AFTER_EMPTY_S = 61
"""Longer than any client's own patience for a retry, so that none sleeps on an empty balance."""

PACES = {
    "rate": "requests a minute",
    "tokens": "tokens a minute",
    "concurrency": "requests at once",
}

UNKNOWN_KEY = "This key is not known. Check that it was copied whole."
EXPIRED_KEY = "This key has reached the end that its owner set for it."


def raise_refusal(reply: object, exchange: Exchange, site_url: str) -> NoReturn:
    """Raises the refusal that `reply` means for this request."""
    match reply:
        case Poor():
            raise out_of_balance(reply, exchange, site_url)
        case Limited(reason="cap"):
            raise cap_reached(reply, exchange)
        case Paced():
            raise too_fast(reply, exchange)
        case Denied(reason="model"):
            raise _not_allowed(exchange.model)
        case _:
            raise_key_refusal(reply)


def _not_allowed(model: Model) -> ModelNotAllowed:
    return ModelNotAllowed(
        f"This key may not use {model.slug}; the owner of the main key has named the models that it"
        " may.",
        param="model",
        details={"model": model.slug},
    )


def check_active(look: Look) -> None:
    """Raises KeyDisabled or KeyExpired where `reserve` would not admit the key either: for
    endpoints that hold nothing."""
    if look.status == "expired":
        raise KeyExpired(EXPIRED_KEY)
    if look.status != "active":
        raise KeyDisabled(f"This key is {look.status}.")


def check_allowed(model: Model, allowed: Sequence[str]) -> None:
    """Raises ModelNotAllowed where a key has a list of models and this one is not in it: for
    endpoints that hold nothing."""
    if allowed and model.slug not in allowed:
        raise _not_allowed(model)


def raise_key_refusal(reply: object) -> NoReturn:
    """Raises what a reply about the key or the ledger itself means, for every endpoint."""
    match reply:
        case NoKey():
            raise InvalidKey(UNKNOWN_KEY)
        case Denied():
            if reply.reason == "secret":
                raise InvalidKey(UNKNOWN_KEY)
            if reply.reason == "expired_key":
                raise KeyExpired(EXPIRED_KEY)
            raise KeyDisabled(f"This key is {reply.reason}.")
        case Backpressure():
            raise LedgerUnavailable(
                "The ledger is catching up; nothing was charged.", retry_after_s=5
            )
        case _:
            raise LedgerUnavailable(
                "The ledger is being checked after a restart; nothing was charged.", retry_after_s=2
            )


def too_fast(paced: Paced, exchange: Exchange) -> LimitReached | BodyTooLarge:
    """The refusal for a limit a minute or at once; one that no waiting ends is another."""
    details: dict[str, object] = {"limit": paced.limit, "used": paced.used, "what": paced.reason}
    if not paced.retry_ms:
        return BodyTooLarge(
            f"This key may take {paced.limit:,} tokens a minute, and this request's input alone is"
            " more; waiting does not help.",
            details=details,
        )
    return LimitReached(
        f"This key has reached its limit of {paced.limit:,} {PACES[paced.reason]}.",
        retry_after_s=min(60, max(1, -(-paced.retry_ms // 1000))),
        details=details,
        headers=headers.spent_pace(paced.reason, paced.limit, paced.used, paced.retry_ms),
    )


def cap_reached(limited: Limited, exchange: Exchange) -> CapReached:
    """The refusal for a sub-key's cap: how much of it is gone, and when it begins anew."""
    required = format_usd(exchange.quote.least_nanos)
    cap, spent = format_usd(limited.cap_nanos), format_usd(limited.spent_nanos)
    held = format_usd(limited.held_nanos)
    left = max(0, limited.cap_nanos - limited.spent_nanos - limited.held_nanos)
    resets_at = ""
    if limited.resets_ms:
        resets_at = datetime.fromtimestamp(limited.resets_ms // 1000, UTC).isoformat()
    return CapReached(
        f"This key's cap is reached: of {cap} USD {spent} USD are spent and {held} USD are held by"
        f" its running requests, and this request requires at least {required} USD. "
        + (
            f"The cap begins anew at {resets_at}."
            if resets_at
            else "The cap does not begin anew; the owner of the main key can raise it."
        ),
        retry_after_s=RETRY_AFTER_EMPTY_S,
        details={
            "cap": cap,
            "spent": spent,
            "held": held,
            "available": format_usd(left),
            "required": required,
            "resets_at": resets_at or None,
        },
    )


def out_of_balance(poor: Poor, exchange: Exchange, site_url: str) -> OutOfBalance:
    """The refusal for money, with the numbers that let a client do something about it."""
    quote, price = exchange.quote, exchange.model.price
    affordable = affordable_output(poor.available_nanos, quote.bound, price)
    affordable = max(0, affordable // exchange.asked.choices)
    required, available = format_usd(quote.least_nanos), format_usd(poor.available_nanos)
    topup_url = f"{site_url}/dashboard"
    return OutOfBalance(
        f"Out of balance: this request requires at least {required} USD and {available} USD is"
        f" available on this key ({format_usd(poor.held_nanos)} USD is held by running requests)."
        f" Top up at {topup_url}; the same key works again at once.",
        retry_after_s=RETRY_AFTER_EMPTY_S,
        details={
            "balance": format_usd(poor.available_nanos + poor.held_nanos),
            "held": format_usd(poor.held_nanos),
            "available": available,
            "required": required,
            "affordable_max_tokens": affordable,
            "topup_url": topup_url,
        },
    )
