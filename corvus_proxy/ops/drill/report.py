"""What a drill reports: a row a fault, for people as it comes, for programs at its end."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

OK, VIOLATED, SKIPPED = "ok", "violated", "skipped"
_WIDTHS = (5, 34, 9, 8, 12, 8, 7)
HEAD = ("fault", "name", "requests", "refused", "shortfall", "drift", "back")


class Row(NamedTuple):
    """One fault's result. Amounts in nanos."""

    fault: int
    name: str
    requests: int = 0
    refused: int = 0
    """Answered with an error status before anything was served."""
    shortfall_nanos: int = 0
    """What balances could not pay: the operator's loss."""
    drift_nanos: int = 0
    """Redis against the books."""
    verdict: str = SKIPPED
    reason: str = ""
    back_s: float = 0.0
    """From the mending to the first answer that was served."""


def line(row: Row) -> str:
    """One line of the table."""
    if row.verdict == SKIPPED:
        cells = (f"F{row.fault}", row.name, "–", "–", "–", "–", "–")
    else:
        cells = (
            f"F{row.fault}",
            row.name,
            str(row.requests),
            str(row.refused),
            str(row.shortfall_nanos),
            str(row.drift_nanos),
            f"{row.back_s:.1f} s",
        )
    return f"{_columns(cells)}  {row.verdict}{': ' + row.reason if row.reason else ''}"


def head() -> str:
    """The table's head."""
    return f"{_columns(HEAD)}  verdict"


def _columns(cells: Iterable[str]) -> str:
    return "  ".join(
        f"{cell:<{width}}" if at < 2 else f"{cell:>{width}}"
        for at, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


def merge(runs: list[list[Row]]) -> list[Row]:
    """The rows of several seeds as one row a fault: sums, the worst verdict, the first reason."""
    merged = []
    for rows in zip(*runs, strict=True):
        worst = next((row for row in rows if row.verdict == VIOLATED), rows[0])
        merged.append(
            worst._replace(
                requests=sum(row.requests for row in rows),
                refused=sum(row.refused for row in rows),
                shortfall_nanos=sum(row.shortfall_nanos for row in rows),
                drift_nanos=sum(row.drift_nanos for row in rows),
                back_s=max(row.back_s for row in rows),
            )
        )
    return merged


def document(seed: int, seeds: int, rows: list[Row]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "ok": all(row.verdict != VIOLATED for row in rows),
        "seed": seed,
        "seeds": seeds,
        "faults": [row._asdict() for row in rows],
    }


def markdown(found: Mapping[str, Any]) -> str:
    """A document's rows as the table of docs/money.md, and what they are of."""
    first, last = found["seed"], found["seed"] + found["seeds"] - 1
    lines = [
        f"Seeds {first} to {last}:" if last > first else f"Seed {first}:",
        "",
        "| Fault | | Requests | Refused | Shortfall, nanos | Drift, nanos | Verdict |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in found["faults"]:
        figures = [row["requests"], row["refused"], row["shortfall_nanos"], row["drift_nanos"]]
        cells, verdict = [f"{figure:,}" for figure in figures], row["verdict"]
        if verdict == SKIPPED:
            cells, verdict = ["–"] * len(figures), f"{SKIPPED}: {row['reason']}"
        lines.append(f"| F{row['fault']} | {row['name']} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)
