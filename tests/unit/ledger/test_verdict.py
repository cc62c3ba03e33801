"""What is done with a partition that does not serve: each reason alone."""

import msgspec
import pytest

from corvus_proxy.ledger.verdict import Step, judge
from corvus_proxy.money.event import Mark
from corvus_proxy.till.recovery.report import Report
from corvus_proxy.till.reply import PartitionState

HERE = "a" * 40
NOW_MS = 1_800_000_000_000


def report(**facts: object) -> Report:
    common = Report("n", "p", HERE, {}, {}, living=0, at_ms=NOW_MS)
    return msgspec.structs.replace(common, **facts)


def state(**facts: object) -> PartitionState:
    return PartitionState(2, "b" * 40, "OPEN", 10, 8)._replace(**facts)


@pytest.mark.parametrize(
    ("found", "cursor", "told", "step"),
    [
        (state(), Mark(2, 8), [report()], Step.OPEN),
        (state(), Mark(2, 10), [report(done={3: Mark(2, 10)})], Step.OPEN),
        # Somebody has been told more than this Redis has, by one event or by an epoch …
        (state(), Mark(2, 8), [report(done={3: Mark(2, 11)})], Step.REBUILD),
        (state(), Mark(2, 8), [report(), report(done={3: Mark(3, 1)})], Step.REBUILD),
        (state(), Mark(2, 8), [report(done={4: Mark(2, 11)})], Step.OPEN),
        # … the books have more, or a hold is not there.
        (state(), Mark(2, 11), [report()], Step.REBUILD),
        (state(), Mark(3, 8), [report()], Step.REBUILD),
        (state(), Mark(2, 8), [report(missing={3: 1})], Step.REBUILD),
        (state(), Mark(2, 8), [report(missing={4: 1})], Step.OPEN),
        # Nobody is left out who has not seen this server, but those who have ended.
        (state(), Mark(2, 8), [report(), report(replid="c" * 40)], Step.WAIT),
        (state(), Mark(2, 8), [report(replid="c" * 40, retired=True)], Step.OPEN),
        # What was begun is ended; what never was is made; what was and is gone is rebuilt.
        (state(state="CLOSED"), Mark(2, 8), [report()], Step.REBUILD),
        (state(state="REPLAY", base_epoch=1), Mark(2, 8), [report()], Step.REBUILD),
        (state(epoch=0), Mark(1, 0), [report()], Step.INIT),
        (state(epoch=0), Mark(1, 1), [report()], Step.REBUILD),
        (state(epoch=0), Mark(1, 0), [report(done={3: Mark(1, 1)})], Step.REBUILD),
        (state(epoch=0), Mark(1, 0), [report(living=1)], Step.REBUILD),
    ],
)
def test_one_reason_is_enough(
    found: PartitionState, cursor: Mark, told: list[Report], step: Step
) -> None:
    """A partition opens only when nothing speaks against it."""
    assert judge(3, found, cursor, told, HERE, NOW_MS).step is step
