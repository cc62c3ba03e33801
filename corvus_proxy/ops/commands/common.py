"""What every command takes and how it answers."""

import asyncio
import json
import logging
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.state import State

StateFolder = Annotated[Path, Parameter(env_var="CORVUS_STATE")]
"""`--state`, or what the variable names: an image sets it, so that its commands find what runs."""
KeyId = Annotated[str, Parameter(help="Id of a key, as `corvus keys list` tells it.")]
OrderId = Annotated[str, Parameter(help="Id of an order, as `corvus orders list` tells it.")]
RefundId = Annotated[str, Parameter(help="Id of a refund, as `corvus refunds list` tells it.")]
Usd = Annotated[str, Parameter(help="An amount of USD, as `5` or `0.25`.")]
Reason = Annotated[str, Parameter(help="A sentence for the audit.")]
StatementReason = Annotated[
    str, Parameter(help="A sentence that stands in the customer's statements, and in the audit.")
]
BuyerReason = Annotated[str, Parameter(help="A sentence that the buyer reads; kept in the audit.")]
DRIFT, APPROVAL, PARTLY = 3, 4, 5
"""Exit codes beyond 0 (done), 1 (cannot be done) and 2 (words that mean nothing): a difference was
found; another operator has to agree; a part was done."""


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


@Parameter(name="*")
@dataclass
class Deed(Common):
    """What every command that changes something takes besides."""

    dry_run: Annotated[bool, Parameter(negative="")] = False
    "Only say what would be done, with each row of the ledger; nothing is changed."


def actor() -> str:
    """Who works here, as the audit names them: the person behind `sudo` where there is one."""
    name = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user without a name
            name = str(os.getuid())
    return f"cli:{name}"


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


def on_desk(common: Common, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Runs `work` with an open desk: stores, settings and payment services."""

    async def run(stores: Any) -> Any:
        from corvus_proxy.service.orders import open_desk
        from corvus_proxy.shop.services import providers

        settings = settings_of(common)
        desk = open_desk(settings, stores, providers(settings))
        try:
            return await work(desk)
        finally:
            await desk.close()

    return on_stores(common, run)


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


def would(common: Common, what: str, **document: Any) -> None:
    """What a dry run tells: a sentence, and for programs what it is about."""
    say(common, {"dry_run": True, "would": what, **document}, f"would {what}")


def would_move(common: Common, what: str, plan: Any) -> None:
    """A movement of money that would be made: its rows, and the balance before and after."""
    from corvus_proxy.money.amount import format_usd

    lines = [
        f"  {row.table:8} {row.debit} → {row.credit}  {format_usd(row.amount_nanos)} USD"
        for row in plan.rows
    ]
    lines.append(
        f"  balance  {format_usd(plan.balance_nanos)} → {format_usd(plan.after_nanos)} USD"
    )
    if plan.note:
        lines.append(f"  {plan.note}")
    document = {
        "dry_run": True,
        "would": what,
        **plan._asdict(),
        "rows": [row._asdict() for row in plan.rows],
    }
    say(common, document, "\n".join([f"would {what}", *lines]))


def document_of(view: Any) -> dict[str, Any]:
    """A row as JSON-able data: amounts in USD beside nanos, times as text."""
    from corvus_proxy.service.statements.exported import told

    return {name: _plain(value) for name, value in told(view).items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> str:
    """Rows in columns that are as wide as they have to be."""
    if not rows:
        return empty
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
