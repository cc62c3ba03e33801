"""The doors: log-in by the key or a read-only token; log-out."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import metrics
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service import sessions
from corvus_proxy.service.sessions import TOKEN_PREFIX, Ticket
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import Front
from corvus_proxy.site.sessions import device
from corvus_proxy.till.client import TillUnavailable


class LogIn:
    """Views of the log-in."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sessions = front.sessions

    async def form(self, request: Request) -> Response:
        """`GET /login`."""
        if self._sessions.ticket(request) is None:
            return self._page()
        if await self._sessions.read(request) is not None:
            return render.redirect("/dashboard")
        answer = self._page(200, "Your log-in has ended. Log in again.")
        self._sessions.end(answer)
        return answer

    async def log_in(self, request: Request) -> Response:
        """`POST /login`: the key, or a read-only token, opens the dashboard."""
        if not self._front.is_own(request):
            return self._page(
                403, "This form was sent from another site. Enter the key here, on this page."
            )
        address = self._front.address(request)
        wait_s = self._front.tries.take(address)
        if wait_s:
            metrics.LOGIN_FAILURES.labels("throttled").inc()
            return self._page(
                429,
                f"Too many wrong keys from your address. Try again in {wait_s} seconds.",
                retry_after_s=wait_s,
            )
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            return self._page(413, "This is far too long for a key.")
        text = "".join(fields.get("key", "").split())  # line breaks come with keys from a mail
        try:
            ticket = await self._ticket(text, device(request))
        except (TillUnavailable, BooksUnavailable):
            self._front.tries.give_back(address)
            raise
        if isinstance(ticket, str):
            metrics.LOGIN_FAILURES.labels("token" if text.startswith(TOKEN_PREFIX) else "key").inc()
            return self._page(401, ticket)
        self._front.tries.give_back(address)
        answer = render.redirect("/dashboard")
        self._sessions.start(answer, ticket)
        return answer

    async def _ticket(self, text: str, machine: str) -> Ticket | str:
        """What a text opens, or why it opens nothing."""
        if text.startswith(TOKEN_PREFIX):
            ticket = await sessions.by_token(self._front.stores, text, device=machine)
            return ticket or "This read-only token is unknown, ended or revoked."
        problem = forms.key_problem(text)
        if problem:
            return problem
        ticket = await sessions.by_key(self._front.stores, text, device=machine)
        return (
            ticket
            or "Nobody here knows this key. It may belong to another service, or be replaced."
        )

    async def log_out(self, request: Request) -> Response:
        """`POST /logout`: this browser, and the log-in itself where the books answer."""
        answer = render.redirect("/login")
        if self._front.is_own(request):
            ticket = self._sessions.ticket(request)
            self._sessions.end(answer)
            if ticket is not None:
                try:
                    await sessions.end(self._front.stores, ticket.wallet, ticket.session_id)
                except BooksUnavailable:  # the cookie is gone all the same
                    return answer
        return answer

    def _page(self, status: int = 200, problem: str = "", retry_after_s: int = 0) -> Response:
        headers = {**render.PRIVATE}
        if retry_after_s:
            headers["retry-after"] = str(retry_after_s)
        return self._front.pages.page(
            "account/login.html",
            status=status,
            headers=headers,
            problem=problem,
            shop="/checkout" in self._front.built,
        )


def routes(front: Front) -> list[Route]:
    """`/login`, `/logout`."""
    views = LogIn(front)
    return [
        Route("/login", views.form, methods=["GET"]),
        Route("/login", views.log_in, methods=["POST"]),
        Route("/logout", views.log_out, methods=["POST"]),
    ]
