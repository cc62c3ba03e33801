"""The pages behind the log-in: keys, security, log-in by mail and by token, live figures; the real
application over real stores."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from corvus_proxy import clock, sealing
from corvus_proxy.books import people
from corvus_proxy.books.db import Books
from corvus_proxy.books.shop import orders
from corvus_proxy.service import keys, owner, sessions
from corvus_proxy.service.sessions import Session
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import BrandSettings, MailSettings, Settings
from corvus_proxy.shop import mail
from corvus_proxy.shop.delivering import TOKEN
from corvus_proxy.site.account import live
from corvus_proxy.site.app import create
from corvus_proxy.site.front import Front
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Denied, Look

PEPPER = b"p" * 32
SITE = "http://site"
SETTINGS = Settings(
    brand=BrandSettings(site_url=SITE, support="help@rook.example"),
    mail=MailSettings(host="127.0.0.1", sender="keys@rook.example"),
)
MAILBOX = "owner@rook.example"


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


@pytest.fixture
async def made(stores: Stores) -> keys.Created:
    return await keys.create(stores, credit_nanos=2_000_000_000, label="mine")


@pytest.fixture
async def client(stores: Stores) -> AsyncIterator[httpx.AsyncClient]:
    async with site(stores) as opened:
        yield opened


def site(stores: Stores) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create(stores, SETTINGS), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=SITE)


async def log_in(client: httpx.AsyncClient, text: str) -> httpx.Response:
    return await client.post("/login", data={"key": text})


def shown_once(page: httpx.Response) -> str:
    """The secret, token or code that an answer hands out."""
    assert page.status_code == 200, page.text
    assert page.headers["cache-control"] == "no-store"
    found = re.search(r'<code id="the-secret" data-copy>([^<]+)</code>', page.text)
    assert found
    return found[1]


async def look(stores: Stores, wallet: str, text: str) -> object:
    from corvus_proxy import secret

    return await stores.till.look(wallet, secret.digest(text, stores.pepper))


async def mails(stores: Stores) -> list[str]:
    async with stores.books.connection() as connection:
        rows = await connection.fetch("select kind from mail order by created_at")
    return [row["kind"] for row in rows]


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_sub_key_is_made_changed_frozen_and_revoked(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Its secret stands on one answer alone; the till knows each deed at once; revoking asks."""
    await log_in(client, made.secret)
    form = {"label": "laptop", "cap": "$1.50", "period": "day", "expires": "2099-12-31"}
    text = shown_once(await client.post("/dashboard/keys", data=form))
    page = (await client.get("/dashboard/keys")).text
    assert text not in page
    assert "laptop" in page
    assert "<strong>0.00</strong> of 1.50 USD each day" in page
    assert "2099-12-31 23:59:59 UTC" in page
    (sub,) = [key for key in await keys.list_of(stores, made.wallet) if not key.main]
    path = f"/dashboard/keys/{sub.key_id}"
    await client.post(path, data={**form, "deed": "limits", "cap": "", "label": "desk"})
    (sub,) = [key for key in await keys.list_of(stores, made.wallet) if not key.main]
    assert (sub.label, sub.cap_nanos) == ("desk", None)
    await client.post(path, data={"deed": "freeze"})
    found = await look(stores, made.wallet, text)
    assert isinstance(found, Look)
    assert found.status == "frozen"
    await client.post(path, data={"deed": "unfreeze"})
    refused = await client.post(path, data={"deed": "revoke", "proof": "sk-corvus_wrong"})
    assert refused.status_code == 400
    assert "Enter the key that you are logged in with" in refused.text
    await client.post(path, data={"deed": "revoke", "proof": made.secret})
    found = await look(stores, made.wallet, text)
    assert isinstance(found, Look)
    assert found.status == "revoked"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("cap", "much", "Write the cap as dollars"),
        ("expires", "soon", "Write the day as"),
        ("expires", "2001-01-01", "in the future"),
        ("label", "x" * 200, "name"),
    ],
)
async def test_a_form_that_is_wrong_says_where_and_keeps_what_was_typed(
    made: keys.Created, client: httpx.AsyncClient, field: str, typed: str, words: str
) -> None:
    """400, the sentence beside the field, the other fields as they were; no key is made."""
    await log_in(client, made.secret)
    form = {"label": "kept", "cap": "3", "period": "week", "expires": "", field: typed}
    answer = await client.post("/dashboard/keys", data=form)
    assert answer.status_code == 400
    assert words in answer.text
    assert 'value="week" checked' in answer.text
    assert f"new-{field}-problem" in answer.text
    assert (await client.get("/dashboard/keys")).text.count("sub-key</span>") == 0


@pytest.mark.anyio
async def test_a_changed_secret_logs_everybody_else_out(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """The old one is dead at once, this browser goes on with the new one, the mailbox is told."""
    async with stores.books.connection() as connection:
        await people.set_email(connection, made.wallet, MAILBOX)
    await log_in(client, made.secret)
    async with site(stores) as other:
        await log_in(other, made.secret)
        path = f"/dashboard/keys/{made.key_id}"
        wrong = await client.post(path, data={"deed": "rotate", "grace": "0", "proof": ""})
        assert wrong.status_code == 400
        text = shown_once(
            await client.post(path, data={"deed": "rotate", "grace": "0", "proof": made.secret})
        )
        assert isinstance(await look(stores, made.wallet, made.secret), Denied)
        assert isinstance(await look(stores, made.wallet, text), Look)
        assert (await client.get("/dashboard")).status_code == 200
        assert (await other.get("/dashboard")).status_code == 303
        with_grace = {"deed": "rotate", "grace": "3600", "proof": made.recovery_code}
        newer = shown_once(await client.post(path, data=with_grace))
        assert isinstance(await look(stores, made.wallet, text), Look)
        assert isinstance(await look(stores, made.wallet, newer), Look)
    assert await mails(stores) == ["rotated", "rotated"]


@pytest.mark.anyio
async def test_a_log_in_by_a_secret_in_its_grace_is_told_when_that_ends(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """On every page, in a log-in from before the change too; never by the new secret; and with the
    secret the log-in ends."""
    words = "logged in by a secret that was changed"
    await log_in(client, made.secret)
    assert words not in (await client.get("/dashboard")).text
    ends = clock.utc_now() + timedelta(seconds=3600)
    new = await keys.rotate(stores, made.key_id, grace_s=3600)
    for again in (False, True):
        if again:
            await log_in(client, made.secret)
        for path in ("/dashboard", "/dashboard/keys", "/dashboard/ledger", "/dashboard/security"):
            page = (await client.get(path)).text
            assert words in page, path
            found = re.search(r"It ends at (\S+ \S+) UTC", page)
            assert found
            told = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            assert timedelta(0) <= told - ends + timedelta(seconds=1) < timedelta(seconds=30)
    async with site(stores) as other:
        await log_in(other, new)
        assert words not in (await other.get("/dashboard")).text
    await keys.rotate(stores, made.key_id, grace_s=0)
    assert (await client.get("/dashboard")).headers["location"] == "/login"


@pytest.mark.anyio
async def test_freezing_takes_the_key_and_opening_takes_the_code(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """The key that froze the wallet does not open it; its owner does, and sees all meanwhile."""
    await log_in(client, made.secret)
    path = f"/dashboard/keys/{made.key_id}"
    await client.post(path, data={"deed": "freeze"})
    found = await look(stores, made.wallet, made.secret)
    assert isinstance(found, Look)
    assert found.status == "frozen"
    assert "This key is frozen" in (await client.get("/dashboard")).text
    refused = await client.post(path, data={"deed": "unfreeze", "proof": made.secret})
    assert "not the recovery code" in refused.text
    await client.post(path, data={"deed": "unfreeze", "proof": made.recovery_code})
    found = await look(stores, made.wallet, made.secret)
    assert isinstance(found, Look)
    assert found.status == "active"


@pytest.mark.anyio
async def test_a_sub_key_sees_itself_alone(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """No other key's id, no alarms, no security; it may freeze itself and makes no keys."""
    sub = await keys.create_sub(stores, made.wallet, label="sub", cap_nanos=None, actor=made.key_id)
    await log_in(client, sub.secret)
    for path in ("/dashboard", "/dashboard/keys", "/dashboard.json"):
        page = (await client.get(path)).text
        assert made.key_id not in page
        assert sub.key_id in page
    assert (await client.get("/dashboard/security")).status_code == 403
    assert (await client.post("/dashboard/keys", data={"label": "x"})).status_code == 403
    theirs = f"/dashboard/keys/{made.key_id}"
    assert (await client.post(theirs, data={"deed": "freeze"})).status_code == 404
    await client.post(f"/dashboard/keys/{sub.key_id}", data={"deed": "freeze"})
    found = await look(stores, made.wallet, sub.secret)
    assert isinstance(found, Look)
    assert found.status == "frozen"


# -- security -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_read_only_token_sees_everything_and_changes_nothing(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Shown once, stored as a digest, refused at every form, ended by its revocation."""
    await log_in(client, made.secret)
    form = {"label": "accountant", "days": "30"}
    text = shown_once(await client.post("/dashboard/security/tokens", data=form))
    assert text.startswith("ro-corvus_")
    async with site(stores) as reader:
        assert (await log_in(reader, text)).headers["location"] == "/dashboard"
        for path in ("/dashboard", "/dashboard/keys", "/dashboard/security"):
            page = await reader.get(path)
            assert page.status_code == 200
            assert page.text.count("<form") == 1, path  # the log-out
            assert "/checkout?key" not in page.text
        for path in ("keys", f"keys/{made.key_id}", "security/tokens", "security/sessions",
                     "security/code", "security/mail"):  # fmt: skip
            assert (
                await reader.post(f"/dashboard/{path}", data={"deed": "freeze"})
            ).status_code == 403
        (token,) = await sessions.tokens_of(stores, made.wallet)
        await client.post(f"/dashboard/security/tokens/{token.token_id}")
        assert (await reader.get("/dashboard")).status_code == 303
        assert (await log_in(reader, text)).status_code == 401
    async with stores.books.connection() as connection:
        dump = str(await connection.fetch("select * from read_token"))
    assert text not in dump


@pytest.mark.anyio
async def test_the_code_and_the_mailbox_change_by_the_present_code_alone(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """A thief with the key gets neither: no address of theirs, no code of theirs."""
    await log_in(client, made.secret)
    for wrong in (made.secret, owner.new_code(), ""):
        for path in ("code", "mail"):
            answer = await client.post(
                f"/dashboard/security/{path}", data={"code": wrong, "email": "thief@x.example"}
            )
            assert answer.status_code == 400
    assert (await sessions.ownership(stores, made.wallet)).email == ""
    async with site(stores) as fresh:  # the tries of the wrong ones are counted for the wallet
        await log_in(fresh, made.secret)
        good = {"code": made.recovery_code, "email": MAILBOX}
        await fresh.post("/dashboard/security/mail", data=good)
        assert MAILBOX in (await fresh.get("/dashboard/security")).text
        code = shown_once(
            await fresh.post("/dashboard/security/code", data={"code": made.recovery_code})
        )
    assert await owner.owner_of(stores, made.recovery_code) is None
    assert await owner.owner_of(stores, code) == made.wallet


@pytest.mark.anyio
async def test_log_ins_are_listed_and_ended_on_the_page(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """One, all others, all."""
    await log_in(client, made.secret)
    async with site(stores) as one, site(stores) as two:
        await log_in(one, made.secret)
        await log_in(two, made.secret)
        page = (await client.get("/dashboard/security")).text
        assert page.count("seen <time") == 3
        (latest, *_) = [row.session_id for row in await sessions.sessions_of(stores, made.wallet)]
        await client.post("/dashboard/security/sessions", data={"session": latest})
        ended = [(await each.get("/dashboard")).status_code for each in (client, one, two)]
        assert sorted(ended) == [200, 200, 303]
        if ended[0] == 303:
            await log_in(client, made.secret)
        await client.post("/dashboard/security/sessions", data={"session": "others"})
        assert (await client.get("/dashboard")).status_code == 200
        assert (await one.get("/dashboard")).status_code == 303
        await client.post("/dashboard/security/sessions", data={"session": "all"})
        assert (await client.get("/dashboard")).status_code == 303


# -- log-in by mail -------------------------------------------------------------------------------


async def letter(stores: Stores) -> str:
    """The link of the last log-in mail."""
    import json

    async with stores.books.connection() as connection:
        sealed = await connection.fetchval(
            "select view_sealed from mail where kind = 'login_link'"
            " order by created_at desc limit 1"
        )
    return str(json.loads(sealing.unseal(PEPPER, mail.PURPOSE, sealed))["login_url"])


@pytest.mark.anyio
async def test_a_mails_link_logs_in_once_and_opening_it_changes_nothing(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """GET shows, POST logs in; the same answer for every address; the token is stored hashed."""
    async with stores.books.connection() as connection:
        await people.set_email(connection, made.wallet, MAILBOX)
    known = await client.post("/login/mail", data={"email": "Owner@Rook.example"})
    unknown = await client.post("/login/mail", data={"email": "nobody@rook.example"})
    assert known.status_code == unknown.status_code == 200
    assert known.text == unknown.text
    assert await mails(stores) == ["login_link"]
    link = await letter(stores)
    assert link.startswith(f"{SITE}/login/")
    for _ in range(3):
        page = await client.get(link)
        assert page.status_code == 200
        assert made.key_id in page.text
        assert "set-cookie" not in page.headers
    foreign = await client.post(link, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    assert (await client.post(link)).headers["location"] == "/dashboard"
    assert (await client.get("/dashboard")).status_code == 200
    (row,) = await sessions.sessions_of(stores, made.wallet)
    assert row.kind == "mail"
    for again in (await client.get(link), await client.post(link)):
        assert again.status_code == 410
    async with stores.books.connection() as connection:
        assert link.rpartition("/")[2] not in str(await connection.fetch("select * from link"))


@pytest.mark.anyio
async def test_of_several_wallets_one_is_chosen(stores: Stores, client: httpx.AsyncClient) -> None:
    """The link of an address that owns two keys opens either, and no third."""
    two = [await keys.create(stores, credit_nanos=1) for _ in range(2)]
    stranger = await keys.create(stores, credit_nanos=1)
    async with stores.books.connection() as connection:
        for one in two:
            await people.set_email(connection, one.wallet, MAILBOX)
    await client.post("/login/mail", data={"email": MAILBOX})
    link = await letter(stores)
    page = (await client.get(link)).text
    assert all(one.key_id in page for one in two)
    assert (await client.post(link, data={"key_id": stranger.key_id})).status_code == 410
    await client.post(link, data={"key_id": two[0].key_id})
    assert two[0].key_id in unescape((await client.get("/dashboard")).text)


@pytest.mark.anyio
async def test_a_mails_log_in_needs_the_books_and_ends_with_them(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """Without Postgres nobody can tell whether it was ended: 503 in words, never a page."""
    async with stores.books.connection() as connection:
        await people.set_email(connection, made.wallet, MAILBOX)
    await client.post("/login/mail", data={"email": MAILBOX})
    await client.post(await letter(stores))
    away = Stores(stores.till, Books("postgresql://127.0.0.1:1/none"), PEPPER)
    async with site(away) as lost:
        lost.cookies = client.cookies
        page = await lost.get("/dashboard")
        assert page.status_code == 503
        assert "The database does not answer" in page.text
        assert (await lost.get("/dashboard.json")).status_code == 503
    await sessions.end_all(stores, made.wallet)
    assert (await client.get("/dashboard")).status_code == 303


# -- live -----------------------------------------------------------------------------------------


async def request_of(client: httpx.AsyncClient, path: str) -> Request:
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return Request({"type": "http", "method": "GET", "path": path, "query_string": b"",
                    "headers": [(b"cookie", cookie.encode())]})  # fmt: skip


class Stream:
    """One open `/dashboard/events`."""

    def __init__(self, answer: object) -> None:
        assert isinstance(answer, StreamingResponse)
        self._body = answer.body_iterator

    async def next(self) -> str:
        """The next event that is no sign of life."""
        async for piece in self._body:
            text = piece.decode() if isinstance(piece, bytes) else str(piece)
            if not text.startswith(("retry", "event: beat")):
                return text
        return ""


@pytest.mark.anyio
async def test_figures_stream_until_the_log_in_ends(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change once, numbered by the wallet; nothing after the secret's end; at most three."""
    monkeypatch.setattr(live, "POLL_S", 0.05)
    await log_in(client, made.secret)
    front = Front(stores, SETTINGS, {})
    views = live.Live(front)
    session = Session(made.wallet, made.key_id, "key", "se_1", True, False)
    request = await request_of(client, "/dashboard/events")
    streams = [Stream(await views.events(request, session)) for _ in range(4)]
    first = await streams[0].next()
    assert "event: figures\nid: 1\n" in first
    assert '"available":"2.00"' in first
    await keys.credit(stores, made.key_id, 500_000_000, reason="test")
    second = await streams[0].next()
    assert "id: 2\n" in second
    assert '"available":"2.50"' in second
    for stream in streams[1:]:
        assert '"available":"2.50"' in await stream.next()
    assert "event: enough" in await streams[0].next()
    await keys.rotate(stores, made.key_id, grace_s=0)
    await keys.credit(stores, made.key_id, 500_000_000, reason="test")
    assert "event: ended" in await streams[1].next()
    views.leave()
    assert await streams[2].next() in ("", "event: ended\ndata: {}\n\n")


# -- open orders ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_open_orders_are_told_and_their_address_stands_on_no_page(
    stores: Stores, made: keys.Created, client: httpx.AsyncClient
) -> None:
    """The owner's own, until they are paid; the way to one is a form; a stranger's is not shown."""
    soon = clock.utc_now() + timedelta(minutes=30)
    async with stores.books.connection() as connection:
        for name, by_owner in (("own", True), ("strange", False)):
            new = orders.NewOrder(
                f"ord_{name}", sealing.token_digest(PEPPER, name),
                sealing.seal(PEPPER, TOKEN, name), "", None, "stripe", 5_000_000_000, 0, 0,
                5_000_000_000, made.wallet, made.key_id,
                False, by_owner, "", soon, soon, soon,
            )  # fmt: skip
            await orders.insert(connection, new)
    await log_in(client, made.secret)
    page = (await client.get("/dashboard")).text
    assert "ord_own" in page
    assert "ord_strange" not in page
    assert "/orders/" not in page.replace("/dashboard/orders", "")
    answer = await client.post("/dashboard/orders", data={"order_id": "ord_own"})
    assert answer.headers["location"] == "/orders/own"
    answer = await client.post("/dashboard/orders", data={"order_id": "ord_strange"})
    assert answer.headers["location"] == "/dashboard"
    async with stores.books.connection() as connection:
        await orders.change(connection, "ord_own", status="expired")
    assert "ord_own" not in (await client.get("/dashboard")).text
