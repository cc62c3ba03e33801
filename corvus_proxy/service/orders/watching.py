"""Money in without a page: messages of payment services, and the worker's questions.

A message is only a reason to ask. So a doubled, late or reordered one does no harm, and a lost one
is made up for by the worker.
"""

import asyncio
from collections.abc import Mapping

import structlog

from corvus_proxy import clock, metrics
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.shop import orders
from corvus_proxy.service.orders.desk import Desk
from corvus_proxy.shop import refunds
from corvus_proxy.shop.provider import Forged
from corvus_proxy.shop.settle import settle
from corvus_proxy.shop.states import STATES

POLLS = 20
"""Orders that the worker asks about in one turn."""
POLLS_AT_ONCE = 5
LEASE_S = 120
"""An order that is being asked about is nobody else's for so long."""
CHORES_S = 30.0
_log = structlog.get_logger()


async def webhook(desk: Desk, provider: str, headers: Mapping[str, str], body: bytes) -> int:
    """Takes a payment service's message; the HTTP status: 200, 400 (forged), 404 (no such
    service) or 503 (to be repeated). Header names are in lower case."""
    service = desk.providers.get(provider)
    if service is None:
        return 404
    try:
        notice = service.notice(headers, body)
    except Forged as error:
        metrics.WEBHOOKS.labels(provider, "forged").inc()
        _log.warning("webhook_forged", provider=provider, why=str(error))
        return 400
    try:
        async with desk.stores.books.transaction() as connection:
            order_id = await orders.find(connection, provider, notice.reference)
            if order_id is None:
                metrics.WEBHOOKS.labels(provider, "unknown").inc()
                _log.info("webhook_unknown", provider=provider, kind=notice.kind)
                return 200
            fresh = await orders.message(connection, provider, *notice)
        # A doubled one too: the first may have ended before its settling did.
        done = await settle(desk.means, order_id, via="webhook")
    except BooksUnavailable:
        metrics.WEBHOOKS.labels(provider, "books_away").inc()
        return 503
    result = ("taken" if fresh else "doubled") if done.answered else "not_answered"
    metrics.WEBHOOKS.labels(provider, result).inc()
    return 200 if done.answered else 503


async def tick(desk: Desk) -> int:
    """The worker's turn: asks about orders that are due, goes on with refunds, destroys old
    copies of keys; how many orders were asked about. Raises BooksUnavailable."""
    asked = await _poll(desk)
    await refunds.go_on(desk.means)
    now = clock.monotonic_s()
    if now - desk.chores.get("all", -CHORES_S) >= CHORES_S:
        desk.chores["all"] = now
        await _chores(desk)
    return asked


async def _poll(desk: Desk) -> int:
    async with desk.stores.books.transaction() as connection:
        due = await orders.due(connection, limit=POLLS, again_s=LEASE_S, without=desk.rests.now())
    gate = asyncio.Semaphore(POLLS_AT_ONCE)

    async def ask(order_id: str, provider: str) -> bool:
        async with gate:
            if provider in desk.rests.now():  # it has gone silent in this very turn
                return False
            done = await settle(desk.means, order_id, via="poll")
            if done.answered:
                desk.rests.answered(provider)
            elif provider in desk.providers and done.asked:
                desk.rests.failed(provider)
            return done.asked

    answers = await asyncio.gather(*(ask(*one) for one in due), return_exceptions=True)
    for one in answers:
        if isinstance(one, BaseException):
            raise one
    return sum(1 for one in answers if one)


async def _chores(desk: Desk) -> None:
    async with desk.stores.books.transaction() as connection:
        destroyed = await orders.destroy_seals(connection, days=desk.settings.shop.reveal_days)
        ended = await orders.expire_unopened(connection)
        counts = await orders.count_by_status(connection)
    if destroyed or ended:
        _log.info("orders_tidied", copies_destroyed=destroyed, unopened_ended=ended)
    for state in STATES:
        metrics.ORDERS.labels(*state).set(counts.get(state, 0))
