"""The simulated payment pages under the site's origin."""

from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from corvus_proxy.dev.payments import server
from corvus_proxy.settings import BrandSettings, Settings
from corvus_proxy.settings.sections import DemoSettings
from corvus_proxy.shop.services.btcpay import Btcpay
from corvus_proxy.shop.services.stripe import Stripe
from corvus_proxy.site import demo
from tests.payments import selling
from tests.unit.shop.services.test_stripe import WANTED

pytestmark = pytest.mark.anyio


def site(url: str, *, enabled: bool = True) -> httpx.AsyncClient:
    settings = msgspec.structs.replace(
        Settings(), demo=DemoSettings(enabled=enabled, payments_url=url)
    )
    app = Starlette(routes=list(demo.routes(settings)))
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://site")


async def test_a_payment_through_the_site(tmp_path: Path) -> None:
    """The page, its first form, and the way back: with the page's own policy and no others'."""
    async with server.serve() as (payments, url), site(url) as browser:
        payments.place("http://site/demo/pay")
        adapter = Stripe(selling(tmp_path, url))
        found = await adapter.open(WANTED)
        page = await browser.get(found.pay_url)
        assert page.status_code == 200
        assert "sha256-" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        form = page.text.partition("<form")[2].partition("</form>")[0]
        action = page.url.join(form.partition('action="')[2].partition('"')[0])
        assert action.path == f"/demo/pay/{found.reference}/pay"
        answer = await browser.post(str(action), data={"amount": ""})
        assert (answer.status_code, answer.headers["location"]) == (303, WANTED.return_url)
        other = await browser.post(f"/demo/pay/{found.reference}/reverse")
        assert page.url.join(f"{found.reference}/x").join(other.headers["location"]) == page.url
        assert (await adapter.standing(found.reference)).status == "invalid"
        await adapter.close()


async def test_a_refund_is_claimed_through_the_site(tmp_path: Path) -> None:
    """The page that the claim link names, and its form."""
    async with server.serve() as (payments, url), site(url) as browser:
        payments.place("http://site/demo/pay")
        settings = msgspec.structs.replace(
            selling(tmp_path, url),
            demo=DemoSettings(enabled=True, payments_url=url),
            brand=BrandSettings(site_url="http://site"),
        )
        adapter = Btcpay(settings)
        found = await adapter.open(WANTED)
        payments.control.act(found.reference, "pay")
        [paid] = (await adapter.standing(found.reference)).payments
        link = adapter.claim_url(await adapter.refund(paid.reference, 10**9, "ref_1"))
        page = await browser.get(link)
        assert (page.status_code, "1.00 USD" in page.text) == (200, True)
        address = page.text.partition('value="')[2].partition('"')[0]
        done = await browser.post(f"{link}/claim", data={"address": address})
        name = link.rpartition("/")[2]
        assert (done.status_code, done.headers["location"]) == (303, f"../{name}")
        assert address in (await browser.get(link)).text
        await adapter.close()


async def test_nothing_but_payment_pages(tmp_path: Path) -> None:
    """No other path of the services can be reached this way, and no endless body."""
    async with server.serve() as (_, url), site(url) as browser:
        for path in ("..%2Fcontrol%2Fstate", "nobody", "%2e%2e"):
            assert (await browser.get(f"/demo/pay/{path}")).status_code == 404
        long = await browser.post("/demo/pay/x/pay", data={"amount": "1" * 10_000})
        assert long.status_code == 413


async def test_services_that_are_away() -> None:
    async with site("http://127.0.0.1:9") as browser:
        answer = await browser.get("/demo/pay/cs_1")
        assert (answer.status_code, "do not answer" in answer.text) == (503, True)


async def test_no_demonstration_no_pages() -> None:
    async with site("http://127.0.0.1:9", enabled=False) as browser:
        assert (await browser.get("/demo/pay/cs_1")).status_code == 404
    async with site("") as browser:
        assert (await browser.get("/demo/pay/cs_1")).status_code == 404
