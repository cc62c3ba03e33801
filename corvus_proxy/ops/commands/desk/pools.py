"""`corvus pools …`: upstream credentials."""

from typing import Any

from cyclopts import App

from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    Reason,
    actor,
    document_of,
    on_stores,
    say,
    settings_of,
    table,
    would,
)

app = App(
    name="pools",
    help="Upstream credentials: what they cost, how they stand, which of them serve.",
)


@app.command(name="list")
def list_pools(*, common: Common | None = None) -> None:
    """Every credential of the configuration with its state, cost and budget."""
    from corvus_proxy.money.amount import format_usd
    from corvus_proxy.service.operating import pools as service

    common = common or Common()
    settings = settings_of(common)
    rows = on_stores(common, lambda stores: service.listing(stores, settings))
    text = table(
        ("credential", "weight", "factor", "state", "today USD", "month USD", "budget", "runway"),
        [
            (row.name, row.weight, row.cost_factor, row.state, format_usd(row.cost_today_nanos),
             format_usd(row.cost_month_nanos), _budget(row),
             "-" if row.runway_h is None else f"{row.runway_h} h")
            for row in rows
        ],
        empty="no upstream is configured",
    )  # fmt: skip
    lines = [text, *(f"{row.name} is {row.desk}: {row.reason}" for row in rows if row.desk)]
    say(common, {"credentials": [document_of(row) for row in rows]}, "\n".join(lines))


def _budget(row: Any) -> str:
    from corvus_proxy.money.amount import format_usd

    found = [
        f"{format_usd(nanos)}/{period}"
        for period, nanos in (("day", row.budget_day_nanos), ("month", row.budget_month_nanos))
        if nanos is not None
    ]
    return " ".join(found) or "-"


@app.command(name="test")
def ask(credential: str = "", *, common: Common | None = None) -> None:
    """Asks upstreams whether they accept a credential, or each; costs nothing.

    Parameters
    ----------
    credential
        Its name, or family/name; without it all.
    """
    import asyncio

    from corvus_proxy.service.operating import pools as service

    common = common or Common()
    found = asyncio.run(service.ask(settings_of(common), credential))
    text = table(
        ("credential", "", ""),
        [(f"{one.family}/{one.name}", "ok" if one.ok else "NO", one.detail) for one in found],
        empty="no upstream is configured",
    )
    document = {"ok": all(one.ok for one in found), "credentials": [one._asdict() for one in found]}
    say(common, document, text)
    if not document["ok"]:
        raise SystemExit(1)


@app.command
def drain(credential: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Gives a credential no new session; those that it has stay for `pool.drain_s`.

    Parameters
    ----------
    credential
        Its name, or family/name.
    """
    from corvus_proxy.service.operating import stopping

    _switch(deed or Deed(), credential, reason, off=stopping.DRAINING)


@app.command
def disable(credential: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Gives a credential no request at all, within a second or two and until it is enabled.

    Parameters
    ----------
    credential
        Its name, or family/name.
    """
    from corvus_proxy.service.operating import stopping

    _switch(deed or Deed(), credential, reason, off=stopping.CREDENTIAL)


@app.command
def enable(credential: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Ends what `drain` and `disable` have said of a credential.

    Parameters
    ----------
    credential
        Its name, or family/name.
    """
    _switch(deed or Deed(), credential, reason, off="")


def _switch(deed: Deed, credential: str, reason: str, *, off: str) -> None:
    from corvus_proxy.service.operating import stopping

    settings = settings_of(deed)
    name = stopping.credential(settings, credential)
    word = {"": "enabled", stopping.DRAINING: "draining", stopping.CREDENTIAL: "disabled"}[off]
    if deed.dry_run:
        would(deed, f"set {name} to {word}", credential=name, state=word)
        return

    async def switch(stores: Any) -> None:
        if off:
            await stopping.switch_off(stores, off, name, reason=reason, actor=actor())
            return
        both = (stopping.CREDENTIAL, stopping.DRAINING)
        await stopping.switch_on(stores, both, name, reason=reason, actor=actor())

    on_stores(deed, switch)
    say(deed, {"credential": name, "state": word}, f"{name}  {word}")
