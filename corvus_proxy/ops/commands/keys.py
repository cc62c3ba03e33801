"""`corvus keys …`: keys and their balances."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cyclopts import App, Parameter

from corvus_proxy.ops.commands.common import Common, on_stores, say

app = App(name="keys", help="Keys and their balances.")


@Parameter(name="*")
@dataclass(frozen=True)
class Rates:
    """How fast a sub-key may go, and on which models."""

    requests_per_minute: int = 0
    "Requests in a minute; 0: no limit."
    tokens_per_minute: int = 0
    "Tokens in a minute, input and output; 0: no limit."
    concurrency: int = 0
    "Requests at once; 0: no limit."
    models: str = ""
    "Slugs with commas between them; without it all."


def _shown(found: Any) -> tuple[dict[str, Any], str]:
    from corvus_proxy.money.amount import format_usd

    document = found._asdict()
    text = "  ".join(
        f"{name.removesuffix('_nanos')} "
        + (f"{format_usd(value)} USD" if name.endswith("_nanos") else str(value or "-"))
        for name, value in document.items()
    )
    return document, text


@app.command
def create(
    *,
    credit: str = "0",
    label: str = "",
    reason: str = "operator grant",
    parent: str = "",
    cap: str = "",
    period: str = "total",
    expires: datetime | None = None,
    rates: Rates | None = None,
    common: Common | None = None,
) -> None:
    """A new key, credited with so many USD; or, with `--parent`, a sub-key of another key's wallet.

    Parameters
    ----------
    parent: Id of a key of the wallet that the sub-key spends from.
    cap: USD that the sub-key may spend in the period; without it there is no cap.
    period: total, day, week or month (UTC).
    expires: Time from which the sub-key is refused; UTC where it names no other.
    """
    from corvus_proxy.money.amount import parse_usd
    from corvus_proxy.service import keys as service

    common = common or Common()
    if parent:
        limits = _limits(cap, period, expires, rates)

        async def create_sub(stores: Any) -> Any:
            wallet = (await service.show(stores, parent)).wallet
            return await service.create_sub(stores, wallet, label=label, actor="cli", **limits)

        say(common, *_shown(on_stores(common, create_sub)))
        return
    made = on_stores(
        common,
        lambda stores: service.create(
            stores, credit_nanos=parse_usd(credit), label=label, reason=reason
        ),
    )
    document, text = _shown(made)
    document.pop("recovery_code")  # programs that make keys ask for it by `keys code`
    say(common, document, text)


@app.command
def code(key_id: str, *, common: Common | None = None) -> None:
    """A new recovery code for a key's wallet; the one before it is worth nothing any more."""
    from corvus_proxy.service import keys as service
    from corvus_proxy.service import owner

    common = common or Common()

    async def give(stores: Any) -> str:
        return await owner.give_code(
            stores, (await service.show(stores, key_id)).wallet, actor="cli"
        )

    found = on_stores(common, give)
    say(common, {"key_id": key_id, "recovery_code": found}, found)


def _limits(cap: str, period: str, expires: datetime | None, rates: Rates | None) -> dict[str, Any]:
    from corvus_proxy.money import period as periods
    from corvus_proxy.money.amount import parse_usd

    rates = rates or Rates()
    models = tuple(one.strip() for one in rates.models.split(",") if one.strip())

    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return {
        "cap_nanos": parse_usd(cap) if cap else None,
        "period": period,
        "expires_ms": int(expires.timestamp()) * 1000 if expires is not None else 0,
        "rates": periods.Rates(
            rates.requests_per_minute or None,
            rates.tokens_per_minute or None,
            rates.concurrency or None,
            models,
        ),
    }


@app.command
def limit(
    key_id: str,
    *,
    cap: str = "",
    period: str = "total",
    expires: datetime | None = None,
    rates: Rates | None = None,
    common: Common | None = None,
) -> None:
    """Sets what a sub-key may spend, in which period, how fast, on which models, and its end; what
    is not named is none."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    limits = _limits(cap, period, expires, rates)

    async def change(stores: Any) -> None:
        wallet = (await service.show(stores, key_id)).wallet
        changes = {**limits, "rates": limits["rates"]._asdict()}
        await service.change_sub(stores, wallet, key_id, actor="cli", **changes)

    on_stores(common, change)
    told = {"key_id": key_id, **limits, **limits["rates"]._asdict()}
    del told["rates"]
    said = " ".join(
        f"{name.removesuffix('_nanos').removesuffix('_ms')} {value or '-'}"
        for name, value in told.items()
        if name != "key_id"
    )
    say(common, told, f"{key_id}  {said}")


@app.command
def revoke(key_id: str, *, reason: str = "", common: Common | None = None) -> None:
    """Ends a key for ever; its money stays in the wallet."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    on_stores(common, lambda stores: service.revoke(stores, key_id, reason=reason))
    say(common, {"key_id": key_id, "status": "revoked"}, f"{key_id}  revoked")


@app.command
def show(key_id: str, *, common: Common | None = None) -> None:
    """A key's balance, holds and status."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    say(common, *_shown(on_stores(common, lambda stores: service.show(stores, key_id))))


@app.command(name="list")
def list_keys(*, common: Common | None = None) -> None:
    """The newest keys."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    rows = [_shown(row) for row in on_stores(common, service.list_keys)]
    say(common, {"keys": [document for document, _ in rows]}, "\n".join(text for _, text in rows))


def _moved(common: Common, key_id: str, usd: str, reason: str, move: Any) -> None:
    from corvus_proxy.money.amount import format_usd, parse_usd

    balance = on_stores(common, lambda stores: move(stores, key_id, parse_usd(usd), reason=reason))
    say(
        common,
        {"key_id": key_id, "balance_nanos": balance},
        f"{key_id}  balance {format_usd(balance)} USD",
    )


@app.command
def credit(key_id: str, usd: str, *, reason: str, common: Common | None = None) -> None:
    """Adds money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _moved(common or Common(), key_id, usd, reason, service.credit)


@app.command
def debit(key_id: str, usd: str, *, reason: str, common: Common | None = None) -> None:
    """Takes free money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _moved(common or Common(), key_id, usd, reason, service.debit)


@app.command
def freeze(key_id: str, *, reason: str = "", common: Common | None = None) -> None:
    """Stops a key; its money stays."""
    _freeze(common or Common(), key_id, reason, frozen=True)


@app.command
def unfreeze(key_id: str, *, reason: str = "", common: Common | None = None) -> None:
    """Lets a frozen key work again."""
    _freeze(common or Common(), key_id, reason, frozen=False)


def _freeze(common: Common, key_id: str, reason: str, *, frozen: bool) -> None:
    from corvus_proxy.service import keys as service

    on_stores(
        common, lambda stores: service.set_frozen(stores, key_id, frozen=frozen, reason=reason)
    )
    word = "frozen" if frozen else "active"
    say(common, {"key_id": key_id, "status": word}, f"{key_id}  {word}")


@app.command
def rotate(key_id: str, *, grace_s: int = 86400, common: Common | None = None) -> None:
    """A new secret; the old one works for the grace."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    secret = on_stores(common, lambda stores: service.rotate(stores, key_id, grace_s=grace_s))
    say(common, {"key_id": key_id, "secret": secret}, f"{key_id}  secret {secret}")
