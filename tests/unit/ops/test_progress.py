"""A bar stands where somebody watches, and nowhere else."""

import sys
from typing import Literal

import pytest

from corvus_proxy.ops.commands.desk.progress import watched


@pytest.mark.parametrize("watching", [False, True])
def test_a_bar_is_for_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, watching: bool
) -> None:
    """On stderr alone: stdout is the command's own."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watching)
    monkeypatch.setenv("TERM", "xterm")
    with watched("wallets") as told:
        told(3, 7)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("wallets" in err, "3/7" in err) == (watching, watching)


@pytest.mark.parametrize(("unit", "shown"), [("bytes", "2.5/? MB"), ("none", "0:00:00")])
def test_what_nobody_can_count_to_the_end_shows_what_is_known(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    unit: Literal["bytes", "none"],
    shown: str,
) -> None:
    """How much there is already, or that it runs, and for how long."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with watched("dumped", unit) as told:
        told(2_500_000, 0)
    err = capsys.readouterr().err
    assert "dumped" in err
    assert shown in err
