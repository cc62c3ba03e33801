"""`/v1/keys` and `/v1/key/…`: sub-keys, a new secret, freezing and opening again.

Rule 1: who may do what is decided by `service.keys` and `service.owner`; the caller's key is the
        actor. A secret stands in the answer that made it and nowhere else.
Rule 2: what a thief would do (a new secret, a freeze) is told to the wallet's mailbox.
"""

import json
from collections import deque
from datetime import UTC, datetime
from typing import Any

import structlog

from corvus_proxy import clock
from corvus_proxy.account import asking
from corvus_proxy.account.asking import Ask, bad
from corvus_proxy.books import people
from corvus_proxy.books.db import BooksUnavailable
from corvus_proxy.books.shop import mail
from corvus_proxy.errors import LimitReached, NotFound, NotPermitted
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.period import Rates
from corvus_proxy.sealing import seal
from corvus_proxy.service import keys, owner
from corvus_proxy.service.keys import UNCHANGED, KeyRecord
from corvus_proxy.service.statements.exported import told
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.reply import Look

MAIL_PURPOSE = "mail"
"""Of the seal of a mail's contents; the worker opens it."""
GRACE_MAX_S = 30 * 86_400
TRIES_MAX, TRIES_S = 5, 60
"""Recovery codes that one wallet may try in so many seconds."""
_LIMITS = ("label", "cap", "cap_nanos", "period", "expires_at", *Rates._fields)
_WALLETS_MAX = 10_000
_tries: dict[str, deque[float]] = {}
_log = structlog.get_logger()


async def listing(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/keys`: the wallet's keys; a sub-key sees itself."""
    found = await keys.list_of(stores, ask.caller.wallet)
    shown = [_document(key) for key in found if ask.look.main or key.key_id == ask.look.key_id]
    return asking.reply({"object": "list", "data": shown})


async def create(stores: Stores, ask: Ask) -> Reply:
    """`POST /v1/keys`: a sub-key; its secret is in this answer alone."""
    body = await asking.document(ask, _LIMITS)
    made = await keys.create_sub(
        stores,
        ask.caller.wallet,
        label=asking.word(body, "label", ""),
        cap_nanos=asking.amount(body, "cap"),
        period=asking.word(body, "period", "total"),
        expires_ms=_expires(body),
        rates=Rates(**_rates(body)),
        actor=ask.look.key_id,
    )
    record = await _record(stores, ask, made.key_id)
    return asking.reply({**_document(record), "secret": made.secret}, 201)


async def show(stores: Stores, ask: Ask) -> Reply:
    """`GET /v1/keys/{key_id}`."""
    return asking.reply(_document(await _record(stores, ask, ask.parts["key_id"])))


async def change(stores: Stores, ask: Ask) -> Reply:
    """`PATCH /v1/keys/{key_id}`: name, cap, period, end, rates, models; `frozen` stops and
    starts it."""
    key_id = ask.parts["key_id"]
    body = await asking.document(ask, (*_LIMITS, "frozen"))
    await _record(stores, ask, key_id)
    frozen = body.pop("frozen", None)
    if frozen is not None and not isinstance(frozen, bool):
        raise bad("frozen", "must be true or false")
    if body:
        await keys.change_sub(
            stores,
            ask.caller.wallet,
            key_id,
            label=asking.word(body, "label", "") if "label" in body else UNCHANGED,
            cap_nanos=asking.amount(body, "cap") if {"cap", "cap_nanos"} & set(body) else UNCHANGED,
            period=asking.word(body, "period", "total") if "period" in body else UNCHANGED,
            expires_ms=_expires(body) if "expires_at" in body else UNCHANGED,
            rates=_rates(body),
            actor=ask.look.key_id,
        )
    if frozen is not None:
        await keys.set_frozen(stores, key_id, frozen=frozen, actor=ask.look.key_id)
    return await show(stores, ask)


async def revoke(stores: Stores, ask: Ask) -> Reply:
    """`DELETE /v1/keys/{key_id}`: it ends for ever; its history stays."""
    await _record(stores, ask, ask.parts["key_id"])
    await keys.revoke(stores, ask.parts["key_id"], actor=ask.look.key_id)
    return await show(stores, ask)


async def rotate(stores: Stores, ask: Ask) -> Reply:
    """`POST /v1/key/rotate`: a new secret for the caller's own key; the old one works on for
    `grace_s`."""
    body = await asking.document(ask, ("grace_s",))
    grace_s = body.get("grace_s", keys.GRACE_S)
    if type(grace_s) is not int or not 0 <= grace_s <= GRACE_MAX_S:
        raise bad("grace_s", f"must be a whole number of seconds from 0 to {GRACE_MAX_S:,}")
    key_id = ask.look.key_id
    text = await keys.rotate(stores, key_id, grace_s=grace_s, actor=key_id)
    ends = clock.wall_ms() + grace_s * 1000
    await _tell(stores, ask, "rotated", {"grace": f"The old secret ends {_iso(ends)}."})
    return asking.reply(
        {"key_id": key_id, "secret": text, "grace_s": grace_s, "old_secret_ends_at": _iso(ends)}
    )


async def freeze(stores: Stores, ask: Ask) -> Reply:
    """`POST /v1/key/freeze`: stops the caller's key, and by the main key the whole wallet."""
    await asking.document(ask, ())
    key_id = ask.look.key_id
    await owner.freeze(stores, key_id, actor=key_id)
    await _tell(stores, ask, "frozen", {"why": "Somebody who holds it froze it, by the API."})
    return asking.reply({"key_id": key_id, "status": "frozen"})


async def unfreeze(stores: Stores, ask: Ask) -> Reply:
    """`POST /v1/key/unfreeze`: opens the wallet and its main key again, by its recovery code."""
    body = await asking.document(ask, ("recovery_code",))
    _take_try(ask.caller.wallet)
    stopped = await owner.unfreeze(
        stores, ask.caller.wallet, asking.word(body, "recovery_code", ""), actor="code"
    )
    if stopped is None:
        raise NotPermitted(
            "Freezing takes the key, opening takes more: the recovery code of this key is needed.",
            param="recovery_code",
        )
    _tries.pop(ask.caller.wallet, None)
    if stopped:
        who = "the operator" if stopped == "operator" else "a payment that was taken back"
        raise NotPermitted(f"This key stays frozen by {who}; the recovery code does not end that.")
    look = await stores.till.look(ask.caller.wallet, ask.caller.digest)
    status = look.status if isinstance(look, Look) else ""
    return asking.reply({"key_id": ask.look.key_id, "status": status or "active"})


async def _record(stores: Stores, ask: Ask, key_id: str) -> KeyRecord:
    """A key of the caller's wallet that the caller may see. Raises NotFound."""
    for key in await keys.list_of(stores, ask.caller.wallet):
        if key.key_id == key_id and (ask.look.main or key_id == ask.look.key_id):
            return key
    raise NotFound(f"There is no key {key_id[:40]!r} here.", param="key_id")


def _document(key: KeyRecord) -> dict[str, Any]:
    view: dict[str, Any] = told(key)
    del view["wallet"]
    view["expires_at"] = _iso(view.pop("expires_ms")) if key.expires_ms else None
    for name in ("resets_at", "created_at", "revoked_at"):
        view[name] = clock.iso_utc(view[name]) if view[name] else None
    return {"object": "key", **view}


def _iso(ms: int) -> str:
    return clock.iso_utc(datetime.fromtimestamp(ms / 1000, UTC))


def _rates(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Rates` that the body names; null is no limit."""
    found: dict[str, Any] = {}
    for name in (name for name in Rates._fields if name in body):
        value = body[name]
        if name == "models":
            value = [] if value is None else value
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise bad(name, "must be a list of models, as GET /v1/models names them")
            value = tuple(value)
        elif value is not None and type(value) is not int:
            raise bad(name, "must be a whole number, or null for no limit")
        found[name] = value
    return found


def _expires(body: dict[str, Any]) -> int:
    """The end in milliseconds since 1970; 0 for never."""
    value = body.get("expires_at")
    if value is None:
        return 0
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 9000:
        raise bad("expires_at", "must be an instant such as 2026-12-31T00:00:00Z")
    return int(found.timestamp()) * 1000


def _take_try(wallet: str) -> None:
    """One more recovery code of this wallet. Raises LimitReached."""
    now_s = clock.monotonic_s()
    tries = _tries.setdefault(wallet, deque())
    while tries and now_s - tries[0] >= TRIES_S:
        tries.popleft()
    if len(tries) >= TRIES_MAX:
        wait_s = max(1, round(TRIES_S - (now_s - tries[0])))
        raise LimitReached(
            f"Too many wrong recovery codes; try again in {wait_s} seconds.", retry_after_s=wait_s
        )
    tries.append(now_s)
    if len(_tries) > _WALLETS_MAX:
        del _tries[next(iter(_tries))]


async def _tell(stores: Stores, ask: Ask, kind: str, view: dict[str, str]) -> None:
    """Queues a mail about what was done; a deed is not undone because that could not be."""
    at = clock.utc_now().strftime("%Y-%m-%d %H:%M:%S UTC")
    sealed = seal(
        stores.pepper, MAIL_PURPOSE, json.dumps({"key_id": ask.look.key_id, "at": at, **view})
    )
    try:
        async with stores.books.transaction() as connection:
            address = await people.email(connection, ask.caller.wallet)
            if address:
                mail_id = f"mail_{clock.random_text(12)}"
                await mail.insert(connection, mail_id, kind, "", ask.caller.wallet, address, sealed)
    except BooksUnavailable as error:
        _log.warning("mail_not_queued", kind=kind, why=str(error))
