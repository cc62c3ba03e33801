"""`corvus reconcile …`: our books against the providers' own reports."""

from datetime import date, timedelta
from typing import Any

from cyclopts import App

from corvus_proxy.money.amount import format_usd
from corvus_proxy.ops.commands.common import Common, on_stores, say, settings_of

app = App(name="reconcile", help="Our books against the providers' own reports.")


@app.command
def run(
    *, day: date | None = None, family: str = "", credential: str = "", common: Common | None = None
) -> None:
    """Asks providers about a closed UTC day and compares; exit code 3 where one differs, 5 where
    one has not answered.

    Parameters
    ----------
    day
        The day; yesterday where it is left out.
    family
        Only this family's credentials.
    credential
        Only this one.
    """
    from corvus_proxy import clock
    from corvus_proxy.service import reconciling as service

    common = common or Common()
    settings = settings_of(common)
    meant = day or clock.utc_now().date() - timedelta(days=1)
    rows = on_stores(
        common,
        lambda stores: service.run(stores, settings, meant, name=credential, family=family),
    )
    _say(common, rows)


@app.command
def status(*, days: int = 30, common: Common | None = None) -> None:
    """What came of the last days; exit code 3 where one differs.

    Parameters
    ----------
    days
        How many.
    """
    from corvus_proxy.service import reconciling as service

    common = common or Common()
    _say(common, on_stores(common, lambda stores: service.status(stores, days=days)))


@app.command
def explain(
    day: date, *, family: str = "", credential: str = "", common: Common | None = None
) -> None:
    """Says where the drift of a day sits: model, class, hours, or a price; exit code 3 where one
    differs.

    Parameters
    ----------
    day
        A day that was asked about.
    family
        Only this family's credentials.
    credential
        Only this one.
    """
    from corvus_proxy.service import reconciling as service

    common = common or Common()
    settings = settings_of(common)
    told = on_stores(
        common,
        lambda stores: service.explain(stores, settings, day, name=credential, family=family),
    )
    documents = [{**_document(one.row), "sentences": one.sentences} for one in told]
    text = "\n\n".join("\n".join(one.sentences) for one in told)
    say(common, {"days": documents}, text)
    _leave([one.row for one in told])


def _say(common: Common, rows: list[Any]) -> None:
    lines = [
        f"{'day':10}  {'credential':20}  {'books':>14}  {'reported':>14}  {'drift':>14}"
        f"  {'margin':>14}  state"
    ]
    for row in rows:
        reported = row.reported_nanos
        figures = [row.cost_nanos, reported]
        figures += [None, None]
        if reported is not None:
            figures[2:] = [reported - row.cost_nanos, row.charged_nanos - reported]
        shown = "".join(f"{'-' if one is None else format_usd(one):>14}  " for one in figures)
        why = f": {row.problem}" if row.problem else ""
        lines.append(f"{row.day}  {row.credential:20}  {shown}{row.state}{why}")
    say(common, {"days": [_document(row) for row in rows]}, "\n".join(lines))
    _leave(rows)


def _document(row: Any) -> dict[str, Any]:
    reported = row.reported_nanos
    drift = None if reported is None else reported - row.cost_nanos
    return {
        "day": row.day.isoformat(),
        "credential": row.credential,
        "family": row.family,
        "state": row.state,
        "requests": row.requests,
        "charged_nanos": row.charged_nanos,
        "cost_nanos": row.cost_nanos,
        "reported_nanos": reported,
        "drift_nanos": drift,
        "margin_nanos": None if reported is None else row.charged_nanos - reported,
        "problem": row.problem,
        "asked_at": row.asked_at.isoformat(),
    }


def _leave(rows: list[Any]) -> None:
    if any(row.state == "differs" for row in rows):
        raise SystemExit(3)
    if any(row.state == "unanswered" for row in rows):
        raise SystemExit(5)
