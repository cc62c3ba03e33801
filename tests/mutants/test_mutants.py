"""Every guard of `table.py` is broken once, and the tests that are named there fail."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
TIMEOUT_S = 150
NAMES = [mutant.name for mutant in MUTANTS]


def clone(folder: Path) -> Path:
    """Package and tests once more, the compiled parts included; files are shared until changed."""
    left_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("corvus_proxy", "tests"):
        shutil.copytree(ROOT / name, folder / name, copy_function=os.link, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def pytest_in(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Runs named tests on the package in `folder`, against the embedded server alone."""
    words = [sys.executable, "-m", "pytest", *tests, "-q", "-k", "not redis7", "--tb=line"]
    done = subprocess.run(
        # A folder of its own: two of them at once clear each other's old ones away.
        [*words, "-p", "no:cacheprovider", "--basetemp", str(folder / "scratch")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout + done.stderr


def judge(mutant: Mutant, folder: Path) -> str:
    """Which named tests did not notice the mutant; empty when all did."""
    file = clone(folder) / "corvus_proxy" / mutant.file
    text = file.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} is not once in {mutant.file}"
    file.unlink()  # it is shared with the real one
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        code, told = pytest_in(folder, mutant.tests)
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_S} s"
    finally:
        shutil.rmtree(folder)
    failed = {name.partition("[")[0] for name in re.findall(r"^FAILED (\S+)", told, re.M)}
    survived = [test for test in mutant.tests if test not in failed]
    if code == 1 and not survived:
        return ""
    return f"exit {code}, not noticed by {', '.join(survived)}\n{told[-2000:]}"


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The mutants of this run, two at a time; the whole copy first: all tests pass on it."""
    base, began = tmp_path_factory.mktemp("mutants"), time.monotonic()
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    names = [spec.params.get("name") for spec in specs if spec is not None]
    chosen = [mutant for mutant in MUTANTS if mutant.name in names]
    every = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
    code, told = pytest_in(clone(base / "whole"), every)
    assert code == 0, f"without a mutation: {told[-3000:]}"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        judged = pool.map(judge, chosen, [base / f"m{number}" for number in range(len(chosen))])
        found = dict(zip([mutant.name for mutant in chosen], judged, strict=True))
    caught = sum(not verdict for verdict in found.values())
    print(f"\n{caught} of {len(chosen)} mutants, {time.monotonic() - began:.0f} s")
    return found


def test_the_table_is_about_this_code() -> None:
    """Each text stands once in its file, each named test exists, each name is used once."""
    assert len(set(NAMES)) == len(NAMES) >= 25
    for mutant in MUTANTS:
        text = (ROOT / "corvus_proxy" / mutant.file).read_text()
        assert text.count(mutant.old) == 1, (mutant.name, mutant.old)
        assert mutant.tests, mutant.name
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert re.search(rf"def {name}\(", (ROOT / file).read_text()), test


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_guard_is_noticed(verdicts: dict[str, str], name: str) -> None:
    """By every test that is named for it."""
    assert verdicts[name] == ""
