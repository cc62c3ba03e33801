"""Security: open log-ins, read-only tokens, the recovery code, the mail address.

Rule 1: the recovery code and the mail address outrank the key, so changing either takes the present
code: who has stolen the key changes neither.
Rule 2: a token and a code are shown on the answer that made them and nowhere else.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.service import owner, sessions
from corvus_proxy.service.keys import ServiceRefused
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import render
from corvus_proxy.site.front import Front

PATH = "/dashboard/security"
DAYS = {"30": 30, "90": 90, "365": 365, "": None}
KINDS = {
    "key": "by the key",
    "mail": "by a mail's link",
    "token": "by a read-only token",
    "order": "after buying",
}


class Security:
    """Views of `/dashboard/security`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._stores = front.stores

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/security`."""
        return await self._page(session)

    async def end(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/security/sessions`: ends one log-in, or all but this one, or all."""
        fields = await self._front.fields(request)
        chosen = fields.get("session", "")
        if chosen == "all":
            await sessions.end_all(self._stores, session.wallet)
            answer = render.redirect("/login")
            self._front.sessions.end(answer)
            return answer
        if chosen == "others":
            await sessions.end_all(self._stores, session.wallet, but=session.session_id)
        else:
            await sessions.end(self._stores, session.wallet, chosen)
        return render.redirect(PATH)

    async def make_token(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/security/tokens`: a new read-only token, shown once."""
        fields = await self._front.fields(request)
        days = DAYS.get(fields.get("days", ""), 30)
        try:
            made = await sessions.make_token(
                self._stores, session, label=fields.get("label", "").strip(), days=days
            )
        except ServiceRefused as error:
            return await self._page(session, "token", str(error))
        return await self._once(
            session, "The read-only token is made", "Read-only token", made.text, "another"
        )

    async def revoke_token(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/security/tokens/{token_id}`: ends it and what it has opened."""
        await sessions.revoke_token(self._stores, session.wallet, request.path_params["token_id"])
        return render.redirect(PATH)

    async def change_code(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/security/code`: a new recovery code for the present one."""
        fields = await self._front.fields(request)
        problem = await self._wrong_code(session, fields)
        if problem:
            return await self._page(session, "code", problem)
        code = await owner.change_code(
            self._stores, session.wallet, fields.get("code", ""), actor=session.key_id
        )
        if code is None:  # changed in the same moment elsewhere
            return await self._page(session, "code", "This is not the present recovery code.")
        return await self._once(
            session, "The recovery code is changed", "Recovery code", code, "it anew"
        )

    async def change_mail(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/security/mail`: the address that log-in links and alarms go to."""
        fields = await self._front.fields(request)
        address = fields.get("email", "").strip()
        if address and (not 3 <= len(address) <= 254 or "@" not in address[1:-1]):
            return await self._page(session, "mail", "This is no mail address.", address)
        problem = await self._wrong_code(session, fields)
        if problem:
            return await self._page(session, "mail", problem, address)
        await sessions.set_email(self._stores, session, address)
        return render.redirect(PATH)

    async def _wrong_code(self, session: Session, fields: dict[str, str]) -> str:
        """Why the present recovery code is not proven; empty where it is."""
        text = fields.get("code", "")
        if owner.parse_code(text) is None:
            return "This does not look like a recovery code: they begin with rc-."
        if await self._front.why_unproven(session, text):
            return "This is not the present recovery code."
        return ""

    async def _page(
        self, session: Session, form: str = "", problem: str = "", typed: str | None = None
    ) -> Response:
        view: dict[str, Any] = {
            "form": form,
            "problem": problem,
            "typed": typed,
            "open": await sessions.sessions_of(self._stores, session.wallet),
            "tokens": await sessions.tokens_of(self._stores, session.wallet),
            "owned": await sessions.ownership(self._stores, session.wallet),
            "kinds": KINDS,
        }
        return await self._front.account_page(
            session,
            "account/security.html",
            PATH,
            status=400 if problem else 200,
            **view,
        )

    async def _once(
        self, session: Session, title: str, what: str, text: str, again: str
    ) -> Response:
        view: dict[str, Any] = {
            "title": title, "what": what, "text": text, "again": again, "back": PATH, "note": "",
        }  # fmt: skip
        return await self._front.account_page(session, "account/secret.html", PATH, **view)


def routes(front: Front) -> list[Route]:
    """`/dashboard/security` and its forms."""
    views = Security(front)
    front.built.add(PATH)
    deeds = {
        "sessions": views.end,
        "tokens": views.make_token,
        "tokens/{token_id}": views.revoke_token,
        "code": views.change_code,
        "mail": views.change_mail,
    }
    return [
        Route(PATH, front.guarded(views.page, main=True), methods=["GET"]),
        *(
            Route(f"{PATH}/{name}", front.guarded(view, main=True), methods=["POST"])
            for name, view in deeds.items()
        ),
    ]
