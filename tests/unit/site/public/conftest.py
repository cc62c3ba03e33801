"""One event loop for all visitors: the site that they share has connections of its own to it."""

from collections.abc import AsyncIterator

import pytest


@pytest.fixture(scope="package", autouse=True)
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keeps the loop of the first test until the last one has ended."""
    yield  # noqa: PT022 - an async fixture that only returns holds no loop
