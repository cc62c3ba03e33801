"""The command line inside this process: what a command prints and how it ends, without the start of
a Python for each."""

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import structlog

from corvus_proxy.ops import cli


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Terminal:
    """Runs commands about one installation."""

    def __init__(
        self,
        capture: pytest.CaptureFixture[str],
        patch: pytest.MonkeyPatch,
        *options: str,
    ) -> None:
        self._capture = capture
        self._patch = patch
        self._options = options

    def run(self, *words: str) -> Ended:
        """One command."""
        self._capture.readouterr()
        self._patch.setattr(sys, "argv", ["corvus", *words, *self._options])
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            structlog.reset_defaults()
        out, err = self._capture.readouterr()
        if isinstance(code, str):  # as the interpreter would do with it
            code, err = 1, err + code
        return Ended(int(code or 0), out, err)  # type: ignore[call-overload]

    def both(self, *words: str) -> dict[str, Any]:
        """A command that only reads, for people and for programs; what programs get."""
        people = self.run(*words)
        assert people.code == 0, people.err
        assert people.out.strip()
        return self.ask(*words)

    def ask(self, *words: str) -> dict[str, Any]:
        """A command's document."""
        done = self.run(*words, "--json")
        assert done.code == 0, done.err
        return done.document


def tree() -> Iterator[tuple[str, Any]]:
    """Every command by its words, with the application that it is."""

    def walk(app: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name in app:
            if name.startswith("-"):
                continue
            found = app[name]
            inner = [one for one in found if not one.startswith("-")]
            if inner:
                yield from walk(found, (*words, name))
            if found.default_command is not None:
                yield " ".join((*words, name)), found

    yield from walk(cli.app, ())


def rows() -> list[str]:
    """The rows of the table in docs/commands.md: words, what a command does, whether it changes
    something (then it has `--dry-run`)."""
    found = []
    for words, app in sorted(tree(), key=lambda one: one[0]):
        function = app.default_command
        text = (inspect.getdoc(function) or "").partition("\n\n")[0]
        shown = [f"corvus {words}"]
        for name, one in inspect.signature(function).parameters.items():
            if one.kind is one.VAR_POSITIONAL:
                shown.append(f"[{name.upper().rstrip('S')} …]")
            elif one.kind is one.POSITIONAL_OR_KEYWORD:
                shown.append(name.upper() if one.default is one.empty else f"[{name.upper()}]")
            elif name == "reason" and one.default is one.empty:
                shown.append("--reason TEXT")
        changes = "yes" if "deed" in inspect.signature(function).parameters else ""
        found.append(f"| `{' '.join(shown)}` | {' '.join(text.split())} | {changes} |")
    return found
