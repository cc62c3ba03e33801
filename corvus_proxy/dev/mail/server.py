"""SMTP on one port, a web page of what came on another.

    GET  /                       all mails, newest first, and the controls
    GET  /mail/{n} · /mail/{n}/html
    GET  /__mails                the same as JSON
    POST /__control {"mode": "bounce", "times": 1, "only": "x@example.com"}
    POST /__clear

Modes: `ok`; `bounce` (550 to the recipient); `defer` (451); `slow` (waits `seconds` before it
answers a mail); `drop` (closes when a mail begins); `cut` (takes the mail and closes before it says
so). `times` 0 means until the next word; `only` limits a mode to one address.
"""

import argparse
import asyncio
import contextlib
import email
import email.policy
import json
import os
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qs

import msgspec
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from corvus_proxy import clock
from corvus_proxy.dev.http import Exchange, Listener, listen
from corvus_proxy.dev.mail import pages

Mode = Literal["ok", "bounce", "defer", "slow", "drop", "cut"]
MODES: tuple[str, ...] = get_args(Mode)
_KEPT_MAX = 2000


class Received(msgspec.Struct):
    """One mail that came."""

    number: int
    at_ms: int
    sender: str
    recipients: list[str]
    subject: str
    message_id: str
    headers: list[tuple[str, str]]
    text: str
    html: str


class Control(msgspec.Struct):
    """How the server behaves."""

    mode: Mode = "ok"
    times: int = 0
    only: str = ""
    seconds: float = 3.0


class MailBox:
    """What came, and what to do with what comes. Also aiosmtpd's handler."""

    def __init__(self) -> None:
        self.mails: list[Received] = []
        self.control = Control()
        self.tries = 0
        """Recipients that were named, whatever was answered."""

    def _asked(self, address: str, *modes: str) -> str:
        """The mode that applies to this address now, if it is one of these; uses one time of it."""
        control = self.control
        if control.mode not in modes or (control.only and control.only != address):
            return ""
        mode = control.mode
        if control.times == 1:
            self.control = Control()
        elif control.times:
            control.times -= 1
        return mode

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.tries += 1
        mode = self._asked(address, "bounce", "defer")
        if mode == "bounce":
            return "550 5.1.1 no such mailbox here"
        if mode == "defer":
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        seconds = self.control.seconds
        mode = self._asked(envelope.rcpt_tos[0], "slow", "drop", "cut")
        if mode == "slow":
            await asyncio.sleep(seconds)
        if mode != "drop":
            self._keep(envelope)
        if mode in ("drop", "cut") and server.transport is not None:
            server.transport.close()
        return "250 OK"

    def _keep(self, envelope: Envelope) -> None:
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        message = email.message_from_bytes(raw, policy=email.policy.default)
        self.mails.append(
            Received(
                len(self.mails) + 1,
                clock.wall_ms(),
                envelope.mail_from or "",
                list(envelope.rcpt_tos),
                str(message.get("Subject", "")),
                str(message.get("Message-ID", "")),
                [(name, str(value)) for name, value in message.items()],
                _part(message, "plain"),
                _part(message, "html"),
            )
        )
        del self.mails[:-_KEPT_MAX]

    # -- the web page ---------------------------------------------------------------------------

    async def answer(self, exchange: Exchange) -> None:
        """Answers one request of a browser or a test."""
        path = exchange.path.partition("?")[0]
        if exchange.method == "POST":
            self._change(exchange, path)
        elif path == "/":
            _html(exchange, pages.listing(self.mails, self.control, MODES))
        elif path == "/__mails":
            exchange.json(200, msgspec.to_builtins(self.mails))
        elif (found := self._find(path)) is not None:
            if path.endswith("/html"):
                _html(exchange, found.html)
            else:
                _html(exchange, pages.one(found))
        else:
            exchange.json(404, {"error": "there is no such page"})

    def _find(self, path: str) -> Received | None:
        word = path.removeprefix("/mail/").removesuffix("/html")
        return next((mail for mail in self.mails if str(mail.number) == word), None)

    def _change(self, exchange: Exchange, path: str) -> None:
        form = exchange.headers.get("content-type", "").startswith("application/x-www-form")
        if path == "/__clear":
            self.mails.clear()
        elif path == "/__control":
            try:
                if form:
                    fields = {name: values[0] for name, values in _form(exchange).items()}
                    self.control = msgspec.convert(fields, Control, strict=False)
                else:
                    self.control = msgspec.json.decode(exchange.body, type=Control)
            except ValueError as error:
                exchange.json(400, {"error": str(error)})
                return
        else:
            exchange.json(404, {"error": "there is no such control"})
            return
        if form:
            exchange.extra.append(("location", "/"))
            exchange.raw(303, "text/plain", b"")
        else:
            exchange.json(200, msgspec.to_builtins(self.control))


def _form(exchange: Exchange) -> dict[str, list[str]]:
    return parse_qs(exchange.body.decode("utf-8", "replace"))


def _html(exchange: Exchange, html: str) -> None:
    # A mail's own HTML runs nothing and loads nothing here either.
    exchange.extra.append(
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
    )
    exchange.raw(200, "text/html; charset=utf-8", html.encode())


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return str(body.get_content()) if isinstance(body, EmailMessage) else ""


class MailServer:
    """The two listening sockets."""

    def __init__(self, box: MailBox, smtp: asyncio.Server, web: Listener) -> None:
        self.box = box
        self._smtp = smtp
        self._web = web
        self.smtp_port = int(smtp.sockets[0].getsockname()[1])
        self.url = web.url

    async def close(self) -> None:
        """Stops listening."""
        self._smtp.close()
        await self._web.close()


async def run(
    box: MailBox, host: str = "127.0.0.1", smtp_port: int = 0, port: int = 0
) -> MailServer:
    """Starts listening; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(box, hostname="mail.invalid", enable_SMTPUTF8=True, loop=loop), host, smtp_port
    )
    return MailServer(box, smtp, await listen(box.answer, host, port))


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[MailServer]:
    """A mail server on free loopback ports."""
    server = await run(MailBox())
    try:
        yield server
    finally:
        await server.close()


def main(arguments: list[str] | None = None) -> None:
    """`corvus dev mail`."""
    parser = argparse.ArgumentParser(
        prog="corvus dev mail",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="of the page; SMTP stays on loopback")
    parser.add_argument("--port", type=int, default=0, help="of the page; 0 takes a free one")
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="gets both ports once they listen, as JSON")
    options = parser.parse_args(arguments)

    async def forever() -> None:
        server = await run(MailBox(), options.host, options.smtp_port, options.port)
        if options.port_file:
            facts: dict[str, Any] = {"url": server.url, "smtp_port": server.smtp_port}
            partial = options.port_file.with_name(options.port_file.name + ".partial")
            partial.write_text(json.dumps(facts))
            os.replace(partial, options.port_file)
        sys.stdout.write(f"mail arrives on port {server.smtp_port} and is shown at {server.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(forever())


if __name__ == "__main__":
    main()
