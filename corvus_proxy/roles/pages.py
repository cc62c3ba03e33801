"""What the site and the console do alike: open both stores, guard, serve until told to stop."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette

from corvus_proxy import jobs
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.roles.process import serve_until, set_up_logs, stop_event
from corvus_proxy.service import guard
from corvus_proxy.service.stores import Stores, open_stores
from corvus_proxy.settings import Settings, config_path
from corvus_proxy.till.client import TillUnavailable

MARK_S = 1
"""Pause between two questions for the mark of simulated money while a store is away."""


async def serve(
    settings: Settings,
    create: Callable[[Stores, Settings], Starlette],
    host: str,
    port: int,
    *,
    leave_s: float = 0.0,
    connections_max: int = 128,
) -> None:
    """Serves the application that `create` makes until SIGTERM. Redis and Postgres may be away.
    `leave_s` and `connections_max`: see `serve_until`.

    An application with streams that do not end by themselves puts what ends them into
    `app.state.leave`. Raises ConfigurationError where simulated money and a real upstream meet.
    """
    set_up_logs()
    guard.refuse_demo(settings, str(config_path() or "settings"))
    stop = stop_event()
    stores = open_stores(settings)
    guarding = asyncio.create_task(_end_where_simulated(settings, stores, stop))
    app = create(stores, settings)
    leaving = asyncio.create_task(_leave(stop, app, leave_s))
    try:
        await serve_until(stop, app, host, port, leave_s=leave_s, connections_max=connections_max)
    finally:
        await jobs.end(leaving, guarding)
        await stores.close()
    if not guarding.cancelled() and isinstance(found := guarding.exception(), ConfigurationError):
        raise found


async def _leave(stop: asyncio.Event, app: Starlette, leave_s: float) -> None:
    """Has the application end its streams when the role is told to stop: once the front sends no
    more, or they would come back to this process."""
    await stop.wait()
    await asyncio.sleep(leave_s)
    if hasattr(app.state, "leave"):
        app.state.leave()


async def _end_where_simulated(settings: Settings, stores: Stores, stop: asyncio.Event) -> None:
    """Stops the role as soon as the stores can tell that they hold simulated money, if an upstream
    is real. Raises ConfigurationError."""
    if not guard.real_upstreams(settings):
        return
    from corvus_proxy.service import demo

    while True:
        try:
            guard.refuse_simulated(settings, marked=await demo.marked(stores))
            return
        except (TillUnavailable, BooksUnavailable):
            await asyncio.sleep(MARK_S)
        except ConfigurationError:
            stop.set()
            raise
