"""The form in which measurements are kept: one file an attempt, every run in it as it was taken.

    bench/results/2026-11-26T03-00-00Z-2f25380.json
    {"format": 1, "at", "commit", "clean", "machine", "versions", "options", "runs": [Run…]}

Rule 1: a run is raw: counts, times, CPU, memory. What is divided by something is made by `figures`
        when it is read, so that every published number follows from the file.
Rule 2: a run that failed is kept too, with `failed` saying why; nothing is taken out afterwards.
Rule 3: runs of one `round` were taken one after the other, in the same minutes: ratios pair them.
"""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from bench import processes

FORMAT = 1
FOLDER = Path(__file__).parent / "results"
STACK = ("gateway", "redis", "worker", "postgres")
_PACKAGES = ("granian", "uvloop", "httptools", "msgspec", "redis", "hiredis", "asyncpg", "cython")


class Run(msgspec.Struct, omit_defaults=True):
    """One load on one subject."""

    scenario: str
    """`plain`, `rate`, `streams` …: rows of one scenario compare."""
    subject: str
    """`corvus`, `direct` (straight at the far end), `nginx`, or a peer's name."""
    variant: dict[str, Any] = msgspec.field(default_factory=dict)
    """What differs between runs of one scenario: `till`, `processes`, `wallets`, `body_kb` …"""
    round: int = 1
    began: str = ""
    """UTC, ISO 8601."""
    load: dict[str, Any] = msgspec.field(default_factory=dict)
    """The load generator's own document (`bench/load.py`)."""
    cpu_us: dict[str, int] = msgspec.field(default_factory=dict)
    """User and system time over the run, by process tree: `gateway` is the subject's own, be it
    ours or a peer's; `redis`, `worker`, `postgres` are the rest of our stack."""
    memory_kb: dict[str, float] = msgspec.field(default_factory=dict)
    """Proportional memory of the subject's tree: `before`, `during`, `after`."""
    more: dict[str, Any] = msgspec.field(default_factory=dict)
    """What only this scenario counts, e.g. `drift_nanos`."""
    failed: str = ""


class Attempt(msgspec.Struct):
    """One call of `corvus bench`."""

    at: str
    commit: str
    clean: bool
    """Whether the work tree was the commit's."""
    machine: dict[str, Any]
    versions: dict[str, str]
    options: dict[str, Any]
    runs: list[Run] = msgspec.field(default_factory=list)
    format: int = FORMAT

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.at.replace(':', '-')}-{self.commit}.json"


def now() -> str:
    """The present second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def begin(options: dict[str, Any], versions: dict[str, str] | None = None) -> Attempt:
    """A new attempt on this machine and commit. `versions` of what is no Python package."""
    return Attempt(
        at=now(),
        commit=_git("rev-parse", "--short=10", "HEAD") or "unknown",
        clean=not _git("status", "--porcelain", "--untracked-files=no"),
        machine={
            "processor": processes.processor(),
            "cores": os.cpu_count(),
            "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
            "kernel": platform.release(),
        },
        versions={
            "python": sys.version,  # with its build, which decides a fifth of the gateway's CPU
            **{name: metadata.version(name) for name in _PACKAGES},
            **(versions or {}),
        },
        options=options,
    )


def write(attempt: Attempt, folder: Path = FOLDER) -> Path:
    """Writes all runs so far; called after each, so that an attempt that is cut short is kept."""
    target = folder / attempt.name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(attempt), indent=1) + b"\n")
    partial.replace(target)
    return target


def read(folder: Path = FOLDER) -> list[Attempt]:
    """All attempts of a folder, the oldest first. Raises msgspec.ValidationError."""
    paths = sorted(folder.glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Attempt) for path in paths]


def figures(run: Run) -> dict[str, float]:
    """What follows from one run, in the units that the names end with; empty where it failed.

    Work under way at either end of a run is counted in both: CPU and answers are of all that was
    sent. `answers_per_s` are those that ended within the time.
    """
    if run.failed:
        return {}
    load, cpu_us = run.load, run.cpu_us
    found = {
        name: value
        for name, value in load.items()
        if isinstance(value, int | float) and name.endswith(("_ms", "_per_s"))
    }
    sent = load.get("answers", 0) + sum(load.get("errors", {}).values())
    found["answers"] = load.get("answers", 0)
    found["errors"] = sum(load.get("errors", {}).values())
    if sent and "gateway" in cpu_us:
        found["cpu_us_per_request"] = cpu_us["gateway"] / sent
        found["stack_cpu_us_per_request"] = sum(cpu_us.get(name, 0) for name in STACK) / sent
        if cpu_us["gateway"]:
            found["requests_per_core_s"] = sent * 1e6 / cpu_us["gateway"]
    if load.get("events") and "gateway" in cpu_us:
        found["cpu_us_per_event"] = cpu_us["gateway"] / load["events"]
    found |= {f"{name}_mb": value / 1024 for name, value in run.memory_kb.items()}
    return found


def words(variant: dict[str, Any]) -> str:
    """A variant as text."""
    return ", ".join(f"{name} {value}" for name, value in variant.items())


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str, str], list[Run]]:
    """Runs of the same thing, by scenario, subject and variant, in the order of their first."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.scenario, run.subject, words(run.variant)), []).append(run)
    return found


def median(found: Sequence[dict[str, float]], name: str) -> float | None:
    """The median of one figure over those runs that have it."""
    values = [one[name] for one in found if name in one]
    return statistics.median(values) if values else None


def shown(value: float | None) -> str:
    """Three digits, as far as they mean something."""
    if value is None:
        return ""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() if done.returncode == 0 else ""
