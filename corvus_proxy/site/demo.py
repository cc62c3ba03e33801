"""The pages of the simulated payment services, under the site's own origin.

So buying works in a demonstration through the two public ports alone. Without `[demo]` there are no
such pages.
"""

import re
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.settings import Settings
from corvus_proxy.site import forms, render
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller

TIMEOUT_S = 10.0
PASSED = ("content-type", "content-security-policy", "location")
"""Headers of the page that a browser gets; the others are the site's."""
_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")


class DemoPages:
    """Hands requests on to the simulated services and their answers back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._caller: Caller | None = None

    async def page(self, request: Request) -> Response:
        """`GET /demo/pay/{name}`, `POST /demo/pay/{name}/{act}`; the same of `/demo/pull-payments`,
        where refunds are claimed."""
        names = [request.path_params["name"], request.path_params.get("act", "pay")]
        if not all(_NAME.fullmatch(name) for name in names):
            return _words(404, "There is no such page.")
        if self._caller is None:
            self._caller = Caller(timeout_s=TIMEOUT_S)
        kind = request.url.path.split("/")[2]
        path = "/".join(names if "act" in request.path_params else names[:1])
        try:
            fields = await forms.read(request) if request.method == "POST" else {}
            body = urlencode(fields).encode() if request.method == "POST" else None
            answer = await self._caller.fetch(
                request.method, f"{self._url}/{kind}/{path}", {}, content=body
            )
        except forms.FormTooLarge:
            return _words(413, "This is far too long for a form.")
        except UpstreamBroke:
            return _words(503, "The simulated payment services do not answer.")
        headers = {name: answer.headers[name] for name in PASSED if name in answer.headers}
        return Response(answer.body, answer.status, {**render.PRIVATE, **headers})


def _words(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status, render.PRIVATE, media_type="text/plain")


def routes(settings: Settings) -> list[Route]:
    """All of them, in a demonstration; else none."""
    if not (settings.demo.enabled and settings.demo.payments_url):
        return []
    pages = DemoPages(settings.demo.payments_url.rstrip("/"))
    return [
        route
        for kind in ("pay", "pull-payments")
        for route in (
            Route(f"/demo/{kind}/{{name}}", pages.page, methods=["GET"]),
            Route(f"/demo/{kind}/{{name}}/{{act}}", pages.page, methods=["POST"]),
        )
    ]
