"""nginx: forwarding alone, the floor under every figure. Debian's package, or the system's own."""

from bench.peers import install
from bench.peers.subject import Command, Peer, Place

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream far {{
        server 127.0.0.1:{far_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} reuseport;
        location / {{
            proxy_pass http://far;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def program() -> str:
    """nginx's program."""
    return str(install.debian("nginx", "usr/sbin/nginx"))


def versions() -> dict[str, str]:
    """As it tells it."""
    return {"nginx": install.run(program(), "-v", where=install.HERE).rpartition("/")[2]}


def command(place: Place) -> Command:
    """One worker; connections to the far end are kept."""
    config = place.folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=place.folder, port=place.port, far_port=place.far_port))
    return Command([program(), "-c", str(config), "-p", str(place.folder), "-e", "stderr"])


PEER = Peer(
    "nginx",
    versions,
    command,
    lambda place: {"authorization": "Bearer none"},
    "one worker, connections to the upstream kept, no buffering, no access log; no key, no bill",
)
