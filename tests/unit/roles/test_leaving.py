"""A server that leaves its front: what is connected is served, what is not is refused."""

import asyncio
import gc
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.gateway.front.asgi import AsgiClient
from corvus_proxy.roles import leaving
from corvus_proxy.roles.leaving import CLOSE, Leaving

pytestmark = pytest.mark.anyio


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def test_what_is_connected_is_served_and_what_comes_later_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three are connected and not accepted when the leaving begins: it does not end before they
    are. One that connects after that waits, and is refused once the port is closed."""
    monkeypatch.setattr(leaving, "HALF_MADE_S", 0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        early = [await connect(port) for _ in range(3)]
        assert leaving.waiting([listener]) == 3
        going = asyncio.create_task(Leaving(0.01).run(port))
        await asyncio.sleep(0.1)
        late = asyncio.create_task(connect(port))
        await asyncio.sleep(0.1)
        assert not going.done()
        assert not late.done()
        for _, writer in early:
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            writer.write(b"?")
            assert await asyncio.get_running_loop().sock_recv(accepted, 1) == b"?"
            accepted.close()
            writer.close()
        await asyncio.wait_for(going, 20)
        assert leaving.waiting([listener]) == 0
    with pytest.raises(ConnectionRefusedError):
        await late


async def test_a_server_that_accepts_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "ACCEPT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _, writer = await connect(listener.getsockname()[1])
        await asyncio.wait_for(Leaving(0.01).run(listener.getsockname()[1]), 20)
        assert leaving.waiting([listener]) == 1
        writer.close()


async def test_a_system_without_filters_is_left_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is told to stop ends, if with a request lost."""

    def refuse(_: object) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(leaving, "turn_away", refuse)
    going = Leaving(0.01)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await asyncio.wait_for(going.run(listener.getsockname()[1]), 20)
    monkeypatch.setattr(leaving, "_listeners", refuse)
    await asyncio.wait_for(going.run(0), 20)


async def test_without_a_front_nothing_is_waited_for() -> None:
    """The port is not even looked at."""
    going = Leaving(0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await going.run(port)
        assert going.begun
        _, writer = await connect(port)
        writer.close()


async def answer_of(app: Any, path: str) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and headers of an ASGI application's answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "path": path}, None, send)
    return sent[0]["status"], sent[0]["headers"]


async def test_answers_end_their_connections_once_it_leaves() -> None:
    """Not before; and `/readyz` fails from then on, whatever the application says."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"x"})

    going = Leaving(0)
    wrapped = going.wrapped(app)
    assert await answer_of(wrapped, "/readyz") == (200, [(b"a", b"b")])
    await going.run(0)
    assert await answer_of(wrapped, "/models") == (200, [(b"a", b"b"), CLOSE])
    assert (await answer_of(wrapped, "/readyz"))[0] == 503


async def test_the_gateway_ends_connections_with_the_heads_that_it_sends_then() -> None:
    """Also that of a request which came before."""
    sent: list[Any] = []
    going = Leaving(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"method": "GET", "path": "/", "query_string": b"", "headers": []}
    first, second = (AsgiClient(scope, receive, send, lambda: going.begun) for _ in range(2))
    await first.head(200, [(b"a", b"b")])
    await going.run(0)
    await second.head(200, [(b"a", b"b")])
    assert [message["headers"] for message in sent] == [[(b"a", b"b")], [(b"a", b"b"), CLOSE]]


async def test_nothing_stays_open_that_was_looked_at(tmp_path: Path) -> None:
    """Pipes and files of this process are no sockets; a second handle of a pipe that stayed would
    keep whoever reads from it waiting for ever."""
    reading, writing = os.pipe()
    with (tmp_path / "file").open("w"), socket.create_server(("127.0.0.1", 0)) as listener:
        gc.collect()
        before = os.listdir("/proc/self/fd")
        await Leaving(0.01).run(listener.getsockname()[1])
        assert set(os.listdir("/proc/self/fd")) <= set(before)
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
