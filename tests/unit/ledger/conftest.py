"""The world in which recovery is tested."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.ops import embedded
from corvus_proxy.till.client import Till
from tests.world import World


@pytest.fixture
async def world(tmp_path: Path, books: Books) -> AsyncIterator[World]:
    server = embedded.Redis(tmp_path / "data", tmp_path / "redis.log", port=embedded.free_port())
    server.start()
    await asyncio.to_thread(server.wait)
    till = Till.open(server.url, timeout_ms=5000)
    found = World(server, till, books, tmp_path)
    found.work()
    await found.until(found.opened)
    yield found
    await found.rest()
    for process in (found.one, found.two):
        await process.reporter.stop(leave=False)
    with contextlib.suppress(Exception):
        await till.close()
    server.stop()
