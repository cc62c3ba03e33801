"""`corvus keys …`: keys and their balances."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, Parameter

from corvus_proxy.ops.commands.common import (
    PARTLY,
    Common,
    Deed,
    KeyId,
    Reason,
    StatementReason,
    Usd,
    actor,
    document_of,
    on_stores,
    say,
    table,
    would,
    would_move,
)

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
    deed: Deed | None = None,
) -> None:
    """A new key, credited with so many USD; or, with `--parent`, a sub-key of another key's wallet.

    Parameters
    ----------
    credit
        USD that it starts with, as `5` or `0.25`; a sub-key spends its wallet's money.
    label
        A name for the key; its holder reads it, too.
    reason
        Of the credit: it stands in the customer's statements, and in the audit. A sub-key has none.
    parent
        Id of a key of the wallet that the sub-key spends from.
    cap
        USD that the sub-key may spend in the period; without it there is no cap.
    period
        total, day, week or month (UTC).
    expires
        Time from which the sub-key is refused; UTC where it names no other.
    """
    from corvus_proxy.money.amount import parse_usd
    from corvus_proxy.service import keys as service

    common = deed or Deed()
    if parent and parse_usd(credit):
        raise ValueError("a sub-key spends its wallet's money: --credit does not go with --parent")
    if common.dry_run:
        what = f"make a sub-key of {parent}" if parent else f"make a key with {credit} USD"
        would(common, what, credit_nanos=parse_usd(credit), parent=parent)
        return
    if parent:
        limits = _limits(cap, period, expires, rates)

        async def create_sub(stores: Any) -> Any:
            wallet = (await service.show(stores, parent)).wallet
            return await service.create_sub(stores, wallet, label=label, actor=actor(), **limits)

        say(common, *_shown(on_stores(common, create_sub)))
        return
    made = on_stores(
        common,
        lambda stores: service.create(
            stores,
            credit_nanos=parse_usd(credit),
            label=label,
            reason=reason,
            actor=actor(),
        ),
    )
    document, text = _shown(made)
    document.pop("recovery_code")  # programs that make keys ask for it by `keys code`
    say(common, document, text)


@app.command
def code(key_id: KeyId, *, deed: Deed | None = None) -> None:
    """A new recovery code for a key's wallet; the one before it is worth nothing any more."""
    from corvus_proxy.service import keys as service
    from corvus_proxy.service import owner

    common = deed or Deed()
    if common.dry_run:
        would(common, f"make a new recovery code for {key_id}", key_id=key_id)
        return

    async def give(stores: Any) -> str:
        return await owner.give_code(
            stores, (await service.show(stores, key_id)).wallet, actor=actor()
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
    key_id: KeyId,
    *,
    cap: str = "",
    period: str = "total",
    expires: datetime | None = None,
    rates: Rates | None = None,
    deed: Deed | None = None,
) -> None:
    """Sets what a sub-key may spend, in which period, how fast, on which models, and its end; what
    is not named is none.

    Parameters
    ----------
    cap
        USD that it may spend in the period; without it there is no cap.
    period
        total, day, week or month (UTC).
    expires
        Time from which it is refused; UTC where it names no other.
    """
    from corvus_proxy.service import keys as service

    common = deed or Deed()
    limits = _limits(cap, period, expires, rates)
    if common.dry_run:
        told = {**limits, **limits["rates"]._asdict()}
        del told["rates"]
        would(common, f"set the limits of {key_id}", key_id=key_id, **told)
        return

    async def change(stores: Any) -> None:
        wallet = (await service.show(stores, key_id)).wallet
        changes = {**limits, "rates": limits["rates"]._asdict()}
        await service.change_sub(stores, wallet, key_id, actor=actor(), **changes)

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
def revoke(key_id: KeyId, *, reason: Reason = "", deed: Deed | None = None) -> None:
    """Ends a key for ever; its money stays in the wallet."""
    from corvus_proxy.service import keys as service

    common = deed or Deed()
    if common.dry_run:
        would(common, f"revoke {key_id} for ever", key_id=key_id)
        return
    on_stores(common, lambda stores: service.revoke(stores, key_id, reason=reason, actor=actor()))
    say(common, {"key_id": key_id, "status": "revoked"}, f"{key_id}  revoked")


@app.command
def show(key_id: KeyId, *, common: Common | None = None) -> None:
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


@app.command
def find(text: str, *, common: Common | None = None) -> None:
    """Keys by a key id, wallet id, order id, the ends of a secret, a mail address or a label.

    Parameters
    ----------
    text
        key_…, w_…, ord_…, sk-corvus_Ab1c…9Zxy, name@example.com, or a part of a label.
    """
    from corvus_proxy.service.operating import finding

    common = common or Common()
    rows = [_row(row) for row in on_stores(common, lambda stores: finding.find(stores, text))]
    shown = table(
        ("key", "wallet", "label", "status", "secret", "balance USD", "since"),
        [
            (row["key_id"], row["wallet"], row["label"] or "-", row["status"], row["masked"],
             row["balance"], row["created_at"][:10])
            for row in rows
        ],
        empty="no key fits",
    )  # fmt: skip
    say(common, {"keys": rows}, shown)


@app.command
def export(
    *,
    form: Literal["csv", "json"] = "csv",
    out: Path | None = None,
    common: Common | None = None,
) -> None:
    """All keys with their balances as a file; no secret is in it.

    Parameters
    ----------
    form
        csv, or json as one document.
    out
        The file to write; stdout where it is left out.
    """
    import csv
    import json
    import sys

    from corvus_proxy.service.operating import finding
    from corvus_proxy.service.statements.exported import plain

    common = common or Common()

    async def read(stores: Any) -> list[dict[str, Any]]:
        return [_row(row) async for row in finding.export(stores)]

    rows = on_stores(common, read)
    if out is None and (common.json or form == "json"):
        say(common, {"keys": rows}, json.dumps({"keys": rows}))
        return
    file = out.open("w", newline="") if out else sys.stdout
    if form == "json":
        json.dump({"keys": rows}, file)
    else:
        writer = csv.writer(file)
        writer.writerow(_EXPORTED)
        writer.writerows([plain(str(row[name])) for name in _EXPORTED] for row in rows)
    if out is not None:
        file.close()
        say(common, {"keys": len(rows), "file": str(out)}, f"{len(rows)} keys in {out}")


_EXPORTED = (
    "key_id", "wallet", "label", "main", "status", "masked", "balance", "balance_nanos", "spent",
    "spent_nanos", "email", "created_at",
)  # fmt: skip


def _row(row: Any) -> dict[str, Any]:
    from corvus_proxy.service.keys import STATUS

    return {**document_of(row), "status": STATUS[row.status]}


@app.command
def credit(key_id: KeyId, usd: Usd, *, reason: StatementReason, deed: Deed | None = None) -> None:
    """Adds money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _move(deed or Deed(), key_id, usd, reason, service.credit, ("credit", "grants", 1))


@app.command
def debit(key_id: KeyId, usd: Usd, *, reason: StatementReason, deed: Deed | None = None) -> None:
    """Takes free money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _move(deed or Deed(), key_id, usd, reason, service.debit, ("debit", "adjustments", -1))


def _move(
    deed: Deed, key_id: str, usd: str, reason: str, move: Any, how: tuple[str, str, int]
) -> None:
    from corvus_proxy.money.amount import format_usd, parse_usd
    from corvus_proxy.service.keys import MovePending
    from corvus_proxy.service.operating import planning

    nanos, (verb, counter, sign) = parse_usd(usd), how
    if nanos <= 0:  # the plan of a credit below zero would be a debit's
        raise ValueError("an amount above zero is needed")
    if deed.dry_run:
        plan = on_stores(deed, lambda stores: planning.move(stores, key_id, sign * nanos, counter))
        would_move(deed, f"{verb} {key_id} with {format_usd(nanos)} USD", plan)
        return
    try:
        balance = on_stores(
            deed, lambda stores: move(stores, key_id, nanos, reason=reason, actor=actor())
        )
    except MovePending as error:  # done again it would be done twice
        say(deed, {"key_id": key_id, "pending": True}, f"{key_id}  {error}")
        raise SystemExit(PARTLY) from None
    document = {"key_id": key_id, "balance_nanos": balance}
    say(deed, document, f"{key_id}  balance {format_usd(balance)} USD")


@app.command
def freeze(key_id: KeyId, *, reason: Reason = "", deed: Deed | None = None) -> None:
    """Stops a key; its money stays."""
    _freeze(deed or Deed(), key_id, reason, frozen=True)


@app.command
def unfreeze(key_id: KeyId, *, reason: Reason = "", deed: Deed | None = None) -> None:
    """Lets a frozen key work again."""
    _freeze(deed or Deed(), key_id, reason, frozen=False)


def _freeze(deed: Deed, key_id: str, reason: str, *, frozen: bool) -> None:
    from corvus_proxy.service import keys as service

    word = "frozen" if frozen else "active"
    if deed.dry_run:
        would(deed, f"set {key_id} to {word}", key_id=key_id, status=word)
        return
    on_stores(
        deed,
        lambda stores: service.set_frozen(
            stores, key_id, frozen=frozen, reason=reason, actor=actor()
        ),
    )
    say(deed, {"key_id": key_id, "status": word}, f"{key_id}  {word}")


@app.command
def rotate(key_id: KeyId, *, grace_s: int = 86400, deed: Deed | None = None) -> None:
    """A new secret; the old one works for the grace.

    Parameters
    ----------
    grace_s
        Seconds for which the old secret still works; 0 ends it at once.
    """
    from corvus_proxy.service import keys as service

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"make a new secret for {key_id}", key_id=key_id, grace_s=grace_s)
        return
    secret = on_stores(
        deed, lambda stores: service.rotate(stores, key_id, grace_s=grace_s, actor=actor())
    )
    say(deed, {"key_id": key_id, "secret": secret}, f"{key_id}  secret {secret}")
