"""`python -m tests.fuzz [TARGET …] --seconds N [--seed N] [--atheris]`: long runs.

Prints inputs, outcomes, crashes and hangs of each target; exits with 1 where there were any. An
input that breaks a target is written to `--keep` (a temporary folder). With `--atheris`, where that
package is installed (`pip install atheris`), one target is steered by the coverage of the Python
code instead, until it is stopped or `--seconds` are over.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz import engine
from tests.fuzz.targets import CORPUS, TARGETS


def main(words: list[str]) -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], default=[])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "corvus-fuzz")
    asked = parser.parse_args(words)
    names = asked.target or list(TARGETS)
    if asked.atheris:
        by_coverage(names[0], asked.seconds)
    bad = 0
    print(f"{'target':<10}{'inputs':>12}{'outcomes':>10}{'crashes':>9}{'hangs':>7}")
    for name in names:
        report = engine.run(name, TARGETS[name], seed=asked.seed, seconds=asked.seconds)
        print(
            f"{name:<10}{report.inputs:>12,}{report.outcomes:>10,}{len(report.crashes):>9}"
            f"{len(report.hangs):>7}",
            flush=True,
        )
        for found in (*report.crashes, *report.hangs):
            bad += 1
            print(f"  {found.why}\n  {engine.keep(name, found, asked.keep)}")
    return 1 if bad else 0


def by_coverage(name: str, seconds: float) -> None:
    """Hands the process over to atheris; it does not come back."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    atheris.instrument_all()

    def one(data: bytes) -> None:
        TARGETS[name].check(data)

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds:.0f}", f"-max_len={engine.BYTES_MAX}",
         f"-timeout={engine.HANG_S}", "-print_final_stats=1", tempfile.mkdtemp(),
         str(CORPUS / name)],
        one,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
