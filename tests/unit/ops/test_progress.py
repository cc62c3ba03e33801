"""A bar stands where somebody watches, and nowhere else."""

import sys

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
