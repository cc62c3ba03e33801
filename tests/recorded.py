"""The recorded answers that the environment names, framed as a client would read them."""

import csv
import json
import os
from pathlib import Path
from typing import Any, NamedTuple


class Recording(NamedTuple):
    """One row of the manifest."""

    file: str
    dialect: str
    framing: str
    status: int
    model: str
    special: str
    usage: dict[str, Any] | None

    @property
    def raw(self) -> bytes:
        return (folder() / self.file).read_bytes()

    @property
    def names_events(self) -> bool:
        """Whether each event stands under its name, and no [DONE] at the end."""
        return self.dialect in ("anthropic", "responses", "responses-other")

    @property
    def is_stream(self) -> bool:
        return self.framing != "json"

    @property
    def body(self) -> bytes:
        """The answer's body; a list of data payloads gets its SSE framing back."""
        if self.framing in ("json", "sse"):
            return self.raw
        framed = b""
        for line in self.raw.splitlines():
            if line.strip():
                if self.names_events:
                    framed += b"event: " + json.loads(line)["type"].encode() + b"\n"
                framed += b"data: " + line + b"\n\n"
        if not self.names_events and b"data: [DONE]" not in framed:
            framed += b"data: [DONE]\n\n"
        return framed


def folder() -> Path:
    """Where the recordings lie; tests that need them are deselected when it is not given."""
    return Path(os.environ["CORVUS_RECORDINGS"])


def recordings(*dialects: str) -> list[Recording]:
    """The manifest's rows of some dialects, of all where none is named; none when the folder is not
    given."""
    if "CORVUS_RECORDINGS" not in os.environ:
        return []
    with (folder() / "manifest.tsv").open(newline="") as file:
        rows = [
            Recording(
                row["file"],
                row["dialect"],
                row["framing"],
                int(row["status"]),
                row["model"],
                row["special"],
                json.loads(row["usage"]) if row["usage"] else None,
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]
    return [row for row in rows if not dialects or row.dialect in dialects]
