"""End-to-end measurements of a running stack: `corvus bench [SCENARIO …] [--json FILE]`.

Rule 1: CPU is user and system time of the gateway's process tree, from /proc, over the whole run,
        divided by everything that the run sent. The load client and the far end never count.
Rule 2: the till is open: every request is reserved, settled and written to the books, and the run
        ends by comparing the key's spending with the sum of its charges.
Rule 3: one run is one sample. Compare only runs of one machine, in the same minutes, several times.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich
from rich.table import Table

from bench import processes
from bench.stack import Stack, running
from bench.upstream import CACHED_TOKENS, INPUT_TOKENS, PLAIN_TOKENS
from corvus_proxy.catalogue import book
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.settings import PricingSettings

SLUG = "gpt-4.1"
PLAIN = json.dumps(
    {
        "model": SLUG,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Tell me about the tide in this bay."}],
    },
    separators=(",", ":"),
)
STREAM = PLAIN[:-1] + ',"stream":true}'
PLAIN_S, STREAM_S, WARM_S, DIRECT_S = 6.0, 6.0, 1.5, 2.0
CONNECTIONS, STREAMS, STREAM_ANSWER_S = 16, 128, 0.64
DRAIN_S = 20.0

Row = dict[str, Any]


def _measured(stack: Stack, body: str, *words: str) -> Row:
    """One run through the gateway with the CPU that it took, in microseconds."""
    names = [name for name in stack.pids if name != "launcher"]
    before = {name: processes.cpu_us(stack.pids[name]) for name in names}
    row = stack.load(body, *words, "--warm-s", "0")
    took = {name: processes.cpu_us(stack.pids[name]) - before[name] for name in names}
    row["sent"] = row["answers"] + sum(row["errors"].values())
    row["gateway_cpu_us"] = took["gateway"]
    row["stack_cpu_us"] = sum(
        took.get(name, 0) for name in ("gateway", "redis", "worker", "postgres")
    )
    return row


def plain(stack: Stack, _done: dict[str, Row]) -> Row:
    """Saturation: 16 connections, 1 KB answers, as fast as they come."""
    words = ("--connections", str(CONNECTIONS))
    direct = stack.load(PLAIN, *words, "--seconds", str(DIRECT_S), direct=True)
    warm = stack.load(PLAIN, *words, "--seconds", str(WARM_S), "--warm-s", "0")
    row = _measured(stack, PLAIN, *words, "--seconds", str(PLAIN_S))
    return {
        **row,
        "warm_answers": warm["answers"],
        "cpu_us_per_request": round(row["gateway_cpu_us"] / max(1, row["sent"]), 1),
        "stack_cpu_us_per_request": round(row["stack_cpu_us"] / max(1, row["sent"]), 1),
        "direct": {name: direct[name] for name in ("answers_per_s", "p50_ms", "p99_ms")},
    }


def streams(stack: Stack, done: dict[str, Row]) -> Row:
    """128 streams at a time: 64 events of 300 bytes, 10 ms apart."""
    words = ("--connections", str(STREAMS), "--spread-s", str(STREAM_ANSWER_S))
    direct = stack.load(STREAM, *words, "--seconds", str(DIRECT_S), direct=True)
    warm = stack.load(STREAM, *words, "--seconds", str(WARM_S), "--warm-s", "0")
    row = _measured(stack, STREAM, *words, "--seconds", str(STREAM_S))
    row |= {
        "warm_answers": warm["answers"],
        "cpu_us_per_event": round(row["gateway_cpu_us"] / max(1, row["events"]), 2),
        "direct": {name: direct[name] for name in ("first_p50_ms", "first_p99_ms")},
    }
    if "plain" in done:
        # What a stream's request costs besides its events is taken off, at a plain request's price.
        net = row["gateway_cpu_us"] - row["sent"] * done["plain"]["cpu_us_per_request"]
        row["net_cpu_us_per_event"] = round(net / max(1, row["events"]), 2)
    return row


SCENARIOS: dict[str, Callable[[Stack, dict[str, Row]], Row]] = {"plain": plain, "streams": streams}


def bill(stack: Stack, rows: dict[str, Row]) -> Row:
    """Whether the key paid for exactly what was answered, once nothing is held any more."""
    model = book.load(PricingSettings()).find(SLUG)
    assert model is not None
    usage = Usage(input=INPUT_TOKENS - CACHED_TOKENS, cache_read=CACHED_TOKENS, output=PLAIN_TOKENS)
    answers = sum(row["answers"] + row["warm_answers"] for row in rows.values())
    deadline = time.monotonic() + DRAIN_S
    shown = stack.command("keys", "show", stack.key_id)
    while shown["held_nanos"] and time.monotonic() < deadline:
        time.sleep(0.2)
        shown = stack.command("keys", "show", stack.key_id)
    report = stack.command("ledger", "verify")
    return {
        "answers": answers,
        "expected_nanos": answers * charge(usage, model.price),
        "spent_nanos": shown["spent_nanos"],
        "held_nanos": shown["held_nanos"],
        "drift_nanos": report["drift_nanos"],
        "verified": report["ok"],
    }


def measure(names: list[str]) -> Row:
    """Runs scenarios against one stack; the document that `--json` writes."""
    pinned = len(os.sched_getaffinity(0)) > 1
    rows: dict[str, Row] = {}
    with running(pinned=pinned) as stack:
        for name in names:
            rows[name] = SCENARIOS[name](stack, rows)
        money = bill(stack, rows)
    return {
        "machine": {
            "processor": processes.processor(),
            "cores": os.cpu_count(),
            "pinned": pinned,
            "python": sys.version.split()[0],
        },
        "scenarios": rows,
        "bill": money,
    }


def table(document: Row) -> Table:
    """The document for people."""
    machine, rows, money = document["machine"], document["scenarios"], document["bill"]
    where = "gateway on a core of its own" if machine["pinned"] else "not pinned"
    made = Table(
        title=f"corvus bench: {machine['processor']}, {machine['cores']} cores, {where}, till open",
        caption="One run. Compare runs of one machine only.",
    )
    for title in ("scenario", "what", "gateway", "direct"):
        made.add_column(title, justify="left" if title in ("scenario", "what") else "right")
    for name, row in rows.items():
        lines = {
            "plain": [
                ("CPU µs per request", "cpu_us_per_request"),
                ("CPU µs, with Redis, worker, Postgres", "stack_cpu_us_per_request"),
                ("requests/s", "answers_per_s"),
                ("latency p50 ms", "p50_ms"),
                ("latency p99 ms", "p99_ms"),
            ],
            "streams": [
                ("CPU µs per event", "cpu_us_per_event"),
                ("CPU µs per event, request taken off", "net_cpu_us_per_event"),
                ("streams, whole", "answers"),
                ("first token p50 ms", "first_p50_ms"),
                ("first token p99 ms", "first_p99_ms"),
            ],
        }[name]
        for title, key in lines:
            if key in row:
                made.add_row(name, title, str(row[key]), str(row["direct"].get(key, "")))
        made.add_row(name, "errors", str(row["errors"] or 0), "", end_section=True)
    exact = money["spent_nanos"] == money["expected_nanos"]
    made.add_row(
        "bill",
        f"{money['answers']} answers charged",
        "exactly" if exact else f"{money['spent_nanos'] - money['expected_nanos']:+} nanos",
        "",
    )
    made.add_row("bill", "drift, nanos", str(money["drift_nanos"]), "")
    return made


def main(scenarios: list[str], json_path: Path | None = None) -> None:
    """`corvus bench`: all scenarios when none is named. Raises ConfigurationError."""
    unknown = [name for name in scenarios if name not in SCENARIOS]
    if unknown:
        raise ConfigurationError(
            f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}"
        )
    document = measure([name for name in SCENARIOS if name in scenarios or not scenarios])
    if json_path is not None:
        json_path.write_text(json.dumps(document, indent=1) + "\n")
    rich.print(table(document))


if __name__ == "__main__":
    main(sys.argv[1:])
