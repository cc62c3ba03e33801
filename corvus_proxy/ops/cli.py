"""`corvus`: noun, verb, options; each command is one call of a service function.

Exit codes: 0 ok · 1 error · 2 usage · 3 drift found. With `--json`, stdout is one JSON document.
Imports stand inside the commands, so that each starts as quickly as it can.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from corvus_proxy import __version__
from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops.state import State

app = App(name="corvus", help="A prepaid gateway for LLM APIs.", version=__version__)
keys = App(name="keys", help="Keys and their balances.")
ledger = App(name="ledger", help="Redis against the books.")
db = App(name="db", help="The database.")
dev = App(name="dev", help="Simulated neighbours.")
prices = App(name="prices", help="The price book.")
for sub in (keys, ledger, db, dev, prices):
    app.command(sub)


@Parameter(name="*")
@dataclass
class Common:
    """What every command about a running installation takes."""

    state: Path = Path(".corvus")
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

    async def run() -> Any:
        stores = open_stores(settings_of(common))
        try:
            return await work(stores)
        finally:
            await stores.close()

    return asyncio.run(run())


def say(common: Common, document: dict[str, Any], text: str) -> None:
    """A result for programs or for people."""
    sys.stdout.write((json.dumps(document) if common.json else text) + "\n")


@app.command
def up(
    *,
    state: Path = Path(".corvus"),
    host: str = "127.0.0.1",
    api_port: int = 8080,
    site_port: int = 8081,
    console_port: int = 8082,
    status_port: int = 8083,
    config: Path | None = None,
    workers: int = 1,
    demo: bool = True,
    detach: bool = False,
) -> None:
    """Everything on this machine: Redis, Postgres, simulated providers, all roles, a demo key.

    Parameters
    ----------
    state: Folder that keeps all data.
    host: Address of the API and the site; the console stays on loopback.
    api_port: 0 takes a free one, as for the other ports.
    config: Your own options, on top of which the stack sets its addresses.
    workers: Gateway processes.
    demo: Simulated providers and a demo key with 5 USD.
    detach: Return when all are ready.
    """
    from corvus_proxy.ops import foreground
    from corvus_proxy.ops.launcher import Options

    options = Options(
        state, host, api_port, site_port, console_port, status_port, config, workers, demo
    )
    (foreground.detach if detach else foreground.run)(options)


@app.command
def down(*, state: Path = Path(".corvus")) -> None:
    """Stops a detached stack; returns when every process has ended."""
    from corvus_proxy.ops import foreground

    foreground.down(State(state))


@app.command
def test(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """The test suite; arguments go to pytest, `--all` adds what takes long."""
    raise SystemExit(subprocess.call([sys.executable, "-m", "pytest", *arguments]))


@app.command
def bench(
    *scenarios: str, json_file: Annotated[Path | None, Parameter(name="--json")] = None
) -> None:
    """Measures a stack of its own; run it from a clone."""
    if not Path("bench/run.py").exists():
        raise ConfigurationError("bench/ is part of the repository: run this from a clone")
    sys.path.insert(0, str(Path.cwd()))
    from bench.run import main

    main(list(scenarios), json_file)


def _role(name: str, config: Path | None) -> None:
    from corvus_proxy.ops import role

    if config is not None:
        os.environ["CORVUS_CONFIG"] = str(config)
    role.main(name)


@app.command
def gateway(*, config: Path | None = None) -> None:
    """The API port alone."""
    _role("gateway", config)


@app.command
def site(*, config: Path | None = None) -> None:
    """The site alone."""
    _role("site", config)


@app.command
def console(*, config: Path | None = None) -> None:
    """The operator's port alone."""
    _role("console", config)


@app.command
def worker(*, config: Path | None = None) -> None:
    """Writer, coordinator, sweeper and outbox alone."""
    _role("worker", config)


@app.command
def doctor(*, production: bool = False, common: Common | None = None) -> None:
    """Checks this installation and says what to do."""
    from corvus_proxy.ops import doctor as checks

    common = common or Common()
    raise SystemExit(checks.run(settings_of(common), production=production, as_json=common.json))


@dev.command
def providers(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """Simulated Anthropic, OpenAI and Z.AI."""
    from corvus_proxy.dev import providers as simulated

    simulated.main(list(arguments))


@db.command(name="migrate")
def db_migrate(*, status: bool = False, common: Common | None = None) -> None:
    """Applies migrations to the database of the settings."""
    from corvus_proxy.ops import migrate

    url = settings_of(common or Common()).database.url
    sys.stdout.write(migrate.status(url) if status else migrate.migrate(url))


def _shown(found: Any) -> tuple[dict[str, Any], str]:
    from corvus_proxy.money.amount import format_usd

    document = found._asdict()
    text = "  ".join(
        f"{name.removesuffix('_nanos')} "
        + (f"{format_usd(value)} USD" if name.endswith("_nanos") else str(value or "-"))
        for name, value in document.items()
    )
    return document, text


@keys.command
def create(
    *,
    credit: str = "0",
    label: str = "",
    reason: str = "operator grant",
    common: Common | None = None,
) -> None:
    """A new key, credited with so many USD."""
    from corvus_proxy.money.amount import parse_usd
    from corvus_proxy.service import keys as service

    common = common or Common()
    made = on_stores(
        common,
        lambda stores: service.create(
            stores, credit_nanos=parse_usd(credit), label=label, reason=reason
        ),
    )
    say(common, *_shown(made))


@keys.command
def show(key_id: str, *, common: Common | None = None) -> None:
    """A key's balance, holds and status."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    say(common, *_shown(on_stores(common, lambda stores: service.show(stores, key_id))))


@keys.command(name="list")
def list_keys(*, common: Common | None = None) -> None:
    """The newest keys."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    rows = [_shown(row) for row in on_stores(common, service.list_keys)]
    say(common, {"keys": [document for document, _ in rows]}, "\n".join(text for _, text in rows))


def _moved(common: Common, key_id: str, usd: str, reason: str, move: Any) -> None:
    from corvus_proxy.money.amount import format_usd, parse_usd

    balance = on_stores(common, lambda stores: move(stores, key_id, parse_usd(usd), reason=reason))
    say(
        common,
        {"key_id": key_id, "balance_nanos": balance},
        f"{key_id}  balance {format_usd(balance)} USD",
    )


@keys.command
def credit(key_id: str, usd: str, *, reason: str, common: Common | None = None) -> None:
    """Adds money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _moved(common or Common(), key_id, usd, reason, service.credit)


@keys.command
def debit(key_id: str, usd: str, *, reason: str, common: Common | None = None) -> None:
    """Takes free money; returns when Redis has it."""
    from corvus_proxy.service import keys as service

    _moved(common or Common(), key_id, usd, reason, service.debit)


@keys.command
def freeze(key_id: str, *, reason: str = "", common: Common | None = None) -> None:
    """Stops a key; its money stays."""
    _freeze(common or Common(), key_id, reason, frozen=True)


@keys.command
def unfreeze(key_id: str, *, reason: str = "", common: Common | None = None) -> None:
    """Lets a frozen key work again."""
    _freeze(common or Common(), key_id, reason, frozen=False)


def _freeze(common: Common, key_id: str, reason: str, *, frozen: bool) -> None:
    from corvus_proxy.service import keys as service

    on_stores(
        common, lambda stores: service.set_frozen(stores, key_id, frozen=frozen, reason=reason)
    )
    word = "frozen" if frozen else "active"
    say(common, {"key_id": key_id, "status": word}, f"{key_id}  {word}")


@keys.command
def rotate(key_id: str, *, grace_s: int = 86400, common: Common | None = None) -> None:
    """A new secret; the old one works for the grace."""
    from corvus_proxy.service import keys as service

    common = common or Common()
    secret = on_stores(common, lambda stores: service.rotate(stores, key_id, grace_s=grace_s))
    say(common, {"key_id": key_id, "secret": secret}, f"{key_id}  secret {secret}")


@ledger.command
def verify(*, common: Common | None = None) -> None:
    """Compares Redis and the books, wallet by wallet; exit code 3 on drift."""
    from corvus_proxy.service import ledger as service

    common = common or Common()
    report = on_stores(common, service.verify)
    lines = [
        f"{'ok' if report.ok else 'DRIFT'}: {report.wallets} wallets, {report.events} events,"
        f" drift {report.drift_nanos} nanos, {report.undrained} not yet in the books",
        *report.problems,
    ]
    say(common, report._asdict(), "\n".join(lines))
    if not report.ok:
        raise SystemExit(3)


@prices.command(name="show")
def prices_show(*, common: Common | None = None) -> None:
    """Every model's prices and the margin on its dearest component."""
    from corvus_proxy.ops import pricelist

    common = common or Common()
    rows = pricelist.rows(settings_of(common))
    say(common, {"models": rows}, pricelist.table(rows))


@prices.command(name="lint")
def prices_lint(*, common: Common | None = None) -> None:
    """Names each price that is dearer than the vendor's own; exit code 1 if there is one."""
    from corvus_proxy.catalogue import book, margin

    common = common or Common()
    found = margin.lint(book.load(settings_of(common).pricing))
    say(common, {"ok": not found, "problems": found}, "\n".join(found) or "ok")
    if found:
        raise SystemExit(1)


def main() -> None:
    """The entry point: errors of ours are one sentence, not a traceback."""
    began = time.monotonic()
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said what was wrong with the words
    except (CorvusError, ValueError, LookupError) as error:
        sys.stderr.write(f"corvus: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130 if time.monotonic() - began > 0 else 1)


if __name__ == "__main__":
    main()
