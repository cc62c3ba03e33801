"""How far long work is: a bar on stderr, and only where somebody watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Told = Callable[[int, int], None]
"""Takes how much is done, and of how much; 0 where nobody knows that."""


@contextmanager
def watched(what: str, unit: Literal["rows", "bytes", "none"] = "rows") -> Iterator[Told]:
    """A bar while the block runs, which tells it how far it is in `unit`, and for how long it runs.
    Where stderr is no terminal nothing is written."""
    if not sys.stderr.isatty():
        yield _unseen
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shown: dict[str, list[ProgressColumn]] = {
        "rows": [MofNCompleteColumn(), TimeRemainingColumn()],
        "bytes": [DownloadColumn()],
        "none": [],
    }
    columns = [TextColumn(what), BarColumn(), *shown[unit], TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _unseen(done: int, total: int) -> None:
    """Nobody watches."""
