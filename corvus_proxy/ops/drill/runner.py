"""Runs faults one after the other on a stack under load, and judges each.

A stack is used for as long as it is whole: a fault that destroys it by intention, or that left a
violation behind, gets the next one a new stack.
"""

import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import uvloop

from corvus_proxy import clock
from corvus_proxy.books import entries, wallets
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.ops.drill import checkers, report
from corvus_proxy.ops.drill.client import Answer
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.guard import Guard
from corvus_proxy.ops.drill.logs import AckLog, Evidence, gather
from corvus_proxy.ops.drill.report import OK, SKIPPED, VIOLATED, Row
from corvus_proxy.ops.drill.stack import Stack
from corvus_proxy.ops.drill.stack.cluster import ClusterStack
from corvus_proxy.ops.drill.workload import Workload
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.recovery.report import read_reports

WARM_S = 1.0
WELL_S = 1.0
"""For so long every answer has to be right before the service counts as well again."""
WELL_ANSWERS = 20
WELL_WITHIN_S = 30.0
QUIET_WITHIN_S = 60.0


class Drill:
    """One seed's run over some faults."""

    def __init__(self, seed: int, say: Callable[[str], None], guard: Guard) -> None:
        self.seed = seed
        self._say = say
        self._guard = guard
        self._stack: Stack | None = None
        self._load: Workload
        self._acks: AckLog
        self.kept: list[Path] = []
        """Folders of stacks in which something was violated."""

    async def run(self, faults: list[Fault], told: Callable[[Row], None]) -> list[Row]:
        """Every fault's row, in order; `told` gets each as it comes."""
        rows = []
        try:
            for fault in faults:
                row = await self._one(fault)
                rows.append(row)
                told(row)
        finally:
            await self._end_stack(keep=False)
        return rows

    async def _one(self, fault: Fault) -> Row:
        if fault.run is None:
            return Row(fault.number, fault.name, verdict=SKIPPED, reason=fault.needs)
        if self._stack is not None and self._stack.clustered != fault.cluster:
            await self._end_stack(keep=False)
        if self._stack is None:
            self._stack = await self._new_stack(clustered=fault.cluster)
        row = await self._judged(fault, fault.run, self._stack)
        if row.verdict == VIOLATED or fault.destroys:
            await self._end_stack(keep=row.verdict == VIOLATED)
        return row

    async def _new_stack(self, *, clustered: bool) -> Stack:
        folder = Path(tempfile.mkdtemp(prefix="corvus-drill-"))
        kind = ClusterStack if clustered else Stack
        stack = self._stack = kind(folder, self._guard)
        await stack.start()
        self._acks = AckLog(stack)
        self._load = Workload(stack, self.seed)
        await self._load.provide()
        return stack

    async def _end_stack(self, *, keep: bool) -> None:
        stack, self._stack = self._stack, None
        if stack is None:
            return
        await stack.stop()
        if keep:
            self.kept.append(stack.folder)
            return
        for folder in {stack.folder, stack.postgres_server.folder}:
            shutil.rmtree(folder, ignore_errors=True)

    # -- one fault ----------------------------------------------------------------------------

    async def _judged(
        self, fault: Fault, run: Callable[[Scene], Awaitable[None]], stack: Stack
    ) -> Row:
        load = self._load
        chance = random.Random(f"{self.seed}/F{fault.number}")  # noqa: S311
        scene = Scene(stack, load, chance, fault.bounds)
        first = len(load.answers)
        load.start(clients=fault.clients)
        await asyncio.sleep(WARM_S)
        (failed,) = await asyncio.gather(run(scene), return_exceptions=True)
        if isinstance(failed, BaseException):
            scene.violated(f"the drill could not go on: {failed!r}")
        healed_s = scene.healed_s or clock.monotonic_s()
        if not failed:
            await self._until_well(scene, healed_s)
        await load.stop()
        found = await self._evidence(scene)
        answers = load.answers[first:]
        back_s = _back(answers, healed_s)
        if back_s > fault.back_s and not scene.problems:
            scene.violated(f"C10: served again {back_s:.1f} s after the mending")
        problems = [
            *scene.problems,
            *checkers.told("C11", checkers.defined_answers(answers, scene.bounds)),
        ]
        if found is not None:
            problems += checkers.check(found, scene.bounds)
        return Row(
            fault.number,
            fault.name,
            requests=len(answers),
            refused=sum(answer.status >= 400 for answer in answers),
            shortfall_nanos=_shortfall(found, answers),
            drift_nanos=found.report.drift_nanos if found and found.report else 0,
            verdict=VIOLATED if problems else OK,
            reason="; ".join(problems or scene.notes),
            back_s=round(back_s, 2),
        )

    async def _until_well(self, scene: Scene, healed_s: float) -> None:
        """C10: nearly every request is served well again, soon."""
        while True:
            await asyncio.sleep(0.1)
            now_s = clock.monotonic_s()
            later = [one for one in self._load.answers if one.began_s >= healed_s]
            bad_s = max((one.began_s for one in later if not one.well), default=healed_s)
            good = [one for one in later if one.began_s > bad_s]
            # A stray one among a hundred is within the rule.
            stray = sum(not one.well for one in later[-200:]) * 100 <= len(later[-200:])
            if len(good) >= WELL_ANSWERS and (now_s - bad_s > WELL_S or stray):
                return
            if now_s - healed_s > WELL_WITHIN_S:
                worst = [f"{one.status} {one.code or one.broken}" for one in later if not one.well]
                scene.violated(
                    f"C10: not well {WELL_WITHIN_S:.0f} s after the mending: {worst[-3:]} of"
                    f" {len(later)} answers"
                )
                return

    async def _evidence(self, scene: Scene) -> Evidence | None:
        deadline_s = clock.monotonic_s() + QUIET_WITHIN_S
        why = ""
        while clock.monotonic_s() < deadline_s:
            with suppress(TillUnavailable, BooksUnavailable, asyncpg.PostgresError):
                why = await unrest(scene.stack)
                if not why:
                    break
            await asyncio.sleep(0.1)
        else:
            scene.violated(f"C10: not quiet after {QUIET_WITHIN_S:.0f} s: {why}")
        try:
            return await gather(scene.stack, self._load, self._acks)
        except (TillUnavailable, BooksUnavailable, asyncpg.PostgresError) as error:
            scene.violated(f"nothing could be compared: {error}")
            return None


async def unrest(stack: Stack) -> str:
    """What still has to happen before all logs can be compared; empty when all is quiet."""
    till = stack.stores.till
    if closed := await till.closed():
        return f"partitions {closed} are closed"
    states = await till.partitions()
    async with stack.stores.books.connection() as connection:
        cursors = await entries.cursors(connection)
        waiting = await wallets.waiting(connection)
    lag = sum(max(0, one.seq - cursors[part].seq) for part, one in enumerate(states))
    if lag or waiting:
        return f"{lag} events are not in the books, {len(waiting)} changes not in Redis"
    reports = [one for one in await read_reports(till) if not one.retired and not one.left]
    if running := sum(one.living for one in reports if one.at_ms > clock.wall_ms() - 3000):
        return f"{running} requests run, or wait for their charge's answer"
    holds = [rid for part in range(64) for rid in await till.holds(part)]
    return f"{len(holds)} holds: {holds[:3]}" if holds else ""


def _back(answers: list[Answer], healed_s: float) -> float:
    """Seconds from the mending to the end of the first answer that was asked for after it."""
    ends = [one.ended_s for one in answers if one.began_s >= healed_s and one.ok]
    return min(ends) - healed_s if ends else 0.0


def _shortfall(found: Evidence | None, answers: list[Answer]) -> int:
    if found is None:
        return 0
    rids = {answer.request_id for answer in answers}
    return sum(
        event.shortfall_nanos for event in found.events if event.id.removesuffix(":L") in rids
    )


def run(faults: list[Fault], *, seed: int, seeds: int, say: Callable[[str], None]) -> list[Row]:
    """Every fault under every seed, one row a fault; ends all that it started, whatever happens."""
    return uvloop.run(_run(faults, seed, seeds, say))


async def _run(faults: list[Fault], seed: int, seeds: int, say: Callable[[str], None]) -> list[Row]:
    if (task := asyncio.current_task()) is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    guard, runs = Guard(), []
    try:
        for one in range(seed, seed + seeds):
            say(f"seed {one}\n{report.head()}")
            drill = Drill(one, say, guard)

            def told(row: Row, one: int = one, drill: Drill = drill) -> None:
                say(report.line(row))
                if row.verdict == VIOLATED:
                    say(f"       again: corvus drill {row.fault} --seed {one}")

            runs.append(await drill.run(faults, told))
            for folder in drill.kept:
                say(f"kept: {folder}")
    finally:
        guard.close()
    return report.merge(runs)
