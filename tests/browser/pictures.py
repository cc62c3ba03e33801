"""`python -m tests.browser.pictures [NAME …]`: the pictures of README.md, into `docs/images/`.

They are of a demonstration that starts for them, on the usual ports where those are free, and ends
with them: its key, its money and its answers are simulated. A page that this version of the site
has not, has no picture.
"""

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from corvus_proxy.books.db import Books
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from tests.browser.pages import Arrive, logged_in, opened, ordered
from tests.browser.people import People
from tests.browser.watch import MISSING, Visit, chromium, program, visit
from tests.stack import RunningStack, corvus

if TYPE_CHECKING:
    from playwright.async_api import Browser

FOLDER = Path(__file__).parents[2] / "docs" / "images"
WIDTH, HEIGHT = 1000, 680
BYTES_MAX = 150_000
PORTS = {"api": 8080, "site": 8081, "console": 8082, "status": 8083}
WAIT_S = 180
"""Until what a page waits for is there: the first probes of every part."""
ASKED: tuple[tuple[str, str, int], ...] = (
    ("/v1/chat/completions", "gpt-5.5", 900),
    ("/v1/messages", "claude-opus-5-5", 1400),
    ("/v1/messages", "claude-sonnet-5", 2200),
    ("/v1/chat/completions", "glm-4.7", 3000),
    ("/v1/chat/completions", "gpt-6-sol", 700),
)
"""What the customer of the dashboard has asked: path, model, tokens of the answer."""


class Picture(NamedTuple):
    """One file."""

    name: str
    arrive: Arrive
    until: str = ""
    """Selector of the last thing that it shows; else it ends with the window."""
    waits: str = ""
    """Selector of what stands there only while the page is not ready."""
    height: int = HEIGHT


async def customer(visit: Visit, people: People) -> None:
    """The dashboard of somebody who works with several models."""
    made = await people.key("regular")
    for path, model, tokens in ASKED:
        words = f"[[simulate: tokens={tokens}; delay_ms=0]]"
        body = {"model": model, "max_tokens": tokens}
        await people.ask(
            made.secret, path, {**body, "messages": [{"role": "user", "content": words}]}
        )
    await people.listed()
    await logged_in("regular")(visit, people)


PICTURES = (
    Picture("order", ordered("stripe", "pay"), until='[data-snippet="curl-chat"]'),
    Picture("dashboard", customer, height=900),
    Picture("tracker", opened("/pricing/tracker"), height=900),
    Picture("status", opened("/status"), waits="text=checking", height=900),
)


async def take(browser: "Browser", people: People, picture: Picture) -> str:
    """Writes one file; what there is to say of it. Raises ConfigurationError when it is too
    large."""
    async with visit(browser, people.stack.facts["site"]) as window:
        await window.page.set_viewport_size({"width": WIDTH, "height": picture.height})
        await picture.arrive(window, people)
        if window.status == 404:
            return "this version has no such page"
        await ready(window, picture)
        height = picture.height
        if picture.until:
            box = await window.page.locator(picture.until).first.bounding_box()
            assert box is not None, picture.until
            height = round(box["y"] + box["height"]) + 24
            await window.page.set_viewport_size({"width": WIDTH, "height": height})
        path = FOLDER / f"{picture.name}.png"
        size = len(await window.page.screenshot(path=path))
    if size > BYTES_MAX:
        raise ConfigurationError(f"{path.name} has {size} bytes, at most {BYTES_MAX}")
    return f"{WIDTH} x {height}, {size // 1000} KB"


async def ready(window: Visit, picture: Picture) -> None:
    """Opens the page again until nothing waits on it."""
    deadline_s = time.monotonic() + WAIT_S
    while picture.waits and await window.page.locator(picture.waits).count():
        assert time.monotonic() < deadline_s, f"{picture.name} still shows {picture.waits}"
        await asyncio.sleep(2)
        await window.page.reload()
        await window.settle()


@contextlib.contextmanager
def demonstration() -> Iterator[RunningStack]:
    """A `corvus up` in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="corvus-pictures-") as folder:
        stack = RunningStack(Path(folder))
        words = [
            str(word) for name, port in PORTS.items() for word in (f"--{name}-port", usual(port))
        ]
        corvus("up", "--detach", "--state", str(stack.state), *words)
        try:
            yield stack
        finally:
            corvus("down", "--state", str(stack.state))


def usual(port: int) -> int:
    """That port, or 0 where something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@contextlib.asynccontextmanager
async def customers(stack: RunningStack) -> AsyncIterator[People]:
    """Those whose pages are shown."""
    till, books = Till.open(stack.facts["redis"], timeout_ms=2000), Books(stack.facts["postgres"])
    found = People(stack, Stores(till, books, (stack.state / "pepper").read_text().encode()))
    try:
        yield found
    finally:
        await found.close()
        await till.close()
        await books.close()


async def main(names: list[str]) -> None:
    """All pictures where none is named. Raises ConfigurationError."""
    path = program()
    if path is None:
        raise ConfigurationError(f"Chromium is needed: {MISSING}")
    chosen = [one for one in PICTURES if one.name in names or not names]
    with demonstration() as stack:
        async with chromium(path) as browser, customers(stack) as people:
            for picture in chosen:
                told = await take(browser, people, picture)
                sys.stdout.write(f"{picture.name}: {told}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
