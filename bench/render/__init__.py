"""`corvus bench --render`: `bench/RESULTS.md` and its plots, wholly from `bench/results/*.json`.

Rule 1: a scenario is shown from the newest attempt that has it and was no `--quick` one; every row
        names that attempt's commit. Older attempts stay in the history.
Rule 2: a figure is the median of its runs, with the lowest and the highest beside it; a ratio is
        made within a round first. What failed is counted, never left out in silence.
"""

from collections.abc import Callable
from pathlib import Path

from bench import results
from bench.peers import report
from bench.render import budgets, plots, tables
from bench.results import Attempt

Section = Callable[[list[Attempt], Path], list[str]]
"""Lines of Markdown from all attempts; pictures go into the folder."""
SECTIONS: tuple[Section, ...] = (
    tables.method,
    budgets.section,
    budgets.trends,
    plots.section,
    report.section,
    tables.scenarios,
    tables.history,
)


def write(folder: Path = results.FOLDER) -> Path:
    """Writes `RESULTS.md` beside the folder of results, in which the pictures lie. Raises
    msgspec.ValidationError."""
    attempts = results.read(folder)
    lines = ["# Results", "", "Made by `./corvus bench --render`; never edited by hand.", ""]
    for section in SECTIONS:
        lines += section(attempts, folder)
    page = folder.absolute().parent / "RESULTS.md"
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page
