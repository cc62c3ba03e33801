"""What every command takes and how it answers."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.state import State

StateFolder = Annotated[Path, Parameter(env_var="CORVUS_STATE")]
"""`--state`, or what the variable names: an image sets it, so that its commands find what runs."""


@Parameter(name="*")
@dataclass
class Common:
    """What every command about a running installation takes."""

    state: StateFolder = Path(".corvus")
    "State folder of `corvus up`."
    config: Path | None = None
    "Configuration of an installation that runs without `up`."
    json: Annotated[bool, Parameter(negative="")] = False
    "One JSON document on stdout."


def settings_of(common: Common) -> Any:
    """The settings of the running stack, or of the named file. Raises ConfigurationError."""
    from corvus_proxy.settings import config_path, load

    running = State(common.state).config
    path = common.config or config_path() or (running if running.exists() else None)
    if path is None and "CORVUS_REDIS_URL" not in os.environ:
        raise ConfigurationError(
            f"nothing runs from {common.state}: start `corvus up`, or name --state or --config"
        )
    return load(path)


def on_stores(common: Common, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Runs `work` with open stores."""
    from corvus_proxy.service.stores import open_stores

    logs_to_stderr(logging.WARNING)

    async def run() -> Any:
        stores = open_stores(settings_of(common))
        try:
            return await work(stores)
        finally:
            await stores.close()

    return asyncio.run(run())


def logs_to_stderr(least: int) -> None:
    """What is logged from that level on while a command runs: stdout is for its result alone."""
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def say(common: Common, document: dict[str, Any], text: str) -> None:
    """A result for programs or for people."""
    sys.stdout.write((json.dumps(document) if common.json else text) + "\n")
