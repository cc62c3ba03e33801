"""Everybody, once for all tests of a process: see `people`."""

from collections.abc import AsyncIterator

import pytest

from tests.security.people import People, settled
from tests.stack import RunningStack


@pytest.fixture(scope="session")
async def people(stack: RunningStack) -> AsyncIterator[People]:
    async with settled(stack) as found:
        yield found
