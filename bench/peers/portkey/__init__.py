"""Portkey's gateway, from npm by `package-lock.json`.

`@hono/node-server` is held at 1.13.8: with 1.19.19, which its range allows, every stream was
answered with 500 (`TypeError: immutable`) as this suite installs it.
"""

import json

from bench.peers import install
from bench.peers.subject import Command, Peer, Place

PROJECT = install.HERE / "portkey"
PACKAGE = "@portkey-ai/gateway"


def versions() -> dict[str, str]:
    """By the lock; Node's as it tells it."""
    install.npm("portkey", PROJECT)
    wanted = json.loads((PROJECT / "package.json").read_text())
    return {
        "portkey": wanted["dependencies"][PACKAGE],
        "node": install.run(str(install.node()), "--version", where=PROJECT).removeprefix("v"),
    }


def command(place: Place) -> Command:
    """One process; Node's production mode."""
    server = install.npm("portkey", PROJECT) / PACKAGE / "build" / "start-server.js"
    return Command(
        [str(install.node()), str(server), "--headless", f"--port={place.port}"],
        {"NODE_ENV": "production"},
    )


def headers(place: Place) -> dict[str, str]:
    """Every request says which provider it is for; there is no key of Portkey's own."""
    return {
        "authorization": "Bearer bench-secret",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{place.far_port}/v1",
    }


PEER = Peer(
    "portkey",
    versions,
    command,
    headers,
    "one process, headless, NODE_ENV=production, @hono/node-server 1.13.8; no key of its own, no bill",
)
