"""One client, one key, one relay: what a test of a client needs, and what it may claim."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.clients import installed
from tests.clients.sandbox import Sandbox
from tests.clients.table import Client
from tests.clients.tap import Tap
from tests.stack import RunningStack

MONEY_USD = 20
MONEY_NANOS = MONEY_USD * 10**9
PROGRAMS = Path(__file__).parent / "programs"


class Desk:
    """A sandbox with a key; all it sends passes the relay."""

    def __init__(self, stack: RunningStack, tap: Tap, root: Path) -> None:
        self.stack = stack
        self.tap = tap
        self.sandbox = Sandbox(root)
        self.key: dict[str, Any] = {}

    def with_key(self, usd: int = MONEY_USD) -> str:
        """The secret of a new key with so much money."""
        self.key = self.stack.new_key(str(usd))
        return str(self.key["secret"])

    def script(self, client: Client, program: str, slug: str, dialect: str) -> Any:
        """Runs a program of ours that uses the client's packages: the value that it prints last."""
        environment = {
            "CORVUS_API": self.tap.url,
            "CORVUS_KEY": self.key["secret"],
            "CORVUS_MODEL": slug,
            "CORVUS_DIALECT": dialect,
        }
        folder = installed.install(client)
        if client.kind == "pip":
            words = [folder / "venv/bin/python", PROGRAMS / program]
        else:
            # Node looks for packages beside the program.
            shutil.copyfile(PROGRAMS / program, self.sandbox.work / program)
            (self.sandbox.work / "package.json").write_text('{"type": "module"}')
            (self.sandbox.work / "node_modules").symlink_to(folder / "node_modules")
            words = [installed.node(), self.sandbox.work / program]
        return json.loads(self.sandbox.finish(*words, **environment).splitlines()[-1])

    def finished(self, path: str, *, output: str, turns: int = 2) -> list[Any]:
        """Claims that the client asked so often on `path`, one of these a turn that told the model
        the tool's `output`, that each was served and that all is paid. The bodies."""
        calls = self.tap.calls
        served = [call for call in calls if call.path == path]
        assert len(served) == turns, calls
        assert all(call.statuses[:1] == [200] for call in calls), calls
        bodies = [call.json for call in served]
        assert [output in told(body) for body in bodies].count(True) == 1, bodies
        assert self.stack.settled(self.key["key_id"])["balance_nanos"] < MONEY_NANOS
        return bodies


def told(body: Mapping[str, Any]) -> str:
    """What a request says about its tools' output, whatever its dialect."""
    found: list[Any] = []
    for message in body.get("messages") or body.get("input") or []:
        kind = message.get("type") or ""
        if message.get("role") == "tool":
            found.append(message.get("content"))
        elif kind.endswith("_call_output"):
            found.append(message.get("output"))
        elif isinstance(message.get("content"), list):
            found += [
                block.get("content")
                for block in message["content"]
                if block.get("type") == "tool_result"
            ]
    return json.dumps(found, ensure_ascii=False)
