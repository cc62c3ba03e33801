"""`corvus metrics …`: what `/metrics` says at this moment, for people and for programs."""

import asyncio
import math
from typing import Annotated, Any

from cyclopts import App, Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.commands.common import Common, say, settings_of, table

PATIENCE_S = 10.0
_BUCKET = "_bucket"

app = App(name="metrics", help="The figures that Prometheus reads.")


@app.command
def snapshot(
    *names: str,
    url: Annotated[list[str] | None, Parameter(negative="")] = None,
    common: Common | None = None,
) -> None:
    """The figures of this moment, as the console has them from every role of this machine.

    Parameters
    ----------
    names
        Beginnings of names, as `corvus_ledger`; without any, all. Buckets of histograms are
        shown with `--json` alone.
    url
        Another place that tells figures, as `http://10.0.0.5:9080/metrics` of a role on a host of
        its own. May be repeated.
    """
    common = common or Common()
    places = url or [_console(settings_of(common))]
    found = [row for place in places for row in asyncio.run(_ask(place, names))]
    head = ("metric", "labels", "value", "from")[: 3 + (len(places) > 1)]
    rows = [
        (
            row["name"],
            " ".join(f"{name}={value}" for name, value in row["labels"].items()),
            row["value"],
            row["from"],
        )[: len(head)]
        for row in found
        if not row["name"].endswith(_BUCKET)
    ]
    say(common, {"metrics": found}, table(head, rows, empty="no figure has such a name"))


def _console(settings: Any) -> str:
    from corvus_proxy.ops.container.health import ANY

    host = ANY.get(settings.console.host, settings.console.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.console.port}/metrics"


async def _ask(place: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Raises ConfigurationError where nothing there tells figures."""
    from corvus_proxy import exposing
    from corvus_proxy.upstream.faults import UpstreamBroke
    from corvus_proxy.upstream.httpx_client import Caller

    caller = Caller(timeout_s=PATIENCE_S, bytes_max=64 * 1024 * 1024, through_proxy=False)
    try:
        answer = await caller.fetch("GET", place, {})
    except UpstreamBroke as error:
        raise ConfigurationError(f"{place} does not answer: {error}") from None
    finally:
        await caller.close()
    if answer.status != 200:
        raise ConfigurationError(f"{place} answers with status {answer.status}")
    try:
        rows = exposing.samples(answer.body)
    except ValueError:
        raise ConfigurationError(f"{place} does not tell figures") from None
    return [
        {**row._asdict(), "value": _number(row.value), "from": place}
        for row in rows
        if not names or row.name.startswith(tuple(names))
    ]


def _number(value: float) -> float | int | str:
    """As it is written for people, too: whole where it is whole; what JSON has no number for as
    Prometheus writes it."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return int(value) if value == int(value) else value
