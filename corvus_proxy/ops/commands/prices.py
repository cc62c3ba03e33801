"""`corvus prices …`: the price book."""

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, say, settings_of

app = App(name="prices", help="The price book.")


@app.command
def show(*, common: Common | None = None) -> None:
    """Every model's prices and the margin on its dearest component."""
    from corvus_proxy.ops import pricelist

    common = common or Common()
    rows = pricelist.rows(settings_of(common))
    say(common, {"models": rows}, pricelist.table(rows))


@app.command
def lint(*, common: Common | None = None) -> None:
    """Names each price that is dearer than the vendor's own; exit code 1 if there is one."""
    from corvus_proxy.catalogue import book, margin

    common = common or Common()
    found = margin.lint(book.load(settings_of(common).pricing))
    say(common, {"ok": not found, "problems": found}, "\n".join(found) or "ok")
    if found:
        raise SystemExit(1)
