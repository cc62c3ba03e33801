"""Many wallets, a Redis that is killed, a million requests: the cost of money, and its truth."""

import os
import signal
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import far, load, results
from bench.far import CACHED_TOKENS, INPUT_TOKENS, PLAIN_TOKENS, SLUGS
from bench.results import Run
from bench.scenarios.base import Bench, alternate
from bench.stack import Stack, Subject
from bench.stack.wallets import fill, spent_nanos
from corvus_proxy.catalogue import book
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import PricingSettings

WALLETS = (10, 10_000, 1_000_000)
CONNECTIONS = 16
KILLED_AT_S, KILLED_S = 3.0, 12.0
MILLION, MILLION_WALLETS = 1_000_000, 2_000
PART_S = 20.0


def plain_nanos() -> int:
    """The charge of one plain answer of the far end."""
    model = book.load(PricingSettings()).find(SLUGS["chat"])
    assert model is not None
    usage = Usage(input=INPUT_TOKENS - CACHED_TOKENS, cache_read=CACHED_TOKENS, output=PLAIN_TOKENS)
    return int(charge(usage, model.price))


def wallets(bench: Bench) -> None:
    """Plain saturation over 10, 10,000 and 1,000,000 wallets, a stack each: CPU a request must not
    grow."""
    with ExitStack() as block:
        folder = Path(block.enter_context(tempfile.TemporaryDirectory(prefix="corvus-keys-")))
        steps = []
        for size in WALLETS:
            count = bench.plan.size(size)
            stack = block.enter_context(bench.own_stack())
            took_s = fill(stack.state, count, folder / str(size))
            subject = stack.subject(folder / str(size), wallets=count)
            more = {"seconds": round(took_s, 1)}
            bench.keep(Run("wallets_made", "corvus", subject.variant, more=more))
            steps.append(partial(_saturate, bench, "wallets", subject))
        alternate(bench.plan.alternating, *steps)


def _saturate(bench: Bench, scenario: str, subject: Subject, number: int) -> None:
    bench.measured(subject, scenario, far.plain(), number, connections=CONNECTIONS)


def million(bench: Bench) -> None:
    """A million requests over 2,000 wallets: memory part by part, and the books at the end."""
    count, least = (
        bench.plan.size(MILLION_WALLETS),
        bench.plan.size(MILLION) // (10 if bench.plan.quick else 1),
    )
    with bench.own_stack() as stack, tempfile.TemporaryDirectory(prefix="corvus-keys-") as folder:
        fill(stack.state, count, Path(folder, "keys"))
        subject = stack.subject(Path(folder, "keys"), wallets=count)
        answers = errors = part = 0
        while answers < least:
            part += 1
            run = bench.measured(
                subject,
                "million",
                far.plain(),
                part,
                warm_s=0,
                connections=CONNECTIONS,
                seconds=bench.plan.seconds if bench.plan.quick else PART_S,
            )
            if run.failed:
                return
            answers += run.load["answers"]
            errors += sum(run.load["errors"].values())
        more: dict[str, Any] = {
            "answers": answers,
            "errors": errors,
            **_proof(stack),
            "expected_nanos": answers * plain_nanos(),
            "spent_nanos": spent_nanos(stack.state),
        }
        bench.keep(Run("million_end", "corvus", subject.variant, began=results.now(), more=more))


def killed(bench: Bench) -> None:
    """Redis is killed in the middle of plain saturation and starts again: how long nobody is
    served, what clients saw, and the books."""

    def step(number: int) -> None:
        with bench.own_stack() as stack:
            subject = stack.subject()
            run = Run("killed", "corvus", subject.variant, number, began=results.now())
            words: dict[str, Any] = {"connections": CONNECTIONS, "seconds": KILLED_S, "timeline": 1}
            with load.beside(
                subject.port, far.plain(), secrets=subject.secrets, **words
            ) as under_way:
                time.sleep(KILLED_AT_S)
                os.kill(stack.pids["redis"], signal.SIGKILL)
                run.load = under_way.end()
            run.more = {"killed_at_s": KILLED_AT_S, **_proof(stack)}
            bench.keep(run)

    alternate(bench.plan.rounds, step)


def _proof(stack: Stack) -> dict[str, Any]:
    """What `ledger verify` says in the end."""
    report = stack.settled()
    names = ("ok", "wallets", "events", "drift_nanos", "undrained", "held_nanos", "problems")
    return {name: report[name] for name in names}
