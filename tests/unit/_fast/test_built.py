"""The package's door: what it says when nothing has been built."""

import importlib.util
import sys
from pathlib import Path

import pytest

from corvus_proxy import _fast


@pytest.mark.parametrize("name", ["body", "stream"])
def test_a_missing_scanner_is_told_with_the_command_that_builds_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """There is no second implementation to fall back to, so the import says what to do."""
    monkeypatch.setitem(sys.modules, f"corvus_proxy._fast.{name}", None)
    spec = importlib.util.spec_from_file_location("unbuilt", Path(str(_fast.__file__)))
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(
        ImportError, match=r"`\./corvus` builds them.*setup\.py build_ext --inplace"
    ):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
