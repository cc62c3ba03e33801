"""nginx in front of the far end: the measure that all budgets are ratios to.

It is found on the path, in `/usr/sbin`, or unpacked in the measurements' cache:

    apt-get download nginx && dpkg-deb -x nginx_*.deb ~/.cache/corvus-bench/nginx
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.c import cache
from bench.far import Far
from bench.stack import Subject, place
from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.embedded import free_port

START_S = 5.0
_CONFIG = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream far {{
        server 127.0.0.1:{far};
        keepalive 1024;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} reuseport backlog=8192;
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://far;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def find() -> Path | None:
    """The program, or None."""
    unpacked = cache() / "nginx" / "usr" / "sbin" / "nginx"
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found)
    return unpacked if unpacked.exists() else None


def version() -> str:
    """Its version, or `not installed`."""
    program = find()
    if program is None:
        return "not installed"
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return told.rpartition("/")[2].strip()


@contextmanager
def running(far: Far, *, workers: int = 1) -> Iterator[Subject | None]:
    """nginx, or None where it is not installed. Raises CorvusError when it does not start."""
    program = find()
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="corvus-nginx-") as folder:
        port = free_port({})
        user = "user root;" if os.geteuid() == 0 else ""
        text = _CONFIG.format(workers=workers, folder=folder, user=user, far=far.port, port=port)
        Path(folder, "nginx.conf").write_text(text)
        child = subprocess.Popen(
            [program, "-p", folder, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(child, port, Path(folder, "error.log"))
            place({"gateway": child.pid})
            yield Subject("nginx", port, {"gateway": child.pid})
        finally:
            child.terminate()
            child.wait()


def _wait(child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.poll() is not None or time.monotonic() > deadline:
            raise CorvusError(f"nginx did not start: {log.read_text() if log.exists() else ''}")
        time.sleep(0.02)
