"""Buying by a program, on the site port: `POST /v1/orders` and `GET /v1/orders/{token}`.

With a key the order tops that key up; without one it is for a new key. Whoever ordered is known by
`buyer_token`, which the first answer has: with it in `x-corvus-buyer-token` the order shows its
key.
Every answer is JSON, also a refusal: `{"error": {"code", "message", "docs_url", "param"}}`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import secret
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service import orders
from corvus_proxy.service.orders import Desk, Form, OrderView, Placed, Problem
from corvus_proxy.service.statements.exported import told

BODY_BYTES_MAX = 16 * 1024
MEMBERS = ("amount", "provider", "email")
IDEMPOTENCY_MIN = 16
IDEMPOTENCY_MAX = 255
RETRY_S = 5
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
CODES: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The body, a member of it or a header is wrong; `param` names it."),
    "invalid_api_key": (401, "The key in `Authorization` is none of ours, or cannot be topped up."),
    "not_found": (404, "There is no such order."),
    "request_too_large": (413, "The body is larger than an order can be."),
    "too_many_orders": (429, "Too many orders from one address; `Retry-After` tells when."),
    "sales_paused": (503, "Nothing is sold at the moment; the message says why."),
    "payment_service_unavailable": (503, "The payment service does not answer; try another."),
    "books_unavailable": (503, "The database does not answer; nothing was ordered."),
}
"""Every refusal: its status, and what it means."""

Limit = Callable[[Request], int]
"""Takes one try of whoever asks; 0, or the seconds to wait."""
View = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):
    """A request that ends with an error."""

    def __init__(self, code: str, message: str, param: str = "", retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param
        self.retry_after_s = retry_after_s


class _Asked(NamedTuple):
    """A request for an order, read."""

    form: Form
    by_key: bool


class Machines:
    """The endpoints of programs."""

    def __init__(self, desk: Desk, limit: Limit) -> None:
        self._desk = desk
        self._limit = limit

    async def place(self, request: Request) -> Response:
        """`POST /v1/orders`."""
        if wait_s := self._limit(request):
            raise _Refused("too_many_orders", "Too many orders; wait a little.", "", wait_s)
        asked = await _read(request, self._desk)
        found = await orders.place(self._desk, asked.form, session=None, browser="")
        if isinstance(found, Problem):
            raise _problem(found, by_key=asked.by_key)
        view = await orders.view(self._desk, found.token, found.browser, check=False)
        if view is None:
            raise _Refused("not_found", "There is no such order.")
        return _answer({**self._shown(view, found.token), **_tokens(found)}, 201)

    async def show(self, request: Request) -> Response:
        """`GET /v1/orders/{token}`."""
        token = request.path_params["token"]
        buyer = request.headers.get("x-corvus-buyer-token", "")[:64]
        view = await orders.view(self._desk, token, buyer)
        if view is None:
            raise _Refused("not_found", "There is no such order.")
        return _answer(self._shown(view, token))

    def _shown(self, view: OrderView, token: str) -> dict[str, Any]:
        found: dict[str, Any] = told(view)
        found["order_url"] = f"{self._desk.settings.brand.site_url}/orders/{token}"
        return found


def routes(desk: Desk, limit: Limit) -> list[Route]:
    """The endpoints, for the site's application."""
    machines, site_url = Machines(desk, limit), desk.settings.brand.site_url
    return [
        Route("/v1/orders", _guarded(machines.place, site_url), methods=["POST"]),
        Route("/v1/orders/{token}", _guarded(machines.show, site_url), methods=["GET"]),
    ]


def error_object(code: str, message: str, site_url: str, param: str = "") -> dict[str, Any]:
    """A refusal of the site as an object, ready for JSON: what it is, and where that is
    explained."""
    error = {"code": code, "message": message, "docs_url": f"{site_url}/docs/errors/{code}"}
    if param:
        error["param"] = param
    return {"error": error}


def _guarded(view: View, site_url: str) -> View:
    async def opened(request: Request) -> Response:
        try:
            return await view(request)
        except _Refused as refused:
            return _error(refused, site_url)
        except BooksUnavailable:
            message = "The database does not answer at the moment; nothing was ordered."
            return _error(_Refused("books_unavailable", message, "", RETRY_S), site_url)

    return opened


async def _read(request: Request, desk: Desk) -> _Asked:
    """The order that a request asks for. Raises _Refused."""
    try:
        found = msgspec.json.decode(await _body(request) or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refused("invalid_request", "The body is not valid JSON.") from None
    if not isinstance(found, dict):
        raise _Refused("invalid_request", "The body must be a JSON object.")
    for name, value in found.items():
        if name not in MEMBERS:
            known = ", ".join(MEMBERS)
            raise _Refused("invalid_request", f"There is no member {name[:50]!r}; {known}.", name)
        if not isinstance(value, str):
            raise _Refused("invalid_request", f"{name} must be a string.", name)
    key = _key(request)
    if key and secret.parse(key) is None:
        raise _Refused("invalid_api_key", "The key in Authorization is none of ours.")
    form = Form(
        found.get("amount", ""),
        "",
        found.get("provider") or next(iter(desk.providers), ""),
        "existing" if key else "new",
        key,
        found.get("email", ""),
        _nonce(request, key),
    )
    return _Asked(form, bool(key))


def _nonce(request: Request, key: str) -> str:
    """What makes the same order twice one order: the caller's own key, under its secret if it has
    one. A guessable one without would give an order to whoever guesses it."""
    text = request.headers.get("idempotency-key", "")
    if not text:
        return ""
    least = 1 if key else IDEMPOTENCY_MIN
    if not (least <= len(text) <= IDEMPOTENCY_MAX and text.isprintable()):
        sentence = f"Idempotency-Key must be random, of {IDEMPOTENCY_MIN} characters and more."
        raise _Refused("invalid_request", sentence, "Idempotency-Key")
    return f"api {key} {text}"


def _key(request: Request) -> str:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if not kind:
        return ""
    if kind.lower() != "bearer" or not text.strip():
        raise _Refused("invalid_api_key", "Authorization takes a key as Bearer.")
    return text.strip()


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise _Refused("request_too_large", "The body is larger than an order can be.")
    except ClientDisconnect:
        return b""
    return bytes(body)


def _problem(problem: Problem, *, by_key: bool) -> _Refused:
    """What the desk has said, as an error."""
    if problem.field == "":
        return _Refused("sales_paused", problem.sentence, "", 60)
    if problem.field == "key" and by_key:
        return _Refused("invalid_api_key", problem.sentence)
    if problem.field == "provider" and "does not answer" in problem.sentence:
        return _Refused("payment_service_unavailable", problem.sentence, "provider", RETRY_S)
    return _Refused("invalid_request", problem.sentence, problem.field)


def _tokens(placed: Placed) -> dict[str, str]:
    return {"token": placed.token, "buyer_token": placed.browser}


def _error(refused: _Refused, site_url: str) -> Response:
    status = CODES[refused.code][0]
    response = _answer(error_object(refused.code, refused.message, site_url, refused.param), status)
    if refused.retry_after_s:
        response.headers["retry-after"] = str(refused.retry_after_s)
    return response


def _answer(view: object, status: int = 200) -> Response:
    body = msgspec.json.encode(view)
    return Response(body, status, HEADERS, media_type="application/json")
