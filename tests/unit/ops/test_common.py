"""What every command shares."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from corvus_proxy.ops.commands.common import logs_to_stderr


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_what_a_command_logs_does_not_mix_with_its_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stdout is one JSON document; a refused debit's warning is for whoever watches."""
    logs_to_stderr(logging.WARNING)
    log = structlog.get_logger()
    log.info("taken")
    log.warning("move_refused", why="balance")
    out, err = capsys.readouterr()
    assert out == ""
    assert "move_refused" in err
    assert "taken" not in err
