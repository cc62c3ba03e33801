"""Keys: the main key and the sub-keys, their caps, and what may be done with each.

Rule 1: a secret is shown on the answer that made it and nowhere else.
Rule 2: what cannot be taken back asks for the key or the recovery code again: a browser that was
left open is not its owner.
Rule 3: freezing asks for nothing. Opening a frozen wallet takes the recovery code.
"""

from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy import clock
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.money.period import Rates
from corvus_proxy.service import keys, owner, sessions
from corvus_proxy.service.keys import KeyRecord
from corvus_proxy.service.sessions import Session
from corvus_proxy.site import render
from corvus_proxy.site.account import notify
from corvus_proxy.site.front import Front
from corvus_proxy.site.sessions import device

PATH = "/dashboard/keys"
GRACES = {
    "0": "at once",
    "3600": "after 1 hour",
    "86400": "after 24 hours",
    "604800": "after 7 days",
}
PERIODS = {"total": "in total", "day": "each day", "week": "each week", "month": "each month"}


EMPTY = {
    "label": "", "cap": "", "period": "month", "expires": "", "requests_per_minute": "",
    "tokens_per_minute": "", "concurrency": "", "models": "",
}  # fmt: skip


class Row(NamedTuple):
    """A key and its bar."""

    key: KeyRecord
    status: str
    """Of the key; of its wallet, where it is the one that is logged in."""
    cap_permille: int
    expires: datetime | None


class Problem(NamedTuple):
    """What is wrong with a form: which form, which field, in words."""

    form: str
    field: str
    sentence: str


NONE = Problem("", "", "")


class Keys:
    """Views of `/dashboard/keys`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._stores = front.stores

    async def page(self, request: Request, session: Session) -> Response:
        """`GET /dashboard/keys`."""
        return await self._page(session)

    async def create(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/keys`: a new sub-key."""
        fields = await self._front.fields(request)
        try:
            made = await keys.create_sub(
                self._stores,
                session.wallet,
                label=fields.get("label", ""),
                cap_nanos=_cap(fields.get("cap", "")),
                period=fields.get("period", "total"),
                expires_ms=_expires(fields.get("expires", "")),
                rates=_rates(fields),
                actor=session.key_id,
            )
        except keys.BadLimit as error:
            return await self._page(session, Problem("new", error.field, str(error)), fields)
        except keys.ServiceRefused as error:
            return await self._page(session, Problem("new", "", str(error)), fields)
        return await self._secret(session, "The sub-key is made", made.key_id, made.secret)

    async def change(self, request: Request, session: Session) -> Response:
        """`POST /dashboard/keys/{key_id}`: one deed, named by the button."""
        key_id = request.path_params["key_id"]
        fields = await self._front.fields(request)
        deed = fields.get("deed", "")
        if not any(row.key_id == key_id for row in await self._visible(session)):
            return self._front.no_entry("There is no such key in this wallet.", 404)
        try:
            match deed:
                case "limits":
                    await self._limits(session, key_id, fields)
                case "freeze":
                    await owner.freeze(self._stores, key_id, actor=session.key_id, reason="owner")
                    await notify.frozen(self._front, session, key_id)
                case "unfreeze":
                    await self._unfreeze(session, key_id, fields)
                case "revoke":
                    await self._confirm(session, fields)
                    await keys.revoke(self._stores, key_id, reason="owner", actor=session.key_id)
                case "rotate":
                    return await self._rotate(request, session, key_id, fields)
                case _:
                    return self._front.no_entry("This form is not one of ours.", 400)
        except Wrong as error:
            return await self._page(session, Problem(f"{deed}:{key_id}", error.field, str(error)))
        except keys.BadLimit as error:
            problem = Problem(f"{deed}:{key_id}", error.field, str(error))
            return await self._page(session, problem)
        except keys.ServiceRefused as error:
            return await self._page(session, Problem(f"{deed}:{key_id}", "", str(error)))
        return render.redirect(PATH)

    async def _limits(self, session: Session, key_id: str, fields: dict[str, str]) -> None:
        await keys.change_sub(
            self._stores,
            session.wallet,
            key_id,
            label=fields.get("label", ""),
            cap_nanos=_cap(fields.get("cap", "")),
            period=fields.get("period", "total"),
            expires_ms=_expires(fields.get("expires", "")),
            rates=_rates(fields)._asdict(),
            actor=session.key_id,
        )

    async def _unfreeze(self, session: Session, key_id: str, fields: dict[str, str]) -> None:
        if key_id != session.key_id:
            await keys.set_frozen(self._stores, key_id, frozen=False, actor=session.key_id)
            return
        stopped = await owner.unfreeze(self._stores, session.wallet, fields.get("proof", ""))
        if stopped is None:
            raise Wrong("proof", "This is not the recovery code of this wallet.")
        if stopped:
            raise Wrong("", f"The {stopped} has stopped this key; ask for help.")

    async def _rotate(
        self, request: Request, session: Session, key_id: str, fields: dict[str, str]
    ) -> Response:
        await self._confirm(session, fields)
        grace = fields.get("grace", "0")
        if grace not in GRACES:
            raise Wrong("grace", "Choose when the old secret ends.")
        text = await keys.rotate(self._stores, key_id, grace_s=int(grace), actor=session.key_id)
        ticket = None
        if key_id == session.key_id:
            # Whoever else is logged in may be the reason for the change.
            ticket = await sessions.by_key(self._stores, text, device=device(request))
            await sessions.end_all(
                self._stores, session.wallet, but=ticket.session_id if ticket else ""
            )
        await notify.rotated(self._front, session, key_id, f"The old secret ends {GRACES[grace]}.")
        answer = await self._secret(
            session, "The secret is changed", key_id, text, f"The old secret ends {GRACES[grace]}."
        )
        if ticket is not None:
            self._front.sessions.start(answer, ticket)
        return answer

    async def _confirm(self, session: Session, fields: dict[str, str]) -> None:
        """Raises Wrong where neither the key nor the recovery code is given."""
        sentence = await self._front.why_unproven(session, fields.get("proof", ""))
        if sentence:
            raise Wrong("proof", sentence)

    async def _visible(self, session: Session) -> list[KeyRecord]:
        found = await keys.list_of(self._stores, session.wallet)
        return [key for key in found if session.main or key.key_id == session.key_id]

    async def _page(
        self, session: Session, problem: Problem = NONE, typed: dict[str, str] | None = None
    ) -> Response:
        found = await self._visible(session)
        return await self._front.account_page(
            session,
            "account/keys.html",
            PATH,
            status=400 if problem != NONE else 200,
            rows=[_row(key, session) for key in found],
            problem=problem,
            typed={**EMPTY, **(typed or {})},
            graces=GRACES,
            periods=PERIODS,
            today=clock.utc_day(),
        )

    async def _secret(
        self, session: Session, title: str, key_id: str, text: str, note: str = ""
    ) -> Response:
        view: dict[str, Any] = {
            "title": title, "what": f"Secret of {key_id}", "text": text, "again": "another",
            "back": PATH, "note": note,
        }  # fmt: skip
        return await self._front.account_page(session, "account/secret.html", PATH, **view)


class Wrong(Exception):
    """A field that cannot be taken."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def _row(key: KeyRecord, session: Session) -> Row:
    permille = 0
    if key.cap_nanos is not None:
        permille = min(1000, key.period_spent_nanos * 1000 // max(1, key.cap_nanos))
    expires = datetime.fromtimestamp(key.expires_ms // 1000, UTC) if key.expires_ms else None
    status = session.status if key.key_id == session.key_id else key.status
    return Row(key, status, permille, expires)


def _cap(text: str) -> int | None:
    """A cap as it is typed; empty is none. Raises BadLimit."""
    text = text.strip().removeprefix("$")
    if not text:
        return None
    try:
        return parse_usd(text)
    except ValueError:
        raise keys.BadLimit("cap", "Write the cap as dollars, like 5 or 0.50.") from None


def _expires(text: str) -> int:
    """The end of a day (UTC) in milliseconds since 1970; empty is never. Raises BadLimit."""
    if not text.strip():
        return 0
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise keys.BadLimit("expires", "Write the day as 2027-01-31.") from None
    return int(datetime.combine(day, time(23, 59, 59), UTC).timestamp()) * 1000


def _rates(fields: dict[str, str]) -> Rates:
    """Limits a minute and at once, and models, as they are typed; empty is none. Raises
    BadLimit."""
    numbers: list[int | None] = []
    for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
        text = fields.get(name, "").strip().replace(",", "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 16):
            raise keys.BadLimit(name, "Write a whole number, like 60.")
        numbers.append(int(text) if text else None)
    requests, tokens, concurrency = numbers
    return Rates(
        requests, tokens, concurrency, tuple(fields.get("models", "").replace(",", " ").split())
    )


def routes(front: Front) -> list[Route]:
    """`/dashboard/keys` and `/dashboard/keys/{key_id}`."""
    views = Keys(front)
    front.built.add(PATH)
    return [
        Route(PATH, front.guarded(views.page), methods=["GET"]),
        Route(PATH, front.guarded(views.create, main=True), methods=["POST"]),
        Route(f"{PATH}/{{key_id}}", front.guarded(views.change), methods=["POST"]),
    ]
