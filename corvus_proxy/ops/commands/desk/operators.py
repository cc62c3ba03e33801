"""`corvus operators …`: who may log in to the console."""

from cyclopts import App

from corvus_proxy.ops.commands.common import (
    Common,
    Deed,
    Reason,
    actor,
    document_of,
    on_stores,
    say,
    table,
    would,
)

app = App(name="operators", help="Who may log in to the console.")


@app.command
def add(name: str, *, deed: Deed | None = None) -> None:
    """A token for an operator, shown once.

    Parameters
    ----------
    name
        Stands in the audit as console:NAME.
    """
    from corvus_proxy.service.operating import operators as service

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"make a token for {name}", name=name)
        return
    token = on_stores(deed, lambda stores: service.add(stores, name, actor=actor()))
    say(deed, {"name": name, "token": token}, f"{name}  {token}")


@app.command(name="list")
def list_operators(*, common: Common | None = None) -> None:
    """All operators, with those whose token was ended."""
    from corvus_proxy.service.operating import operators as service

    common = common or Common()
    rows = on_stores(common, service.every)
    text = table(
        ("operator", "since", "by", "ended"),
        [
            (row.name, f"{row.created_at:%Y-%m-%d}", row.created_by,
             f"{row.revoked_at:%Y-%m-%d}" if row.revoked_at else "-")
            for row in rows
        ],
        empty="nobody may log in: `corvus operators add NAME`",
    )  # fmt: skip
    say(common, {"operators": [document_of(row) for row in rows]}, text)


@app.command
def revoke(name: str, *, reason: Reason, deed: Deed | None = None) -> None:
    """Ends an operator's token and every log-in by it.

    Parameters
    ----------
    name
        An operator, as `corvus operators list` tells them.
    """
    from corvus_proxy.service.operating import operators as service

    deed = deed or Deed()
    if deed.dry_run:
        would(deed, f"end the token of {name}", name=name)
        return
    on_stores(deed, lambda stores: service.revoke(stores, name, reason=reason, actor=actor()))
    say(deed, {"name": name, "revoked": True}, f"{name}  revoked")
