"""`corvus bench --target URL --key K --model M --max-usd X`: a running gateway, as its customers
have it.

Rule 1: it never spends more than X: a request is sent when its ceiling, by `/v1/quote`, fits.
Rule 2: the key is written nowhere.
Rule 3: latency is what a client sees: the model's own time is in it.
Rule 4: texts of one request are compared where the model answers it alike each time; where it does
        not, that is said and nothing is judged.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import rich
import uvloop
from rich.table import Table

from bench import results
from bench.target.books import Account, Verdict, compare
from bench.target.client import Answer, Caller
from bench.target.purse import Purse
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.amount import format_usd, parse_usd

PATH = "/v1/chat/completions"
MAX_TOKENS = 64
SECONDS = 10.0
ALIKE = 3
"""Answers of each form whose texts are compared."""
FORMS = ("plain", "stream")


class Wish(NamedTuple):
    """What is to be measured."""

    url: str
    key: str
    model: str
    max_nanos: int
    seconds: float = SECONDS
    """Of each form; what runs then is read to its end."""
    connections: int = 4

    def body(self, form: str) -> dict[str, Any]:
        """The request, always the same."""
        document: dict[str, Any] = {
            "model": self.model,
            "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": "Count from one to twenty, in words."}],
        }
        if form == "stream":
            document |= {"stream": True, "stream_options": {"include_usage": True}}
        return document


class Phase(NamedTuple):
    """The answers of one form."""

    form: str
    answers: list[Answer]
    seconds: float


async def measure(wish: Wish) -> dict[str, Any]:
    """The document that is shown and written. Raises ConfigurationError."""
    caller = Caller(wish.url, wish.key)
    account = Account(caller)
    before, begin = await account.get("/v1/key"), await account.get("/v1/usage")
    quotes = {form: await account.quote(wish.body(form)) for form in FORMS}
    for form, quote in quotes.items():
        if quote["verdict"] != "served":
            raise ConfigurationError(
                f"{form}: this key's request would be {quote['verdict']}: it costs"
                f" {quote['ceiling']} USD at most, {quote['available']} are there"
            )
    purse = Purse(wish.max_nanos)
    ceilings = {form: quotes[form]["ceiling_nanos"] for form in FORMS}
    alike = {form: await _several(wish, form, ceilings[form], purse, caller) for form in FORMS}
    # Half of what is left is the streams'.
    keep = (wish.max_nanos - purse.spent_nanos) // 2
    phases = [
        await _phase(wish, "plain", ceilings["plain"], purse, keep),
        await _phase(wish, "stream", ceilings["stream"], purse, 0),
    ]
    answers = [answer for phase in phases for answer in phase.answers]
    answers += [answer for several in alike.values() for answer in several]
    verdicts = [
        _whole(answers),
        *(_alike(form, several) for form, several in alike.items()),
        *await compare(account, answers, begin=begin, key=before),
    ]
    caller.close()
    return {
        "at": results.now(),
        "url": wish.url,
        "model": wish.model,
        "options": {"seconds": wish.seconds, "connections": wish.connections},
        "ceiling_nanos": ceilings,
        "max_nanos": wish.max_nanos,
        "max_reached": purse.full,
        "spent_nanos": purse.spent_nanos,
        "forms": {phase.form: figures(phase) for phase in phases},
        "verdicts": [verdict._asdict() for verdict in verdicts],
    }


async def _phase(wish: Wish, form: str, ceiling: int, purse: Purse, keep: int) -> Phase:
    """As many connections as are wished, each asking again when it was answered."""
    began_s = perf_counter()

    async def one() -> list[Answer]:
        caller, answers = Caller(wish.url, wish.key), []
        while perf_counter() - began_s < wish.seconds and purse.take(ceiling, keep_nanos=keep):
            answers.append(await _ask(wish, form, ceiling, purse, caller))
        caller.close()
        return answers

    found = await asyncio.gather(*(one() for _ in range(wish.connections)))
    return Phase(form, [answer for several in found for answer in several], wish.seconds)


async def _several(
    wish: Wish, form: str, ceiling: int, purse: Purse, caller: Caller
) -> list[Answer]:
    """The same request one after the other."""
    answers = []
    for _ in range(ALIKE):
        if not purse.take(ceiling):
            raise ConfigurationError(
                f"--max-usd does not pay for the first requests: each costs {format_usd(ceiling)}"
                f" at most, and {2 * ALIKE} of them come before the measurement"
            )
        answers.append(await _ask(wish, form, ceiling, purse, caller))
    return answers


async def _ask(wish: Wish, form: str, ceiling: int, purse: Purse, caller: Caller) -> Answer:
    answer = await caller.ask("POST", PATH, wish.body(form))
    purse.give_back(ceiling, answer.cost_nanos)
    return answer


def figures(phase: Phase) -> dict[str, Any]:
    """Counts, percentiles and throughput of one form."""
    whole = [answer for answer in phase.answers if answer.whole]
    errors: dict[str, int] = {}
    for answer in phase.answers:
        if not answer.whole:
            errors[answer.why] = errors.get(answer.why, 0) + 1
    took_s = max((answer.ended_s for answer in phase.answers), default=0.0) - min(
        (answer.began_s for answer in phase.answers), default=0.0
    )
    output = sum(answer.output_tokens() or 0 for answer in whole)
    gaps_s = [
        later - earlier
        for answer in whole
        if answer.streamed
        for earlier, later in zip(answer.arrivals_s, answer.arrivals_s[1:], strict=False)
    ]
    return {
        "answers": len(whole),
        "errors": errors,
        "seconds": round(took_s, 3),
        "answers_per_s": round(len(whole) / took_s, 2) if took_s else 0.0,
        "output_tokens_per_s": round(output / took_s, 1) if took_s else 0.0,
        "cost_nanos": sum(answer.cost_nanos or 0 for answer in phase.answers),
        **_percentiles("", [answer.ended_s - answer.began_s for answer in whole]),
        **_percentiles("first_", [_first_s(answer) for answer in whole]),
        **_percentiles("gap_", gaps_s),
    }


def _first_s(answer: Answer) -> float:
    return (answer.arrivals_s[0] if answer.arrivals_s else answer.ended_s) - answer.began_s


def _percentiles(name: str, values_s: Sequence[float]) -> dict[str, float]:
    if len(values_s) < 2:
        return {}
    cuts = statistics.quantiles(values_s, n=1000, method="inclusive")
    return {
        f"{name}p{share}_ms": round(cuts[at - 1] * 1000, 3)
        for share, at in (("50", 500), ("90", 900), ("99", 990))
    }


def _whole(answers: Sequence[Answer]) -> Verdict:
    broken = [answer.why for answer in answers if not answer.whole]
    text = f"{len(answers) - len(broken)} of {len(answers)}"
    return Verdict("answers are whole", not broken, f"{text}; {broken[0]}" if broken else text)


def _alike(form: str, answers: Sequence[Answer]) -> Verdict:
    """Texts of one request; the model may answer differently each time."""
    name = f"{form}: same text for the same request"
    texts = {answer.text() for answer in answers if answer.whole}
    if len(texts) == 1 and all(texts):
        return Verdict(name, True, f"{len(answers)} answers")
    if not texts or not all(texts):
        return Verdict(name, None, "no text came")
    return Verdict(name, None, "the model answers differently each time: not judged")


def table(document: dict[str, Any]) -> Table:
    """The document for people."""
    made = Table(title=f"{document['url']}, {document['model']}, {document['at']}")
    for title in ("", "plain", "stream"):
        made.add_column(title, justify="right" if title else "left")
    rows = {
        "answers, whole": "answers",
        "errors": "errors",
        "answers/s": "answers_per_s",
        "output tokens/s": "output_tokens_per_s",
        **{f"whole answer {name} ms": f"{name}_ms" for name in ("p50", "p90", "p99")},
        **{f"first byte {name} ms": f"first_{name}_ms" for name in ("p50", "p90", "p99")},
        **{f"gap {name} ms": f"gap_{name}_ms" for name in ("p50", "p90", "p99")},
    }
    for title, name in rows.items():
        cells = (document["forms"][form].get(name, "–") for form in FORMS)
        made.add_row(title, *(_cell(value) for value in cells))
    costs = (format_usd(document["forms"][form]["cost_nanos"]) for form in FORMS)
    made.add_row("cost USD", *costs, end_section=True)
    spent = format_usd(document["spent_nanos"])
    limit = format_usd(document["max_nanos"])
    ended = ", the end of the measurement" if document["max_reached"] else ""
    made.add_row("spent in all, USD", spent, f"of {limit}{ended}", end_section=True)
    for verdict in document["verdicts"]:
        word = {True: "yes", False: "[red]NO[/red]", None: "–"}[verdict["good"]]
        made.add_row(verdict["name"], word, verdict["told"])
    return made


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} × {why}" for why, count in value.items()) or "0"
    return str(value)


def main(wish: Wish, folder: Path) -> None:
    """Shows the table, writes the JSON into the folder; ends with status 1 when a check failed.

    Raises ConfigurationError.
    """
    document = uvloop.run(measure(wish))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"target-{document['at'].replace(':', '-')}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    rich.print(table(document))
    sys.stderr.write(f"written to {path}\n")
    if any(verdict["good"] is False for verdict in document["verdicts"]):
        raise SystemExit(1)


def wish(
    target: str, key: str, model: str, max_usd: str, *, seconds: float, connections: int
) -> Wish:
    """From what a command line says. Raises ConfigurationError."""
    missing = [
        name for name, value in (("key", key), ("model", model), ("max-usd", max_usd)) if not value
    ]
    if missing:
        raise ConfigurationError(f"--target also needs --{', --'.join(missing)}")
    try:
        max_nanos = parse_usd(max_usd)
    except ValueError as error:
        raise ConfigurationError(f"--max-usd {max_usd}: {error}") from error
    return Wish(target, key, model, max_nanos, seconds or SECONDS, connections)
