"""`POST /webhooks/{provider}` on the site port: the payment services' messages.

The body is read whole and raw, for the signature is over its bytes; nothing is done before it fits.
"""

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from corvus_proxy.service import orders
from corvus_proxy.service.orders import Desk

BODY_BYTES_MAX = 256 * 1024
WORDS = {200: "ok", 400: "not signed", 404: "no such service", 413: "too large", 503: "later"}


def routes(desk: Desk) -> list[Route]:
    """The endpoint, for the site's application."""

    async def webhook(request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return _answer(413)
        except ClientDisconnect:
            return _answer(400)
        return _answer(
            await orders.webhook(
                desk, request.path_params["provider"], dict(request.headers), bytes(body)
            )
        )

    return [Route("/webhooks/{provider}", webhook, methods=["POST"])]


def _answer(status: int) -> Response:
    return PlainTextResponse(WORDS[status] + "\n", status, {"cache-control": "no-store"})
