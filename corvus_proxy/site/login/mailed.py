"""Log-in by a link in a mail.

Rule 1: whoever asks gets the same answer, whether an address is known or not.
Rule 2: opening the link changes nothing, for programs that read mail open links; its button does.
"""

import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.service import sessions
from corvus_proxy.service.keys import STATUS
from corvus_proxy.service.sessions import LINK_S
from corvus_proxy.shop import mail
from corvus_proxy.site import forms, render
from corvus_proxy.site.front import Front
from corvus_proxy.site.sessions import device

ADDRESS_MAX = 254
_log = structlog.get_logger()


class MailedLogIn:
    """Views of `/login/mail` and of the links that it sends."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._tries = forms.Tries()

    async def form(self, request: Request) -> Response:
        """`GET /login/mail`."""
        return self._form_page()

    async def ask(self, request: Request) -> Response:
        """`POST /login/mail`: sends a link to an address that owns a key, says nothing else."""
        if not self._front.is_own(request):
            return self._front.no_entry("This form was sent from another site.")
        wait_s = self._tries.take(self._front.address(request))
        if wait_s:
            return self._form_page(
                429, f"That was asked often. Try again in {wait_s} seconds.", retry_after_s=wait_s
            )
        try:
            email = (await forms.read(request)).get("email", "").strip()
        except forms.FormTooLarge:
            email = ""
        if not 3 <= len(email) <= ADDRESS_MAX or "@" not in email[1:-1]:
            return self._form_page(400, "This is no mail address.")
        known = await sessions.is_known(self._front.stores, email)
        answer = self._front.pages.page(
            "message.html",
            title="Look into your mailbox",
            sentences=[
                "If this address belongs to a key here, a link is on its way to it. The link works"
                f" once, for {LINK_S // 60} minutes.",
                "Nothing came? Look for it among unwanted mail, or log in with the key itself.",
            ],
            action=("/login", "Back to the log-in"),
        )
        if known:
            # After the answer: how long it takes must not tell whether the address is known.
            answer.background = BackgroundTask(self._send, email)
        return answer

    async def _send(self, email: str) -> None:
        stores = self._front.stores
        try:
            async with stores.books.transaction() as connection:
                token = await sessions.make_link(connection, stores.pepper, email)
                view = {
                    "login_url": f"{self._front.site_url}/login/{token}",
                    "minutes": LINK_S // 60,
                }
                await mail.queue(
                    connection, stores.pepper, kind="login_link", address=email, view=view
                )
        except BooksUnavailable as error:
            _log.warning("login_link_not_queued", why=str(error))

    async def link(self, request: Request) -> Response:
        """`GET /login/{token}`: what the link opens, and the button that opens it."""
        found = await sessions.link_choices(self._front.stores, request.path_params["token"])
        if not found:
            return self._stale()
        return self._front.pages.page(
            "account/link.html",
            headers=render.TOKEN_PAGE,
            token=request.path_params["token"],
            keys=[(facts.key_id, STATUS[facts.status]) for facts in found],
        )

    async def log_in(self, request: Request) -> Response:
        """`POST /login/{token}`: uses the link up."""
        if not self._front.is_own(request):
            return self._front.no_entry("This form was sent from another site.")
        try:
            fields = await forms.read(request)
        except forms.FormTooLarge:
            fields = {}
        ticket = await sessions.by_mail(
            self._front.stores,
            request.path_params["token"],
            fields.get("key_id", ""),
            device=device(request),
        )
        if ticket is None:
            return self._stale()
        answer = render.redirect("/dashboard")
        self._front.sessions.start(answer, ticket)
        return answer

    def _stale(self) -> Response:
        return self._front.pages.page(
            "message.html",
            status=410,
            headers=render.TOKEN_PAGE,
            title="This link opens nothing any more",
            sentences=["It was used, or is too old. A link works once."],
            action=("/login/mail", "Send another"),
        )

    def _form_page(self, status: int = 200, problem: str = "", retry_after_s: int = 0) -> Response:
        headers = {**render.PRIVATE}
        if retry_after_s:
            headers["retry-after"] = str(retry_after_s)
        return self._front.pages.page(
            "account/mail.html",
            status=status,
            headers=headers,
            problem=problem,
            offered=bool(self._front.settings.mail.host),
        )


def routes(front: Front) -> list[Route]:
    """`/login/mail`, `/login/{token}`."""
    views = MailedLogIn(front)
    return [
        Route("/login/mail", views.form, methods=["GET"]),
        Route("/login/mail", views.ask, methods=["POST"]),
        Route("/login/{token}", views.link, methods=["GET"]),
        Route("/login/{token}", views.log_in, methods=["POST"]),
    ]
