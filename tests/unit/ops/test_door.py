"""`./corvus`: says in one sentence what is missing, and is quick when nothing is."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("dirname", "cat", "cksum", "rm", "readlink")
INPUTS = ("corvus", "pyproject.toml", "setup.py", "requirements.lock")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script and what it looks at, in a path with a space."""
    folder = tmp_path / "a clone"
    (folder / "corvus_proxy" / "_fast").mkdir(parents=True)
    for name in INPUTS:
        shutil.copy(ROOT / name, folder / name)
    for path in (ROOT / "corvus_proxy" / "_fast").glob("*.p[yx][xd]"):
        shutil.copy(path, folder / "corvus_proxy" / "_fast" / path.name)
    return folder


class Machine:
    """A search path with nothing on it but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "")

    def put(self, name: str, script: str) -> None:
        """A program of that name."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def put_python(self, *, include: Path, version: str = "true", venv: str = "exit 1") -> None:
        """A Python with these headers, whose `-m venv` does what it is told."""
        self.put(
            "python3",
            f"""case "$*" in
*version_info*) {version} ;;
*sysconfig*) echo '{include}' ;;
*"-m venv"*) {venv} ;;
*) exit 1 ;;
esac""",
        )

    def run(self, clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """`./corvus` on this machine."""
        return subprocess.run(
            ["/bin/sh", str(clone / "corvus"), *words],
            env={"PATH": str(self.bin), "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_missing_is_named_one_thing_at_a_time(
    clone: Path, machine: Machine, tmp_path: Path
) -> None:
    """Python, its version, compiler, headers, venv: a sentence with the line to type, exit 3."""
    include = tmp_path / "include"
    include.mkdir()

    def said() -> str:
        done = machine.run(clone, "up")
        assert done.returncode == 3
        assert done.stdout == ""
        sentence = done.stderr.strip().splitlines()[-1]
        assert sentence.startswith("corvus: ")
        return sentence

    assert "apt-get install -y python3" in said()
    machine.put_python(include=include, version="exit 1")
    assert "Python 3.11 or newer" in said()
    machine.put_python(include=include)
    assert "apt-get install -y gcc libc6-dev" in said()
    machine.put("cc", "exit 0")
    assert "apt-get install -y python3-dev" in said()
    (include / "Python.h").touch()
    assert "apt-get install -y python3-venv" in said()
    assert not (clone / ".venv" / "corvus-stamp").exists()


def a_good_machine(machine: Machine, tmp_path: Path) -> Path:
    """Everything there; pip notes its calls and the program prints its words."""
    include = tmp_path / "include"
    include.mkdir()
    (include / "Python.h").touch()
    machine.put("cc", "exit 0")
    calls = tmp_path / "calls"
    program = tmp_path / "program"
    program.write_text(
        f"""#!/bin/sh
case "$*" in *" pip "*) printf '%s\\n' "$*" >> '{calls}'; echo chatter ;; *) echo "ran $*" ;; esac
"""
    )
    program.chmod(0o755)
    for tool in ("mkdir", "ln"):
        (machine.bin / tool).symlink_to(shutil.which(tool) or "")
    machine.put_python(
        include=include,
        venv=f'mkdir -p "$3/bin"; ln -s \'{program}\' "$3/bin/python"; '
        f"ln -s '{program}' \"$3/bin/pip\"",
    )
    return calls


def test_it_prepares_once_and_again_when_an_input_changes(
    clone: Path, machine: Machine, tmp_path: Path
) -> None:
    """Locked wheels with hashes, then this package alone; chatter on stderr; words passed on."""
    calls = a_good_machine(machine, tmp_path)
    first = machine.run(clone, "keys", "show", "a b", "--json")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "ran -m corvus_proxy.ops.cli keys show a b --json\n"
    assert "chatter" in first.stderr
    locked, editable = calls.read_text().splitlines()
    assert "--require-hashes --only-binary :all: -r" in locked
    assert "--no-deps --editable" in editable
    assert machine.run(clone, "up").stderr == ""
    assert len(calls.read_text().splitlines()) == 2
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert machine.run(clone, "up").returncode == 0
    assert len(calls.read_text().splitlines()) == 4
    # A Python that went away, or another one in its place, is prepared for as well.
    other = tmp_path / "other"
    shutil.copy(tmp_path / "program", other)
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(other)
    assert machine.run(clone, "up").returncode == 0
    assert len(calls.read_text().splitlines()) == 6


def test_test_and_bench_run_in_the_clone(clone: Path, machine: Machine, tmp_path: Path) -> None:
    """`./corvus test` is pytest of the environment it has made."""
    a_good_machine(machine, tmp_path)
    assert machine.run(clone, "test", "-k", "x").stdout == "ran -m pytest -k x\n"
    assert machine.run(clone, "bench", "--rounds", "2").stdout == (
        "ran -m corvus_proxy.ops.cli bench --rounds 2\n"
    )


def test_the_second_start_of_the_door_costs_milliseconds(
    clone: Path, machine: Machine, tmp_path: Path
) -> None:
    """Nothing but the shell, cat and cksum runs before the program."""
    a_good_machine(machine, tmp_path)
    machine.run(clone, "up")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        machine.run(clone, "up")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2


def test_this_script_is_posix() -> None:
    """The plainest shell there is reads it; bytecode is kept, so that starts are quick."""
    shell = shutil.which("dash") or "/bin/sh"
    subprocess.run([shell, "-n", str(ROOT / "corvus")], check=True)
    assert os.access(ROOT / "corvus", os.X_OK)
    assert "unset PYTHONDONTWRITEBYTECODE" in (ROOT / "corvus").read_text()
