"""The alert rules, judged by Prometheus's own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "config" / "prometheus"


def promtool(*words: str) -> str:
    """Runs it in the rules' folder; what it says."""
    if shutil.which("promtool") is None:
        pytest.skip("apt-get install -y --no-install-recommends prometheus")
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
