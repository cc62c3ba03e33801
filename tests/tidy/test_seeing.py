"""What an operator sees: each metric, alert and log event that is named anywhere exists, and each
that exists is told."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from corvus_proxy import metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
BOARDS = ROOT / "config" / "grafana"
METRIC = re.compile(r"\bcorvus_[a-z0-9]+(?:_[a-z0-9]+)+\b")
OTHER = re.compile(r"corvus_(proxy|app)\b|\bcorvus_[a-z_]+\.(py|toml|so|md|json)")
"""Names that begin alike and are no metrics: the package, a role of the database."""
MODULES = [
    path
    for path in sorted((ROOT / "corvus_proxy").rglob("*.py"))
    if path.parts[-2] != "drill" and "dev" not in path.parts
]


def series() -> set[str]:
    """The names of all series that the metrics make."""
    found: list[Any] = [one for one in vars(metrics).values() if hasattr(one, "_documentation")]
    names: set[str] = set()
    for one in found:
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {one._name + end for end in ends.get(one._type, ("",))}
        names |= {one._name} if one._type == "histogram" else set()
    return names


def named(text: str) -> set[str]:
    """The metrics that a text names."""
    return set(METRIC.findall(OTHER.sub("", text)))


def test_every_metric_that_is_named_exists() -> None:
    """In rules, their tests, boards and documents."""
    files = [*PROMETHEUS.iterdir(), *BOARDS.glob("*.json"), *(ROOT / "docs").glob("*.md")]
    texts = {path.name: path.read_text() for path in files}
    texts["README.md"] = (ROOT / "README.md").read_text()
    known = series()
    assert {name: found for name, text in texts.items() if (found := named(text) - known)} == {}
    used = set().union(*(named(texts[name]) for name in ("rules.yaml", "metrics.md")))
    assert len(used) > 40


def test_every_label_of_a_rule_is_one_of_its_metric() -> None:
    """A selector with a label that the metric does not have would never match."""
    found: list[Any] = [one for one in vars(metrics).values() if hasattr(one, "_documentation")]
    labels = {one._name: {*one._labelnames, "le", "instance"} for one in found}
    rules = "".join(
        path.read_text() for path in [PROMETHEUS / "rules.yaml", *BOARDS.glob("*.json")]
    ).replace('\\"', '"')
    selectors = re.findall(r"\b(corvus_[a-z_]+)\{([^}]+)\}", rules)
    assert len(selectors) > 10
    for name, inside in selectors:
        base = re.sub(r"_(total|bucket|sum|count)$", "", name)
        used = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', inside))
        assert used <= labels.get(name, labels.get(base, set())), (name, inside)


def test_every_alert_has_its_section_and_its_test() -> None:
    """Rules, `docs/alerts.md` and the tests for promtool name the same alerts."""
    rules = (PROMETHEUS / "rules.yaml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert sorted(alerts) == sorted(sections)
    tests = "".join((PROMETHEUS / name).read_text() for name in PROMTOOL)
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tests))
    quiet = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests))
    assert fired == quiet == set(alerts)
    links = re.findall(r"runbook: docs/alerts\.md#(\w+)", rules)
    assert links == [one.lower() for one in alerts]
    levels = re.findall(r"labels: \{severity: (\w+)\}", rules)
    assert len(levels) == len(alerts)
    assert set(levels) == {"page", "ticket"}


PROMTOOL = ("rules_test.yaml", "rules_days_test.yaml")


def logged(path: Path) -> set[str]:
    """The events that a module logs: the first word of each call of its logger."""
    found: set[str] = set()
    text = path.read_text()
    if "get_logger" not in text:
        return found
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        ours = function == "say" or ("_log." in function and not function.startswith("self."))
        if ours and node.args and isinstance(node.args[0], ast.Constant):
            found.add(str(node.args[0].value))
    return found


def test_every_event_of_the_log_is_told() -> None:
    """`docs/logs.md` has a row for each event of the code, by name, and none for another."""
    text = (ROOT / "docs" / "logs.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| [a-z, ]+ \| .+\. \|$", text, re.MULTILINE)
    assert len(told) == len(set(told))
    assert set(told) == set().union(*map(logged, MODULES))


def test_boards_are_documents_that_grafana_reads() -> None:
    """Each board has a title, an id of its own and panels that ask Prometheus."""
    boards = [json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))]
    assert len({board["uid"] for board in boards}) == len(boards) >= 4
    for board in boards:
        asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        assert board["title"].startswith("Corvus")
        assert asked
