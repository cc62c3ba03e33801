"""`corvus prices …`: the price book."""

from datetime import date

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, say, settings_of

app = App(name="prices", help="The price book.")


@app.command
def show(slug: str = "", *, at: date | None = None, common: Common | None = None) -> None:
    """Every model's prices and its least margin; with a slug, all about that model.

    Parameters
    ----------
    slug
        A model, by slug or alias.
    at
        The day whose prices are shown; today where it is left out.
    """
    from corvus_proxy import clock
    from corvus_proxy.ops import pricelist

    common = common or Common()
    settings = settings_of(common)
    if slug:
        found = pricelist.detail(settings, slug, at or clock.utc_now().date())
        say(common, found, pricelist.describe(found))
    else:
        rows = pricelist.rows(settings, at)
        say(common, {"models": rows}, pricelist.table(rows))


@app.command
def lint(*, common: Common | None = None) -> None:
    """What should not be in the book, one line a problem; exit code 1 if there is one.

    Prices above the vendor's, prices without source or date, rises that were not announced in
    time, long-context prices that cannot be meant, names given twice.
    """
    from corvus_proxy import clock
    from corvus_proxy.catalogue import lint as checks

    common = common or Common()
    found = checks.problems(settings_of(common).pricing, clock.utc_now().date())
    say(common, {"ok": not found, "problems": found}, "\n".join(found) or "ok")
    if found:
        raise SystemExit(1)


@app.command
def diff(*, at: date | None = None, common: Common | None = None) -> None:
    """Our official prices against the table of the installed genai-prices package.

    Exit code 3 if they disagree, unless each disagreement is one that its row explains (`differs`).

    Parameters
    ----------
    at
        The day whose prices are compared; today where it is left out.
    """
    import msgspec

    from corvus_proxy import clock
    from corvus_proxy.catalogue import book, tracked
    from corvus_proxy.ops import pricelist

    common = common or Common()
    pricing = settings_of(common).pricing
    rows = [book.periods(raw, pricing.factor) for raw in book.read(pricing)]
    found = tracked.compare(rows, at or clock.utc_now().date())
    document = {"agree": found.agree, **msgspec.to_builtins(found)}
    say(common, document, pricelist.compared(found))
    if not found.agree:
        raise SystemExit(3)
