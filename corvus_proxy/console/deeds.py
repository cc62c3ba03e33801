"""What can be done on the console: one row a deed, each a call of the command line's own function.

A form asks, a page shows what would be done (for money each row of the ledger), and its button does
it. The deed's audit row has the operator's name.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from corvus_proxy.console.front import Front
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.money.amount import format_usd, parse_usd
from corvus_proxy.service import keys
from corvus_proxy.service import orders as selling
from corvus_proxy.service.keys import MovePending, ServiceRefused
from corvus_proxy.service.operating import parcels, planning, refunds, stopping
from corvus_proxy.service.operating.operators import Operator
from corvus_proxy.service.operating.planning import Plan
from corvus_proxy.service.orders import Problem


class Asked(NamedTuple):
    """A form, read."""

    subject: str
    nanos: int
    """0 where the deed has no amount."""
    reason: str


class Deed(NamedTuple):
    """One thing that can be done."""

    words: str
    """What it does, in a sentence that begins with its button's word."""
    page: str
    """Where it is asked for, and what is shown afterwards."""
    act: Callable[[Front, Asked, str], Awaitable[object]]
    """Does it for an actor; a Problem is an expected no, a text is shown."""
    plan: Callable[[Front, Asked], Awaitable[Plan]] | None = None
    """Of money: what it would write."""


def _plan_move(sign: int, counter: str) -> Callable[[Front, Asked], Awaitable[Plan]]:
    return lambda front, asked: planning.move(
        front.stores, asked.subject, sign * asked.nanos, counter
    )


async def _freeze(front: Front, asked: Asked, actor: str, *, frozen: bool) -> None:
    await keys.set_frozen(
        front.stores, asked.subject, frozen=frozen, reason=asked.reason, actor=actor
    )


async def _switch_on(front: Front, asked: Asked, actor: str) -> None:
    name = stopping.credential(front.settings, asked.subject)
    both = (stopping.CREDENTIAL, stopping.DRAINING)
    await stopping.switch_on(front.stores, both, name, reason=asked.reason, actor=actor)


async def _switch_off(front: Front, asked: Asked, actor: str, *, kind: str) -> None:
    name = stopping.credential(front.settings, asked.subject)
    await stopping.switch_off(front.stores, kind, name, reason=asked.reason, actor=actor)


DEEDS: dict[str, Deed] = {
    "keys.credit": Deed(
        "Credit a key with",
        "/keys/{}",
        lambda front, asked, actor: keys.credit(
            front.stores, asked.subject, asked.nanos, reason=asked.reason, actor=actor
        ),
        _plan_move(1, "grants"),
    ),
    "keys.debit": Deed(
        "Debit a key by",
        "/keys/{}",
        lambda front, asked, actor: keys.debit(
            front.stores, asked.subject, asked.nanos, reason=asked.reason, actor=actor
        ),
        _plan_move(-1, "adjustments"),
    ),
    "keys.freeze": Deed(
        "Freeze a key: it is refused at once, its money stays",
        "/keys/{}",
        lambda front, asked, actor: _freeze(front, asked, actor, frozen=True),
    ),
    "keys.unfreeze": Deed(
        "Unfreeze a key",
        "/keys/{}",
        lambda front, asked, actor: _freeze(front, asked, actor, frozen=False),
    ),
    "orders.credit": Deed(
        "Credit an order by hand (its buyer reads the reason) with",
        "/orders/{}",
        lambda front, asked, actor: selling.credit_by_hand(
            front.desk, asked.subject, asked.nanos, reason=asked.reason, actor=actor
        ),
        lambda front, asked: planning.credit_order(front.desk, asked.subject, asked.nanos),
    ),
    "orders.resend": Deed(
        "Resend an order's mail of delivery",
        "/orders/{}",
        lambda front, asked, actor: parcels.resend(
            front.desk, asked.subject, reason=asked.reason, actor=actor
        ),
    ),
    "orders.cancel": Deed(
        "Cancel an order that nothing has come for (its buyer reads the reason)",
        "/orders/{}",
        lambda front, asked, actor: parcels.cancel(
            front.desk, asked.subject, reason=asked.reason, actor=actor
        ),
    ),
    "refunds.request": Deed(
        "Send money of an order back (its buyer reads the reason)",
        "/orders/{}",
        lambda front, asked, actor: refunds.request(
            front.desk, asked.subject, asked.nanos, reason=asked.reason, actor=actor
        ),
        lambda front, asked: planning.refund(front.desk, asked.subject, asked.nanos),
    ),
    "refunds.approve": Deed(
        "Approve a refund that another operator has asked for",
        "/refunds",
        lambda front, asked, actor: refunds.approve(
            front.desk, asked.subject, reason=asked.reason, actor=actor
        ),
    ),
    "refunds.refuse": Deed(
        "Refuse a refund; nothing was taken for it (its buyer reads the reason)",
        "/refunds",
        lambda front, asked, actor: refunds.refuse(
            front.desk, asked.subject, reason=asked.reason, actor=actor
        ),
    ),
    "pools.drain": Deed(
        "Drain a credential: no new session",
        "/pools",
        lambda front, asked, actor: _switch_off(front, asked, actor, kind=stopping.DRAINING),
    ),
    "pools.disable": Deed(
        "Disable a credential: no request at all",
        "/pools",
        lambda front, asked, actor: _switch_off(front, asked, actor, kind=stopping.CREDENTIAL),
    ),
    "pools.enable": Deed("Enable a credential", "/pools", _switch_on),
    "sales.pause": Deed(
        "Pause sales: no new orders (buyers read the reason)",
        "/",
        lambda front, asked, actor: stopping.switch_off(
            front.stores, stopping.SALES, "", reason=asked.reason, actor=actor
        ),
    ),
    "sales.resume": Deed(
        "Resume sales",
        "/",
        lambda front, asked, actor: stopping.switch_on(
            front.stores, (stopping.SALES,), "", reason=asked.reason, actor=actor
        ),
    ),
}


class Doing:
    """Views of `/deeds/{name}`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Their route."""
        return [Route("/deeds/{name}", self._front.guarded(self.do), methods=["POST"])]

    async def do(self, request: Request, operator: Operator) -> Response:
        """`POST /deeds/{name}`: first what would be done, then, with `sure`, the deed itself."""
        name = request.path_params["name"]
        deed = DEEDS.get(name)
        pages = self._front.pages
        if deed is None:
            return pages.message(
                "Not here", "There is no such deed.", status=404, operator=operator.name
            )
        fields = await self._front.fields(request)
        subject = fields.get("subject", "").strip()
        back = deed.page.format(quote(subject, safe=""))
        try:
            asked = _read(fields, deed, subject)
            if fields.get("sure") != "yes":
                plan = await deed.plan(self._front, asked) if deed.plan else None
                return pages.page(
                    "sure.html",
                    operator=operator.name,
                    action=name,
                    deed=deed,
                    asked=asked,
                    usd=format_usd(asked.nanos) if asked.nanos else "",
                    plan=plan,
                    back=back,
                    nonce=self._front.offer(),
                )
            if not self._front.take(fields.get("nonce", "")):
                sentence = (
                    "This form was sent before, or the console was started again since it was"
                    " made; nothing was done now."
                )
                return pages.message(
                    "Once is enough", sentence, status=409, operator=operator.name, back=back
                )
            done = await deed.act(self._front, asked, operator.actor)
        except MovePending as error:  # asking for it again would move the money twice
            return pages.message(
                "Booked", str(error), status=202, operator=operator.name, back=back
            )
        except (ServiceRefused, LookupError, ValueError, ConfigurationError) as error:
            return pages.message(
                "Not done", str(error), status=422, operator=operator.name, back=back
            )
        if isinstance(done, Problem):
            return pages.message(
                "Not done", done.sentence, status=422, operator=operator.name, back=back
            )
        return pages.message("Done", _said(deed, done), operator=operator.name, back=back)


def _read(fields: dict[str, str], deed: Deed, subject: str) -> Asked:
    """Raises ValueError with what is wrong, in words."""
    nanos = parse_usd(fields.get("usd", "")) if deed.plan else 0
    if deed.plan and nanos <= 0:
        raise ValueError("an amount above zero is needed")
    return Asked(subject, nanos, stopping.why(fields.get("reason", "")))


def _said(deed: Deed, done: object) -> str:
    if isinstance(done, refunds.RefundLine):
        waits = "; another operator has to agree" if done.state == "waiting" else ""
        return f"{done.refund_id}: {format_usd(done.amount_nanos)} USD, {done.state}{waits}."
    if deed.plan and isinstance(done, int):
        return f"It has {format_usd(done)} USD now."
    return f"{deed.words.partition(':')[0].partition(' (')[0]}: done."
