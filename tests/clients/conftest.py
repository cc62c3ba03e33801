"""A gateway with a relay in front of it, and a machine of its own for each client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.tap import tapped
from tests.stack import RunningStack


@pytest.fixture
def desk(stack: RunningStack, tmp_path: Path) -> Iterator[Desk]:
    """Where a test runs one client against the running stack."""
    with tapped(stack.api) as tap:
        yield Desk(stack, tap, tmp_path)
