"""`corvus bench` works: a run of half a second is kept, and the page is made from it."""

from pathlib import Path

import pytest

from bench import results
from tests.stack import corvus


@pytest.mark.slow
def test_a_scenario_is_measured_and_shown(tmp_path: Path) -> None:
    """Raw runs of every subject in one file, nothing failed; what was quick is no result."""
    folder = tmp_path / "results"
    copy = tmp_path / "copy.json"
    words = ("--seconds", "0.5", "--folder", str(folder), "--json", str(copy))
    corvus("bench", "rate", "--quick", *words)
    (attempt,) = results.read(folder)
    assert copy.read_bytes() == (folder / attempt.name).read_bytes()
    assert [run.failed for run in attempt.runs] == [""] * len(attempt.runs)
    by_subject = {run.subject: results.figures(run) for run in attempt.runs}
    assert {"direct", "corvus"} <= set(by_subject)
    assert by_subject["corvus"]["stack_cpu_us_per_request"] > 0
    assert by_subject["corvus"]["process_during_mb"] > 1
    assert {"postgres", "nginx"} <= set(attempt.versions)
    corvus("bench", "--render", "--folder", str(folder))
    page = (tmp_path / "RESULTS.md").read_text()
    assert "Nothing has been measured yet" in page
    assert f"| {attempt.at} quick |" in page


def test_a_scenario_that_does_not_exist_is_named() -> None:
    """With those that do, before anything starts."""
    done = corvus("bench", "plaid", check=False)
    assert done.returncode != 0
    assert "no scenario plaid; there are: plain, server, rate" in done.stderr
