"""Holds, journal, replay and leases: every hold ends once, whatever dies."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from corvus_proxy import clock
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.money.period import Rates
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Hold, Holds, Unfound
from corvus_proxy.till.journal import Journal, Node, read_lines
from corvus_proxy.till.recovery.replay import Replay, read_dead
from corvus_proxy.till.recovery.report import Reporter, read_reports
from corvus_proxy.till.reply import Ask, Charge, Poor, Settled
from corvus_proxy.till.sweeper import Sweeper
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_holds0000001"
PEPPER = b"p" * 32


def ask(rid: str, nanos: int) -> Ask:
    return Ask(rid, W, "digest", nanos, nanos, 0, "pv", "slug", 1)


def make(till: Till, folder: Path, name: str = "p1", *, wait_s: float = 1.0) -> tuple[Holds, Node]:
    node = Node(folder, PEPPER)
    journal = node.journal(name, sync_ms=5)
    return Holds(till, journal, lease_s=1, lag_limit=100, wait_s=wait_s, waiters_max=4), node


async def balance(till: Till) -> tuple[int, int]:
    state = await till.wallet(W)
    assert state is not None
    return state.balance_nanos, state.held_nanos


async def test_leaving_the_block_releases(valkey_till: Till, tmp_path: Path) -> None:
    """Settled, or settled at zero; never left behind."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    async with await holds.reserve(ask("a", 100)) as hold:
        assert await hold.settle(30, "completed", b"{}", wait_s=20) == Settled(30, 0, 970, 2, 1)
    with pytest.raises(RuntimeError, match="boom"):
        async with await holds.reserve(ask("b", 100)):
            raise RuntimeError("boom")
    assert await holds.drain(30)
    assert await balance(valkey_till) == (970, 0)
    assert holds.living == {}


async def test_a_request_waits_for_the_holds_that_stand_in_its_way(
    valkey_till: Till, tmp_path: Path
) -> None:
    """Woken by a settle of the same wallet; refused at once when the balance could never do."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path, wait_s=20)
    first = await holds.reserve(ask("a", 900))

    async def release() -> None:
        await asyncio.sleep(0.2)
        await first.settle(100, "completed", b"{}", wait_s=20)

    releasing = asyncio.create_task(release())
    began = asyncio.get_running_loop().time()
    second = await holds.reserve(ask("b", 500))
    assert isinstance(second, Hold)
    assert 0.15 < asyncio.get_running_loop().time() - began < 15
    await releasing
    assert await holds.reserve(ask("c", 5000)) == Poor(400, 500)
    await second.settle(0, "completed", b"{}", wait_s=20)


async def add_limited(till: Till, rates: Rates) -> None:
    await add_wallet(till, W, 100_000)
    key = reply.KeyEntry(f"key_{W}", "1", [("digest", 0)], rates=rates)
    assert (await till.push(reply.KeyRow(W, 2, "1", [key])))[0] == "OK"


async def test_requests_at_once_wait_in_line(valkey_till: Till, tmp_path: Path) -> None:
    """First come, first served, also before those who come while others wait; a full line and one
    whose time is up are refused."""
    await add_limited(valkey_till, Rates(concurrency=1))
    holds, _ = make(valkey_till, tmp_path, wait_s=20)
    first = await holds.reserve(ask("first", 10))
    served: list[str] = []

    async def one(rid: str) -> None:
        hold = await holds.reserve(ask(rid, 10))
        served.append(rid)
        assert isinstance(hold, Hold)
        await asyncio.sleep(0.01)
        await hold.settle(1, "completed", b"{}", wait_s=20)

    running = []
    for rid in "abcd":
        running.append(asyncio.create_task(one(rid)))
        await asyncio.sleep(0.1)
    full = await holds.reserve(ask("e", 10))
    assert (full.reason, full.limit, full.used) == ("concurrency", 1, 1)
    running[1].cancel()  # its client has gone: it gives up its place
    await first.settle(1, "completed", b"{}", wait_s=20)
    running.append(asyncio.create_task(one("f")))
    await asyncio.wait(running)
    assert served == ["a", "c", "d", "f"]
    assert await holds.drain(30)
    assert await balance(valkey_till) == (100_000 - 5, 0)
    assert not holds._lines.waiting


async def test_a_line_does_not_wait_for_ever(valkey_till: Till, tmp_path: Path) -> None:
    """Neither its first nor who stands behind; another key of the wallet waits for nobody."""
    await add_limited(valkey_till, Rates(concurrency=1))
    holds, _ = make(valkey_till, tmp_path, wait_s=0.6)
    first = await holds.reserve(ask("first", 10))
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(holds.reserve(ask(rid, 10)) for rid in "abc"))
    assert {one.reason for one in answers} == {"concurrency"}
    assert asyncio.get_running_loop().time() - began < 20
    assert not holds._lines.waiting
    await first.settle(1, "completed", b"{}", wait_s=20)
    assert isinstance(await holds.reserve(ask("d", 10)), Hold)


async def test_without_a_line_nobody_waits_and_the_next_is_served(
    valkey_till: Till, tmp_path: Path
) -> None:
    """`waiters_max = 0`: who comes too many is refused at once, and leaves nothing behind."""
    await add_limited(valkey_till, Rates(concurrency=1))
    journal = Node(tmp_path, PEPPER).journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=1, lag_limit=100, wait_s=30, waiters_max=0)
    first = await holds.reserve(ask("first", 10))
    began = asyncio.get_running_loop().time()
    assert (await holds.reserve(ask("a", 10))).reason == "concurrency"
    assert asyncio.get_running_loop().time() - began < 20
    await first.settle(1, "completed", b"{}", wait_s=20)
    second = await holds.reserve(ask("b", 10))
    assert isinstance(second, Hold)
    await second.settle(1, "completed", b"{}", wait_s=20)


async def test_a_hold_tells_the_tokens_that_it_took(valkey_till: Till, tmp_path: Path) -> None:
    """Admitted with its estimate, corrected by what it took; a fault takes none."""
    await add_limited(valkey_till, Rates(tokens_per_minute=1000))
    holds, _ = make(valkey_till, tmp_path)

    async def left() -> int:
        hold = await holds.reserve(ask(clock.random_text(8), 10))
        await hold.settle(0, "gateway_fault", b"", wait_s=20)
        return int(hold.pace.tokens_left) + 1

    assert await left() == 1000
    hold = await holds.reserve(ask("a", 10))
    await hold.settle(5, "completed", b"{}", wait_s=5, tokens=300)
    assert await left() == 700


async def test_a_charge_goes_on_while_redis_is_fenced(valkey_till: Till, tmp_path: Path) -> None:
    """None at first; settled once the partition opens again."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    hold = await holds.reserve(ask("a", 100))
    part = partition_of(W)
    await valkey_till._redis.hset(f"{{p{part:02d}}}:m", "rs", "0" * 40)
    assert await hold.settle(50, "completed", b"{}", wait_s=0.2) is None
    await valkey_till.open_partition(
        part, (await valkey_till.partitions())[part], replid=await valkey_till.replid()
    )
    assert await holds.drain(30)
    assert await balance(valkey_till) == (950, 0)


async def test_a_dead_process_is_replayed_once(valkey_till: Till, tmp_path: Path) -> None:
    """SETTLE without DONE is settled by the ordinary script; an OPEN is left to its lease."""
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    for rid in ("told", "untold", "running"):
        assert isinstance(await holds.reserve(ask(rid, 100)), Hold)
    await holds.living["told"].settle(10, "completed", b"{}", wait_s=20)
    holds.journal.settling(Charge("untold", W, f"key_{W}", "slug", 40, "completed", b"{}"))
    _kill(holds.journal)
    pending, done = read_dead(node.dead()["p1"], node.key)
    assert set(pending) == {"untold"}
    assert done == {partition_of(W): Mark(1, 2)}
    other = Node(tmp_path, PEPPER)
    replay = Replay(other, valkey_till)
    await replay.look()
    await replay.tasks["p1"]
    assert await balance(valkey_till) == (950, 100)
    assert replay.highest_done() == {partition_of(W): Mark(1, 3)}
    again = Replay(Node(tmp_path, PEPPER), valkey_till)
    await again.look()
    await again.tasks["p1"]
    assert await balance(valkey_till) == (950, 100)
    replay.prune({partition_of(W): Mark(1, 2)})
    assert list(tmp_path.glob("p1.*"))
    replay.prune({partition_of(W): Mark(1, 3)})
    assert not list(tmp_path.glob("p1.*"))


def _kill(journal: Journal) -> None:
    """What the kernel does for a dead process: its locks and descriptors are gone."""
    import os

    for segment in journal._segments:
        os.close(segment.fd)
    journal._segments = []
    os.close(journal._lock)


async def test_a_process_that_dies_later_is_replayed_by_the_living_speaker(
    valkey_till: Till, tmp_path: Path
) -> None:
    """The speaker looks again with every report; the dead one leaves the list and the folder."""
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    reporter = Reporter(valkey_till, holds, node)
    await reporter.tick()
    await asyncio.sleep(0.05)
    other, other_node = make(valkey_till, tmp_path, "p2")
    await other.reserve(ask("late", 100))
    other.journal.settling(Charge("late", W, f"key_{W}", "slug", 30, "completed", b"{}"))
    await Reporter(valkey_till, other, other_node).tick()
    assert len(await read_reports(valkey_till)) == 2
    _kill(other.journal)

    async def told() -> list[tuple[str, object]]:
        await reporter.tick()
        return [(one.process, one.done) for one in await read_reports(valkey_till) if not one.left]

    async with asyncio.timeout(30):
        while await told() != [("p1", {partition_of(W): Mark(1, 2)})]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await balance(valkey_till) == (970, 0)
    await valkey_till.ack(partition_of(W), 2, keep=0)
    await reporter.tick()
    assert not list(tmp_path.glob("p2.*"))
    await reporter.stop(leave=True)


async def test_a_torn_or_altered_tail_is_ignored(valkey_till: Till, tmp_path: Path) -> None:
    """Cut at every byte: the lines before the cut, and nothing else."""
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    for n in range(3):
        hold = await holds.reserve(ask(f"r{n}", 10))
        await hold.settle(n, "completed", b'{"a":1}', wait_s=20)
    path = next(tmp_path.glob("*.journal"))
    whole = path.read_bytes()
    lines = list(read_lines(path, node.key))
    assert [line.kind for line in lines] == ["O", "S", "D"] * 3
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        found = list(read_lines(path, node.key))
        # A line whose newline alone is missing is whole.
        assert found == lines[: len(found)]
        assert len(found) - whole[:at].count(b"\n") in (0, 1)
    altered = whole.replace(b"\t10\tslug", b"\t99\tslug", 1)
    path.write_bytes(altered)
    assert list(read_lines(path, node.key)) == []


async def test_a_stalled_journal_refuses_and_recovers_under_load(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slow append closes the door; the next sync opens it, though appends never pause."""
    import os
    import threading
    import time

    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    real, sync, go = os.write, os.fdatasync, threading.Event()

    def slow(fd: int, data: bytes) -> int:
        time.sleep(0.06)
        return real(fd, data)

    def waits(fd: int) -> None:
        go.wait(60)
        sync(fd)

    holds.journal._stall_s = 0.05
    monkeypatch.setattr(os, "fdatasync", waits)
    monkeypatch.setattr(os, "write", slow)
    hold = await holds.reserve(ask("a", 1))
    monkeypatch.setattr(os, "write", real)
    assert not holds.journal.healthy
    assert await holds.reserve(ask("b", 1)) == reply.Backpressure()
    holds.journal._stall_s = 30
    go.set()
    for n in range(5000):
        holds.journal.checkpoint("a", "key", n, b"{}")
        await asyncio.sleep(0.002)
        if holds.journal.healthy:
            break
    assert holds.journal.healthy
    await hold.settle(1, "completed", b"{}", wait_s=20)


async def test_the_sweeper_ends_only_what_nobody_renews(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewed hold lives; an abandoned one is charged its checkpoint."""
    # A machine that stood still is not a process that is gone.
    monkeypatch.setattr("corvus_proxy.till.sweeper.GAP_S_MAX", 0.3)
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    living = await holds.reserve(ask("living", 100))
    assert isinstance(await valkey_till.reserve(ask("dead", 100), owner="x", lag_limit=99),
                      reply.Granted)  # fmt: skip
    await valkey_till.extend("dead", W, total_nanos=100, checkpoint_nanos=25, owner="x", meta=b"{}")
    living.progress = lambda: (60, b"{}")
    holds.start()
    sweeper = Sweeper(valkey_till, lease_s=1)
    ended = 0
    for _ in range(300):
        ended += await sweeper.tick()
        if ended and (await valkey_till.holds(partition_of(W)))["living"].renewals >= 4:
            break
        await asyncio.sleep(0.1)
    await holds.stop()
    assert ended == 1
    assert await balance(valkey_till) == (975, 100)
    state = (await valkey_till.holds(partition_of(W)))["living"]
    assert (state.checkpoint_nanos, state.owner) == (60, "p1")
    assert state.renewals >= 4


async def test_a_hold_that_cannot_tell_its_charge_is_renewed_with_all_others(
    valkey_till: Till, tmp_path: Path
) -> None:
    """One request's fault costs no other request its lease, nor its own checkpoint."""
    await add_wallet(valkey_till, W, 1000)
    holds, _ = make(valkey_till, tmp_path)
    broken, sound = await holds.reserve(ask("a", 100)), await holds.reserve(ask("b", 100))
    broken.progress = sound.progress = lambda: (7, b"{}")
    assert isinstance(await broken.extend(100), reply.Extended)

    def broke() -> tuple[int, bytes]:
        raise ValueError("no counts")

    broken.progress = broke
    holds.start()
    states = await valkey_till.holds(partition_of(W))
    for _ in range(100):  # telling of the fault takes its time on a busy machine
        if min(state.renewals for state in states.values()) >= 3:
            break
        await asyncio.sleep(0.1)
        states = await valkey_till.holds(partition_of(W))
    await holds.stop()
    assert {rid: state.checkpoint_nanos for rid, state in states.items()} == {"a": 7, "b": 7}
    assert min(state.renewals for state in states.values()) >= 3


async def test_reports_tell_the_coordinator_what_it_needs(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replication id, highest answers, missing holds; a drained process leaves the list."""
    monkeypatch.setattr("corvus_proxy.till.recovery.report.LEAVE_S", 30)
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    hold = await holds.reserve(ask("a", 100))
    lost = await holds.reserve(ask("b", 100))
    await valkey_till._redis.hdel(f"{{p{partition_of(W):02d}}}:h", "b")
    reporter = Reporter(valkey_till, holds, node)
    await reporter.tick()
    (report,) = await read_reports(valkey_till)
    assert report.replid == await valkey_till.replid()
    assert report.missing == {partition_of(W): 1}
    assert report.living == 2
    assert reporter.open
    await hold.settle(1, "completed", b"{}", wait_s=20)
    await lost.settle(0, "completed", b"{}", wait_s=20)
    await reporter.tick()
    (report,) = await read_reports(valkey_till)
    assert report.done == {partition_of(W): Mark(1, 2)}
    asyncio.get_running_loop().call_later(0.2, asyncio.ensure_future, _ack(valkey_till))
    assert await reporter.stop(leave=True)
    holds.journal.retire()
    assert [one.left for one in await read_reports(valkey_till)] == [True]
    assert not list(tmp_path.glob("p1*"))


async def _ack(till: Till) -> None:
    await till.ack(partition_of(W), 2, keep=0)


async def test_a_drain_keeps_the_journal_until_the_books_have_it(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Postgres away the process ends all the same; its word and its journal stay."""
    monkeypatch.setattr("corvus_proxy.till.recovery.report.LEAVE_S", 0.2)
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    reporter = Reporter(valkey_till, holds, node)
    await reporter.tick()
    await (await holds.reserve(ask("a", 100))).settle(1, "completed", b"{}", wait_s=20)
    assert not await reporter.stop(leave=True)
    (report,) = await read_reports(valkey_till)
    assert (report.retired, report.left, report.done) == (
        True, False, {partition_of(W): Mark(1, 2)})  # fmt: skip
    assert list(tmp_path.glob("p1.*.journal"))


async def test_a_charge_that_nothing_knows_waits_for_a_rebuild(
    valkey_till: Till, tmp_path: Path
) -> None:
    """Unknown is an answer only where there is nothing to charge, or a later epoch repeats it."""
    await add_wallet(valkey_till, W, 1000)
    holds, node = make(valkey_till, tmp_path)
    part = partition_of(W)
    assert await holds.settle(Charge("none", W, "", "slug", 0, "completed"), 1) is None
    assert not holds.is_settling("none")
    with capture_logs() as logs:
        assert await holds.settle(Charge("lost", W, "", "slug", 9, "completed"), 0.3) is None
        assert holds.is_settling("lost")
        async with asyncio.timeout(30):
            while "lost" not in holds.unfound:  # noqa: ASYNC110 -- Redis has yet to say so
                await asyncio.sleep(0.01)
        assert holds.unfound == {"lost": Unfound(part, 1)}
        reporter = Reporter(valkey_till, holds, node)
        await reporter.tick()
        (report,) = await read_reports(valkey_till)
        assert (report.missing, report.unfound) == ({part: 1}, {part: 1})
        await valkey_till._redis.hset(f"{{p{part:02d}}}:m", "ep", "2")
        assert await holds.drain(30)
    told = [line["event"] for line in logs if line["event"].startswith("charge")]
    assert told == ["charge_not_found", "charge_lost"]
    assert holds.unfound == {}
