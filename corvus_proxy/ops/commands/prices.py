"""`corvus prices …`: the price book."""

import sys
from datetime import date
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

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


@app.command
def publish(*, out: Path | None = None, common: Common | None = None) -> None:
    """The price book of what is sold, as the site publishes it at /data/price-book.json.

    Parameters
    ----------
    out
        The file to write; stdout where it is left out.
    """
    from corvus_proxy import clock
    from corvus_proxy.catalogue import book
    from corvus_proxy.site.public.page import Facts
    from corvus_proxy.site.public.prices import offer

    settings = settings_of(common or Common())
    day = clock.utc_now().date()
    facts = Facts(settings, book.load(settings.pricing, day), (), day)
    _write(offer.publish(facts), out)


@app.command
def tracker(*, source: Annotated[Path, Parameter(name="--from")], out: Path | None = None) -> None:
    """The price tracker that a published price book makes: the bytes of the site's
    /data/pricing.json of the same day. Needs no installation.

    Parameters
    ----------
    source
        A published price book.
    out
        The file to write; stdout where it is left out.
    """
    from corvus_proxy.errors import ConfigurationError
    from corvus_proxy.site.public.prices import documents

    try:
        data = source.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{source}: {error.strerror}") from None
    _write(documents.pricing(data), out)


def _write(data: bytes, out: Path | None) -> None:
    """To a file, or as it is to stdout."""
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        out.write_bytes(data)
