"""`python -m corvus_proxy.ops.role NAME`: one role alone, with no more imports than it needs."""

import asyncio
import math
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.roles.process import raise_descriptors
from corvus_proxy.service import guard
from corvus_proxy.settings import Settings, config_path, load, share_metrics

OWN_PORT = 1000
"""How far the port of a role's own figures is from the role's."""


def run_gateway(settings: Settings) -> None:
    """Granian's master with the gateway processes under it."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    guard.refuse_demo(settings, str(config_path() or "settings"))
    _let_the_young_die()
    gateway = settings.gateway
    Granian(
        "corvus_proxy.roles.gateway:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=gateway.host,
        port=gateway.port,
        workers=gateway.processes,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        runtime_threads=1,
        backpressure=gateway.connections_max,
        respawn_failed_workers=True,
        workers_kill_timeout=math.ceil(gateway.leave_s) + gateway.drain_s + 5,
        log_level=LogLevels.warning,
    ).serve()


def _let_the_young_die() -> None:
    """A process that is told to stop before it listens for that ends at once: it has nothing to
    finish. It would inherit its master's handlers, which do nothing in it, and the master would
    wait for it as long as streams may last."""
    words = {signal.SIGTERM, signal.SIGINT}

    def begin() -> None:
        for word in words:
            signal.signal(word, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, words)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, words),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, words),
        after_in_child=begin,
    )


def main(name: str) -> None:
    """Runs a role until it is told to stop. Exits with 1 and one sentence when it may not start."""
    try:
        settings = load(config_path())
        raise_descriptors()
        _expose(name, settings)
        if name == "gateway":
            run_gateway(settings)
            return
        asyncio.run(_main(name, settings))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        _leave(1)
    _leave(0)


def _expose(name: str, settings: Settings) -> None:
    """Serves the role's figures where Prometheus is to find each role itself. Before anything
    counts: the library looks for the folder once, when it is imported. Raises
    ConfigurationError."""
    chosen = settings.metrics
    if chosen.dir:
        Path(chosen.dir).mkdir(parents=True, exist_ok=True)
        share_metrics(chosen.dir)
    from corvus_proxy import exposing

    address = exposing.private_address(chosen.listen)
    if exposing.is_loopback(address):
        return  # the console collects
    if not chosen.dir:
        raise ConfigurationError(
            "metrics.dir: name a folder, in which the processes of this role keep their figures"
        )
    own = settings.worker.status_port if name == "worker" else getattr(settings, name).port
    exposing.serve(address, chosen.port or own + OWN_PORT, chosen.dir)


def _leave(code: int) -> NoReturn:
    """Ends the process at once. All is closed, but the embedded server's threads live on, and
    an interpreter that is taken down around them aborts now and then (SIGABRT)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _main(name: str, settings: Settings) -> None:
    from corvus_proxy.ops import migrate

    await migrate.refuse_unknown(settings.database.url)
    if name == "worker":
        from corvus_proxy.roles import worker

        await worker.main(settings)
    elif name == "site":
        from corvus_proxy.roles import site

        await site.main(settings)
    else:
        from corvus_proxy.roles import console

        await console.main(settings)


if __name__ == "__main__":
    main(sys.argv[1])
