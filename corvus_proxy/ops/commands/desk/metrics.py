"""`corvus metrics …`: what `/metrics` says at this moment, for people and for programs."""

import asyncio
import math
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.commands.common import PARTLY, Common, say, settings_of, table

PATIENCE_S = 10.0
_BUCKET = "_bucket"

app = App(name="metrics", help="The figures that Prometheus reads.")


@app.command
def snapshot(
    *names: str,
    url: Annotated[list[str] | None, Parameter(negative="")] = None,
    common: Common | None = None,
) -> None:
    """The figures of this moment, as the console has them.

    Ends with 5 where another place does not tell its figures.

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
    told, silent = asyncio.run(_ask_all(places))
    for why in silent:
        sys.stderr.write(f"corvus: {why}\n")
    if not told:
        raise SystemExit(1)
    found = [row for row in told if not names or row["name"].startswith(names)]
    say(common, {"metrics": found}, _lines(found, several=len(places) > 1))
    if silent:
        raise SystemExit(PARTLY)


def _lines(found: list[dict[str, Any]], *, several: bool) -> str:
    head = ("metric", "labels", "value", "from")[: 3 + several]
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
    empty = "only buckets have such a name: --json" if found else "no figure has such a name"
    return table(head, rows, empty=empty)


def _console(settings: Any) -> str:
    from corvus_proxy.ops.container.health import ANY

    host = ANY.get(settings.console.host, settings.console.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.console.port}/metrics"


async def _ask_all(places: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """What all places tell, and a sentence for each that does not."""
    from corvus_proxy.upstream.httpx_client import Caller

    caller = Caller(timeout_s=PATIENCE_S, bytes_max=64 * 1024 * 1024, through_proxy=False)
    try:
        asked = [_ask(caller, place) for place in places]
        found = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await caller.close()
    told: list[dict[str, Any]] = []
    silent: list[str] = []
    for one in found:
        if isinstance(one, ConfigurationError):
            silent.append(str(one))
        elif isinstance(one, BaseException):
            raise one
        else:
            told += one
    return told, silent


async def _ask(caller: Any, place: str) -> list[dict[str, Any]]:
    """Raises ConfigurationError where nothing there tells figures."""
    from corvus_proxy.upstream.faults import UpstreamBroke

    try:
        answer = await caller.fetch("GET", place, {})
    except UpstreamBroke as error:
        raise ConfigurationError(f"{place} does not answer: {error}") from None
    if answer.status != 200:
        raise ConfigurationError(f"{place} answers with status {answer.status}")
    try:
        rows = _samples(answer.body)
    except ValueError:
        rows = []
    if not rows:
        raise ConfigurationError(f"{place} tells no figures")
    return [{**row, "from": place} for row in rows]


def _samples(body: bytes) -> list[dict[str, Any]]:
    """What stands in an answer of `/metrics`, without when each series began. Raises ValueError
    where it is none."""
    from prometheus_client.parser import text_string_to_metric_families

    return [
        {
            "name": one.name,
            "type": family.type,
            "labels": one.labels,
            "value": _number(one.value),
        }
        for family in text_string_to_metric_families(body.decode())
        for one in family.samples
        if not one.name.endswith("_created")
    ]


def _number(value: float) -> float | int | str:
    """As it is written for people, too: whole where it is whole; what JSON has no number for as
    Prometheus writes it."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return int(value) if value == int(value) else value
