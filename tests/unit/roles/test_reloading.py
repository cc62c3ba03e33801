"""A changed file is taken whenever it changes, and nothing ends the looking."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.roles.reloading import Reloader, stamp_of
from corvus_proxy.settings import Settings, load

UPSTREAM = """
[pool]
reload_s = 0.01
[[upstream]]
family = "openai"
base_url = "https://api.openai.com"
[[upstream.credential]]
name = "a"
weight = {weight}
secret_file = "{secret}"
"""


class Folder:
    """A configuration and a file with a key."""

    def __init__(self, path: Path) -> None:
        self.config, self.secret, self.other = path / "c.toml", path / "s", path / "other"
        self.secret.write_text("k")
        self.write(1)

    def write(self, weight: int, secret: Path | None = None) -> None:
        partial = self.config.with_suffix(".partial")
        partial.write_text(UPSTREAM.format(weight=weight, secret=secret or self.secret))
        partial.replace(self.config)


class Applied:
    """What has been applied: weights and the keys that were read then."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.found: list[tuple[int, str]] = []
        self._meanwhile = meanwhile

    def __call__(self, settings: Settings) -> None:
        credential = settings.upstream[0].credential[0]
        self.found.append((credential.weight, credential.secret()))
        self._meanwhile()
        self._meanwhile = lambda: None


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def started(folder: Folder, apply: Callable[[Settings], None]) -> Reloader:
    since = stamp_of(folder.config)
    return Reloader(folder.config, load(folder.config), apply, since=since)


def test_what_is_the_same_is_not_applied_again(folder: Folder) -> None:
    """A change is, once; and a key behind the same name."""
    applied = Applied()
    reloader = started(folder, applied)
    reloader.look()
    assert applied.found == []
    folder.write(2)
    for _ in range(2):
        reloader.look()
    folder.secret.write_text("longer")
    for _ in range(2):
        reloader.look()
    assert applied.found == [(2, "k"), (2, "longer")]


def test_a_change_while_another_is_applied_is_seen_by_the_next_look(folder: Folder) -> None:
    """Of the file, and of a key."""
    applied = Applied(lambda: folder.write(3))
    reloader = started(folder, applied)
    folder.write(2)
    for _ in range(3):
        reloader.look()
    assert applied.found == [(2, "k"), (3, "k")]
    again = Applied(lambda: folder.secret.write_text("longer"))
    reloader = started(folder, again)
    folder.write(4)
    for _ in range(3):
        reloader.look()
    assert again.found == [(4, "k"), (4, "longer")]


def test_a_change_while_the_process_starts_is_seen(folder: Folder) -> None:
    """Between the reading of the file and the first look."""
    applied = Applied()
    since, settings = stamp_of(folder.config), load(folder.config)
    folder.write(2)
    Reloader(folder.config, settings, applied, since=since).look()
    assert applied.found == [(2, "k")]


def test_a_refused_file_is_taken_when_the_key_that_it_lacks_has_come(folder: Folder) -> None:
    """Its own key's file is looked at, not only those of before."""
    applied = Applied()
    reloader = started(folder, applied)
    folder.write(2, folder.other)
    for _ in range(2):
        reloader.look()
    assert applied.found == []
    folder.other.write_text("here")
    reloader.look()
    assert applied.found == [(2, "here")]


@pytest.mark.anyio
async def test_no_defect_ends_the_looking(folder: Folder) -> None:
    """Whatever an attempt raises, the next change is taken."""
    applied = Applied()
    errors: list[Exception] = [ValueError("a defect"), ConfigurationError("no")]

    def apply(settings: Settings) -> None:
        if errors:
            raise errors.pop()
        applied(settings)

    reloader = started(folder, apply)
    running = asyncio.create_task(reloader.run(lambda: None))
    for weight in (2, 3, 4):
        folder.write(weight)
        await asyncio.sleep(0.1)
    running.cancel()
    assert applied.found == [(4, "k")]
