"""What the server under us lets through, though two parsers may read it differently.

Of a request that says two things about its length, what one parser takes for the body is the next
customer's request to another. The server refuses almost all of them, and ends the connection behind
a Content-Length beside a Transfer-Encoding, as RFC 9112 has it (`tests/security/smuggling.py` tells
which). What is left is refused here, and the connection is closed.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BROKEN = "The request's body could not be read: its framing is damaged, or it was cut off."
_NAMES = frozenset((b"host", b"transfer-encoding"))
_HOST = re.compile(rb"[^\s/@,\\]*")


def problem(scope: Message) -> str:
    """Why nobody can say for sure where a request ends or for whom it is; empty where all can."""
    seen = set()
    for name, value in scope["headers"]:
        if name not in _NAMES:
            continue
        if name in seen:
            return "Host and Transfer-Encoding may each stand once in a request."
        seen.add(name)
        if name == b"host":
            if not _HOST.fullmatch(value):
                return "Host is no name of a host."
        elif value.lower() != b"chunked":
            return "Transfer-Encoding may be chunked, and nothing else."
    return ""


async def refuse(send: Send, why: str) -> None:
    """Answers with 400 and closes the connection."""
    error = {"message": why, "type": "invalid_request_error", "code": "invalid_request",
             "param": None, "charged": "0.00"}  # fmt: skip
    body = msgspec.json.encode({"type": "error", "error": error})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def guarded(app: App) -> App:
    """An ASGI application that gets no request with a `problem`."""

    async def found(scope: Message, receive: Receive, send: Send) -> None:
        why = problem(scope) if scope["type"] == "http" else ""
        if why:
            await refuse(send, why)
        else:
            await app(scope, receive, send)

    return found
