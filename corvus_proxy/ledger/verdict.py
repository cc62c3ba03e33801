"""What is to be done with a partition that does not serve. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from corvus_proxy.money.event import Mark
from corvus_proxy.till.journal import NOWHERE
from corvus_proxy.till.recovery.report import SILENT_S, Report
from corvus_proxy.till.reply import PartitionState

FIRST = Mark(1, 0)
"""Where the books of a partition stand that has never had an event, and was never rebuilt."""


class Step(StrEnum):
    """The next step with a partition."""

    OPEN = "open"
    INIT = "init"
    """It has never been: it is made, and opened."""
    WAIT = "wait"
    REBUILD = "rebuild"


class Verdict(NamedTuple):
    step: Step
    why: str


def judge(
    part: int,
    state: PartitionState,
    cursor: Mark,
    reports: Sequence[Report],
    replid: str,
    now_ms: int,
) -> Verdict:
    """The next step. `cursor` is the books' last event of the partition, `now_ms` the wall clock's
    time, for the sentence alone that says how long a process has been silent."""
    if (waiting := _waiting(part, reports, replid, now_ms)) is not None:
        return Verdict(Step.WAIT, waiting)
    if state.epoch == 0:
        had = cursor > FIRST or any(report.done.get(part) or report.living for report in reports)
        if had:
            return Verdict(Step.REBUILD, f"p{part:02d} is gone from Redis")
        return Verdict(Step.INIT, "")
    end = Mark(state.epoch, state.seq)
    if state.state in ("REBUILD", "REPLAY", "CLOSED") and (cursor.seq or state.base_epoch):
        return Verdict(Step.REBUILD, f"p{part:02d}: a rebuild was begun")
    if cursor > end:
        return Verdict(
            Step.REBUILD, f"p{part:02d}: the books have event {cursor}, this Redis ends at {end}"
        )
    for report in reports:
        name = f"process {report.process} of node {report.node}"
        if report.done.get(part, NOWHERE) > end:
            return Verdict(
                Step.REBUILD,
                f"p{part:02d}: {name} was told of event {report.done[part]}, this Redis ends at"
                f" {end}",
            )
        if report.missing.get(part):
            return Verdict(
                Step.REBUILD,
                f"p{part:02d}: {name} misses {report.missing[part]} holds in this Redis",
            )
    return Verdict(Step.OPEN, "")


def _waiting(part: int, reports: Sequence[Report], replid: str, now_ms: int) -> str | None:
    """Which process has not spoken about this server yet."""
    for report in reports:
        if report.retired or report.has_seen(part, replid):
            continue
        name = f"process {report.process} of node {report.node}"
        silent_s = (now_ms - report.at_ms) // 1000
        if silent_s > SILENT_S:
            return (
                f"p{part:02d}: {name} has been silent for {silent_s} s; start it again, or, once"
                f" its journal is known to be lost, `corvus ledger forget {report.process}`"
            )
        return f"p{part:02d}: waiting for {name}"
    return None
