"""The load generator and the far end in C, built with the machine's compiler when first needed.

What is built lies in the cache (`cache()`), under a name that its sources and the compiler make.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from corvus_proxy.errors import ConfigurationError

HERE = Path(__file__).parent
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def cache() -> Path:
    """The folder for what is built or unpacked for measurements and is not part of the clone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "corvus-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program(name: str) -> Path:
    """`load` or `far`, built if it is not there. Raises ConfigurationError without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ConfigurationError(
            "the measurements' load generator is in C and there is no C compiler:"
            " apt-get install -y gcc libc6-dev"
        )
    made = hashlib.sha256(" ".join((os.path.realpath(compiler), *FLAGS)).encode())
    for path in sorted(HERE.glob("*.[ch]")):
        made.update(path.read_bytes())
    target = cache() / f"{name}-{made.hexdigest()[:16]}"
    if not target.exists():
        partial = target.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [compiler, *FLAGS, "-o", str(partial), str(HERE / f"{name}.c")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ConfigurationError(f"{compiler} cannot build bench/c/{name}.c:\n{done.stderr}")
        partial.replace(target)
    return target
