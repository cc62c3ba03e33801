"""What all scenarios share: the subjects, one measured run, and where runs are kept."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import far, load, processes, results
from bench import stack as stacks
from bench.far import Asked
from bench.results import Attempt, Run
from bench.stack import Stack, Subject, nginx
from corvus_proxy.errors import CorvusError
from corvus_proxy.settings import load as load_settings
from corvus_proxy.till.client import TillUnavailable, opened

DRAINED_S = 15.0
SAMPLE_S = 0.2


class Plan(NamedTuple):
    """How long and how often."""

    seconds: float = 8.0
    warm_s: float = 1.5
    rounds: int = 3
    """Of what is reported."""
    alternating: int = 5
    """Rounds of what budgets are judged by."""
    quick: bool = False
    """A hundredth of every size: shows that all works, and nothing else."""

    def size(self, whole: int) -> int:
        """A count of streams, wallets or megabytes as this plan takes it."""
        return max(2, whole // 100) if self.quick else whole


QUICK = Plan(seconds=1.0, warm_s=0.3, rounds=1, alternating=1, quick=True)


class Bench:
    """An attempt under way. Subjects start when they are first asked for and end with it."""

    def __init__(self, attempt: Attempt, plan: Plan, folder: Path = results.FOLDER) -> None:
        self.attempt = attempt
        self.plan = plan
        self.folder = folder
        self._open = ExitStack()
        self._nginx: list[Subject] = []
        self._stacks: dict[str, Stack] = {}

    def __enter__(self) -> "Bench":
        self.far = self._open.enter_context(far.running())
        stacks.place({"far": self.far.pid})
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # -- subjects -------------------------------------------------------------------------------

    @property
    def direct(self) -> Subject:
        return stacks.direct(self.far)

    @property
    def nginx(self) -> list[Subject]:
        """One subject, or none where nginx is not installed."""
        if not self._nginx:
            found = self._open.enter_context(nginx.running(self.far))
            self._nginx = [found] if found else []
        return self._nginx

    def stack(self, till: str = "open") -> Stack:
        """The stack that scenarios share, its till open or closed."""
        if till not in self._stacks:
            self._stacks[till] = self._open.enter_context(self.own_stack(till=till))
        return self._stacks[till]

    @contextmanager
    def own_stack(self, **options: Any) -> Iterator[Stack]:
        """A fresh stack for one scenario."""
        with stacks.running(self.far, **options) as stack:
            if "postgres" not in self.attempt.versions:
                self.attempt.versions |= stacks.server_versions(stack.state)
            yield stack

    # -- runs -----------------------------------------------------------------------------------

    def keep(self, run: Run) -> None:
        """Adds a run to the attempt's file at once."""
        self.attempt.runs.append(run)
        results.write(self.attempt, self.folder)
        words = f" ({results.words(run.variant)})" if run.variant else ""
        said = run.failed or self._said(run)
        sys.stderr.write(f"  {run.scenario} #{run.round}, {run.subject}{words}: {said}\n")

    @staticmethod
    def _said(run: Run) -> str:
        found = results.figures(run)
        names = ("answers_per_s", "p50_ms", "p99_ms", "cpu_us_per_request", "cpu_us_per_event")
        told = [f"{name} {results.shown(found[name])}" for name in names if name in found]
        told += [f"{name} {value}" for name, value in run.more.items()]
        if run.load.get("errors"):
            told.append(f"errors {run.load['errors']}")
        return ", ".join(told)

    def measured(
        self,
        subject: Subject,
        scenario: str,
        asked: Asked,
        round_number: int,
        *,
        variant: dict[str, Any] | None = None,
        warm_s: float | None = None,
        **words: float,
    ) -> Run:
        """Warms up, loads, and keeps what was seen. A failure is kept as one."""
        run = Run(scenario, subject.name, {**subject.variant, **(variant or {})}, round_number)
        words = {"seconds": self.plan.seconds, **words}
        warm_s = self.plan.warm_s if warm_s is None else warm_s
        try:
            if warm_s:
                self._load(subject, asked, {**words, "seconds": warm_s})
                drained(subject)
            with watched(subject, run):
                run.load = self._load(subject, asked, words)
                drained(subject)
        except CorvusError as error:
            run.failed = str(error)
        self.keep(run)
        return run

    def _load(self, subject: Subject, asked: Asked, words: dict[str, float]) -> dict[str, Any]:
        return load.run(
            subject.port, asked, secrets=subject.secrets, headers=subject.headers, **words
        )


@contextmanager
def watched(subject: Subject, run: Run) -> Iterator[None]:
    """Puts CPU and memory of the block into the run."""
    run.began = results.now()
    before = {name: processes.cpu_us(pid) for name, pid in subject.trees.items()}
    root = subject.trees.get("gateway")
    if root is None:
        yield
        return
    memory = {"before": processes.memory_kb(root)}
    with _sampled(root) as highest:
        yield
    memory |= {"during": highest, "after": processes.memory_kb(root)}
    run.cpu_us = {name: processes.cpu_us(pid) - before[name] for name, pid in subject.trees.items()}
    for when, sizes in memory.items():
        run.memory_kb[when] = sizes["tree"]
        run.memory_kb[f"process_{when}"] = sizes["process"]


@contextmanager
def _sampled(root: int) -> Iterator[dict[str, int]]:
    """The highest memory of a tree while the block runs."""
    highest = processes.memory_kb(root)
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            for name, value in processes.memory_kb(root).items():
                highest[name] = max(highest[name], value)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


def drained(subject: Subject) -> None:
    """Waits until the books have every event of a stack, so that a run pays for its own."""
    if subject.state is None:
        return
    url = load_settings(subject.state / "up.toml", {}).redis.url

    async def wait() -> None:
        deadline = time.monotonic() + DRAINED_S
        async with opened(url, timeout_ms=2000) as till:
            while time.monotonic() < deadline:
                behind = sum(one.seq - one.committed for one in await till.partitions())
                if not behind:
                    return
                await asyncio.sleep(0.05)

    try:
        asyncio.run(wait())
    except TillUnavailable as error:
        raise CorvusError(f"the books were not caught up with: {error}") from None


def alternate(rounds: int, *steps: Callable[[int], object]) -> None:
    """Every step once a round: what is compared was taken in the same minutes."""
    for number in range(1, rounds + 1):
        for step in steps:
            step(number)
