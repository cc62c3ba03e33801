"""`corvus audit …`: who did what to what."""

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from cyclopts import App

from corvus_proxy.ops.commands.common import Common, document_of, on_stores, say

app = App(name="audit", help="Who did what to what.")
COLUMNS = ("audit_id", "at", "actor", "action", "subject", "details")


@app.command
def tail(
    *,
    last: int = 20,
    who: str = "",
    action: str = "",
    subject: str = "",
    common: Common | None = None,
) -> None:
    """The latest deeds, the newest at the end.

    Parameters
    ----------
    last
        How many, at most 1000.
    who
        Of one actor, such as cli, console:ada or key_….
    action
        How the action begins, such as keys or orders.refund.
    subject
        Of one key, order, partition or credential.
    """
    from corvus_proxy.books.operating.audit import Chosen
    from corvus_proxy.service.operating import deeds

    common = common or Common()
    chosen = Chosen(who, action, subject)
    rows = on_stores(common, lambda stores: deeds.tail(stores, chosen, limit=last))
    lines = [
        f"{row.at:%Y-%m-%d %H:%M:%S}  {row.actor:16}  {row.action:18}  {row.subject}"
        f"  {json.dumps(row.details) if row.details else ''}".rstrip()
        for row in rows
    ]
    say(common, {"deeds": [document_of(row) for row in rows]}, "\n".join(lines) or "no deeds")


@app.command
def export(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    form: Literal["csv", "jsonl"] = "csv",
    out: Path | None = None,
    common: Common | None = None,
) -> None:
    """All deeds of a span as a file, the oldest first.

    Parameters
    ----------
    since
        The first instant (UTC where it names no zone); without it from the beginning.
    until
        The instant before which the span ends.
    form
        csv, or jsonl with one JSON object a line.
    out
        The file to write; stdout where it is left out.
    """
    from corvus_proxy.service.operating import deeds

    common = common or Common()
    if common.json and out is None:
        raise ValueError("--json tells of the file; name one with --out")

    async def write(stores: Any) -> int:
        with out.open("w", newline="") if out else _stdout() as file:
            count = 0
            put = _csv(file) if form == "csv" else _lines(file)
            async for row in deeds.export(stores, _aware(since), _aware(until)):
                put(row)
                count += 1
        return count

    count = on_stores(common, write)
    if out is not None:
        say(common, {"deeds": count, "file": str(out)}, f"{count} deeds in {out}")


def _aware(instant: datetime | None) -> datetime | None:
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=UTC)


def _csv(file: TextIO) -> Any:
    from corvus_proxy.service.statements.exported import plain

    writer = csv.writer(file)
    writer.writerow(COLUMNS)

    def put(row: Any) -> None:
        details = json.dumps(row.details)
        cells = (row.audit_id, row.at.isoformat(), row.actor, row.action, row.subject, details)
        writer.writerow([plain(str(cell)) for cell in cells])

    return put


def _lines(file: TextIO) -> Any:
    def put(row: Any) -> None:
        file.write(json.dumps(document_of(row)) + "\n")

    return put


class _stdout:  # noqa: N801 - it stands where a file does
    """stdout, which is not closed."""

    def __enter__(self) -> TextIO:
        return sys.stdout

    def __exit__(self, *exc: object) -> None:
        sys.stdout.flush()
