"""What the simulated payment services were asked and what was paid: a JSON line each.

It is independent of everything that the gateway writes, so the drill compares the two. The lines
`object` bring a service that starts again back to where it was.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corvus_proxy import clock

_ROWS_MAX = 100_000
"""Rows that `/control/log` remembers; the file has all."""


class Record:
    """Rows in memory and, where a file is named, on disk."""

    def __init__(self, path: Path | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._path = path
        self._file = path.open("a") if path else None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def note(self, row: str, **values: Any) -> None:
        """Writes a row of that kind: `request`, `payment`, `hook`."""
        self.rows.append(self._write({"row": row, "at_ms": clock.wall_ms(), **values}))
        del self.rows[:-_ROWS_MAX]

    def keep(self, kind: str, name: str, value: Any) -> None:
        """Writes the present state of a thing, for the next start."""
        if self._file is not None:
            self._write({"row": "object", "kind": kind, "id": name, "value": value})

    def kept(self) -> Iterator[tuple[str, str, Any]]:
        """(kind, id, last state) of all things that the file knows, in the order of their last
        change. A line that was cut by a kill is left out."""
        if self._path is None:
            return
        last: dict[tuple[str, str], Any] = {}
        for line in self._path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.get("row") == "object":
                last.pop((row["kind"], row["id"]), None)
                last[row["kind"], row["id"]] = row["value"]
        for (kind, name), value in last.items():
            yield kind, name, value

    def _write(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._file is not None:
            with self._lock:
                self._file.write(json.dumps(row) + "\n")
                self._file.flush()
        return row
