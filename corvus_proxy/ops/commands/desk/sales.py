"""`corvus sales …`: whether new orders are taken."""

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
    would,
)

app = App(
    name="sales", help="Whether new orders are taken. What was paid is credited all the same."
)


@app.command
def show(*, common: Common | None = None) -> None:
    """Whether sales are paused, since when and why."""
    from corvus_proxy.service.operating import stopping

    common = common or Common()
    rows = on_stores(common, stopping.every)
    _say(common, next((row for row in rows if row.kind == stopping.SALES), None))


@app.command
def pause(*, reason: str, deed: Deed | None = None) -> None:
    """Takes no new orders: the checkout and the API refuse them with the reason, which buyers read.

    Parameters
    ----------
    reason
        A sentence for buyers; the audit keeps it, too.
    """
    from corvus_proxy.service.operating import stopping

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"pause sales: {stopping.why(reason)}")
        return
    row = on_stores(
        deed,
        lambda stores: stopping.switch_off(
            stores, stopping.SALES, "", reason=reason, actor=actor()
        ),
    )
    _say(deed, row)


@app.command
def resume(*, reason: Reason, deed: Deed | None = None) -> None:
    """Takes new orders again."""
    from corvus_proxy.service.operating import stopping

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, "resume sales")
        return
    on_stores(
        deed,
        lambda stores: stopping.switch_on(
            stores, (stopping.SALES,), "", reason=reason, actor=actor()
        ),
    )
    _say(deed, None)


def _say(common: Common, row: Any) -> None:
    if row is None:
        say(common, {"paused": False}, "sales are open")
        return
    text = f"sales are paused since {row.at:%Y-%m-%d %H:%M} UTC by {row.actor}: {row.reason}"
    say(common, {"paused": True, **document_of(row)}, text)
