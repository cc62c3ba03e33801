"""`python -m bench.stack.up TILL STATE CONFIG WORKERS`: a `corvus up` on free ports.

Where TILL is `closed`, the gateway's process is `bench.stack.closed`; all else is as it is sold.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from corvus_proxy.ops import foreground
from corvus_proxy.ops.launcher import Options, Stack


class ClosedStack(Stack):
    """The stack with the gateway that charges nobody."""

    def _python(self, name: str, module: str, *words: str) -> "subprocess.Popen[bytes]":
        if name == "gateway":
            return super()._python(name, "bench.stack.closed")
        return super()._python(name, module, *words)


def main(till: str, state: str, config: str, workers: str) -> None:
    """Stays until it is told to stop. Raises CorvusError."""
    if till == "closed":
        door: Any = foreground
        door.Stack = ClosedStack
    ports = {f"{name}_port": 0 for name in ("api", "site", "console", "status")}
    foreground.run(
        Options(Path(state), config=Path(config), workers=int(workers), demo=False, **ports)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
