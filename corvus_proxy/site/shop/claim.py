"""The link of a delivery mail: looking at it uses nothing up, pressing the button does.

Programs that read mail follow links; none of them presses a button.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.service import orders
from corvus_proxy.service.orders import Problem
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import Front
from corvus_proxy.site.shop import snippets
from corvus_proxy.site.shop.order import given

CLAIMS_MAX, CLAIMS_S = 20, 600
"""Links that one address may try."""
_GONE = {
    "used": "This link has been used: the key was shown{at}. If that was not you, get a new secret"
    " with the recovery code.",
    "expired": "This link is too old. Open the order's page in the browser that ordered and have"
    " the mail sent again.",
    "gone": "The copy of this key has been destroyed. Recovery leads back to its balance.",
}


class Claim:
    """Views of `/claim/{token}`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._slugs = snippets.slugs(front.settings)
        self._tries = forms.Tries(CLAIMS_MAX, CLAIMS_S)

    async def form(self, request: Request) -> Response:
        """`GET /claim/{token}`: which order it is, and a button."""
        found = await orders.claim_view(self._front.desk, request.path_params["token"])
        if found is None:
            raise HTTPException(404)
        at = found.used_at.strftime(" on %Y-%m-%d at %H:%M UTC") if found.used_at else ""
        return self._front.pages.page(
            "shop/claim.html",
            status=200 if found.state == "open" else 410,
            headers=render.TOKEN_PAGE,
            order_id=found.order_id,
            problem=_GONE.get(found.state, "").format(at=at),
            open=found.state == "open",
        )

    async def claim(self, request: Request) -> Response:
        """`POST /claim/{token}`: shows the key, once."""
        if not self._front.is_own(request):
            raise HTTPException(403)
        wait_s = self._tries.take(self._front.address(request))
        if wait_s:
            return self._problem(429, f"Too many tries. Try again in {wait_s} seconds.")
        found = await orders.claim(self._front.desk, request.path_params["token"])
        if isinstance(found, Problem):
            return self._problem(410, found.sentence)
        api = self._front.settings.brand.api_url
        return self._front.pages.page(
            "shop/claimed.html",
            headers=render.TOKEN_PAGE,
            claimed=found,
            **given(api, self._slugs, found.secret),
        )

    def _problem(self, status: int, sentence: str) -> Response:
        return self._front.pages.page(
            "shop/claim.html",
            status=status,
            headers=render.TOKEN_PAGE,
            order_id="",
            problem=sentence,
            open=False,
        )


def routes(front: Front) -> list[Route]:
    """`/claim/{token}`."""
    views = Claim(front)
    return [
        Route("/claim/{token}", views.form, methods=["GET"]),
        Route("/claim/{token}", views.claim, methods=["POST"]),
    ]
