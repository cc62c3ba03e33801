"""Recovery's pages: three doors, a waiting room, and the owner's way to shut it.

Rule 1: a door that stays shut says the same to everybody, and not too often.
Rule 2: looking uses nothing up; only a button does.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service import recovery
from corvus_proxy.service.owner import Recovered
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import Front
from corvus_proxy.site.shop import snippets
from corvus_proxy.site.shop.order import given

TRIES_MAX, TRIES_S = 6, 600
SHUT = "This did not open anything. Look at it again; after a few tries this page asks you to wait."
WRITTEN = (
    "If this address belongs to a key, a mail with a link is on its way to it. Nobody is told here"
    " whether it does."
)


class Recover:
    """Views of `/recover`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._stores = front.stores
        self._slugs = snippets.slugs(front.settings)
        self._tries = forms.Tries(TRIES_MAX, TRIES_S)

    async def doors(self, request: Request) -> Response:
        """`GET /recover`."""
        return self._doors()

    async def open(self, request: Request) -> Response:
        """`POST /recover`: one of the three doors, by the form's `door`."""
        if not self._front.is_own(request):
            return self._doors(403, "This form was sent from another site.")
        address = self._front.address(request)
        wait_s = self._tries.take(address)
        if wait_s:
            return self._doors(
                429, f"Too many tries. Try again in {wait_s} seconds.", wait_s=wait_s
            )
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            return self._doors(413, "This is far too long.")
        door = fields.get("door", "")
        try:
            if door == "payment":
                return await self._by_payment(fields)
            if door == "mail":
                await recovery.by_mail(
                    self._stores, self._front.settings, fields.get("email", "")[:254]
                )
                return self._doors(door="mail", said=WRITTEN)
            found = await recovery.by_code(self._stores, fields.get("code", "")[:200])
        except BooksUnavailable:
            self._tries.give_back(address)
            raise
        if found is None:
            return self._doors(401, SHUT, door="code")
        self._tries.give_back(address)
        return self._given(found)

    async def _by_payment(self, fields: dict[str, str]) -> Response:
        token = await recovery.by_payment(
            self._stores,
            self._front.settings,
            fields.get("order_id", "")[:64],
            fields.get("reference", "")[:200],
        )
        if token is None:
            return self._doors(401, SHUT, door="payment")
        return render.redirect(f"/recover/{token}")

    async def pending(self, request: Request) -> Response:
        """`GET /recover/{token}`: the waiting room, or the open door."""
        found = await recovery.pending(self._stores, request.path_params["token"])
        if found is None:
            raise HTTPException(404)
        return self._front.pages.page(
            "shop/recovery.html", headers=render.TOKEN_PAGE, pending=found, stopping=False
        )

    async def finish(self, request: Request) -> Response:
        """`POST /recover/{token}`: the new secret."""
        if not self._front.is_own(request):
            return self._front.no_entry("This form was sent from another site.")
        found = await recovery.finish(self._stores, request.path_params["token"])
        if found is None:
            return await self.pending(request)
        return self._given(found)

    async def stopping(self, request: Request) -> Response:
        """`GET /recover/stop/{token}`: what the owner may stop."""
        found = await recovery.stop_pending(self._stores, request.path_params["token"])
        if found is None:
            raise HTTPException(404)
        return self._front.pages.page(
            "shop/recovery.html", headers=render.TOKEN_PAGE, pending=found, stopping=True
        )

    async def stop(self, request: Request) -> Response:
        """`POST /recover/stop/{token}`."""
        if not self._front.is_own(request):
            return self._front.no_entry("This form was sent from another site.")
        await recovery.stop_by_link(self._stores, request.path_params["token"])
        return await self.stopping(request)

    async def stop_all(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/recovery/stop`: by who is logged in."""
        await recovery.stop(self._stores, session.wallet)
        return render.redirect("/dashboard")

    def _given(self, found: Recovered) -> Response:
        api = self._front.settings.brand.api_url
        return self._front.pages.page(
            "shop/recovered.html",
            headers=render.TOKEN_PAGE,
            found=found,
            **given(api, self._slugs, found.secret),
        )

    def _doors(
        self,
        status: int = 200,
        problem: str = "",
        *,
        door: str = "",
        said: str = "",
        wait_s: int = 0,
    ) -> Response:
        headers = {**render.PRIVATE}
        if wait_s:
            headers["retry-after"] = str(wait_s)
        settings = self._front.settings
        return self._front.pages.page(
            "shop/recover.html",
            status=status,
            headers=headers,
            problem=problem,
            door=door,
            said=said,
            hours=settings.shop.recovery_wait_h,
            mails=bool(settings.mail.host),
        )


def routes(front: Front) -> list[Route]:
    """`/recover` and what lies behind its doors."""
    views = Recover(front)
    return [
        Route("/recover", views.doors, methods=["GET"]),
        Route("/recover", views.open, methods=["POST"]),
        Route(
            "/dashboard/recovery/stop", front.guarded(views.stop_all, main=True), methods=["POST"]
        ),
        Route("/recover/stop/{token}", views.stopping, methods=["GET"]),
        Route("/recover/stop/{token}", views.stop, methods=["POST"]),
        Route("/recover/{token}", views.pending, methods=["GET"]),
        Route("/recover/{token}", views.finish, methods=["POST"]),
    ]
