"""The pages: today, orders, keys, pools, refunds, audit. They only read."""

import asyncio
import platform
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import __version__
from corvus_proxy.books.operating.audit import Chosen
from corvus_proxy.console.front import Front
from corvus_proxy.service import keys, ledger
from corvus_proxy.service import orders as selling
from corvus_proxy.service.operating import deeds, finding, parcels, pools, refunds, stopping, today
from corvus_proxy.service.operating.operators import Operator

ROWS = 100


class Views:
    """All of them."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Their routes."""
        guarded = self._front.guarded
        return [
            Route("/", guarded(self.today)),
            Route("/orders", guarded(self.orders)),
            Route("/orders/{order_id}", guarded(self.order)),
            Route("/orders/{order_id}/doctor", guarded(self.doctor), methods=["POST"]),
            Route("/keys", guarded(self.keys)),
            Route("/keys/{key_id}", guarded(self.key)),
            Route("/pools", guarded(self.pools)),
            Route("/pools/test", guarded(self.test), methods=["POST"]),
            Route("/refunds", guarded(self.refunds)),
            Route("/audit", guarded(self.audit)),
        ]

    async def today(self, request: Request, operator: Operator) -> Response:
        """`GET /`."""
        found = await today.read(self._front.stores, self._front.settings)
        paused = next((row for row in found.stopped if row.kind == stopping.SALES), None)
        versions = [f"corvus {__version__}", f"python {platform.python_version()}"]
        return self._page(
            "today.html", operator, "/", found=found, paused=paused, versions=versions
        )

    async def orders(self, request: Request, operator: Operator) -> Response:
        """`GET /orders`: those that somebody should look at, then the newest."""
        status = request.query_params.get("status", "")
        exceptions, newest = await asyncio.gather(
            selling.listing(self._front.desk, exceptions_only=True, limit=ROWS),
            selling.listing(self._front.desk, status=status, limit=ROWS),
        )
        return self._page(
            "orders.html", operator, "/orders", exceptions=exceptions, newest=newest, chosen=status
        )

    async def order(self, request: Request, operator: Operator) -> Response:
        """`GET /orders/{order_id}`."""
        return await self._order(request, operator, None)

    async def doctor(self, request: Request, operator: Operator) -> Response:
        """`POST /orders/{order_id}/doctor`: asks the payment service, credits what has come, and
        names the link that is broken."""
        order_id = request.path_params["order_id"]
        try:
            return await self._order(
                request, operator, await parcels.doctor(
                    self._front.desk, order_id, actor=operator.actor
                )
            )  # fmt: skip
        except LookupError as error:
            return self._none(operator, str(error), "/orders")

    async def _order(self, request: Request, operator: Operator, diagnosis: Any) -> Response:
        order_id = request.path_params["order_id"]
        try:
            found = await selling.file(self._front.desk, order_id)
        except LookupError as error:
            return self._none(operator, str(error), "/orders")
        most = await selling.refundable(self._front.desk, order_id)
        return self._page(
            "order.html",
            operator,
            "/orders",
            order=found.order,
            payments=found.payments,
            refunds=found.refunds,
            steps=found.steps,
            most=most,
            diagnosis=diagnosis,
        )

    async def keys(self, request: Request, operator: Operator) -> Response:
        """`GET /keys?q=`."""
        asked, problem, rows = request.query_params.get("q", "").strip()[:200], "", []
        if asked:
            try:
                rows = await finding.find(self._front.stores, asked)
            except ValueError as error:
                asked, problem = "", str(error)
        return self._page(
            "keys.html", operator, "/keys", asked=asked, problem=problem, rows=rows,
            words=keys.STATUS,
        )  # fmt: skip

    async def key(self, request: Request, operator: Operator) -> Response:
        """`GET /keys/{key_id}`."""
        key_id, stores = request.path_params["key_id"], self._front.stores
        try:
            found = await keys.show(stores, key_id)
            told = await ledger.explain(stores, key_id)
        except (LookupError, keys.ServiceRefused) as error:
            return self._none(operator, str(error), "/keys")
        rows = await finding.find(stores, key_id)
        done = await deeds.tail(stores, Chosen(subject=key_id))
        return self._page(
            "key.html", operator, "/keys", key=found, told=told, masked=rows[0].masked, done=done
        )

    async def pools(self, request: Request, operator: Operator) -> Response:
        """`GET /pools`."""
        return await self._pools(operator, [])

    async def test(self, request: Request, operator: Operator) -> Response:
        """`POST /pools/test`: asks every upstream whether it accepts its credentials; free."""
        return await self._pools(operator, await pools.ask(self._front.settings, ""))

    async def _pools(self, operator: Operator, tested: Any) -> Response:
        rows = await pools.listing(self._front.stores, self._front.settings)
        return self._page("pools.html", operator, "/pools", rows=rows, tested=tested)

    async def refunds(self, request: Request, operator: Operator) -> Response:
        """`GET /refunds`: what waits for a second operator first."""
        rows = await refunds.listing(self._front.desk, limit=ROWS)
        return self._page(
            "refunds.html",
            operator,
            "/refunds",
            waiting=[row for row in rows if row.state == "waiting"],
            rest=[row for row in rows if row.state != "waiting"],
        )

    async def audit(self, request: Request, operator: Operator) -> Response:
        """`GET /audit?subject=&who=`: the latest deeds, the newest first."""
        query = request.query_params
        chosen = Chosen(
            query.get("who", "").strip()[:80], "", query.get("subject", "").strip()[:80]
        )
        rows = await deeds.tail(self._front.stores, chosen, limit=ROWS)
        return self._page(
            "audit.html", operator, "/audit", rows=list(reversed(rows)), chosen=chosen
        )

    def _page(self, name: str, operator: Operator, at: str, **view: Any) -> Response:
        return self._front.pages.page(name, operator=operator.name, at=at, **view)

    def _none(self, operator: Operator, sentence: str, back: str) -> Response:
        return self._front.pages.message(
            "Not here", sentence, status=404, operator=operator.name, back=back
        )
