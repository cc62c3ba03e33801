"""Checkout: one form, one button; it works as it comes and without a script.

Rule 1: a key that was typed is never sent back, in HTML or in an address; a key id may be.
Rule 2: what the page says an order costs is said by the function that makes the order.
Rule 3: without the operator's facts that a buyer must know, nothing is sold.
"""

import re
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import sealing
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service import orders
from corvus_proxy.service.orders import Form, Offer, Placed, Problem
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import LATER, Front
from corvus_proxy.site.shop.browser import Browsers, may_lead_to, origin_of
from corvus_proxy.site.shop.buys import ASSUMED, buys, shown
from corvus_proxy.till.client import TillUnavailable

FACTS = ("support", "independence", "refunds")
"""Options of `[brand]` without which nothing is sold."""
ORDERS_MAX, ORDERS_S = 20, 600
"""Orders of one address."""
_KEY_ID = re.compile(r"key_[0-9A-Za-z]{12}")
_KEY_LIKE = re.compile(r"key_\w{0,20}")
"""A key id, or what was meant to be one; never a piece of a secret."""


class Choice(NamedTuple):
    """A package on the page."""

    usd: str
    """As the form sends it."""
    title: str
    """As a person reads it."""
    total_usd: str
    """With fee and tax; empty where it is the same."""
    checked: bool


class Typed(NamedTuple):
    """What the form shows, so that nothing has to be typed twice."""

    amount: str
    preset: str
    provider: str
    target: str
    key: str
    email: str


class Checkout:
    """Views of `/checkout`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._desk = front.desk
        self._browsers = Browsers(https=front.site_url.startswith("https:"))
        self._tries = forms.Tries(ORDERS_MAX, ORDERS_S)
        self._models = shown(front.settings)

    async def form(self, request: Request) -> Response:
        """`GET /checkout`; `?key=key_…` fills in an existing key, `?amount=` an amount."""
        if (closed := self._closed()) is not None:
            return closed
        offer = await orders.offer(self._desk)
        key = request.query_params.get("key", "")
        key = key if _KEY_ID.fullmatch(key) else ""
        amount = request.query_params.get("amount", "")[:20]
        typed = Typed(
            amount if isinstance(orders.quote_typed(self._desk, amount), orders.Quote) else "",
            format_usd(offer.preset_nanos),
            offer.providers[0][0] if offer.providers else "",
            "existing" if key else "new",
            key,
            "",
        )
        return await self._page(request, offer, typed)

    async def price(self, request: Request) -> Response:
        """`GET /checkout/price.json?amount=`: the lines of an order for it, or what is wrong."""
        found = orders.quote_typed(self._desk, request.query_params.get("amount", "")[:40])
        if isinstance(found, Problem):
            return render.json({"problem": found.sentence})
        return render.json(render.twin(found))

    async def send(self, request: Request) -> Response:
        """`POST /checkout`: makes the order and leads to its payment."""
        if (closed := self._closed()) is not None:
            return closed
        offer = await orders.offer(self._desk)
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            fields = {}
        form = _form(fields, offer)
        typed = Typed(
            form.amount,
            form.preset,
            form.provider,
            form.target,
            form.key if _KEY_LIKE.fullmatch(form.key) else "",
            form.email,
        )
        if not self._front.is_own(request):
            foreign = Problem("", "This form was sent from another site. Send it again from here.")
            return await self._page(request, offer, typed, foreign, status=403)
        problem = self._refusal(request, offer)
        if problem is not None:
            status = 503 if offer.paused else 429
            return await self._page(request, offer, typed, problem, status=status)
        try:
            placed = await orders.place(
                self._desk,
                form,
                session=await self._session(request),
                browser=self._browsers.read(request),
            )
        except (BooksUnavailable, TillUnavailable):
            placed = Problem(
                "", "The order could not be written down: our database does not answer."
            )
            return await self._page(request, offer, typed, placed, status=503)
        if isinstance(placed, Problem):
            status = 503 if placed.field == "provider" else 422
            return await self._page(request, offer, typed, placed, status=status)
        return self._lead(form, placed)

    def _refusal(self, request: Request, offer: Offer) -> Problem | None:
        if offer.paused:
            return Problem("", offer.paused)
        wait_s = self._tries.take(self._front.address(request))
        if wait_s:
            return Problem(
                "", f"Many orders came from your address. Try again in {wait_s} seconds."
            )
        return None

    def _lead(self, form: Form, placed: Placed) -> Response:
        """To the payment service's page; where the payment is made to an address, to the order's
        page, which shows it."""
        path = f"/orders/{placed.token}"
        provider = self._desk.providers.get(form.provider)
        to_service = (
            provider is not None
            and provider.name == "stripe"
            and placed.pay_url != ""
            and origin_of(placed.pay_url) in (provider.origin, origin_of(self._front.site_url))
        )
        answer = render.redirect(placed.pay_url if to_service else path)
        self._browsers.remember(answer, placed.browser)
        return answer

    async def _session(self, request: Request) -> Session | None:
        """Who is logged in; a log-in that cannot be judged now is none."""
        try:
            return await self._front.sessions.read(request)
        except (TillUnavailable, BooksUnavailable):
            return None

    async def _page(
        self,
        request: Request,
        offer: Offer,
        typed: Typed,
        problem: Problem | None = None,
        status: int = 200,
    ) -> Response:
        lines = orders.quote_typed(self._desk, typed.amount or typed.preset)
        if isinstance(lines, Problem):
            lines = orders.quote_typed(self._desk, format_usd(offer.preset_nanos))
        shown_lines = lines if not isinstance(lines, Problem) else None
        nanos = shown_lines.amount_nanos if shown_lines else offer.preset_nanos
        session = await self._session(request)
        origins = {provider.origin for provider in self._desk.providers.values()}
        headers = may_lead_to(origins)
        if status == 503:
            headers["retry-after"] = LATER["retry-after"]
        return self._front.pages.page(
            "shop/checkout.html",
            status=status,
            headers=headers,
            offer=offer,
            choices=self._choices(offer, typed),
            typed=typed,
            problem=problem,
            lines=shown_lines,
            extra=bool(shown_lines and shown_lines.total_nanos != shown_lines.amount_nanos),
            buys=buys(self._models, nanos),
            buys_nanos=nanos,
            assumed=ASSUMED,
            session=session,
            nonce=sealing.new_token(),
        )

    def _choices(self, offer: Offer, typed: Typed) -> list[Choice]:
        found = []
        for nanos in offer.packages_nanos:
            usd = format_usd(nanos)
            lines = orders.quote_typed(self._desk, usd)
            total = lines.total_nanos if isinstance(lines, orders.Quote) else nanos
            found.append(
                Choice(
                    usd,
                    usd.removesuffix(".00"),
                    format_usd(total) if total != nanos else "",
                    usd == typed.preset,
                )
            )
        return found

    def _closed(self) -> Response | None:
        """A page instead of checkout, where the operator has not said what a buyer must know."""
        brand = self._front.settings.brand
        missing = [f"brand.{name}" for name in FACTS if not getattr(brand, name).strip()]
        if not missing:
            return None
        return self._front.pages.page(
            "message.html",
            status=503,
            headers=LATER,
            title="Nothing is sold here yet",
            sentences=[
                "The operator has not said everything yet that a buyer must know before paying.",
                f"For the operator: set {', '.join(missing)} in the configuration.",
            ],
            action=("/login", "To the log-in"),
        )


def _form(fields: dict[str, str], offer: Offer) -> Form:
    """The form as it was sent. A preset that is no package counts as a typed amount; what is
    missing is as the form comes."""
    amount = fields.get("amount", "").strip()[:40]
    preset = fields.get("preset_amount", "").strip()[:40] or format_usd(offer.preset_nanos)
    if not amount and preset not in [format_usd(nanos) for nanos in offer.packages_nanos]:
        amount = preset
    target = "existing" if fields.get("target") == "existing" else "new"
    return Form(
        amount=amount,
        preset=preset,
        provider=fields.get("provider") or (offer.providers[0][0] if offer.providers else ""),
        target=target,
        # Line breaks come with keys from a mail.
        key="".join(fields.get("key", "").split())[:100] if target == "existing" else "",
        email=fields.get("email", "").strip()[:254],
        nonce=fields.get("nonce", "")[:64],
    )


def routes(front: Front) -> list[Route]:
    """`/checkout` and its price."""
    views = Checkout(front)
    return [
        Route("/checkout", views.form, methods=["GET"]),
        Route("/checkout", views.send, methods=["POST"]),
        Route("/checkout/price.json", views.price),
    ]
