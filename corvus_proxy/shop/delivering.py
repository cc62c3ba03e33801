"""What a first confirmed payment makes: a wallet, its key, the recovery code, and the mail.

All of it inside the transaction that credits. The texts exist in the clear only on their way to
the buyer; the order keeps sealed copies until they are claimed or too old.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from corvus_proxy import clock, secret
from corvus_proxy.books import wallets
from corvus_proxy.books.db import Books
from corvus_proxy.books.shop import links, orders, owners
from corvus_proxy.books.shop.orders import OrderRow
from corvus_proxy.sealing import new_token, seal, token_digest
from corvus_proxy.settings import Settings
from corvus_proxy.shop import mail
from corvus_proxy.shop.provider import Provider
from corvus_proxy.till.client import Till

SECRET, RECOVERY, TOKEN = "order secret", "order recovery code", "order token"
"""Purposes of an order's seals."""


class Means(NamedTuple):
    """What settling and refunding work with."""

    till: Till
    books: Books
    pepper: bytes
    settings: Settings
    providers: Mapping[str, Provider]


async def make_key(connection: Any, means: Means, order: OrderRow) -> OrderRow:
    """Makes an order's wallet, key and recovery code; the order with them."""
    wallet, key_id = secret.new_wallet_id(), secret.new_key_id()
    text, code = secret.new_secret(wallet), secret.new_code()
    await wallets.insert_wallet(connection, wallet)
    await wallets.insert_key(
        connection,
        wallet,
        key_id,
        label="",
        digest=secret.digest(text, means.pepper),
        masked=secret.mask(text),
    )
    await owners.set_recovery(connection, wallet, token_digest(means.pepper, code), order.email)
    await wallets.insert_outbox(
        connection, wallets.OutboxRow(f"key:{key_id}", "key", wallet, 0, "", key_id, "bought")
    )
    order = await orders.change(
        connection,
        order.order_id,
        wallet=wallet,
        key_id=key_id,
        secret_sealed=seal(means.pepper, SECRET, text),
        recovery_sealed=seal(means.pepper, RECOVERY, code),
    )
    await orders.add_step(connection, order.order_id, "key_made", key_id=key_id)
    if order.email:
        await mail_key(connection, means, order, text)
    return order


async def mail_key(connection: Any, means: Means, order: OrderRow, text: str) -> None:
    """Queues the delivery mail of a new key, with a new claim link. `text` is the secret."""
    token, shop = new_token(), means.settings.shop
    await links.insert(
        connection,
        token_digest(means.pepper, token),
        "claim",
        clock.utc_now() + timedelta(days=shop.reveal_days),
        order_id=order.order_id,
        wallet=order.wallet or "",
        key_id=order.key_id or "",
        email=order.email,
    )
    view = {
        "order_id": order.order_id,
        "amount_nanos": order.amount_nanos,
        "key_id": order.key_id,
        "claim_url": f"{means.settings.brand.site_url}/claim/{token}",
        "claim_days": shop.reveal_days,
        "secret": text if shop.mail_key else "",
    }
    await _queue(connection, means, order, "delivered", view)


async def mail_top_up(connection: Any, means: Means, order: OrderRow, nanos: int) -> None:
    """Queues the mail of a credit to a key that the buyer has already."""
    target = await owners.by_id(connection, order.key_id or "")
    masked = target.masked if target and (order.by_owner or order.new_key) else order.key_id
    view = {
        "order_id": order.order_id,
        "amount_nanos": nanos,
        "key_id": order.key_id,
        "masked": masked,
    }
    await _queue(connection, means, order, "top_up", view)


async def mail_refund(
    connection: Any,
    means: Means,
    order: OrderRow,
    nanos: int,
    state: str,
    reason: str,
    *,
    claim_url: str = "",
) -> None:
    """Queues the mail of a refund's step, where there is an address."""
    view = {
        "order_id": order.order_id,
        "amount_nanos": nanos,
        "state": state,
        "reason": reason,
        "claim_url": claim_url,
    }
    if order.email:
        await _queue(connection, means, order, "refund", view)


async def mail_claimed(connection: Any, means: Means, order: OrderRow) -> None:
    """Queues the mail that tells of a claim."""
    view = {
        "order_id": order.order_id,
        "key_id": order.key_id,
        "at": clock.utc_now().strftime("%Y-%m-%d %H:%M UTC"),
    }
    if order.email:
        await _queue(connection, means, order, "claimed", view)


async def _queue(
    connection: Any, means: Means, order: OrderRow, kind: str, view: Mapping[str, object]
) -> None:
    await mail.queue(
        connection,
        means.pepper,
        kind=kind,
        address=order.email,
        view=view,
        order_id=order.order_id,
        wallet=order.wallet or "",
    )
    await orders.add_step(connection, order.order_id, "mailed", kind=kind)
