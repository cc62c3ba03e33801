"""One Chromium for all tests of pages: Debian's own, driven through Playwright."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from tests.browser.people import People
from tests.browser.watch import MISSING, Windows, chromium, program
from tests.stack import RunningStack

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture(scope="session")
async def browser() -> "AsyncIterator[Browser]":
    """A running browser; each test opens windows of its own in it."""
    path = program()
    if path is None:
        pytest.skip(MISSING)
    async with chromium(path) as opened:
        yield opened


@pytest.fixture(scope="session")
async def people(stack: RunningStack) -> AsyncIterator[People]:
    """Customers of the running stack in every state that a page shows."""
    till = Till.open(stack.facts["redis"], timeout_ms=10_000)
    books = Books(stack.facts["postgres"])
    pepper = (stack.state / "pepper").read_text().encode()
    found = People(stack, Stores(till, books, pepper))
    yield found
    await found.close()
    await till.close()
    await books.close()


@pytest.fixture(scope="session")
async def windows(browser: "Browser", stack: RunningStack) -> AsyncIterator[Windows]:
    """Those in which the site's pages are looked at."""
    found = Windows(browser, stack.facts["site"])
    yield found
    await found.close()
