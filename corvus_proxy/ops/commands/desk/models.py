"""`corvus models …`: what is sold."""

from typing import Any

from cyclopts import App

from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    Reason,
    actor,
    on_stores,
    say,
    settings_of,
    table,
    would,
)

app = App(name="models", help="What is sold, and what is switched off.")


@app.command(name="list")
def list_models(*, common: Common | None = None) -> None:
    """Every model of the price book, and whether it is sold."""
    from corvus_proxy.ops import pricelist
    from corvus_proxy.service.operating import stopping

    common = common or Common()
    rows = pricelist.rows(settings_of(common))
    off = _off(on_stores(common, stopping.every))
    found = [
        {
            "slug": row["slug"],
            "family": row["family"],
            "state": _state(row, off),
            "reason": off.get(row["slug"], ""),
        }
        for row in rows
    ]
    text = table(
        ("model", "family", "state", "reason"),
        [tuple(row.values()) for row in found],
        empty="the price book is empty",
    )
    say(common, {"models": found}, text)


def _off(rows: Any) -> dict[str, str]:
    return {row.subject: row.reason for row in rows if row.kind == "model"}


def _state(row: dict[str, Any], off: dict[str, str]) -> str:
    if row["slug"] in off:
        return "disabled"
    return "sold" if row["sold"] else "not sold (no upstream, or below cost)"


@app.command
def show(slug: str, *, common: Common | None = None) -> None:
    """All about one model: prices, margin, history, and whether it is sold.

    Parameters
    ----------
    slug
        A model, by slug or alias.
    """
    from corvus_proxy import clock
    from corvus_proxy.ops import pricelist
    from corvus_proxy.service.operating import stopping

    common = common or Common()
    found = pricelist.detail(settings_of(common), slug, clock.utc_now().date())
    reason = _off(on_stores(common, stopping.every)).get(found["slug"])
    text = pricelist.describe(found)
    if reason is not None:
        text += f"\nDisabled by the operator: {reason}"
    say(common, {**found, "disabled": reason is not None, "reason": reason or ""}, text)


@app.command
def disable(slug: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Sells a model no more: requests are refused as `model_unavailable` (503) within a second or
    two, whatever gateway they meet; what runs is finished.

    Parameters
    ----------
    slug
        Or an alias of the model.
    """
    _switch(deed or Deed(), slug, reason, off=True)


@app.command
def enable(slug: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Sells a model again.

    Parameters
    ----------
    slug
        Or an alias of the model.
    """
    _switch(deed or Deed(), slug, reason, off=False)


def _switch(deed: Deed, slug: str, reason: str, *, off: bool) -> None:
    from corvus_proxy.catalogue import book
    from corvus_proxy.service.operating import stopping

    name = stopping.slug(book.load(settings_of(deed).pricing), slug)
    word = "disabled" if off else "enabled"
    if deed.dry_run:
        would(deed, f"set {name} to {word}", slug=name, state=word)
        return

    async def switch(stores: Any) -> None:
        if off:
            await stopping.switch_off(stores, stopping.MODEL, name, reason=reason, actor=actor())
            return
        kinds = (stopping.MODEL,)
        await stopping.switch_on(stores, kinds, name, reason=reason, actor=actor())

    on_stores(deed, switch)
    say(deed, {"slug": name, "state": word}, f"{name}  {word}")
