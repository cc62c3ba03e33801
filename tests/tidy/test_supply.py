"""What is installed is what was looked at: hashes for every package, no address of an index, and
the lint that looks for weak places stays on."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "corvus_proxy").rglob("*.py"))


def rows() -> list[str]:
    """Each package of the lock with what belongs to it, comments left out."""
    text = re.sub(r"^ *#.*$", "", LOCK, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_every_package_is_locked_by_its_hash() -> None:
    """One version each, with SHA-256 of every file that may be installed."""
    found = rows()
    assert len(found) > 50
    for row in found:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==[^ ;]+", row), row
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", row), row


def test_the_lock_names_no_place_to_load_from() -> None:
    """Where packages come from is the installation's to say."""
    text = "\n".join(rows())
    assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", text)) == {"--hash"}
    assert "://" not in text
    assert "@ " not in text


def test_whoever_installs_checks_the_hashes() -> None:
    """The door and the image: hashes required, nothing compiled by a package's own script."""
    for name in ("corvus", "Dockerfile"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        (line,) = [row for row in text.splitlines() if re.search(r"-r \S+\.lock", row)]
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line
    for pinned in PYPROJECT["build-system"]["requires"]:
        assert re.fullmatch(r"[A-Za-z]+==[\d.]+", pinned), pinned


def test_every_dependency_is_in_the_lock() -> None:
    """Those that run, and those of the extras."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    locked = {re.split(r"[\[=]", row)[0].lower().replace("_", "-") for row in rows()}
    names = {re.split(r"[\[<>=]", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= locked


def test_the_lint_for_weak_places_is_on() -> None:
    """Ruff's `S` for the whole package but starting processes, which is what `ops` is for; a place
    that is let off names its rule."""
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if rule.startswith("S")]
    let_off = {
        where: {rule for rule in rules if re.fullmatch(r"S\d*", rule)}
        for where, rules in lint["per-file-ignores"].items()
        if where.startswith("corvus_proxy")
    }
    assert {where: rules for where, rules in let_off.items() if rules} == {
        "corvus_proxy/ops/**": {"S603", "S607"}
    }
    for path in SOURCES:
        assert not re.search(r"# noqa(?!: [A-Z]+\d+)", path.read_text()), path
        assert "# ruff: noqa" not in path.read_text(), path
