"""How the gate's processes share its tests: whole files side by side, then what must be alone.

Rule 1: the tests of a file run in one process, in their order; each process has its own servers.
Rule 2: a test that is in `ALONE` starts when every other test has ended and every other process,
with its servers, is gone: what it measures is the product, not its neighbours.
"""

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

PROCESSES = 3
"""At once, whatever the machine: most tests wait for servers and for time, not for a core."""

ALONE = (
    "tests/flow/test_away.py::test_redis_is_away",
    "tests/flow/test_crash.py::",
    "tests/flow/test_drill.py::test_a_few_faults",
    "tests/flow/test_drill.py::test_the_whole_drill",
    "tests/flow/test_drill.py::test_a_cluster",
    "tests/flow/test_stalls.py::",
    "tests/unit/dev/test_providers.py::test_default_answer_is_quick",
    "tests/unit/ops/test_door.py::test_the_second_start_of_the_door_costs_milliseconds",
    "tests/unit/wire/test_media.py::test_work_on_hostile_headers_is_bounded",
    "tests/unit/wire/test_media.py::test_a_body_of_20_mb_is_read_quickly",
)
"""Beginnings of the ids of tests that measure time, or load the whole machine and time limits."""
_ALONE = "alone"

LONG = (
    "tests/flow/test_status.py",  # before others give the shared stack troubles to show
    "tests/flow/test_up.py",
    "tests/clients/test_refused.py",
    "tests/clients/test_loops.py",
    "tests/flow/test_pools.py",
    "tests/clients/test_agents.py",
    "tests/flow/test_account.py",
    "tests/flow/test_prices.py",
    "tests/flow/test_away.py",
    "tests/flow/test_recovery.py",
    "tests/browser/test_story.py",
    "tests/browser/test_secrecy.py",
    "tests/tidy/test_lint.py",
    "tests/unit/ledger/test_bridge.py",
    "tests/unit/ledger/test_unfound.py",
    "tests/unit/ledger/test_rebuild.py",
    "tests/unit/ledger/test_holes.py",
)
"""Files of few tests that take long: begun last, they would be waited for with idle cores."""


class Spread(LoadScopeScheduling):
    """Hands out the long files, then those of most tests first; the last process left gets what
    must be alone."""

    def _split_scope(self, nodeid: str) -> str:
        return _ALONE if nodeid.startswith(ALONE) else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        if _ALONE in self.workqueue:
            self.workqueue.move_to_end(_ALONE)
            if len(self.workqueue) == 1:
                self._leave_alone(node)
                return
        for name in LONG:
            if name in self.workqueue:
                self.workqueue.move_to_end(name, last=False)
                break
        super()._assign_work_unit(node)

    def _leave_alone(self, node: WorkerController) -> None:
        """Ends this process while another one still works; the last one waits for their ends."""
        others = [other for other in self.nodes if other is not node]
        if any(not other.shutting_down for other in others):
            node.shutdown()
        elif not others:
            super()._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """A process has ended. The test that it died of, if it did, is not tried again; who waited
        for its end may go on."""
        dying = (
            (unit, test)
            for unit in self.assigned_work[node].values()
            for test, ended in unit.items()
            if not ended
        )
        unit, crashed = next(dying, ({}, None))
        if crashed is not None:
            unit[crashed] = True
        workload = self.assigned_work.pop(node)
        self.workqueue.update(
            {name: one for name, one in workload.items() if not all(one.values())}
        )
        if crashed is not None or list(self.workqueue) == [_ALONE]:
            for other in self.nodes:
                self._reschedule(other)
        return crashed
