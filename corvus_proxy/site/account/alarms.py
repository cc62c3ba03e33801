"""Alarms: when to be told, and where."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.money.amount import parse_usd
from corvus_proxy.service import account, alarms, sessions
from corvus_proxy.service.alarms import BadAlarm, Wanted
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import render
from corvus_proxy.site.front import Front

PATH = "/dashboard/alarms"
EMPTY = {"kind": "balance", "threshold": "", "email": "yes", "webhook_url": ""}
KINDS = {
    "balance": "the balance falls below",
    "hour": "an hour costs more than",
    "day": "24 hours cost more than",
    "spike": "an hour costs so many times the usual",
}


class Alarms:
    """Views of `/dashboard/alarms`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._stores = front.stores
        self._private = front.settings.worker.private_webhooks

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/alarms`."""
        return await self._page(session)

    async def add(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/alarms`."""
        fields = await self._front.fields(request)
        try:
            wanted = await self._wanted(session, fields)
            await alarms.add(self._stores, session.wallet, wanted, private=self._private)
        except BadAlarm as error:
            return await self._page(session, error.field, str(error), fields)
        return render.redirect(PATH)

    async def change(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/alarms/{alarm_id}`: takes it away, or tests its webhook."""
        fields = await self._front.fields(request)
        alarm_id = request.path_params["alarm_id"]
        if fields.get("deed") == "test":
            await alarms.test(self._stores, session.wallet, alarm_id)
        elif fields.get("deed") == "remove":
            await alarms.remove(self._stores, session.wallet, alarm_id)
        return render.redirect(PATH)

    async def _wanted(self, session: Session, fields: dict[str, str]) -> Wanted:
        """What a form asks for. Raises BadAlarm."""
        kind = fields.get("kind", "")
        text = fields.get("threshold", "").strip()
        url = fields.get("webhook_url", "").strip()
        email = "email" in fields
        if kind == "spike":
            return Wanted(kind, _percent(text), email, url)
        if kind == "balance" and text.endswith("%"):
            figures = await account.overview(self._stores, session.wallet)
            nanos = figures.balance_nanos * _percent_of(text) // 100
            return Wanted(kind, nanos, email, url)
        try:
            return Wanted(kind, parse_usd(text.removeprefix("$")), email, url)
        except ValueError:
            raise BadAlarm("threshold", "Write an amount of dollars, like 5 or 0.50.") from None

    async def _page(
        self,
        session: Session,
        field: str = "",
        problem: str = "",
        typed: dict[str, str] | None = None,
    ) -> Response:
        found = await alarms.list_of(self._stores, session.wallet)
        secret = ""
        if not session.read_only:
            secret = await alarms.secret_of(self._stores, session.wallet)
        given = EMPTY if typed is None else {**EMPTY, "email": "", **typed}
        return await self._front.account_page(
            session,
            "account/alarms.html",
            PATH,
            status=400 if problem else 200,
            alarms=found,
            kinds=KINDS,
            field=field,
            problem=problem,
            typed=given,
            secret=secret,
            address=(await sessions.ownership(self._stores, session.wallet)).email,
            mails=bool(self._front.settings.mail.host),
        )


def _percent(text: str) -> int:
    """How many times the usual, as percent: `10`, `10x` or `2.5 ×`. Raises BadAlarm."""
    times = text.rstrip("xX×").strip()
    whole, _, part = times.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 5) or not (
        part == "" or (part.isascii() and part.isdigit() and len(part) <= 2)
    ):
        raise BadAlarm("threshold", "Write how many times the usual, like 10.")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def _percent_of(text: str) -> int:
    """A share of the present balance. Raises BadAlarm."""
    share = text.removesuffix("%").strip()
    if not (share.isascii() and share.isdigit() and 0 < int(share) < 100):
        raise BadAlarm("threshold", "Write a share like 20%.")
    return int(share)


def routes(front: Front) -> list[Route]:
    """`/dashboard/alarms` and its forms."""
    views = Alarms(front)
    front.built.add(PATH)
    return [
        Route(PATH, front.guarded(views.page, main=True), methods=["GET"]),
        Route(PATH, front.guarded(views.add, main=True), methods=["POST"]),
        Route(f"{PATH}/{{alarm_id}}", front.guarded(views.change, main=True), methods=["POST"]),
    ]
