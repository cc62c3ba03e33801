"""The mail server's pages, for people."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Protocol

_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme"
 content="light dark"><title>Received mail</title><style>
body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:1.5rem auto;padding:0 1rem}
table{width:100%;border-collapse:collapse}td,th{padding:.4rem .5rem;text-align:left;
border-bottom:1px solid #8886;overflow-wrap:anywhere}pre{white-space:pre-wrap;
overflow-wrap:anywhere;padding:1rem;border:1px solid #8886;border-radius:.5rem}
button,input{font:inherit;padding:.35rem .7rem;margin:.15rem}
</style></head><body>"""
_LINK = re.compile(r"https?://[^\s<>\"]+")


class Mail(Protocol):
    """What a page shows of a mail."""

    number: int
    at_ms: int
    recipients: list[str]
    subject: str
    headers: list[tuple[str, str]]
    text: str


class Controls(Protocol):
    """How the server behaves now."""

    @property
    def mode(self) -> str: ...

    times: int
    only: str


def listing(mails: Sequence[Mail], control: Controls, modes: Sequence[str]) -> str:
    """All mails and the controls."""
    rows = "".join(
        f"<tr><td>{_time(mail.at_ms)}</td><td>{escape(', '.join(mail.recipients))}</td>"
        f'<td><a href="/mail/{mail.number}">{escape(mail.subject)}</a></td></tr>'
        for mail in reversed(mails)
    )
    table = (
        f"<table><tr><th>UTC</th><th>To</th><th>Subject</th></tr>{rows}</table>"
        if mails
        else "<p>No mail has come yet. Reload this page after an order with a mail address.</p>"
    )
    buttons = "".join(f'<button name="mode" value="{mode}">{mode}</button>' for mode in modes)
    limits = f", {control.times} more times" if control.times else ""
    limits += f", only {escape(control.only)}" if control.only else ""
    return (
        f"{_HEAD}<h1>Received mail</h1><p>Simulated: nothing here leaves this machine.</p>{table}"
        f"<h2>The server's mood</h2><p>Now: <strong>{escape(control.mode)}</strong>{limits}</p>"
        '<form method="post" action="/__control"><label>Only for address '
        '<input name="only" type="email"></label> <label>times (0: until changed) '
        f'<input name="times" value="0" inputmode="numeric" size="3"></label><br>{buttons}</form>'
        '<form method="post" action="/__clear"><button>Forget all mails</button></form></body>'
    )


def one(mail: Mail) -> str:
    """One mail: headers, text with its links, and a way to its HTML."""
    headers = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in mail.headers
    )
    text = _LINK.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(mail.text))
    return (
        f'{_HEAD}<p><a href="/">All mails</a></p><h1>{escape(mail.subject)}</h1>'
        f"<table>{headers}</table><pre>{text}</pre>"
        f'<p><a href="/mail/{mail.number}/html">As HTML</a></p></body>'
    )


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")
