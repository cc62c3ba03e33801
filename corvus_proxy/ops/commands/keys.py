"""`corvus keys …`: keys and their balances."""

from typing import Any

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, on_stores, say

app = App(name="keys", help="Keys and their balances.")


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
    common: Common | None = None,
) -> None:
    """A new key, credited with so many USD."""
    from corvus_proxy.money.amount import parse_usd
    from corvus_proxy.service import keys as service

    common = common or Common()
    made = on_stores(
        common,
        lambda stores: service.create(
            stores, credit_nanos=parse_usd(credit), label=label, reason=reason
        ),
    )
    say(common, *_shown(made))


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
