"""Each fuzz target over its corpus and some mutations of it; the same ones each time."""

import os

import pytest

from tests.fuzz import engine
from tests.fuzz.targets import CORPUS, TARGETS

INPUTS = {"sse": 1500, "webhook": 800, "journal": 800, "packed": 800}
"""In the gate: about a fifth of a second of work each."""
OTHERS = 3000
LONG_S = float(os.environ.get("CORVUS_FUZZ_S", "20"))


def test_every_target_ships_a_corpus_of_its_own() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(len(engine.corpus(name)) >= 5 for name in TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it(name: str) -> None:
    report = engine.run(name, TARGETS[name], seed=0, inputs_max=INPUTS.get(name, OTHERS))
    assert not report.crashes, [(found.why, found.data) for found in report.crashes]
    assert not report.hangs, [found.data for found in report.hangs]
    assert report.outcomes >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks_it_for_long(name: str) -> None:
    """By a seed of the day's own: `CORVUS_FUZZ_S` seconds each, 20 unless it says otherwise."""
    seed = int.from_bytes(os.urandom(4), "big")
    report = engine.run(name, TARGETS[name], seed=seed, seconds=LONG_S)
    assert not report.crashes, (seed, [(found.why, found.data) for found in report.crashes])
    assert not report.hangs, (seed, [found.data for found in report.hangs])
