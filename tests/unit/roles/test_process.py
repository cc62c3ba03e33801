"""What every role does alike: how many connections it takes, and files it may open."""

import asyncio
import contextlib
import resource
from typing import Any

import pytest
from structlog.testing import capture_logs

from corvus_proxy.ops import embedded
from corvus_proxy.roles import process
from tests.roles import READY, exchange

pytestmark = pytest.mark.anyio
IDLE = 150
"""More than the server takes by itself."""


async def test_silent_connections_keep_nobody_else_out() -> None:
    """As many as are allowed, less one, say nothing; the last is answered. The next waits until one
    of them goes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    port, stop = embedded.free_port(), asyncio.Event()
    serving = asyncio.create_task(
        process.serve_until(stop, app, "127.0.0.1", port, connections_max=IDLE + 1)
    )
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.02)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(IDLE)]
    assert (await asyncio.wait_for(exchange(port, READY), 30)).status == 200
    idle.append(await asyncio.open_connection("127.0.0.1", port))
    waiting = asyncio.create_task(exchange(port, READY))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    idle.pop()[1].close()
    assert (await asyncio.wait_for(waiting, 30)).status == 200
    for _, writer in idle:
        writer.close()
    stop.set()
    await asyncio.wait_for(serving, 30)


def test_a_process_opens_as_many_files_as_the_system_lets_it() -> None:
    """And says so where that is too few for what it is to serve."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
        process.raise_descriptors()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert most == before[1]
        with capture_logs() as told:
            process.say_if_too_few_descriptors(most)
            process.say_if_too_few_descriptors(most + 1)
        assert [(one["event"], one["needed"]) for one in told] == [("few_descriptors", most + 1)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
