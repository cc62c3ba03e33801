"""The folder that the status lives in: its history, the operator's notes, what is published.

The worker alone writes; the site reads what is published. A file is replaced as a whole, so nobody
reads a half of one.
"""

import os
from pathlib import Path

import msgspec
import structlog

from corvus_proxy.service.status.document import Document
from corvus_proxy.service.status.types import History, Note

HISTORY = "history.json"
NOTES = "notes.jsonl"
DOCUMENT, PAGE, MARKDOWN = "status.json", "status.html", "status.md"
PUBLISHED = (DOCUMENT, PAGE, MARKDOWN)
_log = structlog.get_logger()


class Noted(msgspec.Struct, frozen=True):
    """A line of the file of notes: written by a command while the books were away."""

    incident: str
    at_ms: int
    text: str


class Folder:
    """A folder, or, without a name, nothing but memory."""

    def __init__(self, name: str) -> None:
        self.path = Path(name) if name else None
        self._memory: dict[str, bytes] = {}

    def history(self) -> History:
        """What was kept; nothing where there is none that can be read."""
        data = self.read(HISTORY)
        if data is None:
            return History()
        try:
            return msgspec.json.decode(data, type=History)
        except msgspec.MsgspecError as error:
            _log.error("status_history_unreadable", why=str(error), kept_as=f"{HISTORY}.unread")
            if self.path is not None:
                os.replace(self.path / HISTORY, self.path / f"{HISTORY}.unread")
            return History()

    def keep(self, history: History) -> None:
        """Keeps all that is known. Raises OSError."""
        self.write(HISTORY, msgspec.json.encode(history))

    def document(self) -> Document | None:
        """What was published last; None where that is nothing that can be read."""
        data = self.read(DOCUMENT)
        try:
            return None if data is None else msgspec.json.decode(data, type=Document)
        except msgspec.MsgspecError:  # of another version: the worker is about to write its own
            return None

    def add_note(self, incident: str, note: Note) -> None:
        """Leaves a note for the worker. Raises OSError."""
        assert self.path is not None  # noqa: S101 -- whoever calls has asked
        with (self.path / NOTES).open("ab") as file:
            line = Noted(incident, note.at_ms, note.text)
            file.write(msgspec.json.encode(line) + b"\n")

    def take_notes(self, history: History) -> None:
        """Puts the notes that commands have left to their incidents."""
        left = self.read(NOTES) or b""
        by_id = {one.id: one for one in history.incidents}
        for line in left.splitlines():
            try:
                noted = msgspec.json.decode(line, type=Noted)
            except msgspec.MsgspecError:
                continue
            incident = by_id.get(noted.incident)
            note = Note(noted.at_ms, noted.text)
            if incident is not None and note not in incident.notes:
                incident.notes = sorted([*incident.notes, note])

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none."""
        if self.path is None:
            return self._memory.get(name)
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Replaces a file. Raises OSError."""
        if self.path is None:
            self._memory[name] = data
            return
        self.path.mkdir(parents=True, exist_ok=True)
        fresh = self.path / f"{name}.partial"
        fresh.write_bytes(data)
        os.replace(fresh, self.path / name)
