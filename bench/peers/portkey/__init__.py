"""Portkey's gateway, from npm by `package-lock.json`.

`@hono/node-server` is held at 1.13.8: with 1.19.19, which its range allows, every stream was
answered with 500 (`TypeError: immutable`) as this suite installs it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from bench import far
from bench.far import Far
from bench.peers import install
from bench.peers.subject import Command, Peer, home, started
from bench.stack import Subject
from corvus_proxy.ops.embedded import free_port

PROJECT = install.HERE / "portkey"
PACKAGE = "@portkey-ai/gateway"


def versions() -> dict[str, str]:
    """By the lock; Node's as it tells it. Raises Missing."""
    install.npm("portkey", PROJECT)
    wanted = json.loads((PROJECT / "package.json").read_text())
    return {
        "portkey": wanted["dependencies"][PACKAGE],
        "node": install.run(str(install.node()), "--version", where=PROJECT).removeprefix("v"),
    }


def command(port: int) -> Command:
    """One process, in Node's production mode."""
    server = install.npm("portkey", PROJECT) / PACKAGE / "build" / "start-server.js"
    words = [str(install.node()), str(server), "--headless", f"--port={port}"]
    return Command(words, {"NODE_ENV": "production"})


@contextmanager
def running(upstream: Far) -> Iterator[Subject]:
    """It; every request says which provider it is for. Raises Missing."""
    port = free_port({})
    headers = (
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: http://127.0.0.1:{upstream.port}/v1",
    )
    subject = Subject("portkey", port, {}, ["bench-secret"], headers)
    with home() as folder, started(subject, command(port), folder, far.plain()) as ready:
        yield ready


PEER = Peer(
    "portkey",
    versions,
    running,
    "one process, headless, NODE_ENV=production, @hono/node-server 1.13.8; no key of its own, "
    "no bill",
)
