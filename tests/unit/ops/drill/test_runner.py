"""C10 is found where it is planted: late back, not well, not quiet; and nothing where all is well.

The fault, the load and the logs are planted; who judges them is the drill's own runner.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from corvus_proxy import clock
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.ops.drill import runner
from corvus_proxy.ops.drill.client import Answer, Wish
from corvus_proxy.ops.drill.faults import Fault, Scene
from corvus_proxy.ops.drill.report import OK, VIOLATED, Row

pytestmark = pytest.mark.anyio


@dataclass
class Load:
    """Answers that come from the mending on, every 10 ms."""

    status: int = 200
    after_s: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def start(self, *, clients: int) -> None:
        self.task = asyncio.create_task(self._ask())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()

    async def _ask(self) -> None:
        wish, number = Wish("t", "sk", "w", "chat", "m", stream=False), 0
        await asyncio.sleep(self.after_s)
        while True:
            now_s, number = clock.monotonic_s(), number + 1
            self.answers.append(
                Answer(
                    wish,
                    "a",
                    now_s,
                    now_s,
                    now_s,
                    self.status,
                    f"req_{number}",
                    retry_after="2",
                    whole=True,
                )
            )
            await asyncio.sleep(0.01)


async def judged(
    monkeypatch: pytest.MonkeyPatch,
    load: Load,
    *,
    unrest: str = "",
    gone: str = "",
    back_s: float = 20.0,
    within_s: float = 20.0,
) -> Row:
    """One fault that does nothing, judged with these answers and this unrest."""

    async def nothing(scene: Scene) -> None:
        scene.healed()

    async def what(_: Any) -> str:
        return unrest

    async def gathered(*_: Any) -> None:
        if gone:
            raise BooksUnavailable(gone)

    monkeypatch.setattr(runner, "WARM_S", 0)
    monkeypatch.setattr(runner, "WELL_S", 0.05)
    monkeypatch.setattr(runner, "WELL_WITHIN_S", within_s)
    monkeypatch.setattr(runner, "QUIET_WITHIN_S", 0.3 if unrest else 20)
    monkeypatch.setattr(runner, "unrest", what)
    monkeypatch.setattr(runner, "gather", gathered)
    monkeypatch.setattr(runner.checkers, "CHECKERS", {})
    drill = runner.Drill(1, print, None)  # type: ignore[arg-type]
    drill._load, drill._acks = load, None  # type: ignore[assignment]
    fault = Fault(99, "planted", "", "", nothing, back_s=back_s)
    return await drill._judged(fault, nothing, None)  # type: ignore[arg-type]


async def test_a_service_that_comes_back_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    row = await judged(monkeypatch, Load())
    assert (row.verdict, row.reason) == (OK, "")


async def test_a_service_that_comes_back_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Well in the end, and later than this fault allows."""
    row = await judged(monkeypatch, Load(after_s=0.25), back_s=0.2)
    assert row.verdict == VIOLATED
    assert row.reason.startswith("C10: served again ")


async def test_a_service_that_stays_unwell_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    row = await judged(monkeypatch, Load(status=503), within_s=0.6)
    assert row.verdict == VIOLATED
    assert "C10: not well" in row.reason


async def test_a_service_that_never_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    row = await judged(monkeypatch, Load(after_s=60), within_s=0.6)
    assert "C10: not well" in row.reason


async def test_a_stack_that_does_not_come_to_rest_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lag, holds or closed partitions that stay."""
    row = await judged(monkeypatch, Load(), unrest="2 holds: ['req_1', 'req_2']")
    assert row.verdict == VIOLATED
    assert "C10: not quiet" in row.reason
    assert "2 holds" in row.reason


async def test_what_cannot_be_compared_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No evidence is not the same as nothing found."""
    row = await judged(monkeypatch, Load(), gone="Postgres is away")
    assert row.verdict == VIOLATED
    assert "nothing could be compared: Postgres is away" in row.reason
