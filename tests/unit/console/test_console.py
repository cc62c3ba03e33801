"""The console's pages with and without the stores behind it."""

from pathlib import Path

import httpx
import pytest

from corvus_proxy.books.db import Books
from corvus_proxy.console.app import create
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import MetricsSettings, Settings
from corvus_proxy.till.client import Till

pytestmark = pytest.mark.anyio


def console(stores: Stores, settings: Settings | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create(stores, settings or Settings()))
    return httpx.AsyncClient(transport=transport, base_url="http://console")


async def test_ready_and_versions_with_both_stores(valkey_till: Till, books: Books) -> None:
    """Each store has answered before it is called ready."""
    async with console(Stores(valkey_till, books, b"p" * 32)) as client:
        assert (await client.get("/readyz")).text == "ok\n"
        page = await client.get("/")
        assert page.status_code == 200
        for word in ("valkey 9", "postgres 1", 'href="/metrics"', "http://127.0.0.1:8081"):
            assert word in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_without_the_stores_it_lives_and_says_what_is_away() -> None:
    """Alive, not ready; the page still opens."""
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
        page = await client.get("/")
        assert page.status_code == 200
        assert "Redis" in page.text
    await away.close()


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
