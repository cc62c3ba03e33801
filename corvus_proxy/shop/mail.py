"""Mail: queued with what it tells of, sent by the worker.

Rule 1: a mail is a row of the transaction that it reports: no order without its mail, no mail
of an order that was never made.
Rule 2: it is marked after it was sent. A kill in between sends it twice, under the same Message-ID.
Rule 3: the mail server's trouble is not the mail's: while nobody answers, no try is counted.
Rule 4: no log line has an address, a subject or a link.
"""

import contextlib
import json
from collections.abc import Mapping
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Any, NamedTuple

import aiosmtplib
import structlog
from jinja2 import TemplateError

from corvus_proxy import clock, metrics
from corvus_proxy.books.db import Books
from corvus_proxy.books.shop import mail as rows
from corvus_proxy.sealing import SealBroken, seal, unseal
from corvus_proxy.settings import BrandSettings, MailSettings, Settings
from corvus_proxy.shop import letters

PURPOSE = "mail"
TICK_MAX = 50
"""Mails of one tick."""
PAUSE_S = 30
"""After the first try; it doubles with each."""
PAUSE_MAX_S = 6 * 3600
ADDRESS_HOURLY_MAX = 30
"""Mails that one address gets within an hour; what is beyond waits."""
STRANGERS = ("order_created", "login_link", "recover_link", "recovery_started")
"""Kinds that somebody who does not own the address can cause."""
STRANGERS_HOURLY_MAX = 5
AGE_MAX_S = {"login_link": 3600, "recover_link": 3600}
"""When a mail is of no use any more; of other kinds after `_AGE_MAX_S`."""
_AGE_MAX_S = 3 * 86_400
_PROBLEM_MAX = 200
_log = structlog.get_logger()


class Mailer(NamedTuple):
    """What sending needs."""

    books: Books
    pepper: bytes
    mail: MailSettings
    brand: BrandSettings


class _Later(NamedTuple):
    """The server says, or its silence means, that the mail may go later."""

    problem: str


class _Never(NamedTuple):
    """The server refuses this mail."""

    problem: str


def open_mailer(books: Books, pepper: bytes, settings: Settings) -> Mailer:
    """A mailer of these settings; it connects when it sends."""
    return Mailer(books, pepper, settings.mail, settings.brand)


async def queue(
    connection: Any,
    pepper: bytes,
    *,
    kind: str,
    address: str,
    view: Mapping[str, object],
    order_id: str = "",
    wallet: str = "",
) -> str:
    """Queues a mail in the caller's transaction; its id, or nothing where the address has had
    more than enough mails that strangers can cause.

    `view` has the members that `letters.FIELDS` lists for the kind: texts, and integers `…_nanos`.
    Raises ValueError for a kind that does not exist or a member that is missing.
    """
    letters.check(kind, view)
    address = address.strip()
    if kind in STRANGERS:
        await rows.lock_address(connection, address)
        had = await rows.recent(connection, address, STRANGERS, within_s=3600)
        if had >= STRANGERS_HOURLY_MAX:
            metrics.MAILS.labels(kind, "throttled").inc()
            return ""
    mail_id = f"mail_{clock.random_text(12)}"
    sealed = seal(pepper, PURPOSE, json.dumps(dict(view)))
    await rows.insert(connection, mail_id, kind, order_id, wallet, address, sealed)
    return mail_id


async def tick(mailer: Mailer) -> int:
    """Sends what is due; how many the server took. Without a server everything ends as `off`.

    Raises BooksUnavailable.
    """
    if not mailer.mail.host:
        async with mailer.books.connection() as connection:
            off = await rows.switch_off(connection)
        if off:
            _log.info("mail_off", mails=off)
        return 0
    sent = 0
    server: aiosmtplib.SMTP | None = None
    try:
        for _ in range(TICK_MAX):
            async with mailer.books.connection() as connection:
                due = await rows.take(
                    connection, lease_s=_lease_s(mailer), hourly_max=ADDRESS_HOURLY_MAX
                )
            if due is None:
                break
            message = _message(mailer, due)
            if message is None:
                await _end(mailer, due, "bounced", "this mail could not be written")
                continue
            if server is None:
                server = await _connect(mailer, due)
                if server is None:
                    break
            told = await _send(server, message)
            sent += told is None
            await _mark(mailer, due, told, str(message["Message-ID"]))
            if not server.is_connected:
                break  # what is left comes with the next tick, on a connection of its own
    finally:
        if server is not None:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await server.quit()
            server.close()
    return sent


def _lease_s(mailer: Mailer) -> int:
    """Longer than connecting, logging in and sending can take together."""
    return round(mailer.mail.timeout_s) * 12 + 30


def _message(mailer: Mailer, due: rows.Waiting) -> EmailMessage | None:
    """The mail as it is sent; None where it cannot be made, which is a defect of ours or an
    address that is none."""
    sender = mailer.mail.sender or f"{mailer.brand.name} <noreply@localhost>"
    try:
        view = json.loads(unseal(mailer.pepper, PURPOSE, due.view_sealed))
        letter = letters.compose(due.kind, view, mailer.brand)
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = sender
        message["To"] = due.address
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(clock.utc_now())
        domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
        message["Message-ID"] = f"<{due.mail_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text, cte="quoted-printable")
        message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
        if [bool(one.username and one.domain) for one in message["To"].addresses] != [True]:
            return None
    except (SealBroken, TemplateError, ValueError, MessageError, IndexError) as error:
        _log.error("mail_unwritten", mail=due.mail_id, kind=due.kind, why=type(error).__name__)
        return None
    return message


async def _connect(mailer: Mailer, due: rows.Waiting) -> aiosmtplib.SMTP | None:
    """A connection that is logged in; None (and the mail put back) while the server is away or
    does not let us in."""
    server = _server(mailer.mail)
    try:
        await server.connect()
    except (aiosmtplib.SMTPException, OSError) as error:
        server.close()
        _log.warning("mail_server_away", why=type(error).__name__)
        if due.age_s > AGE_MAX_S.get(due.kind, _AGE_MAX_S):
            await _end(mailer, due, "bounced", "our mail server was away for too long")
        else:
            async with mailer.books.connection() as connection:
                await rows.defer(
                    connection,
                    due.mail_id,
                    pause_s=PAUSE_S,
                    problem="our mail server does not answer",
                    count=False,
                )
            metrics.MAILS.labels(due.kind, "deferred").inc()
        return None
    return server


def _server(mail: MailSettings) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=mail.host,
        port=mail.port,
        timeout=mail.timeout_s,
        use_tls=mail.security == "tls",
        start_tls=mail.security == "starttls",
        username=mail.user or None,
        password=mail.password() or None,
    )


async def probe(mailer: Mailer, address: str) -> str:
    """Sends one mail now, past the queue, so that the operator sees whether mail works; empty, or
    what is wrong in a sentence."""
    mail = mailer.mail
    if not mail.host:
        return "no mail server is configured: set mail.host"
    message = EmailMessage(policy=SMTP_POLICY)
    try:
        message["From"] = mail.sender or f"{mailer.brand.name} <noreply@localhost>"
        message["To"] = address
        if [bool(one.username and one.domain) for one in message["To"].addresses] != [True]:
            return f"{address!r} is no mail address"
    except (ValueError, MessageError, IndexError):
        return f"{address!r} is no mail address"
    message["Subject"] = f"A test of mail by {mailer.brand.name}"
    message["Date"] = format_datetime(clock.utc_now())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("Mail works. An operator has sent this to see whether it does.")
    server = _server(mail)
    try:
        await server.connect()
        told = await _send(server, message)
        if server.is_connected:
            await server.quit()
    except (aiosmtplib.SMTPException, OSError) as error:
        return f"{mail.host}:{mail.port} does not let us in: {_told(0, str(error))[2:]}"
    finally:
        server.close()
    return told.problem if told is not None else ""


async def _send(server: aiosmtplib.SMTP, message: EmailMessage) -> _Later | _Never | None:
    """Hands a mail to the server; None when it has taken it."""
    try:
        await server.send_message(message)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        first = refused.recipients[0]
        return _verdict(first.code, first.message)
    except aiosmtplib.SMTPSenderRefused as refused:
        return _Later(_told(refused.code, refused.message))  # the operator's to put right
    except aiosmtplib.SMTPResponseException as refused:
        return _verdict(refused.code, refused.message)
    except (aiosmtplib.SMTPException, OSError) as error:
        server.close()
        return _Later(f"the mail server went silent ({type(error).__name__})")
    return None


def _verdict(code: int, text: str) -> _Later | _Never:
    told = _told(code, text)
    return _Never(told) if 500 <= code < 600 else _Later(told)


def _told(code: int, text: str) -> str:
    """The server's answer, on one line and not too long."""
    return f"{code} {' '.join(text.split())}"[:_PROBLEM_MAX]


async def _mark(
    mailer: Mailer, due: rows.Waiting, told: _Later | _Never | None, message_id: str
) -> None:
    if told is None:
        await _end(mailer, due, "accepted", message_id=message_id)
    elif isinstance(told, _Never) or due.attempts >= mailer.mail.attempts_max:
        await _end(mailer, due, "bounced", told.problem)
    else:
        pause_s = min(PAUSE_S << (due.attempts - 1), PAUSE_MAX_S)
        async with mailer.books.connection() as connection:
            await rows.defer(
                connection, due.mail_id, pause_s=pause_s, problem=told.problem, count=True
            )
        metrics.MAILS.labels(due.kind, "deferred").inc()
        _log.info("mail_deferred", mail=due.mail_id, kind=due.kind, code=told.problem[:3])


async def _end(
    mailer: Mailer, due: rows.Waiting, state: str, problem: str = "", message_id: str = ""
) -> None:
    async with mailer.books.connection() as connection:
        await rows.end(connection, due.mail_id, state, problem=problem, message_id=message_id)
    metrics.MAILS.labels(due.kind, state).inc()
    _log.info("mail", mail=due.mail_id, kind=due.kind, state=state)
