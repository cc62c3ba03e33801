"""The journal on a bad disk, nodes that start together, and leases after a restart."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from corvus_proxy import clock
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Journal, Node, covers, read_lines
from corvus_proxy.till.recovery.replay import read_dead
from corvus_proxy.till.reply import Ask, Backpressure, Charge
from corvus_proxy.till.sweeper import Sweeper
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_journal00001"
PEPPER = b"p" * 32


def asked(rid: str) -> Ask:
    return Ask(rid, W, "digest", 100, 100, 0, "pv", "slug", 1)


ASK = asked("a")


def lines_of(journal: Journal, node: Node) -> list[tuple[str, str]]:
    found = read_lines(journal._segments[0].path, node.key)
    return [(line.kind, line.rid) for line in found if line.kind != "N"]


async def test_half_a_line_never_hides_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of a line: every later line is still read back."""
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    journal.opened(ASK)
    real = os.write
    for cut in (0, 1, 20, 40):
        monkeypatch.setattr(os, "write", lambda fd, data, cut=cut: real(fd, data[:cut]))
        journal.opened(asked(f"lost{cut}"))
        assert not journal.healthy
    monkeypatch.setattr(os, "write", real)
    journal.settling(Charge("a", W, f"key_{W}", "slug", 7, "completed", b"{}"))
    assert lines_of(journal, node) == [("O", "a"), ("S", "a")]
    pending, _ = read_dead([journal._segments[0].path], node.key)
    assert pending["a"].actual_nanos == 7
    await asyncio.sleep(0.1)


async def until_healthy(journal: Journal) -> None:
    """The disk has taken everything."""
    async with asyncio.timeout(30):
        while not journal.healthy or journal._syncing is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_the_journal_does_not_have_is_not_asked_of_redis(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request whose own line finds the disk full is refused, too, and nothing is held."""
    await add_wallet(valkey_till, W, 1000)
    journal = Node(tmp_path, PEPPER).journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=1, lag_limit=100, wait_s=0, waiters_max=1)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.write
    monkeypatch.setattr(os, "write", full)
    assert journal.healthy
    assert await holds.reserve(ASK) == Backpressure()
    monkeypatch.setattr(os, "write", real)
    assert await valkey_till.holds(partition_of(W)) == {}
    assert journal._segments[0].unsettled == set()
    await until_healthy(journal)


async def test_a_disk_that_was_full_opens_the_door_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed while lines cannot be written, even while syncs succeed; open when they can."""
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    journal.opened(ASK)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    journal.opened(asked("b"))
    for _ in range(10):
        await asyncio.sleep(0.01)
        assert not journal.healthy
    monkeypatch.setattr(os, "write", real)
    await until_healthy(journal)
    assert lines_of(journal, node) == [("O", "a")]


async def test_a_disk_that_takes_short_lines_alone_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers leave behind still fits; a request's own line, or its charge's, would not."""
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    journal.opened(ASK)
    real, took = os.write, []

    def nearly_full(fd: int, data: bytes) -> int:
        if len(data) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        took.append(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", nearly_full)
    assert not journal.opened(asked("b"))
    journal.ended("a", 5, Mark(1, 2))
    assert len(took) == 1
    for _ in range(10):
        await asyncio.sleep(0.01)
        assert not journal.healthy
    monkeypatch.setattr(os, "write", real)
    await until_healthy(journal)
    assert journal.opened(asked("c"))
    assert lines_of(journal, node) == [("O", "a"), ("D", "a"), ("O", "c")]


async def test_a_disk_that_failed_to_sync_is_tried_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nobody writes a line meanwhile: new requests are refused, so nobody would."""
    journal = Node(tmp_path, PEPPER).journal("p1", sync_ms=5)
    real, tries = os.fdatasync, []

    def broken(fd: int) -> None:
        tries.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    journal.opened(ASK)
    async with asyncio.timeout(30):
        while len(tries) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert not journal.healthy
    monkeypatch.setattr(os, "fdatasync", real)
    await until_healthy(journal)


async def test_a_charge_is_settled_where_no_new_file_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full file goes on; no error reaches the request whose line filled it."""
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    journal.opened(ASK)
    real = os.open

    def full(path: object, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".journal"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(str(path), flags, mode)

    monkeypatch.setattr("corvus_proxy.till.journal.SEGMENT_BYTES_MAX", 10)
    monkeypatch.setattr(os, "open", full)
    journal.settling(Charge("a", W, f"key_{W}", "slug", 7, "completed", b"{}"))
    assert not journal.healthy
    monkeypatch.setattr(os, "open", real)
    journal.ended("a", 1, Mark(1, 1))
    assert len(journal.paths()) == 2
    await until_healthy(journal)
    assert lines_of(journal, node) == [("O", "a"), ("S", "a"), ("D", "a")]


async def test_what_was_answered_since_a_rebuild_is_not_forgotten(tmp_path: Path) -> None:
    """The look that notices the rebuild may be older than the answer: were the mark lowered, a
    server that lacks the event would be opened."""
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    journal.opened(asked("since"))
    journal.ended("before", 3, Mark(1, 90))
    journal.ended("since", 3, Mark(2, 105))
    journal.rebuilt(3, Mark(2, 100))
    assert journal.done == {3: Mark(2, 105)}
    assert not covers({3: Mark(2, 104)}, journal._segments[0].done)
    assert read_dead(journal.paths(), node.key)[1] == {3: Mark(2, 105)}
    journal.rebuilt(3, Mark(3, 100))  # a later epoch's end is beyond all of an earlier one
    assert journal.done == {3: Mark(3, 100)}


async def test_the_name_of_a_new_journal_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its folder's sync a power cut may take a file whose content was synced."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    Node(tmp_path, PEPPER).journal("p1", sync_ms=5)
    assert synced == [str(tmp_path.resolve())]


def test_processes_that_start_together_are_one_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id is never read before it is whole, wherever the second process comes in between."""
    others = []
    real = clock.random_hex

    def meanwhile(size_bytes: int) -> str:
        monkeypatch.setattr(clock, "random_hex", real)
        others.append(Node(tmp_path, PEPPER).id)
        return real(size_bytes)

    monkeypatch.setattr(clock, "random_hex", meanwhile)
    assert [Node(tmp_path, PEPPER).id] == others
    assert len(others[0]) == 16
    assert [path.name for path in tmp_path.iterdir()] == ["node"]


async def test_a_renewal_is_journalled_before_it_is_asked(
    valkey_till: Till, tmp_path: Path
) -> None:
    """The checkpoint that Redis gets stands in the journal too."""
    await add_wallet(valkey_till, W, 1000)
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=1, lag_limit=99, wait_s=0, waiters_max=1)
    hold = await holds.reserve(ASK)
    hold.progress = lambda: (60, b"{}")
    hold.renewed_s -= 10
    await holds._renew()
    assert lines_of(journal, node) == [("O", "a"), ("K", "a")]
    await hold.settle(60, "completed", b"{}", wait_s=1)


async def test_a_lease_is_counted_anew_after_a_restart(
    valkey_till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner that was shut out by the fence has a whole lease from the restamp on."""
    await add_wallet(valkey_till, W, 1000)
    await valkey_till.reserve(ASK, owner="x", lag_limit=99)
    sweeper = Sweeper(valkey_till, lease_s=10)
    now_s = [0.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])

    async def sweep(times: int) -> int:
        ended = 0
        for _ in range(times):
            now_s[0] += 1
            ended += await sweeper.tick()
        return ended

    # The server before: another stamp, and another answer to who it is.
    meta = f"{{p{partition_of(W):02d}}}:m"
    here, before = await valkey_till.replid(), "f" * 40
    await valkey_till._redis.hset(meta, "rs", before)
    with monkeypatch.context() as patch:
        patch.setattr(valkey_till, "replids", lambda: asyncio.sleep(0, [before] * 64))
        assert await sweep(10) == 0
    # Restarted and opened between two sweeps.
    await valkey_till._redis.hset(meta, "rs", here)
    assert await sweep(10) == 0
    assert await sweep(1) == 1
