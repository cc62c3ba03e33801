"""`corvus up`, `down`, `test`, `bench` and the roles: what starts something."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.commands.common import StateFolder
from corvus_proxy.ops.state import State

app = App(name="stack")


@app.command
def up(
    *,
    state: StateFolder = Path(".corvus"),
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
    state
        Folder that keeps all data.
    host
        Address of the API and the site; the console stays on loopback.
    api_port
        0 takes a free one, as for the other ports.
    site_port
        Of shop, dashboard and documentation.
    console_port
        Of the operator's desk and of metrics.
    status_port
        Of the status page that does without site and Postgres.
    config
        Your own options, on top of which the stack sets its addresses.
    workers
        Gateway processes.
    demo
        Simulated providers and a demo key with 5 USD.
    detach
        Return when all are ready.
    """
    from corvus_proxy.ops import foreground
    from corvus_proxy.ops.launcher import Options

    options = Options(
        state, host, api_port, site_port, console_port, status_port, config, workers, demo
    )
    (foreground.detach if detach else foreground.run)(options)


@app.command
def down(*, state: StateFolder = Path(".corvus")) -> None:
    """Stops a detached stack; returns when every process has ended.

    Parameters
    ----------
    state
        Folder of the stack.
    """
    from corvus_proxy.ops import foreground

    foreground.down(State(state))


@app.command
def test(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
    """The test suite; arguments go to pytest, `--all` adds what takes long.

    Parameters
    ----------
    arguments
        Options and paths for pytest.
    """
    raise SystemExit(subprocess.call([sys.executable, "-m", "pytest", *arguments]))


@app.command
def bench(
    *scenarios: str,
    quick: bool = False,
    seconds: float = 0,
    rounds: int = 0,
    render: bool = False,
    folder: Path = Path("bench/results"),
    json: Path | None = None,
    peers: bool = False,
    target: str = "",
    key: str = "",
    model: str = "",
    max_usd: str = "",
    connections: int = 4,
) -> None:
    """Measures stacks of its own and keeps every run, or a gateway that runs; needs a clone.

    Parameters
    ----------
    scenarios
        All when none is named; bench/README.md lists them.
    quick
        A second each and a hundredth of every size: shows that it works, and nothing else.
    seconds
        Of each run; 0: 8, and with --target 10.
    rounds
        Runs of each kind; 0: three, and five of what the budgets are judged by.
    render
        Write RESULTS.md beside the folder, and its plots, from all results in it.
    folder
        Where results are kept.
    json
        A copy of this call's results.
    peers
        Install nginx, LiteLLM and Portkey apart, and measure them beside this gateway.
    target
        Measure the gateway that runs at this address instead, as its customers have it.
    key
        With --target: whose money is spent; it is written nowhere.
    model
        With --target: which model is asked.
    max_usd
        With --target: what may be spent in all; it ends before it would spend more.
    connections
        With --target: requests at once.
    """
    if not Path("bench/run.py").exists():
        raise ConfigurationError("bench/ is part of the repository: run this from a clone")
    sys.path.insert(0, str(Path.cwd()))
    if render:
        from bench.render import write

        sys.stdout.write(f"{write(folder)}\n")
        return
    if target:
        from bench.target import run as measured

        asked = measured.wish(target, key, model, max_usd, seconds=seconds, connections=connections)
        measured.main(asked, folder / "local")
        return
    how = {"folder": folder, "quick": quick, "seconds": seconds, "rounds": rounds}
    made = _measured(list(scenarios), how, beside_peers=peers)
    if json is not None:
        shutil.copyfile(made, json)
    sys.stdout.write(f"{made}\n")


def _measured(scenarios: list[str], how: dict[str, Any], *, beside_peers: bool) -> Path:
    """Measures stacks of its own; the file of results."""
    if beside_peers:
        from bench.peers.run import main as measure_peers

        return measure_peers(**how)
    from bench.run import main

    return main(scenarios, **how)


def _role(name: str, config: Path | None) -> None:
    from corvus_proxy.ops import role

    if config is not None:
        os.environ["CORVUS_CONFIG"] = str(config)
    role.main(name)


@app.command
def gateway(*, config: Path | None = None) -> None:
    """The API port alone.

    Parameters
    ----------
    config
        Configuration; else that of CORVUS_CONFIG.
    """
    _role("gateway", config)


@app.command
def site(*, config: Path | None = None) -> None:
    """The site alone.

    Parameters
    ----------
    config
        Configuration; else that of CORVUS_CONFIG.
    """
    _role("site", config)


@app.command
def console(*, config: Path | None = None) -> None:
    """The operator's port alone.

    Parameters
    ----------
    config
        Configuration; else that of CORVUS_CONFIG.
    """
    _role("console", config)


@app.command
def worker(*, config: Path | None = None) -> None:
    """Writer, coordinator, sweeper and outbox alone.

    Parameters
    ----------
    config
        Configuration; else that of CORVUS_CONFIG.
    """
    _role("worker", config)
