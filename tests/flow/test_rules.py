"""The alert rules and the boards, judged by Prometheus's own tools, and by Prometheus itself beside
a running stack."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.ops import children, embedded
from tests.stack import RunningStack

CONFIG = Path(__file__).parents[2] / "config"
FOLDER = CONFIG / "prometheus"
ABSENT = "apt-get install -y --no-install-recommends prometheus"


def promtool(*words: str) -> str:
    """Runs it in the rules' folder; what it says."""
    if shutil.which("promtool") is None:
        pytest.skip(ABSENT)
    done = subprocess.run(
        ["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_rules_and_example_are_valid() -> None:
    """Syntax, templates, and the example's own reference to the rules."""
    assert "rules found" in promtool("check", "rules", "rules.yaml")
    assert "SUCCESS" in promtool("check", "config", "prometheus.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rules_test.yaml", "rules_days_test.yaml"])
def test_each_alert_fires_where_it_must_and_nowhere_else(name: str) -> None:
    """`promtool test rules`: by the minute, and by the hour where days are meant."""
    assert "SUCCESS" in promtool("test", "rules", name)


def asked_by_boards() -> list[str]:
    """Every question of the boards."""
    return [
        target["expr"]
        for path in sorted((CONFIG / "grafana").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack in which no other test has made trouble."""
    (tmp_path / "sound").mkdir()
    running = RunningStack(tmp_path / "sound")
    running.up()
    yield running
    running.down()


@pytest.mark.slow
def test_a_running_prometheus_reads_a_stack_by_the_example(
    sound: RunningStack, tmp_path: Path
) -> None:
    """It scrapes the console, evaluates every rule without an error and answers every question of
    the boards; nothing fires on a sound stack."""
    if shutil.which("prometheus") is None:
        pytest.skip(ABSENT)
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    assert sound.ask("/v1/chat/completions", body).status_code == 200
    text = (FOLDER / "prometheus.yaml").read_text()
    console = sound.facts["console"].removeprefix("http://")
    assert "127.0.0.1:8082" in text
    text = text.replace("127.0.0.1:8082", console).replace(": 15s", ": 1s")
    (tmp_path / "prometheus.yaml").write_text(text)
    shutil.copyfile(FOLDER / "rules.yaml", tmp_path / "rules.yaml")
    port = embedded.free_port()
    running = children.start(
        ["prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
         f"--web.listen-address=127.0.0.1:{port}"],
        tmp_path / "prometheus.log",
        cwd=tmp_path,
    )  # fmt: skip
    try:
        _judge(f"http://127.0.0.1:{port}/api/v1")
    finally:
        children.end(running, 15, timeout_s=10)


def _judge(api: str) -> None:
    deadline = time.monotonic() + 90
    while not _ask(api, "corvus_requests_total") or not _ask(
        api, "corvus_measured_timestamp_seconds > 0"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    time.sleep(5)  # a few rounds of the rules
    rules = [
        rule
        for group in httpx.get(f"{api}/rules", trust_env=False).json()["data"]["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) > 35
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    assert firing == []
    questions = asked_by_boards()
    answered = [question for question in questions if _ask(api, question)]
    assert len(answered) * 2 > len(questions), set(questions) - set(answered)


def _ask(api: str, question: str) -> list[Any]:
    """What a question gives at this moment; an error is none of its answers."""
    try:
        answer = httpx.get(f"{api}/query", params={"query": question}, trust_env=False)
    except httpx.TransportError:
        return []
    assert answer.status_code == 200, (question, answer.text)
    found: list[Any] = answer.json()["data"]["result"]
    return found
