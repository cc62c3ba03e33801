"""The way to an order: what is offered, what a form asks for, and the payment service's page.

The order is in the books before the payment service hears of it, so that no payment can come of
which nothing is known.
"""

import json
import re
from datetime import timedelta
from typing import Any, NamedTuple

import structlog

from corvus_proxy import clock, metrics, secret
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.operating import stopped
from corvus_proxy.books.shop import orders, owners
from corvus_proxy.books.shop.orders import NewOrder, OrderRow
from corvus_proxy.books.shop.owners import Target
from corvus_proxy.money.amount import WALLET_NANOS_MAX, format_usd
from corvus_proxy.sealing import new_token, seal, token_digest, unseal
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.service.orders.types import Form, LoggedIn, Offer, Placed, Problem
from corvus_proxy.shop import mail
from corvus_proxy.shop.delivering import TOKEN
from corvus_proxy.shop.price import Price, price, typed
from corvus_proxy.shop.provider import ProviderRefused, ProviderUnavailable, Wanted

EMAIL_MAX = 254
_EMAIL = re.compile(r"[^@\s,;:<>()\[\]\\\"]+@[^@\s,;:<>()\[\]\\\"]+\.[^@\s,;:<>()\[\]\\\"]+")
_FACTS = ("support", "independence", "refunds")
_log = structlog.get_logger()


class _Plan(NamedTuple):
    """A form that can be an order."""

    lines: Price
    provider: str
    target: Target | None
    by_owner: bool
    email: str


async def offer(desk: Desk) -> Offer:
    """What is sold, and how it can be paid. While Postgres is away nobody can tell whether sales
    are paused; then nothing can be ordered either."""
    shop, of = desk.settings.shop, desk.terms
    return Offer(
        desk.packages_nanos,
        desk.preset_nanos,
        of.amount_min_nanos,
        of.amount_max_nanos,
        tuple((one.name, one.title) for one in desk.providers.values()),
        bool(desk.settings.mail.host),
        shop.fee_percent,
        of.fee_fixed_nanos,
        shop.tax_percent,
        shop.tax_name,
        await _paused_now(desk),
    )


async def place(
    desk: Desk, form: Form, *, session: LoggedIn | None, browser: str
) -> Placed | Problem:
    """An order for what a form asks; the same form twice is one order.

    `browser` is the token of its cookie, or empty. Raises BooksUnavailable.
    """
    async with desk.stores.books.connection() as connection:
        plan = await _plan(connection, desk, form, session)
    if isinstance(plan, Problem):
        return plan
    pepper = desk.stores.pepper
    # A browser without a cookie that sends its form twice gets the same token twice.
    browser = browser or (
        token_digest(pepper, f"browser {form.nonce}") if form.nonce else new_token()
    )
    order = await _insert(desk, form, plan, browser)
    if order.provider_ref is None:
        opened = await _open(desk, order)
        if opened is None:
            title = desk.providers[plan.provider].title
            return Problem(
                "provider",
                f"{title} does not answer at the moment. Choose another way to pay, or try again.",
            )
        order = opened
    token = unseal(pepper, TOKEN, order.token_sealed)
    return Placed(order.order_id, token, browser, order.pay_url)


def check_email(text: str) -> str | Problem:
    """An address as it is kept, empty where none was given; or what is wrong with it."""
    text = text.strip()
    if not text or (len(text) <= EMAIL_MAX and _EMAIL.fullmatch(text) and text.isprintable()):
        return text
    return Problem("email", "This is no mail address. Correct it, or leave it out.")


async def _paused_now(desk: Desk) -> str:
    try:
        async with desk.stores.books.connection() as connection:
            return await _paused(connection, desk)
    except BooksUnavailable:
        return _closed(desk)


async def _paused(connection: Any, desk: Desk) -> str:
    """Why nothing is sold now; empty: it is."""
    if closed := _closed(desk):
        return closed
    row = await stopped.find(connection, "sales")
    return f"Sales are paused: {row.reason}" if row else ""


def _closed(desk: Desk) -> str:
    missing = [name for name in _FACTS if not getattr(desk.settings.brand, name)]
    if missing:
        return f"Nothing is sold until the operator has stated brand.{missing[0]}."
    if not desk.providers:
        return "Nothing is sold: no payment service is set up."
    return ""


async def _plan(
    connection: Any, desk: Desk, form: Form, session: LoggedIn | None
) -> _Plan | Problem:
    """Whether a form can be an order, field after field."""
    if paused := await _paused(connection, desk):
        return Problem("", paused)
    amount = typed(form.amount if form.amount.strip() else form.preset, desk.terms)
    if isinstance(amount, str):
        return Problem("amount", amount)
    if form.provider not in desk.providers:
        return Problem("provider", "Choose how to pay.")
    if form.target not in ("new", "existing"):
        return Problem("target", "Choose a new key, or a key that you have.")
    email = check_email(form.email)
    if isinstance(email, Problem):
        return email
    lines = price(amount, desk.terms)
    if form.target == "new":
        return _Plan(lines, form.provider, None, False, email)
    found = await _target(connection, desk, form.key, session)
    if isinstance(found, Problem):
        return found
    target, by_owner = found
    if target.balance_nanos + amount > WALLET_NANOS_MAX:
        return Problem("amount", "A key holds at most 1,000,000 USD.")
    return _Plan(lines, form.provider, target, by_owner, email)


async def _target(
    connection: Any, desk: Desk, text: str, session: LoggedIn | None
) -> tuple[Target, bool] | Problem:
    """The key that is to be topped up, and whether the buyer has shown to own it."""
    text = "".join(text.split())
    target, by_owner = None, False
    if not text:
        if session is None:
            return Problem("key", "Enter the key that is to be topped up, or its id.")
        target, by_owner = await owners.by_id(connection, session.key_id), True
    elif text.startswith("key_"):
        target = await owners.by_id(connection, text)
        by_owner = session is not None and target is not None and target.wallet == session.wallet
    elif (parsed := secret.parse(text)) is not None:
        digest = secret.proof(parsed.text, desk.stores.pepper)
        target, by_owner = await owners.by_digest(connection, digest, clock.wall_ms()), True
    else:
        return Problem("key", "This is neither a whole key nor a key id: both are copied whole.")
    if target is None:
        return Problem("key", "There is no such key here.")
    if target.status != 1:
        word = "revoked" if target.status == 2 else "frozen"
        return Problem("key", f"This key is {word}, so it cannot be topped up.")
    return target, by_owner


async def _insert(desk: Desk, form: Form, plan: _Plan, browser: str) -> OrderRow:
    """The order of a form: a new one, or the one that it has made before."""
    pepper, shop = desk.stores.pepper, desk.settings.shop
    now, token = clock.utc_now(), new_token()
    asked = json.dumps([form.nonce, plan.lines, form.provider, form.target, form.key, plan.email])
    form_digest = token_digest(pepper, f"form {asked}") if form.nonce else None
    expires = now + timedelta(seconds=shop.quote_s)
    new = NewOrder(
        f"ord_{clock.random_text(12)}",
        token_digest(pepper, token),
        seal(pepper, TOKEN, token),
        token_digest(pepper, browser),
        form_digest,
        plan.provider,
        *plan.lines,
        plan.lines.total_nanos,
        plan.target.wallet if plan.target else None,
        plan.target.key_id if plan.target else None,
        plan.target is None,
        plan.by_owner,
        plan.email,
        expires,
        expires + timedelta(days=shop.watch_days),
        now + timedelta(seconds=shop.poll_s),
    )
    async with desk.stores.books.transaction() as connection:
        if await orders.insert(connection, new):
            await orders.add_step(
                connection, new.order_id, "created", amount_nanos=plan.lines.amount_nanos
            )
        found = await (
            orders.by_form(connection, form_digest)
            if form_digest
            else orders.by_id(connection, new.order_id)
        )
    if found is None:
        raise LookupError("the order that was just made is not there")
    return found


async def _open(desk: Desk, order: OrderRow) -> OrderRow | None:
    """Asks the payment service for the payment; None where it does not answer."""
    settings, provider = desk.settings, desk.providers[order.provider]
    token = unseal(desk.stores.pepper, TOKEN, order.token_sealed)
    page = f"{settings.brand.site_url}/orders/{token}"
    title = f"{settings.brand.name}: {format_usd(order.amount_nanos)} USD of balance"
    wanted = Wanted(
        order.order_id, order.total_nanos, title, page, page, order.email, settings.shop.quote_s
    )
    try:
        opened = await provider.open(wanted)
    except (ProviderUnavailable, ProviderRefused) as error:
        metrics.PROVIDER_FAILURES.labels(order.provider, "open").inc()
        _log.warning("order_not_opened", order=order.order_id, why=str(error))
        return None
    async with desk.stores.books.transaction() as connection:
        first = (await orders.lock(connection, order.order_id)).provider_ref is None
        order = await orders.opened(
            connection,
            order.order_id,
            {
                "provider_ref": opened.reference,
                "pay_url": opened.pay_url,
                "destination": opened.destination,
                "asset": opened.asset,
                "asset_amount": opened.asset_amount,
                "due": opened.asset_amount,
                "expires_at": opened.expires_at,
                "watched_until": opened.expires_at + timedelta(days=settings.shop.watch_days),
            },
        )
        if first and order.email:
            view = {
                "order_id": order.order_id,
                "provider": provider.title,
                "total_nanos": order.total_nanos,
                "order_url": page,
                "expires_at": opened.expires_at.strftime("%Y-%m-%d %H:%M UTC"),
            }
            await mail.queue(
                connection,
                desk.stores.pepper,
                kind="order_created",
                address=order.email,
                view=view,
                order_id=order.order_id,
            )
    return order
