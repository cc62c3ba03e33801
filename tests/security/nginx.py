"""Debian's nginx before a gateway, by the configuration that is shipped, without its TLS: what is
tried is how it reads requests and hands them on."""

import asyncio
import contextlib
import re
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corvus_proxy.ops import children, embedded

SHIPPED = Path(__file__).parents[2] / "config" / "nginx.conf"
PLAIN = """
pid /tmp/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path /tmp/nginx-body;
    proxy_temp_path /tmp/nginx-proxy;
    fastcgi_temp_path /tmp/nginx-fastcgi;
    uwsgi_temp_path /tmp/nginx-uwsgi;
    scgi_temp_path /tmp/nginx-scgi;
    upstream gateway {
        server gateway:8080;
        keepalive 64;
    }
    server {
        listen 443 ssl http2 default_server;
        client_max_body_size 33m;
        location / {
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }
    }
}
"""
"""Where none is shipped: the same way of handing on, over connections that are kept."""


def _configuration(folder: Path, port: int, gateway: int) -> str:
    text = SHIPPED.read_text() if SHIPPED.exists() else PLAIN
    text = re.sub(r"^ *ssl_\w+ .*;$", "", text, flags=re.MULTILINE)
    text = re.sub(r"listen 443 ssl http2", f"listen 127.0.0.1:{port}", text)
    text = text.replace("listen 80 ", f"listen 127.0.0.1:{embedded.free_port()} ")
    text = text.replace("gateway:8080", f"127.0.0.1:{gateway}")
    text = text.replace("site:8081", f"127.0.0.1:{gateway}").replace("/dev/stdout", "off")
    return text.replace("access_log off plain;", "access_log off;").replace(" /tmp/", f" {folder}/")


@contextlib.asynccontextmanager
async def before(gateway: int, folder: Path) -> AsyncIterator[int]:
    """nginx before a gateway's port; its own. Skips where there is none."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        pytest.skip("apt-get install -y --no-install-recommends nginx-light")
    port = embedded.free_port()
    path = folder / "nginx.conf"
    path.write_text(_configuration(folder, port, gateway))
    words = [binary, "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", "daemon off;"]
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
