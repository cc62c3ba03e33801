"""nginx: forwarding alone, the floor under every figure (`bench.stack.nginx`).

The system's, or Debian's package unpacked in the cache, installed nowhere.
"""

import shutil
from pathlib import Path

from bench.c import cache
from bench.peers import install
from bench.peers.subject import Peer
from bench.stack import nginx


def versions() -> dict[str, str]:
    """As it tells it. Raises Missing."""
    if nginx.find() is None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise install.Missing("there is no nginx, and no apt-get to bring it")
        place = install.folder("nginx-archive", make=_download)
        for archive in place.glob("*.deb"):
            install.run("dpkg-deb", "--extract", str(archive), str(cache() / "nginx"), where=place)
    return {"nginx": nginx.version()}


def _download(place: Path) -> None:
    install.run("apt-get", "download", "--quiet", "nginx", where=place)


PEER = Peer(
    "nginx",
    versions,
    nginx.running,
    "one worker, connections to the upstream kept, no buffering, no access log; no key, no bill",
)
