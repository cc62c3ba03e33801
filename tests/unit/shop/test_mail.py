"""Sending: over sockets, against the mail server that `up` starts; refusals, silence, kills."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.dev.mail.server import Control, MailServer, serve
from corvus_proxy.settings import BrandSettings, MailSettings
from corvus_proxy.shop import mail
from corvus_proxy.shop.mail import Mailer

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32
LINK = "https://rook.example/claim/TOKEN7"
VIEW: dict[str, object] = {
    "order_id": "ord_1",
    "amount_nanos": 20_000_000_000,
    "key_id": "key_1",
    "claim_url": LINK,
    "claim_days": 7,
    "secret": "",
}


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with serve() as opened:
        yield opened


@pytest.fixture
async def mailer(books: Books, server: MailServer) -> Mailer:
    settings = MailSettings(
        host="127.0.0.1",
        port=server.smtp_port,
        security="none",
        sender="Röök <keys@rook.example>",
        timeout_s=10.0,
    )
    brand = BrandSettings(name="Rook", site_url="https://rook.example", support="help")
    return Mailer(books, PEPPER, settings, brand)


async def queue(mailer: Mailer, kind: str = "delivered", **changed: Any) -> str:
    """Queues a mail to `to@x.example`."""
    row: dict[str, Any] = {"address": "to@x.example", "view": VIEW, "order_id": "ord_1"} | changed
    async with mailer.books.transaction() as connection:
        return await mail.queue(connection, PEPPER, kind=kind, **row)


async def row(mailer: Mailer, mail_id: str) -> Any:
    async with mailer.books.connection() as connection:
        return await connection.fetchrow("select * from mail where mail_id = $1", mail_id)


async def hurry(mailer: Mailer) -> None:
    """What was put off is due now."""
    async with mailer.books.connection() as connection:
        await connection.execute("update mail set next_at = now() where ended_at is null")


async def test_a_mail_arrives_in_both_parts(mailer: Mailer, server: MailServer) -> None:
    """Headers, text and HTML as written; the row is accepted, and what it said is destroyed."""
    mail_id = await queue(mailer)
    before = await row(mailer, mail_id)
    assert LINK not in str(dict(before))
    assert await mail.tick(mailer) == 1
    (came,) = server.box.mails
    headers = dict(came.headers)
    assert headers["From"] == "Röök <keys@rook.example>"
    assert headers["To"] == "to@x.example"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Message-ID"] == f"<{mail_id}@rook.example>"
    assert headers["Date"]
    assert came.subject == "Your key is ready (order ord_1)"
    assert LINK in came.text
    assert LINK in came.html
    assert "20.00 USD" in came.text
    found = await row(mailer, mail_id)
    assert (found["state"], found["view_sealed"], found["attempts"]) == ("accepted", "", 1)
    assert found["message_id"] == f"<{mail_id}@rook.example>"
    assert await mail.tick(mailer) == 0


async def test_a_mail_belongs_to_its_transaction(mailer: Mailer, server: MailServer) -> None:
    """What is rolled back was never written of."""
    async with mailer.books.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await mail.queue(connection, PEPPER, kind="delivered", address="to@x.example", view=VIEW)
        await transaction.rollback()
    assert await mail.tick(mailer) == 0
    assert server.box.mails == []


async def test_a_refused_address_bounces_at_once(mailer: Mailer, server: MailServer) -> None:
    """5xx is for good; the server's own words are kept for the order's page."""
    server.box.control = Control(mode="bounce")
    mail_id = await queue(mailer)
    await mail.tick(mailer)
    found = await row(mailer, mail_id)
    assert (found["state"], found["problem"]) == ("bounced", "550 5.1.1 no such mailbox here")
    await hurry(mailer)
    await mail.tick(mailer)
    assert server.box.tries == 1


async def test_a_busy_server_is_asked_again_with_doubling_pauses(
    mailer: Mailer, server: MailServer
) -> None:
    """30, 60, 120 … s; after `attempts_max` tries the mail counts as bounced."""
    server.box.control = Control(mode="defer")
    mail_id = await queue(mailer)
    pauses = []
    for _ in range(mailer.mail.attempts_max - 1):
        await mail.tick(mailer)
        async with mailer.books.connection() as connection:
            found = await connection.fetchrow(
                "select state, round(extract(epoch from next_at - now()))::int as pause from mail"
            )
        assert found["state"] == "deferred"
        pauses.append(found["pause"])
        assert await mail.tick(mailer) == 0
        await hurry(mailer)
    assert pauses == pytest.approx([30, 60, 120, 240, 480, 960, 1920], abs=8)
    await mail.tick(mailer)
    found = await row(mailer, mail_id)
    assert (found["state"], found["attempts"]) == ("bounced", 8)
    assert "451" in found["problem"]


async def test_one_refused_address_does_not_stop_the_others(
    mailer: Mailer, server: MailServer
) -> None:
    """Each mail has its own answer, on the same connection."""
    server.box.control = Control(mode="bounce", only="bad@x.example")
    bad = await queue(mailer, address="bad@x.example")
    good = await queue(mailer, address="good@x.example")
    assert await mail.tick(mailer) == 1
    assert (await row(mailer, bad))["state"] == "bounced"
    assert (await row(mailer, good))["state"] == "accepted"


@pytest.mark.parametrize("mode", ["drop", "slow"])
async def test_a_server_that_falls_silent_is_asked_again(
    mailer: Mailer, server: MailServer, mode: str
) -> None:
    """The mail waits for the next turn, and then arrives."""
    server.box.control = Control(mode=mode, times=1, seconds=2.5)  # type: ignore[arg-type]
    mail_id = await queue(mailer)
    hasty = mailer._replace(mail=msgspec.structs.replace(mailer.mail, timeout_s=1.0))
    assert await mail.tick(hasty) == 0
    found = await row(mailer, mail_id)
    assert found["state"] == "deferred"
    assert "silent" in found["problem"]
    await hurry(mailer)
    assert await mail.tick(mailer) == 1
    assert (await row(mailer, mail_id))["state"] == "accepted"


async def test_an_answer_that_is_lost_repeats_the_mail_under_the_same_name(
    mailer: Mailer, server: MailServer
) -> None:
    """Taken, but not told so: it is sent again, and its reader's program sees that it is one."""
    server.box.control = Control(mode="cut", times=1)
    await queue(mailer)
    await mail.tick(mailer)
    await hurry(mailer)
    await mail.tick(mailer)
    assert len(server.box.mails) == 2
    assert len({came.message_id for came in server.box.mails}) == 1


async def test_a_kill_between_sending_and_marking_loses_nothing(
    mailer: Mailer, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The borrowed mail comes back by itself; until then nobody else sends it."""
    mail_id = await queue(mailer)

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(mail, "_mark", killed)
        with pytest.raises(asyncio.CancelledError):
            await mail.tick(mailer)
    assert await mail.tick(mailer) == 0
    await hurry(mailer)
    assert await mail.tick(mailer) == 1
    assert [came.message_id for came in server.box.mails] == [f"<{mail_id}@rook.example>"] * 2


async def test_while_the_server_is_away_no_try_is_counted(mailer: Mailer) -> None:
    """Days of absence bounce nothing that is still of use; a log-in link ages within the hour."""
    away = mailer._replace(mail=msgspec.structs.replace(mailer.mail, port=1))
    kept = await queue(mailer)
    for _ in range(12):
        await hurry(mailer)
        assert await mail.tick(away) == 0
    found = await row(mailer, kept)
    assert (found["state"], found["attempts"]) == ("deferred", 0)
    assert found["problem"] == "our mail server does not answer"
    async with mailer.books.connection() as connection:
        await connection.execute("update mail set created_at = now() - interval '4 days'")
    await hurry(mailer)
    await mail.tick(away)
    assert (await row(mailer, kept))["state"] == "bounced"


async def test_a_server_that_does_not_let_us_in_bounces_nobodys_mail(
    mailer: Mailer, server: MailServer, tmp_path: Any
) -> None:
    """A wrong password is the operator's trouble."""
    (tmp_path / "password").write_text("wrong")
    locked = mailer._replace(
        mail=msgspec.structs.replace(
            mailer.mail, user="us", password_file=str(tmp_path / "password")
        )
    )
    mail_id = await queue(mailer)
    assert await mail.tick(locked) == 0
    assert (await row(mailer, mail_id))["state"] == "deferred"
    assert server.box.mails == []


async def test_without_a_server_mail_is_off(mailer: Mailer) -> None:
    """Said in the row, so that the page can say it; nothing is sent later by surprise."""
    mail_id = await queue(mailer)
    assert await mail.tick(mailer._replace(mail=MailSettings())) == 0
    found = await row(mailer, mail_id)
    assert (found["state"], found["view_sealed"]) == ("off", "")
    assert await mail.tick(mailer) == 0


async def test_strangers_cannot_fill_a_mailbox(mailer: Mailer) -> None:
    """Kinds that anybody can cause stop at five an hour and address; a delivery never does."""
    view = {"login_url": "https://x", "minutes": 15}
    ids = [await queue(mailer, "login_link", view=view, order_id="") for _ in range(7)]
    assert [bool(one) for one in ids] == [True] * 5 + [False] * 2
    assert await queue(mailer, "login_link", view=view, address="other@x.example")
    assert await queue(mailer)


async def test_one_address_gets_so_many_an_hour_and_the_rest_later(
    mailer: Mailer, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond waits, others do not wait behind it, and none is lost."""
    monkeypatch.setattr(mail, "ADDRESS_HOURLY_MAX", 2)
    for _ in range(3):
        await queue(mailer)
    await queue(mailer, address="other@x.example")
    assert await mail.tick(mailer) == 3
    assert await mail.tick(mailer) == 0
    async with mailer.books.connection() as connection:
        await connection.execute("update mail set ended_at = ended_at - interval '61 minutes'")
    assert await mail.tick(mailer) == 1
    assert len(server.box.mails) == 4


@pytest.mark.parametrize("address", ["nobody", "a@x.example, b@x.example", "a@x\r\nBcc: b@x", ""])
async def test_an_address_that_is_none_reaches_no_server(
    mailer: Mailer, server: MailServer, address: str
) -> None:
    """One recipient, no second header: what cannot be written so counts as bounced."""
    mail_id = await queue(mailer, address=address)
    await mail.tick(mailer)
    found = await row(mailer, mail_id)
    assert found["state"] == "bounced"
    assert server.box.mails == []


async def test_the_servers_page_and_its_control(mailer: Mailer, server: MailServer) -> None:
    """What a person and a test see of received mail; a mood that does not exist is refused."""
    await queue(mailer)
    await mail.tick(mailer)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        page = (await client.get("/")).text
        assert "Your key is ready (order ord_1)" in page
        assert f'href="{LINK}"' in (await client.get("/mail/1")).text
        assert LINK in (await client.get("/mail/1/html")).text
        (listed,) = (await client.get("/__mails")).json()
        assert listed["recipients"] == ["to@x.example"]
        changed = await client.post("/__control", json={"mode": "bounce", "times": 2})
        assert changed.json()["mode"] == "bounce"
        assert server.box.control.times == 2
        assert (await client.post("/__control", json={"mode": "sulk"})).status_code == 400
        answer = await client.post("/__control", data={"mode": "defer", "times": "0", "only": ""})
        assert answer.status_code == 303
        assert server.box.control.mode == "defer"
        await client.post("/__clear", json={})
        assert (await client.get("/__mails")).json() == []
        assert (await client.get("/mail/9")).status_code == 404
