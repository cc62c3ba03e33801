"""The console's pages with and without the stores behind it."""

import re
from pathlib import Path

import httpx
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.console import pages
from corvus_proxy.console.app import create
from corvus_proxy.console.deeds import DEEDS
from corvus_proxy.console.front import COOKIE
from corvus_proxy.service import keys
from corvus_proxy.service.operating import operators
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import MetricsSettings, Settings
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio


def console(stores: Stores, settings: Settings | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create(stores, settings or Settings()))
    return httpx.AsyncClient(transport=transport, base_url="http://console")


async def test_ready_with_both_stores_and_a_door(valkey_till: Till, books: Books) -> None:
    """Each store has answered before it is called ready; every page but the log-in is shut."""
    async with console(Stores(valkey_till, books, b"p" * 32)) as client:
        assert (await client.get("/readyz")).text == "ok\n"
        for path in ("/", "/orders", "/orders/ord_x", "/keys", "/pools", "/refunds", "/audit"):
            assert (await client.get(path)).headers["location"] == "/login", path
        page = await client.get("/login")
        assert (page.status_code, 'name="token"' in page.text) == (200, True)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert (await client.get("/nowhere")).status_code == 404
        sheet = await client.get("/static/console.css")
        assert sheet.headers["content-type"].startswith("text/css")


async def test_without_the_stores_it_lives_and_says_what_is_away() -> None:
    """Alive, not ready; the log-in opens, and says in words that nobody can be let in."""
    away = Stores(
        Till.open("redis://127.0.0.1:1", timeout_ms=200),
        Books("postgresql://127.0.0.1:1/none"),
        b"p" * 32,
    )
    async with console(away) as client:
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert "Redis" in ready.text
        assert (await client.get("/login")).status_code == 200
        token = operators.PREFIX + "a" * operators.TOKEN_CHARACTERS
        tried = await client.post("/login", data={"token": token})
        assert (tried.status_code, "Postgres" in tried.text) == (503, True)
    await away.close()


async def test_a_wrong_token_is_tried_five_times(valkey_till: Till, books: Books) -> None:
    """Then a minute passes for everybody at that address; a right one does not count."""
    stores = Stores(valkey_till, books, b"p" * 32)
    token = await operators.add(stores, "ada", actor="cli:root")
    async with console(stores) as client:
        for _ in range(7):
            assert (await client.post("/login", data={"token": token})).status_code == 303
        for _ in range(5):
            assert (await client.post("/login", data={"token": "x"})).status_code == 403
        last = await client.post("/login", data={"token": token})
        assert (last.status_code, "Try again in" in last.text) == (429, True)


async def test_a_log_in_is_a_cookie_that_ends_with_its_token(
    valkey_till: Till, books: Books
) -> None:
    """Strict, unreadable for scripts, new with each log-in; a changed one and a revoked token's are
    nobody's; a form from elsewhere does nothing."""
    stores = Stores(valkey_till, books, b"p" * 32)
    token = await operators.add(stores, "ada", actor="cli:root")
    async with console(stores) as client:
        client.cookies.set(COOKIE, "planted")
        answer = await client.post("/login", data={"token": token})
        told = answer.headers["set-cookie"]
        assert "HttpOnly" in told
        assert "SameSite=strict" in told
        assert token not in told
        client.cookies.clear()
        cookie = answer.cookies[COOKIE]
        whole, changed = {"cookie": f"{COOKIE}={cookie}"}, {"cookie": f"{COOKIE}=x{cookie}"}
        assert (await client.get("/audit", headers=whole)).status_code == 200
        assert (await client.get("/audit", headers=changed)).status_code == 303
        foreign = {**whole, "origin": "http://elsewhere.example"}
        form = {"subject": "", "reason": "x", "sure": "yes", "nonce": "n"}
        for path in ("/deeds/sales.pause", "/pools/test", "/login", "/logout"):
            assert (await client.post(path, data=form, headers=foreign)).status_code == 403, path
        assert (await client.post("/deeds/none", data=form, headers=whole)).status_code == 404
        await operators.revoke(stores, "ada", reason="left", actor="cli:root")
        assert (await client.get("/audit", headers=whole)).status_code == 303


async def test_what_waits_for_redis_is_booked_and_once(valkey_till: Till, books: Books) -> None:
    """It is not called undone, or it would be done twice; a form that the console has not offered
    does nothing, as one from before its start."""
    stores = Stores(valkey_till, books, b"p" * 32)
    token = await operators.add(stores, "ada", actor="cli:root")
    made = await keys.create(stores, credit_nanos=0, label="", reason="x", actor="cli:root")
    till = Till.open("redis://127.0.0.1:1", timeout_ms=200)
    async with console(Stores(till, books, b"p" * 32)) as client:
        answer = await client.post("/login", data={"token": token})
        client.cookies.clear()
        headers = {"cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
        asked = {"subject": made.key_id, "usd": "1", "reason": "x"}
        sure = await client.post("/deeds/keys.freeze", data=asked, headers=headers)
        [nonce] = re.findall(r'name="nonce" value="([^"]+)"', sure.text)
        found = []
        for one in ("n", nonce, nonce):
            form = {**asked, "sure": "yes", "nonce": one}
            answer = await client.post("/deeds/keys.credit", data=form, headers=headers)
            found.append((answer.status_code, "is booked" in answer.text))
        assert found == [(409, False), (202, True), (409, False)]
    async with books.connection() as connection:
        waiting = "select count(*) from outbox where kind = 'credit' and applied_at is null"
        assert await connection.fetchval(waiting) == 1
    await till.close()


def test_every_deed_has_its_form() -> None:
    """And every form its deed."""
    folder = Path(pages.__file__).parent / "templates"
    forms = {
        name
        for path in folder.glob("*.html")
        for name in re.findall(r'deed\("([a-z.]+)"', path.read_text())
    }
    assert forms == set(DEEDS)


async def test_redis_alone_is_not_ready(valkey_till: Till) -> None:
    """Postgres is asked too."""
    stores = Stores(valkey_till, Books("postgresql://127.0.0.1:1/none"), b"p" * 32)
    async with console(stores) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert "Postgres" in ready.text


async def test_metrics_come_from_the_folder_of_all_processes(
    valkey_till: Till, books: Books, tmp_path: Path
) -> None:
    """With a folder: only what processes wrote there; the live gauges of dead ones are dropped."""
    stores = Stores(valkey_till, books, b"p" * 32)
    (tmp_path / "gauge_livesum_999999999.db").write_bytes(b"")
    settings = Settings(metrics=MetricsSettings(dir=str(tmp_path)))
    async with console(stores, settings) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert list(tmp_path.iterdir()) == []
    async with console(stores) as client:
        own = await client.get("/metrics")
        assert own.headers["content-type"].startswith("text/plain")
        assert "# HELP process_max_fds" in own.text
