"""What every role does alike: logs, signals, serving a small ASGI application."""

import asyncio
import logging
import resource
import signal
import sys
from typing import Any

import structlog
from granian.constants import Interfaces
from granian.server.embed import Server

from corvus_proxy.gateway.front import framing
from corvus_proxy.roles.leaving import Leaving

_log = structlog.get_logger()


def set_up_logs() -> None:
    """One JSON line a fact, on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def raise_descriptors() -> None:
    """Lets this process, and those that it starts, open as many files and sockets as the system
    allows: shells and supervisors begin with 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def say_if_too_few_descriptors(needed: int) -> None:
    """A warning where the system allows fewer than that: what is beyond them fails to connect."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        _log.warning("few_descriptors", allowed=allowed, needed=needed, how="ulimit -Hn, nofile")


def stop_event() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve_until(
    stop: asyncio.Event,
    app: Any,
    host: str,
    port: int,
    *,
    leave_s: float = 0.0,
    connections_max: int = 128,
) -> None:
    """Serves an ASGI application until `stop` is set, then leaves the front before it, if there is
    one (`leave_s`), and lets running requests finish. More connections than `connections_max` wait
    to be accepted."""
    leaving = Leaving(leave_s)
    server = Server(
        leaving.wrapped(framing.guarded(app)) if leave_s else framing.guarded(app),
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
        backlog=1024,
        backpressure=connections_max,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await leaving.run(port)
    server.stop()  # type: ignore[no-untyped-call]
    stopping.cancel()
    await serving
