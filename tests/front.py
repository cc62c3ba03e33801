"""nginx with the shipped configuration, rewritten in addresses, ports and paths alone."""

import asyncio
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from corvus_proxy.ops import children, embedded
from tests.roles import Answer, chunks

SHIPPED = Path("config/nginx.conf")
API, SITE = "api.example.com", "www.example.com"
"""The names of the shipped configuration; `Host` tells the front which of the two is meant."""


def binary() -> str:
    """nginx, or the test is skipped with the line that installs it."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("apt-get install -y --no-install-recommends nginx-light")
    return found


def rewritten(text: str, folder: Path, ports: tuple[int, int], upstreams: dict[str, str]) -> str:
    """The shipped text with `ports` for 80 and 443, everything that it writes and reads under
    `folder`, and the server lines of each upstream repeated for its addresses."""
    for name, addresses in upstreams.items():
        line = re.search(rf"^ +server {name}:\d+( .*);$", text, re.MULTILINE)
        assert line is not None, name
        servers = "\n".join(f"        server {one}{line[1]};" for one in addresses.split())
        text = text.replace(line[0], servers)
    for shipped, port in zip(("listen 80 ", "listen 443 "), ports, strict=True):
        assert shipped in text
        text = text.replace(shipped, f"listen 127.0.0.1:{port} ")
    text = re.sub(" (/etc/nginx/tls|/tmp)/", f" {folder}/", text)
    return text.replace("/dev/stdout", f"{folder}/access.log")


class Front:
    """One nginx before some gateways and sites, all on loopback."""

    def __init__(self, folder: Path, gateways: Sequence[int], sites: Sequence[int]) -> None:
        self.nginx = binary()
        self.folder = folder
        self.plain_port, self.port = embedded.free_port(), embedded.free_port()
        self._upstreams = {
            name: " ".join(f"127.0.0.1:{port}" for port in ports)
            for name, ports in (("gateway", gateways), ("site", sites))
        }
        self.child: subprocess.Popen[bytes] | None = None

    def write(self) -> list[str]:
        """Writes the configuration and a certificate; the command that runs it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", "privkey.pem", "-out", "fullchain.pem", "-days", "2",
             "-subj", f"/CN={API}", "-addext", f"subjectAltName=DNS:{API},DNS:{SITE}"],
            cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip
        path = self.folder / "nginx.conf"
        ports = (self.plain_port, self.port)
        path.write_text(rewritten(SHIPPED.read_text(), self.folder, ports, self._upstreams))
        return [self.nginx, "-e", "stderr", "-p", str(self.folder), "-c", str(path)]

    async def start(self) -> None:
        """Returns when it listens."""
        self.child = children.start([*self.write(), "-g", "daemon off;"], self.folder / "nginx.log")
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                assert self.child.poll() is None, self.told()
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
        raise AssertionError(self.told())

    async def stop(self) -> None:
        if self.child is not None:
            await asyncio.to_thread(children.end, self.child, signal.SIGTERM, timeout_s=10)

    def tls(self) -> ssl.SSLContext:
        """What its clients trust."""
        return ssl.create_default_context(cafile=str(self.folder / "fullchain.pem"))

    def told(self) -> str:
        """Its log."""
        return (self.folder / "nginx.log").read_text()[-3000:]

    def access(self) -> list[str]:
        """A line for each request."""
        return (self.folder / "access.log").read_text().splitlines()


class Connection:
    """One kept connection of a client, made again where the front has ended it."""

    def __init__(self, front: Front, name: str) -> None:
        self._front, self._name = front, name
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, secret: str = "", body: bytes = b"") -> Answer:
        """One request, a POST where it has a body. Raises OSError, IncompleteReadError."""
        began_s = time.monotonic()
        reader, writer = await self._connected()
        lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"host: {self._name}"]
        lines += [f"authorization: Bearer {secret}"] if secret else []
        lines += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        took_s = time.monotonic() - began_s
        first, *told = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in told)}
        if headers.get("transfer-encoding") == "chunked":
            found = await chunks(reader)
        else:
            found = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, found, took_s)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._open is None or self._open[0].at_eof():
            self.close()
            self._open = await asyncio.open_connection(
                "127.0.0.1", self._front.port, ssl=self._front.tls(), server_hostname=self._name
            )
        return self._open

    def close(self) -> None:
        """Ends it."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
