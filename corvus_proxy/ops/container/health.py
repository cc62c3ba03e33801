"""`python -m corvus_proxy.ops.container.health`: whether what runs in this container serves.

Rule 1: beside a state folder in which `corvus up` says that it runs, every role has to be well.
Rule 2: else one role runs here, the one that listens: what listens has to be well, and something
        has to listen.
"""

import http.client
import os
import socket
import sys
from pathlib import Path

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.state import State
from corvus_proxy.settings import Settings, config_path, load

TIMEOUT_S = 3
ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses that stand for every one, and the one to ask."""


def places(settings: Settings) -> dict[str, tuple[str, int, str]]:
    """Where each role tells how it is: address, port and path."""
    gateway, site, console, worker = (
        settings.gateway,
        settings.site,
        settings.console,
        settings.worker,
    )
    return {
        "gateway": (gateway.host, gateway.port, "/readyz"),
        "site": (site.host, site.port, "/readyz"),
        "console": (console.host, console.port, "/livez"),
        "worker": (worker.host, worker.status_port, "/readyz"),
    }


def problem(host: str, port: int, path: str) -> str | None:
    """What is wrong there; empty where nothing is, None where nobody listens."""
    host = ANY.get(host, host)
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except ConnectionRefusedError:
        return None
    except OSError as error:
        return str(error)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(500).decode("utf-8", "replace").strip()
        return "" if answer.status == 200 else f"{answer.status} {said}"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()


def problems(state: State) -> list[str]:
    """A sentence for each that is not well. Raises ConfigurationError."""
    whole = state.up.exists()
    settings = load(state.config, {}) if whole else load(config_path())
    found = {name: problem(*place) for name, place in places(settings).items()}
    if not whole and all(one is None for one in found.values()):
        return ["no role listens: a port of its own has to be in CORVUS_CONFIG or a variable"]
    return [
        f"{name}: {'nobody listens' if one is None else one}"
        for name, one in found.items()
        if one or (whole and one is None)
    ]


def main() -> None:
    """Prints what is wrong; ends with 1 where something is."""
    try:
        found = problems(State(Path(os.environ.get("CORVUS_STATE") or ".corvus")))
    except ConfigurationError as error:
        found = [str(error)]
    sys.stdout.write("\n".join(found or ["ok"]) + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
