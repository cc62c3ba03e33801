"""A process's life in ASGI's words: what is done before its first request and after its last.

The protocol is ASGI's "Lifespan", https://asgi.readthedocs.io/en/latest/specs/lifespan.html.
"""

from collections.abc import Awaitable, Callable

from corvus_proxy.gateway.front.framing import Receive, Send

Hook = Callable[[], Awaitable[None]]


async def lifespan(receive: Receive, send: Send, start: Hook, stop: Hook) -> None:
    """One process's: `start` before it serves, `stop` when it is told to end. What `start` raises
    becomes the server's reason not to begin."""
    await receive()
    try:
        await start()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})
