"""`corvus bench [SCENARIO …] [--quick]`: measures, and keeps every run in `bench/results/`.

Rule 1: CPU is user and system time of a process tree, from /proc, over the whole run, divided by
        everything that the run sent. The load and the far end never count.
Rule 2: the till is open unless a run says otherwise: every request is reserved, settled and written
        to the books, and a run ends when the books have all of it.
Rule 3: compare only runs of one machine, taken in the same minutes, several times.
"""

import resource
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import results
from bench.results import Attempt
from bench.scenarios import QUICK, SCENARIOS, Bench, Plan
from bench.stack import nginx
from corvus_proxy.errors import ConfigurationError

WIDTH = 150
COLUMNS = {
    "requests/s": "answers_per_s",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "CPU µs/request": "cpu_us_per_request",
    "stack": "stack_cpu_us_per_request",
    "CPU µs/event": "cpu_us_per_event",
    "memory MB": "process_during_mb",
    "errors": "errors",
}


def table(attempt: Attempt) -> Table:
    """Medians of an attempt for people; the published page is made by `bench.render`."""
    machine = attempt.machine
    made = Table(
        title=f"corvus bench: {machine['processor']}, {machine['cores']} cores, {attempt.commit}",
        caption="Medians. Compare runs of one machine only.",
    )
    for title in ("scenario", "subject", "runs", *COLUMNS):
        made.add_column(title, justify="left" if title in ("scenario", "subject") else "right")
    for (scenario, subject, words), runs in results.grouped(attempt.runs).items():
        found = [results.figures(run) for run in runs]
        cells = [results.shown(results.median(found, name)) for name in COLUMNS.values()]
        made.add_row(scenario, f"{subject} {words}".strip(), str(len(runs)), *cells)
    return made


def main(
    names: list[str],
    *,
    folder: Path = results.FOLDER,
    quick: bool = False,
    seconds: float = 0,
    rounds: int = 0,
) -> Path:
    """All scenarios when none is named; the file with the runs. Raises ConfigurationError."""
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise ConfigurationError(
            f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}"
        )
    plan = QUICK if quick else Plan()
    if seconds:
        plan = plan._replace(seconds=seconds)
    if rounds:
        plan = plan._replace(rounds=rounds, alternating=rounds)
    # A stream takes two descriptors of the gateway; what is started inherits the limit.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends with us
    chosen = [name for name in SCENARIOS if name in names or not names]
    attempt = results.begin({"scenarios": chosen, **plan._asdict()}, {"nginx": nginx.version()})
    with Bench(attempt, plan, folder) as bench:
        for name in chosen:
            began_s = time.monotonic()
            sys.stderr.write(f"{name}: {(SCENARIOS[name].__doc__ or '').split('.')[0]}\n")
            SCENARIOS[name](bench)
            sys.stderr.write(f"  {time.monotonic() - began_s:.0f} s\n")
    console = Console()
    Console(width=max(console.width, WIDTH)).print(table(attempt))
    return results.write(attempt, folder)
