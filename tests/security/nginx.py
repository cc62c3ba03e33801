"""Debian's nginx before a gateway, by the configuration that is shipped, without its TLS: what is
tried is how it reads requests and hands them on."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from corvus_proxy.ops import children, embedded
from tests.front import SHIPPED, binary


def _configuration(folder: Path, port: int, gateway: int) -> str:
    text = SHIPPED.read_text()
    text = re.sub(r"^ *ssl_\w+ .*;$", "", text, flags=re.MULTILINE)
    text = re.sub(r"listen 443 ssl http2", f"listen 127.0.0.1:{port}", text)
    text = text.replace("listen 80 ", f"listen 127.0.0.1:{embedded.free_port()} ")
    text = text.replace("gateway:8080", f"127.0.0.1:{gateway}")
    text = text.replace("site:8081", f"127.0.0.1:{gateway}").replace("/dev/stdout", "off")
    return text.replace("access_log off plain;", "access_log off;").replace(" /tmp/", f" {folder}/")


@contextlib.asynccontextmanager
async def before(gateway: int, folder: Path) -> AsyncIterator[int]:
    """nginx before a gateway's port; its own. Skips where there is none."""
    program = binary()
    port = embedded.free_port()
    path = folder / "nginx.conf"
    path.write_text(_configuration(folder, port, gateway))
    words = [program, "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", "daemon off;"]
    child = children.start(words, folder / "nginx.log")
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            assert child.poll() is None, (folder / "nginx.log").read_text()
            await asyncio.sleep(0.05)
        yield port
    finally:
        await asyncio.to_thread(children.end, child, signal.SIGTERM, timeout_s=10)
