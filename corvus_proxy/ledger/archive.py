"""Committed events once more, outside of both stores: what books restored from a backup are brought
forward with when Redis has trimmed its stream.

Lines are written before the commit, so a line may be there twice or name a batch that was never
committed: the same event is always the same line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from corvus_proxy import clock
from corvus_proxy.money.event import Event, Mark, Poison

_ENCODER = msgspec.json.Encoder()
_EVENT = msgspec.json.Decoder(Event)
AT_ONCE = 50_000
"""Events that are read at a time: bounds the memory, however old the backup is."""
_log = structlog.get_logger()


class Archive:
    """Files `events-<day>-<id>.jsonl` in a folder; with an empty folder's name there is none."""

    def __init__(self, folder: str, *, days: int) -> None:
        self._folder = Path(folder) if folder else None
        self._days = days
        self._id = clock.random_hex(4)
        self._day = ""

    def append(self, events: Sequence[Event | Poison]) -> None:
        """Adds a batch. A disk that refuses is logged: the books are what must not stop."""
        if self._folder is None:
            return
        sound = [event for event in events if isinstance(event, Event)]
        try:
            day = clock.utc_day()
            if day != self._day:
                self._begin_day(self._folder, day)
            with (self._folder / f"events-{day}-{self._id}.jsonl").open("ab") as file:
                file.write(_ENCODER.encode_lines(sound))
        except OSError as error:
            _log.error("archive_failed", why=str(error), folder=str(self._folder))

    def _begin_day(self, folder: Path, day: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = sorted({path.name[7:17] for path in folder.glob("events-*.jsonl")})
        for old in kept[: -self._days] if self._days else ():
            for path in folder.glob(f"events-{old}-*.jsonl"):
                path.unlink(missing_ok=True)
        self._day = day

    def read(self, cursors: Mapping[int, Mark]) -> dict[int, list[Event]]:
        """What follows each partition's mark without a gap: as far as the archive goes, and at the
        most `AT_ONCE` events of all of them together. Read again from there for more."""
        found: dict[int, dict[Mark, Event]] = {}
        window = max(1, AT_ONCE // max(1, len(cursors)))
        paths = sorted(self._folder.glob("events-*.jsonl")) if self._folder else []
        for path in paths:
            with path.open("rb") as file:
                for line in file:
                    event = _decoded(line)
                    if event is None or event.partition not in cursors:
                        continue
                    after = cursors[event.partition].seq
                    if not after < event.seq <= after + window:
                        continue
                    at = Mark(event.epoch, event.seq)
                    found.setdefault(event.partition, {})[at] = event
        return {
            part: _dense([events[at] for at in sorted(events)], cursors[part])
            for part, events in found.items()
        }


def _decoded(line: bytes) -> Event | None:
    """The event of a line; None for one that was cut."""
    try:
        return _EVENT.decode(line)
    except msgspec.DecodeError:
        return None


def _dense(events: Sequence[Event], cursor: Mark) -> list[Event]:
    """The events that follow `cursor` one after the other. Where an epoch began anew, those of the
    old one from there on never were in the books, also those beyond the new one's end."""
    begins: dict[int, int] = {}
    for event in events:
        begins[event.epoch] = min(event.seq, begins.get(event.epoch, event.seq))
    by_seq = {
        event.seq: event
        for event in events
        if all(event.seq < seq for epoch, seq in begins.items() if epoch > event.epoch)
    }
    found: list[Event] = []
    while (after := by_seq.get(cursor.seq + 1 + len(found))) is not None:
        found.append(after)
    return found
