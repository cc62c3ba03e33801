"""Keys under a main key: they spend from the same wallet, up to a cap."""

import re
from collections.abc import Mapping
from typing import Any

from corvus_proxy import clock, secret
from corvus_proxy.books import wallets
from corvus_proxy.money.amount import WALLET_NANOS_MAX
from corvus_proxy.money.period import NO_RATES, PERIODS, Rates, ends_at
from corvus_proxy.service.keys.shared import (
    audit,
    authorise,
    changed,
    keys_of,
    send_key,
)
from corvus_proxy.service.keys.types import (
    STATUS,
    UNCHANGED,
    BadLimit,
    Created,
    KeyRecord,
    NoSuchKey,
    NotAllowed,
    Unchanged,
)
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import TillUnavailable
from corvus_proxy.till.reply import KeyFigures, WalletState

SUB_KEYS_MAX = 100
"""Sub-keys of a wallet that are not revoked …"""
SUB_KEYS_EVER_MAX = 1000
"""… and all: each stands in the wallet's row in Redis."""
LABEL_MAX = 64
RATES_MAX = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": 10_000_000_000,
    "concurrency": 256,
}
"""The last is what Redis may have to look through for one request."""
MODELS_MAX = 50
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")


async def create_sub(
    stores: Stores,
    wallet: str,
    *,
    label: str,
    cap_nanos: int | None,
    period: str = "total",
    expires_ms: int = 0,
    rates: Rates = NO_RATES,
    actor: str,
) -> Created:
    """A key that spends from the same wallet, up to its cap. Raises NotAllowed, BadLimit,
    NoSuchKey."""
    limits = check_limits(label, wallets.Limits(cap_nanos, period, expires_ms, rates))
    if expires_ms and expires_ms <= clock.wall_ms():
        raise BadLimit("expires", "the end of a new key has to be in the future")
    key_id, text = secret.new_key_id(), secret.new_secret(wallet)
    async with stores.books.transaction() as connection:
        found = await keys_of(connection, wallet, actor)
        subs = [key for key in found if not key.main]
        if len(subs) >= SUB_KEYS_EVER_MAX or sum(key.status != 2 for key in subs) >= SUB_KEYS_MAX:
            raise NotAllowed(f"a wallet has at most {SUB_KEYS_MAX} sub-keys; revoke one first")
        await wallets.insert_key(
            connection, wallet, key_id, label=label.strip(),
            digest=secret.digest(text, stores.pepper), masked=secret.mask(text),
            main=False, limits=limits,
        )  # fmt: skip
        row = await changed(connection, wallet, key_id, "keys.create_sub")
        await audit(connection, actor, "keys.create_sub", key_id, **limits.told())
    await send_key(stores, row)
    state = await _state(stores, wallet)
    return Created(wallet, key_id, text, state.balance_nanos if state else 0)


async def change_sub(
    stores: Stores,
    wallet: str,
    key_id: str,
    *,
    label: str | Unchanged = UNCHANGED,
    cap_nanos: int | Unchanged | None = UNCHANGED,
    period: str | Unchanged = UNCHANGED,
    expires_ms: int | Unchanged = UNCHANGED,
    rates: Mapping[str, Any] | None = None,
    actor: str,
) -> None:
    """Changes a sub-key's name and limits, from the next request on; `rates` are the fields of
    `Rates` that change. Raises NoSuchKey, NotAllowed, BadLimit."""
    async with stores.books.transaction() as connection:
        key = await authorise(connection, key_id, actor)
        if key.wallet != wallet:
            raise NoSuchKey(f"there is no key {key_id}")
        if key.main:
            raise NotAllowed("the main key has no cap and no end")
        if key.status == 2:
            raise NotAllowed("a revoked key stays as it is")
        before = key.limits
        name = key.label if isinstance(label, Unchanged) else label
        limits = check_limits(name, wallets.Limits(
            before.cap_nanos if isinstance(cap_nanos, Unchanged) else cap_nanos,
            before.period if isinstance(period, Unchanged) else period,
            before.expires_ms if isinstance(expires_ms, Unchanged) else expires_ms,
            before.rates._replace(**(rates or {})),
        ))  # fmt: skip
        await wallets.set_key(connection, key_id, label=name.strip(), limits=limits)
        row = await changed(connection, wallet, key_id, "keys.change_sub")
        await audit(connection, actor, "keys.change_sub", key_id, **limits.told())
    await send_key(stores, row)


async def list_of(stores: Stores, wallet: str) -> list[KeyRecord]:
    """A wallet's keys, the main key first, with what they have spent: by Redis, while it is away by
    the books. Raises NoSuchKey, BooksUnavailable."""
    async with stores.books.connection() as connection:
        try:
            _, _, found = await wallets.keys_of(connection, wallet)
        except LookupError as error:
            raise NoSuchKey(str(error)) from None
    try:
        figures = await stores.till.key_figures(wallet, [key.key_id for key in found])
    except TillUnavailable:
        return [_record(key, None) for key in found]
    return [_record(key, one) for key, one in zip(found, figures, strict=True)]


def _record(key: wallets.WalletKey, figures: KeyFigures | None) -> KeyRecord:
    now, now_ms = clock.utc_now(), clock.wall_ms()
    status = STATUS[key.status]
    if status == "active" and 0 < key.limits.expires_ms <= now_ms:
        status = "expired"
    ends = ends_at(key.limits.period, now) if key.limits.cap_nanos is not None else None
    spent, held, in_period = key.spent_nanos, 0, key.period_nanos
    if figures is not None:
        spent, held = figures.spent_nanos, figures.held_nanos
        in_period = figures.spent_in(int(ends.timestamp())) if ends else 0
    if key.limits.cap_nanos is not None and ends is None:
        in_period = spent
    masked = next((one.masked for one in key.secrets if not one.valid_until_ms), "")
    return KeyRecord(
        key.key_id, key.wallet, key.label, key.main, status, key.frozen_by, masked,
        key.limits.cap_nanos, key.limits.period, in_period, ends, spent, held,
        key.limits.expires_ms, *key.limits.rates, key.created_at, key.revoked_at,
    )  # fmt: skip


def check_limits(label: str, limits: wallets.Limits) -> wallets.Limits:
    """The limits, if a key may have them and be called so. Raises BadLimit."""
    if len(label.strip()) > LABEL_MAX or not label.strip().isprintable():
        raise BadLimit("label", f"a name has at most {LABEL_MAX} characters, all of them visible")
    if limits.cap_nanos is not None and not 0 <= limits.cap_nanos <= WALLET_NANOS_MAX:
        raise BadLimit("cap", "a cap is from 0 to 1,000,000 USD")
    if limits.period not in PERIODS:
        raise BadLimit("period", f"a cap's period is one of {', '.join(PERIODS)}")
    if not 0 <= limits.expires_ms < 1 << 53:
        raise BadLimit("expires", "this is no time")
    for name, most in RATES_MAX.items():
        number = getattr(limits.rates, name)
        if number is not None and not 1 <= number <= most:
            raise BadLimit(name, f"this limit is from 1 to {most:,}, or none")
    models = limits.rates.models
    if len(models) > MODELS_MAX or not all(SLUG.fullmatch(one) for one in models):
        raise BadLimit("models", f"at most {MODELS_MAX} models, each as GET /v1/models names it")
    return limits


async def _state(stores: Stores, wallet: str) -> WalletState | None:
    try:
        return await stores.till.wallet(wallet)
    except TillUnavailable:
        return None
