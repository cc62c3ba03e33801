"""The overview: what there is, what it goes for, and how to use it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.service import account, alarms, orders, recovery
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import charts, render
from corvus_proxy.site.account.live import Live
from corvus_proxy.site.front import LATER, Front


class Overview:
    """Views of `/dashboard`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard`."""
        stores = self._front.stores
        view = await account.dashboard(stores, session)
        listing = view.listing
        drawn = {}
        if listing is not None:
            drawn = {
                "models": charts.shares(listing.models),
                "days": charts.spend_by_day(listing.days, listing.day_models),
                "anatomy": charts.anatomy(listing.anatomy),
            }
        return await self._front.account_page(
            session,
            "account/overview.html",
            "/dashboard",
            status=200 if listing else 503,
            calls=self._front.calls,
            has_requests="/dashboard/requests" in self._front.built,
            charts=drawn,
            orders=await self._orders(session) if listing else [],
            alarms=await alarms.list_of(stores, session.wallet) if listing and session.main else [],
            recoveries=await recovery.waiting(stores, session.wallet) if listing else [],
            **view._asdict(),
        )

    async def _orders(self, session: Session) -> list[orders.OpenOrder]:
        if not session.main:
            return []
        return await orders.open_of(self._front.desk, session.wallet)

    async def order(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/orders`: to the page of an open order. Its address is a secret, so no
        page but its own holds it."""
        fields = await self._front.fields(request)
        token = await orders.token_of(self._front.desk, session.wallet, fields.get("order_id", ""))
        return render.redirect("/dashboard" if token is None else f"/orders/{token}")

    async def twin(self, request: Request, session: Session) -> Response:
        """`GET /dashboard.json`; `?part=figures` leaves out what the books would be asked for."""
        who = {"wallet": session.wallet, "key_id": session.key_id}
        if request.query_params.get("part") == "figures":
            figures = await account.overview(self._front.stores, session.wallet)
            return render.json({**who, **render.twin(figures)})
        view = render.twin(await account.dashboard(self._front.stores, session))
        return render.json(
            {
                **who,
                **view.pop("figures"),
                **view,
                "base_urls": {call.title: call.base_url for call in self._front.calls},
            },
            status=200 if view["listing"] else 503,
            headers=render.PRIVATE if view["listing"] else LATER,
        )


def routes(front: Front) -> list[Route]:
    """`/dashboard`, its twin and its live figures."""
    views, live = Overview(front), Live(front)
    front.built.add("/dashboard")
    return [
        Route("/dashboard", front.guarded(views.page)),
        Route("/dashboard.json", front.guarded(views.twin)),
        Route("/dashboard/orders", front.guarded(views.order, main=True), methods=["POST"]),
        Route("/dashboard/events", front.guarded(live.events)),
    ]
