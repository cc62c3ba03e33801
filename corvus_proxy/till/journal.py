"""A gateway process's write-ahead file: what it is about to ask of Redis, before it asks.

Rule 1: a line is appended before the script that it names is called, and synced every 20 ms.
Rule 2: each line carries an HMAC over the line before it; reading stops at the first that fails, so
        a torn tail is ignored and an altered file is noticed.
Rule 3: a node is its folder. A process locks its own files; files nobody locks are a dead
        process's, and the node's speaker replays them.

    O rid wallet nanos slug price             a hold is about to be asked for
    K rid key nanos meta                      a checkpoint (extend)
    S rid wallet key slug nanos outcome meta  a charge is about to be settled
    D rid partition epoch seq                 Redis answered; 0 where there was nothing to charge
    R - partition epoch seq                   a partition was rebuilt: what it owed us is in it
    N - padding                               nothing: a try whether the disk takes lines again
"""

import asyncio
import contextlib
import fcntl
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from corvus_proxy import clock
from corvus_proxy import pepper as peppers
from corvus_proxy.money.event import Mark
from corvus_proxy.till.reply import Ask, Charge

SEGMENT_BYTES_MAX = 16 * 1024 * 1024
MAC_DIGITS = 16
TRY_BYTES = MAC_DIGITS + len(" N\t-\t\n")
"""A line of nothing without its padding."""
RETRY_S = 0.2
"""Between two tries of a disk that failed to sync."""
NOWHERE = Mark(0, 0)
"""Before every event."""
_log = structlog.get_logger()


class Line(NamedTuple):
    """One line of a journal without its HMAC."""

    kind: str
    rid: str
    fields: tuple[str, ...]


def _chain(key: bytes, before: bytes, text: bytes) -> bytes:
    made = hashlib.blake2b(before + text, key=key, digest_size=MAC_DIGITS // 2)
    return made.hexdigest().encode()


def _keys(all_peppers: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    current, *others = (
        hashlib.blake2b(b"journal", key=one[:64], digest_size=32).digest() for one in all_peppers
    )
    return current, others


def read_lines(path: Path, key: bytes) -> Iterator[Line]:
    """The lines of a segment up to the first that was torn or altered. A key may have others
    beside it; the first line tells whose the segment is."""
    before = path.name.encode()
    keys = peppers.all_of(key)
    with path.open("rb") as file:
        for raw in file:
            mac, _, text = raw.rstrip(b"\n").partition(b" ")
            keys = tuple(one for one in keys if text and _chain(one, before, text) == mac)
            if not keys:
                return
            before = mac
            kind, rid, *fields = text.decode().split("\t")
            yield Line(kind, rid, tuple(fields))


def is_foreign(path: Path, key: bytes) -> bool:
    """Whether a segment begins with a whole line that none of these keys has written: nothing of it
    can be read, and it is not empty."""
    with path.open("rb") as file:
        first = file.readline()
    return first.endswith(b"\n") and next(read_lines(path, key), None) is None


def covers(committed: Mapping[int, Mark], done: Mapping[int, Mark]) -> bool:
    """Whether the books have everything that was answered."""
    return all(at <= committed.get(partition, NOWHERE) for partition, at in done.items())


class _Segment:
    """One file of a journal, and what keeps it from being deleted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _sync_folder(path.parent)  # a synced file whose name is lost is lost
        self.size = 0
        self.mac = path.name.encode()
        self.unsettled: set[str] = set()
        self.done: dict[int, Mark] = {}


class Journal:
    """The journal of this process."""

    def __init__(
        self, folder: Path, key: bytes, incarnation: str, *, sync_ms: int, stall_ms: int | None
    ) -> None:
        self.incarnation = incarnation
        self.healthy = True
        """False once an append or a sync has failed or stalled: no new request is admitted."""
        self.done: dict[int, Mark] = {}
        """Highest event that Redis has answered, by partition."""
        self._folder = folder
        self._key = key
        self._sync_s = sync_ms / 1000
        self._stall_s = math.inf if stall_ms is None else stall_ms / 1000
        self._lock = _locked(folder / f"{incarnation}.lock")
        self._number = 0
        self._segments = [self._new_segment()]
        self._dirty = False
        self._refused_bytes = 0
        """The longest line that the disk has not taken and none so long since; 0: it takes all. A
        disk that is full for long lines may still take short ones."""
        self._syncing: asyncio.Task[None] | None = None

    def _new_segment(self) -> _Segment:
        self._number += 1
        return _Segment(self._folder / f"{self.incarnation}.{self._number:06d}.journal")

    def opened(self, ask: Ask) -> bool:
        """A hold is about to be asked for; whether the disk has taken the line."""
        self._segments[-1].unsettled.add(ask.rid)
        nanos = str(ask.most_nanos)
        return self._append("O", ask.rid, ask.wallet, nanos, ask.slug, ask.price_version)

    def checkpoint(self, rid: str, key: str, nanos: int, meta: bytes) -> None:
        """The request has cost `nanos` so far."""
        self._append("K", rid, key, str(nanos), meta.decode())

    def settling(self, charge: Charge) -> None:
        """A charge is about to be settled."""
        nanos, meta = str(charge.actual_nanos), charge.meta.decode()
        self._append(
            "S", charge.rid, charge.wallet, charge.key, charge.slug, nanos, charge.outcome, meta
        )

    def ended(self, rid: str, partition: int, at: Mark) -> None:
        """Redis has answered; `NOWHERE` where it had nothing to charge."""
        self._append("D", rid, str(partition), str(at.epoch), str(at.seq))
        for segment in self._segments:
            if rid in segment.unsettled:
                segment.unsettled.discard(rid)
                segment.done[partition] = max(at, segment.done.get(partition, NOWHERE))
        self.done[partition] = max(at, self.done.get(partition, NOWHERE))

    def rebuilt(self, partition: int, at: Mark) -> None:
        """A partition was rebuilt with our claims in it: they stand at or before `at`, unless they
        were answered since."""
        self._append("R", "-", str(partition), str(at.epoch), str(at.seq))
        for done in (self.done, *(segment.done for segment in self._segments)):
            if partition in done:
                done[partition] = max(at, done[partition])

    def paths(self) -> list[Path]:
        """The files that stand, oldest first."""
        return [segment.path for segment in self._segments]

    def prune(self, committed: Mapping[int, Mark]) -> None:
        """Deletes full segments whose every request is in the books."""
        for segment in self._segments[:-1]:
            if segment.unsettled or not covers(committed, segment.done):
                return
            os.close(segment.fd)
            segment.path.unlink()
            self._segments.remove(segment)

    def retire(self) -> None:
        """Deletes the journal after a clean drain: every request in it has its DONE."""
        for segment in self._segments:
            os.close(segment.fd)
            segment.path.unlink()
        self._segments = []
        (self._folder / f"{self.incarnation}.lock").unlink()
        os.close(self._lock)

    def _append(self, *parts: str) -> bool:
        """Whether the disk has taken the line."""
        segment = self._segments[-1]
        text = "\t".join(parts).encode()
        mac = _chain(self._key, segment.mac, text)
        line = mac + b" " + text + b"\n"
        began_s = clock.monotonic_s()
        taken = self._write(segment, line)
        if not taken:
            self._refused_bytes = max(self._refused_bytes, len(line))
        elif len(line) >= self._refused_bytes:
            self._refused_bytes = 0
        if self._syncing is None:
            self._syncing = asyncio.ensure_future(self._sync())
        if not taken:
            return False
        if clock.monotonic_s() - began_s > self._stall_s:
            self._fail("append stalled")
        segment.mac = mac
        segment.size += len(line)
        self._dirty = True
        if segment.size > SEGMENT_BYTES_MAX:
            try:
                self._segments.append(self._new_segment())
            except OSError as error:  # the old one goes on; the next line tries again
                self._fail(f"new segment: {error.strerror}")
        return True

    def _try_again(self) -> None:
        """A line of nothing, as long as those that were not taken."""
        short = self._refused_bytes - TRY_BYTES
        self._append("N", "-", *(["." * short] if short >= 0 else []))

    def _write(self, segment: _Segment, line: bytes) -> bool:
        """Appends a whole line or nothing: reading would stop at half a line."""
        try:
            written = os.write(segment.fd, line)
            if written == len(line):
                return True
            os.ftruncate(segment.fd, segment.size)
        except OSError as error:
            self._fail(f"append: {error.strerror}")
            return False
        self._fail(f"append: {written} of {len(line)} bytes")
        return False

    async def _sync(self) -> None:
        """Syncs every 20 ms while there is something to sync; ends by itself, but not before the
        disk has taken everything: nothing else would try it again while no request comes in."""
        failing = False
        try:
            while (self._dirty or self._refused_bytes or failing) and self._segments:
                await asyncio.sleep(RETRY_S if failing else self._sync_s)
                if self._refused_bytes or failing:
                    self._try_again()  # a sync of nothing would succeed on any disk
                if self._refused_bytes:
                    continue
                self._dirty = False
                try:
                    await self._sync_files()
                except OSError as error:
                    failing = True
                    self._fail(f"sync: {error.strerror}")
                else:
                    failing = False
                    self.healthy = True  # what stalled has gone through
        finally:
            self._syncing = None

    async def _sync_files(self) -> None:
        for fd in [segment.fd for segment in self._segments[-2:]]:
            try:
                await asyncio.to_thread(os.fdatasync, fd)
            except (OSError, ValueError):
                if fd in [segment.fd for segment in self._segments]:
                    raise  # not one that was closed meanwhile

    def _fail(self, why: str) -> None:
        if self.healthy:
            _log.error("journal_unhealthy", why=why, folder=str(self._folder))
        self.healthy = False


class Node:
    """A journal folder: its id, its files, and whether this process speaks for its dead ones."""

    def __init__(self, folder: Path, pepper: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        # Files of a dead process may be from before the pepper was changed.
        self.key = peppers.Pepper(*_keys(peppers.all_of(pepper)))
        self.id = self._read_id()
        self._speaker: int | None = None

    def _read_id(self) -> str:
        path = self.folder / "node"
        if not path.exists():
            # Linked when it is whole: processes that start together must not read an empty id.
            made = self.folder / f"node.{clock.random_hex(8)}"
            made.write_text(clock.random_hex(8))
            with contextlib.suppress(FileExistsError):
                os.link(made, path)
            made.unlink()
        return path.read_text()

    def journal(self, incarnation: str, *, sync_ms: int, stall_ms: int | None = None) -> Journal:
        """A new journal for this process, synced every `sync_ms`. An append of more than `stall_ms`
        (None: it may take any time) makes it unwell until a sync has gone through."""
        return Journal(self.folder, self.key, incarnation, sync_ms=sync_ms, stall_ms=stall_ms)

    def speaks(self) -> bool:
        """Whether this process is the node's speaker; becomes it when nobody is."""
        if self._speaker is None:
            self._speaker = _try_lock(self.folder / "speaker.lock")
        return self._speaker is not None

    def processes(self) -> set[str]:
        """Incarnations, living or dead, that have a journal here."""
        return {path.name.partition(".")[0] for path in self.folder.glob("*.journal")}

    def dead(self) -> dict[str, list[Path]]:
        """Segments of processes that no longer live, in order, by incarnation."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.folder.glob("*.journal")):
            found.setdefault(path.name.partition(".")[0], []).append(path)
        return {name: paths for name, paths in found.items() if self._is_dead(name)}

    def _is_dead(self, incarnation: str) -> bool:
        lock = _try_lock(self.folder / f"{incarnation}.lock")
        if lock is None:
            return False
        os.close(lock)
        return True

    def paths(self, incarnation: str) -> list[Path]:
        """Segments of one process, in order."""
        return sorted(self.folder.glob(f"{incarnation}.*.journal"))

    def bury(self, incarnation: str) -> None:
        """Deletes a dead process's files: all of it is in the books."""
        for path in self.folder.glob(f"{incarnation}.*"):
            path.unlink()

    def leave(self) -> None:
        """Gives the speaker's place back."""
        if self._speaker is not None:
            os.close(self._speaker)
            self._speaker = None


def file_system(folder: Path) -> str:
    """Type of the file system that holds a folder, by the longest mount point."""
    best, kind = "", ""
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, point, found, *_ = line.split()
            if folder.resolve().is_relative_to(point) and len(point) > len(best):
                best, kind = point, found
    except OSError:
        return ""
    return kind


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _locked(path: Path) -> int:
    fd = _try_lock(path)
    if fd is None:
        raise RuntimeError(f"{path} is locked by another process")
    return fd
