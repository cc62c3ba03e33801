"""An ASGI application asked without a server between: its routes, and one cell of a matrix."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.routing import Route

STREAM_PIECES = 1
"""Of an answer that does not end by itself, so many are read."""


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The first of that name; empty where there is none."""
        return next((value for known, value in self.headers if known == name), "")

    @property
    def cookies(self) -> list[str]:
        """Every cookie that is set, whole."""
        return [value for name, value in self.headers if name == "set-cookie"]


def routes(app: Starlette) -> list[str]:
    """`METHOD /path` of every route of an application, HEAD left out."""
    found = []
    for route in app.routes:
        assert isinstance(route, Route), route
        methods = (route.methods or {"GET"}) - {"HEAD"}
        found += [f"{method} {route.path}" for method in methods]
    return found


async def call(
    app: Any, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"",
    *, client: str = "127.0.0.1",
) -> Got:  # fmt: skip
    """Asks it once, over no socket."""
    path, _, query = target.partition("?")
    names = {name for name, _ in headers}
    more = [] if "host" in names else [("host", "site")]
    more += [] if "content-type" in names or not body else [
        ("content-type", "application/x-www-form-urlencoded")
    ]  # fmt: skip
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(path), "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "", "client": (client, 1),
        "server": ("site", 80), "extensions": {},
        "headers": [(name.encode(), value.encode()) for name, value in (*more, *headers)],
    }  # fmt: skip
    start: dict[str, Any] = {}
    pieces: list[bytes] = []
    over = asyncio.Event()
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        pieces.append(message.get("body", b""))
        if not message.get("more_body") or len(pieces) >= STREAM_PIECES + 1:
            over.set()

    asking = asyncio.ensure_future(app(scope, receive, send))
    ended = asyncio.ensure_future(over.wait())
    await asyncio.wait({asking, ended}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    ended.cancel()
    await asyncio.wait({asking}, timeout=2)
    asking.cancel()
    told = [(name.decode(), value.decode()) for name, value in start["headers"]]
    return Got(start["status"], told, b"".join(pieces))
