"""Both services and their pages on one port."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from corvus_proxy import clock
from corvus_proxy.dev.http import Exchange, Listener, listen
from corvus_proxy.dev.payments import cards, chain, coins, pages
from corvus_proxy.dev.payments.control import Control
from corvus_proxy.dev.payments.record import Record

TICK_S = 0.1
SILENCE_S = 3600.0
STRIPE_KEY = "sk_test_simulated"
BTCPAY_KEY = "simulated-btcpay-key"
STORE = "SimulatedStore"
CARD_ACTS = (
    ("pay_later", "Pay by a delayed method"),
    ("confirm", "The delayed payment comes"),
    ("fail", "The delayed payment fails"),
    ("expire", "The session ends"),
    ("refund", "The seller refunds at Stripe"),
    ("reverse", "The card's holder disputes"),
    ("dispute_won", "The dispute is won"),
    ("dispute_lost", "The dispute is lost"),
    ("lie", "A message says paid"),
)
COIN_ACTS = (
    ("under", "Pay 40 %"),
    ("over", "Pay 150 %"),
    ("late", "Pay after the quote's end"),
    ("confirm", "Confirm at once"),
    ("expire", "The invoice ends"),
    ("reverse", "Spend it twice"),
    ("mark_settled", "The seller marks it settled"),
    ("mark_invalid", "The seller marks it invalid"),
    ("lie", "A message says settled"),
)


class Payments:
    """The process: routes requests, plays troubles, lets time go by."""

    def __init__(
        self,
        *,
        log: Path | None = None,
        stripe_key: str = STRIPE_KEY,
        btcpay_key: str = BTCPAY_KEY,
        store: str = STORE,
        block_s: float = 1.0,
    ) -> None:
        self.record = Record(log)
        self.cards = cards.Cards(self.record, stripe_key)
        self.coins = coins.Coins(self.record, btcpay_key, store)
        self.coins.block_s = block_s
        self.control = Control(self.cards, self.coins)
        for kind, name, value in self.record.kept():
            self.cards.restore(kind, name, value)
            self.coins.restore(kind, name, value)

    def place(self, page_url: str) -> None:
        """Says where pages are, as a browser reaches them: `{page_url}/{id}`."""
        self.cards.page_url = self.coins.page_url = page_url

    async def close(self) -> None:
        """Gives up messages that are on their way, closes the record."""
        await self.cards.hooks.close()
        await self.coins.hooks.close()
        self.record.close()

    async def live(self) -> None:
        """Lets time go by, for ever."""
        while True:
            self.cards.tick()
            self.coins.tick()
            await asyncio.sleep(TICK_S)

    async def answer(self, exchange: Exchange) -> None:
        """Answers one HTTP request."""
        path, _, query = exchange.path.partition("?")
        if path.startswith("/api/v1/"):
            await self._serve(exchange, self.coins, path, query)
        elif path.startswith("/v1/"):
            await self._serve(exchange, self.cards, path, query)
        elif path.startswith("/pay/"):
            self._page(exchange, path.split("/")[2:])
        elif path.startswith("/pull-payments/"):
            self._refund(exchange, path.split("/")[2:])
        elif path.startswith("/control/"):
            await self._control(exchange, path.removeprefix("/control/"))
        else:
            exchange.json(404, {"error": {"message": f"no {path} here"}})

    async def _serve(
        self, exchange: Exchange, service: cards.Cards | coins.Coins, path: str, query: str
    ) -> None:
        # Whether the service answers is asked all the time: that neither ends a trouble that
        # waits for a payment's call nor stands in the record.
        check = exchange.method == "GET" and (path == "/v1/checkout/sessions" or query == "take=1")
        trouble = self.control.take(service.name, used=not check)
        if trouble.slow_s and not await exchange.pause(trouble.slow_s):
            return
        status, body = trouble.status, {"error": {"type": "api_error", "message": "Simulated."}}
        if not status and not trouble.garbage and not trouble.silent:
            status, body = service.serve(
                exchange.method, path, query, exchange.headers, exchange.body
            )
        if not check:
            self.record.note(
                "request", service=service.name, method=exchange.method, path=path, status=status
            )
        exchange.extra = [("request-id", f"req_{clock.random_text(14)}")]
        if trouble.cut:
            exchange.cut()
        elif trouble.silent:
            await exchange.pause(SILENCE_S)
        elif trouble.garbage:
            exchange.raw(200, "text/html", b"<html>This is not the page you are looking for")
        else:
            exchange.json(status, body)

    def _page(self, exchange: Exchange, parts: list[str]) -> None:
        sheet = self._sheet(parts[0])
        if sheet is None or len(parts) > 2:
            exchange.raw(404, "text/plain", b"There is no such payment.\n")
            return
        if len(parts) == 1:
            exchange.extra = pages.headers("/".join(sheet.back.split("/")[:3]))
            exchange.raw(200, "text/html; charset=utf-8", pages.html(sheet).encode())
            return
        if exchange.method != "POST":
            exchange.raw(405, "text/plain", b"This address takes forms only.\n")
            return
        fields = {name: found[0] for name, found in parse_qs(exchange.body.decode()).items()}
        more = {"share": fields["share"]} if "share" in fields else {}
        try:
            self.control.act(parts[0], parts[1], **more)
        except (LookupError, TypeError, ValueError, cards.Refused, coins.Refused) as error:
            exchange.raw(409, "text/plain; charset=utf-8", f"{error}\n".encode())
            return
        back = sheet.back if parts[1] in ("pay", "pay_later") else f"../{parts[0]}"
        exchange.extra = [("location", back)]
        exchange.raw(303, "text/plain", b"")

    def _refund(self, exchange: Exchange, parts: list[str]) -> None:
        """The page on which a refund is claimed, and its form."""
        pull = self.coins.pulls.get(parts[0])
        if pull is None or parts[1:] not in ([], ["claim"]):
            exchange.raw(404, "text/plain", b"There is no such refund.\n")
            return
        status, problem = 200, ""
        if parts[1:]:
            if exchange.method != "POST":
                exchange.raw(405, "text/plain", b"This address takes forms only.\n")
                return
            fields = parse_qs(exchange.body.decode())
            try:
                self.coins.claim(parts[0], fields.get("address", [""])[0])
            except coins.Refused as refused:
                status, problem = 422, refused.message
            else:
                exchange.extra = [("location", f"../{parts[0]}")]
                exchange.raw(303, "text/plain", b"")
                return
        paid = self.coins.payouts.get(parts[0])
        claim = pages.Claim(
            parts[0] if not parts[1:] else f"../{parts[0]}",
            f"{pull['amount']} {pull['currency']}",
            f"{chain.ADDRESS}{clock.random_hex(19)}",
            paid["destination"] if paid else "",
            problem,
        )
        exchange.extra = pages.headers()
        exchange.raw(status, "text/html; charset=utf-8", pages.claim_html(claim).encode())

    def _sheet(self, name: str) -> pages.Sheet | None:
        session = self.cards.objects.get(name)
        if session is not None and session["object"] == "checkout.session":
            cents = session["amount_total"]
            status = f"{session['status']}, {session['payment_status']}"
            return pages.Sheet(
                "stripe",
                name,
                "Pay by card",
                f"{cents // 100}.{cents % 100:02d} USD",
                (("Status", status), ("Card", "4242 4242 4242 4242"), ("Session", name)),
                CARD_ACTS,
                session["status"] == "open",
                session["success_url"],
            )
        invoice = self.coins.invoices.get(name)
        if invoice is None:
            return None
        method = self.coins.method(invoice)
        payments = ", ".join(
            f"{p.confirmations} of {invoice.confirmations_needed} confirmations"
            for p in invoice.payments
        )
        return pages.Sheet(
            "btcpay",
            name,
            "Pay with bitcoin",
            f"{method['due']} BTC",
            (
                ("Status", f"{invoice.status}, {invoice.additional}"),
                ("Address", invoice.destination),
                ("Rate", f"{invoice.rate} USD"),
                ("Payments", payments or "none yet"),
            ),
            COIN_ACTS,
            not method["due"].startswith("-") and method["due"] != "0",
            invoice.checkout.get("redirectURL") or self.coins.page_url,
        )

    async def _control(self, exchange: Exchange, what: str) -> None:
        if exchange.method == "GET" and what in ("log", "state"):
            exchange.json(200, self.record.rows if what == "log" else self.control.state())
            return
        try:
            wish: dict[str, Any] = msgspec.json.decode(exchange.body or b"{}", type=dict)
            exchange.json(200, await self.control.do(what, wish))
        except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
            exchange.json(400, {"error": str(error)})
        except (cards.Refused, coins.Refused) as refused:
            exchange.json(409, {"error": json.dumps(refused.answer[1])})


async def run(payments: Payments, host: str = "127.0.0.1", port: int = 0) -> Listener:
    """Starts listening; port 0 takes a free one. Time goes by while `payments.live()` runs."""
    listener = await listen(payments.answer, host, port)
    if not payments.cards.page_url:
        payments.place(f"{listener.url}/pay")
    return listener


@contextlib.asynccontextmanager
async def serve(*, port: int = 0, **options: Any) -> AsyncIterator[tuple[Payments, str]]:
    """Both services (`options` as for `Payments`) on a loopback port, and their URL."""
    payments = Payments(**options)
    listener = await run(payments, port=port)
    life = asyncio.create_task(payments.live())
    try:
        yield payments, listener.url
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await listener.close()
        await payments.close()
