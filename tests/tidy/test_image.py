"""The image installs what the tests have run with, and no more."""

import re
import tomllib

from tests.readme import ROOT

HOW = (
    "write requirements-image.lock anew, as CONTRIBUTING.md says: with the extras `embedded` and"
    " `prices`, requirements.lock as constraint"
)


def locked(name: str) -> dict[str, set[str]]:
    """Each package of a lock: its pin and its hashes."""
    found: dict[str, set[str]] = {}
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if pinned := re.match(r"([a-z0-9.-]+)==\S+", line):
            found[pinned[1]] = {pinned[0], *re.findall(r"--hash=(\S+)", line)}
    return found


def test_the_images_lock_is_a_part_of_the_tests_lock() -> None:
    """Same versions and hashes; and everything that the package asks for is in it."""
    image, tests = locked("requirements-image.lock"), locked("requirements.lock")
    assert image.items() <= tests.items(), HOW
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["embedded"], *extras["prices"]]
    assert {re.match(r"[a-z0-9.-]+", one)[0] for one in wanted} <= image.keys(), HOW
    assert not {"pytest", "playwright", "mypy"} & image.keys()


def test_the_builder_is_sent_what_the_dockerfile_copies() -> None:
    """Every name that is copied is let through, and nothing else is."""
    copied = {
        word.removeprefix("./")
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
