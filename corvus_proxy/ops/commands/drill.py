"""`corvus drill`: breaks a stack of its own in every named way and checks the money."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from corvus_proxy.ops.commands.common import logs_to_stderr

app = App(name="drill")


@app.default
def drill(
    *faults: int,
    seed: int = 1,
    seeds: int = 1,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    markdown: Path | None = None,
) -> None:
    """Breaks a stack of its own and checks that no money is wrong; exit code 3 if some is.

    Parameters
    ----------
    faults
        Numbers of the faults; all without one.
    seed
        Every choice of the drill follows from it.
    seeds
        How many seeds in a row, from `seed` on.
    json_
        One JSON document on stdout.
    markdown
        A file that gets the results as a table, one row a fault over all seeds.
    """
    from corvus_proxy.ops.drill import report, runner
    from corvus_proxy.ops.drill.faults.table import TABLE

    if unknown := [number for number in faults if number not in TABLE]:
        raise ValueError(f"there is no fault {unknown[0]}; they are numbered from 1 to 40")
    chosen = [TABLE[number] for number in faults] or list(TABLE.values())

    if markdown is not None:
        markdown.touch()  # a folder that is not there is told now, not after an hour

    def say(text: str) -> None:
        out = sys.stderr if json_ else sys.stdout
        out.write(text + "\n")
        out.flush()

    logs_to_stderr(logging.ERROR)  # refusals and absences are what a drill makes
    rows = runner.run(chosen, seed=seed, seeds=seeds, say=say)
    document = report.document(seed, seeds, rows)
    if markdown is not None:
        markdown.write_text(report.markdown(document) + "\n")
    if json_:
        sys.stdout.write(json.dumps(document) + "\n")
    if not document["ok"]:
        raise SystemExit(3)
