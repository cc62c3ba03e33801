"""The measured part of `README.md`: between two marks, from the same results as the page."""

from collections.abc import Sequence
from pathlib import Path

from bench import results
from bench.peers import report
from bench.render import resting
from bench.render.budgets import all_budgets
from bench.render.chosen import newest
from bench.results import Attempt, shown

BEGIN = "<!-- measured: written by `./corvus bench --render`, never by hand -->"
END = "<!-- /measured -->"
PEERS = {"corvus": "this gateway", "nginx": "nginx", "portkey": "Portkey", "litellm": "LiteLLM"}
PEER_ROWS = (
    ("CPU a plain request, µs", "peers-plain", "cpu_us_per_request", 0),
    ("CPU a streamed event, µs", "peers-streams", "net_cpu_us_per_event", 1),
    ("plain requests a second, one core", "peers-plain", "answers_per_s", 0),
    ("memory, MB", "peers-plain", "during_mb", 0),
)


def lines(attempts: list[Attempt]) -> list[str]:
    """Everything between the marks."""
    return [*_budgets(attempts), *_peers(attempts), *_costs(attempts)]


def text(readme: str, attempts: list[Attempt]) -> str:
    """The README with what was measured. Raises ValueError where it has no place for it."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no place for what was measured")
    inner = "\n".join(lines(attempts)).rstrip()
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def write(path: Path, attempts: list[Attempt]) -> None:
    """Writes it again. Raises ValueError."""
    path.write_text(text(path.read_text(), attempts))


def _budgets(attempts: Sequence[Attempt]) -> list[str]:
    attempt = newest(attempts, "plain")
    if attempt is None:
        return ["Nothing has been measured yet.", ""]
    machine = attempt.machine
    made = [
        f"{machine['processor']}, {machine['cores']} cores, everything on loopback, gateway on a"
        f" core of its own; {attempt.at[:10]}, `{attempt.commit}`. Medians, beside nginx in the"
        " same minutes. The aim is what was wanted, the gate what is allowed.",
        "",
        "| What | Measured | Aim | Gate | |",
        "|---|--:|--:|--:|---|",
    ]
    for row in all_budgets(attempts):
        value = f"{shown(row.found.median)} {row.unit}".strip() if row.found else "–"
        made.append(
            f"| {row.what} | {value} | {shown(row.aim)} | {shown(row.gate)} | {row.verdict} |"
        )
    return [*made, ""]


def _peers(attempts: Sequence[Attempt]) -> list[str]:
    whole = [one for one in attempts if one.options.get("peers") and not one.options.get("quick")]
    if not whole:
        return []
    last = whole[-1]
    found = report.by_subject(last.runs)
    present = [name for name in PEERS if any(name in subjects for subjects in found.values())]
    made = [
        f"Beside others, one core for each (`{last.commit}`). This gateway holds, settles and books"
        " every request; what the others do is told in [bench/RESULTS.md](bench/RESULTS.md).",
        "",
        f"| | {' | '.join(PEERS[name] for name in present)} |",
        f"|---|{'--:|' * len(present)}",
    ]
    for title, scenario, figure, digits in PEER_ROWS:
        cells = []
        for name in present:
            rounds = found.get(scenario, {}).get(name, {}).values()
            value = results.median(list(rounds), figure)
            cells.append("–" if value is None else f"{value:,.{digits}f}")
        made.append(f"| {title} | {' | '.join(cells)} |")
    return [*made, ""]


def _costs(attempts: Sequence[Attempt]) -> list[str]:
    found = [*resting.capacity(attempts), *resting.at_rest(attempts)]
    return ["### What it costs to run", "", *found] if found else []
