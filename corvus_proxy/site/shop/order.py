"""An order's page: what is due while it waits, the key when it is paid, what happened since.

Rule 1: the address is the secret. A wrong one is no such page, like every other address.
Rule 2: the key and its recovery code are shown to the browser that ordered alone.
Rule 3: everything works without a script; with one, the page asks its twin and fetches itself anew
when that says so.
"""

import functools
import hashlib
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.service import orders, sessions
from corvus_proxy.service.orders import OrderView
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import Front, View
from corvus_proxy.site.sessions import device
from corvus_proxy.site.shop import scan, snippets, words
from corvus_proxy.site.shop.browser import Browsers
from corvus_proxy.site.shop.trial import Trial, run

TRIALS_MAX, TRIALS_S = 5, 60
"""Trial calls of one order."""
CHECKS_MAX, CHECKS_S = 10, 60
"""Questions to the payment service that one order's visitors may ask by hand."""


class Orders:
    """Views of `/orders/{token}`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._desk = front.desk
        self._browsers = Browsers(https=front.site_url.startswith("https:"))
        self._slugs = snippets.slugs(front.settings)
        self._trials = forms.Tries(TRIALS_MAX, TRIALS_S)
        self._checks = forms.Tries(CHECKS_MAX, CHECKS_S)

    async def page(self, request: Request) -> Response:
        """`GET /orders/{token}`."""
        return self._page(request, await self._view(request))

    async def twin(self, request: Request) -> Response:
        """`GET /orders/{token}.json`: how it stands, without anything that opens something."""
        view = await self._view(request)
        found = {
            name: getattr(view, name)
            for name in (
                "order_id", "status", "exception", "fulfilment", "refund", "disputed",
                "amount_nanos", "fee_nanos", "tax_nanos", "total_nanos", "credited_nanos",
                "asset", "asset_amount", "due", "expires_at", "checked_at", "check_problem",
            )
        }  # fmt: skip
        seconds = round((view.expires_at - clock.utc_now()).total_seconds())
        told = words.tell(view)
        return render.json(
            {
                **render.twin(found),
                "title": told.title,
                "seconds_left": max(0, seconds) if view.status == "awaiting_payment" else None,
                "stand": _stand(view),
                "settled": view.status == "paid_confirmed" and view.mail_state in _MAIL_ENDS,
            },
            headers=render.TOKEN_PAGE,
        )

    async def check(self, request: Request) -> Response:
        """`POST /orders/{token}/check`: asks the payment service now."""
        if self._checks.take(request.path_params["token"]):
            view = await self._view(request, check=False)
            return self._page(
                request, view, status=429, problem="It was asked a moment ago. Wait a minute."
            )
        await self._view(request)
        return self._back(request)

    async def address(self, request: Request) -> Response:
        """`POST /orders/{token}/address`: another address for the delivery mail."""
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            fields = {}
        email = fields.get("email", "").strip()[:254]
        token, browser = request.path_params["token"], self._browsers.read(request)
        problem = await orders.correct_address(self._desk, token, browser, email)
        if problem is None:
            return self._back(request, "mail")
        view = await self._view(request, check=False)
        return self._page(request, view, status=422, problem=problem.sentence, email=email)

    async def resend(self, request: Request) -> Response:
        """`POST /orders/{token}/resend`: the delivery mail once more."""
        token, browser = request.path_params["token"], self._browsers.read(request)
        problem = await orders.resend(self._desk, token, browser)
        if problem is None:
            return self._back(request, "mail")
        view = await self._view(request, check=False)
        return self._page(request, view, status=429, problem=problem.sentence)

    async def try_key(self, request: Request) -> Response:
        """`POST /orders/{token}/test`: one tiny call with the new key."""
        view = await self._view(request, check=False)
        if not view.secret:
            return self._back(request)
        wait_s = self._trials.take(view.order_id)
        if wait_s:
            found = Trial(
                False, "", f"That was often enough for now. Try again in {wait_s} s.", "", ""
            )
            return self._page(request, view, status=429, tested=found)
        api = self._front.settings.brand.api_url
        return self._page(request, view, tested=await run(api, self._slugs, view.secret))

    async def dashboard(self, request: Request) -> Response:
        """`POST /orders/{token}/dashboard`: the key's dashboard, logged in, for its buyer."""
        view = await self._view(request, check=False)
        machine = device(request)
        ticket = None
        if view.secret:
            ticket = await sessions.by_key(self._front.stores, view.secret, device=machine)
        if ticket is None:
            return render.redirect("/login")
        answer = render.redirect("/dashboard")
        self._front.sessions.start(answer, ticket)
        return answer

    async def code(self, request: Request) -> Response:
        """`GET /orders/{token}/code`: the recovery code on a page to be printed."""
        view = await self._view(request, check=False)
        if not view.recovery:
            raise HTTPException(404)
        return self._front.pages.page(
            "shop/code.html",
            headers=render.TOKEN_PAGE,
            key_id=view.key_id,
            recovery=view.recovery,
            back=f"/orders/{request.path_params['token']}",
        )

    async def _view(self, request: Request, *, check: bool = True) -> OrderView:
        """The order. Raises HTTPException where there is none."""
        token, browser = request.path_params["token"], self._browsers.read(request)
        found = await orders.view(self._desk, token, browser, check=check)
        if found is None:
            raise HTTPException(404)
        return found

    def own(self, view: View) -> View:
        """A view for forms of our own pages alone."""

        @functools.wraps(view)
        async def opened(request: Request) -> Response:
            if not self._front.is_own(request):
                return self._front.no_entry("This form was sent from another site.")
            return await view(request)

        return opened

    def _back(self, request: Request, place: str = "") -> Response:
        """To the order's page."""
        anchor = f"#{place}" if place else ""
        return render.redirect(f"/orders/{request.path_params['token']}{anchor}")

    def _page(
        self,
        request: Request,
        view: OrderView,
        *,
        status: int = 200,
        problem: str = "",
        email: str | None = None,
        tested: Trial | None = None,
    ) -> Response:
        uri = ""
        if view.destination and view.status in ("awaiting_payment", "payment_seen"):
            uri = scan.payment_uri(view.asset, view.destination, view.due or view.asset_amount)
        api = self._front.settings.brand.api_url
        return self._front.pages.page(
            "shop/order.html",
            status=status,
            headers=render.TOKEN_PAGE,
            view=view,
            told=words.tell(view),
            steps=words.timeline(view),
            mail_words=words.MAILS.get(view.mail_state, ""),
            refund_words=words.REFUNDS,
            path=f"/orders/{request.path_params['token']}",
            stand=_stand(view),
            left=_left(view),
            uri=uri,
            picture=scan.picture(uri) if uri else "",
            problem=problem,
            email=view.email if email is None else email,
            tested=tested,
            **given(api, self._slugs, view.secret),
        )


_MAIL_ENDS = ("", "accepted", "bounced", "off")


def given(api: str, slugs: snippets.Slugs, key: str) -> dict[str, Any]:
    """What a page that hands out a key shows of it beside the key itself."""
    return {
        "api": api,
        "api_v1": f"{api}/v1",
        "snippets": snippets.snippets(api, slugs, key) if key else [],
    }


def _stand(view: OrderView) -> str:
    """Changes when the page would look different for another reason than time."""
    seen = [
        view.status, view.exception, view.fulfilment, view.refund, view.disputed, view.due,
        view.credited_nanos, view.refunded_nanos, view.mail_state, view.check_problem,
        bool(view.secret), [(one.state, one.confirmations, one.refused) for one in view.payments],
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()[:16]


def _left(view: OrderView) -> str:
    """How long the quote stands, in words; empty where that does not matter any more."""
    waits = view.status == "awaiting_payment" or (
        (view.status, view.exception) == ("payment_seen", "underpaid")
    )
    seconds = round((view.expires_at - clock.utc_now()).total_seconds())
    if not waits or seconds <= 0:
        return ""
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds} s"


def routes(front: Front) -> list[Route]:
    """`/orders/{token}` and what can be done there."""
    views = Orders(front)
    token = "/orders/{token}"  # noqa: S105
    return [
        Route(f"{token}.json", views.twin),
        Route(token, views.page),
        Route(f"{token}/check", views.own(views.check), methods=["POST"]),
        Route(f"{token}/address", views.own(views.address), methods=["POST"]),
        Route(f"{token}/resend", views.own(views.resend), methods=["POST"]),
        Route(f"{token}/test", views.own(views.try_key), methods=["POST"]),
        Route(f"{token}/dashboard", views.own(views.dashboard), methods=["POST"]),
        Route(f"{token}/code", views.code),
    ]
