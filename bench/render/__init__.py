"""`corvus bench --render`: `bench/RESULTS.md`, its plots and the measured part of `README.md`, all
of it from `bench/results/*.json`.

Rule 1: a scenario is shown from the newest attempt that has it and was no `--quick` one; every row
        names that attempt's commit. Older attempts stay in the history.
Rule 2: a figure is the median of its runs, with the lowest and the highest beside it; a ratio is
        made within a round first. What failed is counted, never left out in silence.
"""

from collections.abc import Callable
from pathlib import Path

from bench import results
from bench.peers import report
from bench.render import budgets, plots, readme, resting, tables
from bench.results import Attempt

README = Path(__file__).parents[2] / "README.md"
Section = Callable[[list[Attempt], Path], list[str]]
"""Lines of Markdown from all attempts; pictures go into the folder."""
SECTIONS: tuple[Section, ...] = (
    tables.method,
    budgets.section,
    budgets.trends,
    resting.section,
    plots.section,
    report.section,
    tables.scenarios,
    tables.history,
)


def write(folder: Path = results.FOLDER) -> Path:
    """Writes `RESULTS.md` beside the folder of results, in which the pictures lie, and its part of
    the repository's `README.md` where that is the repository's folder. Raises
    msgspec.ValidationError."""
    attempts = results.read(folder)
    lines = ["# Results", "", "Made by `./corvus bench --render`; never edited by hand.", ""]
    for section in SECTIONS:
        lines += section(attempts, folder)
    page = folder.absolute().parent / "RESULTS.md"
    page.write_text("\n".join(lines).rstrip() + "\n")
    if folder.absolute() == results.FOLDER.absolute():
        readme.write(README, attempts)
    return page
