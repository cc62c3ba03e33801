"""`GET /v1/key` from Redis alone."""

import msgspec
import pytest

from corvus_proxy.account.quote import Sold
from corvus_proxy.account.routes import Account
from corvus_proxy.catalogue.book import Book
from corvus_proxy.errors import InvalidKey, KeyDisabled, LedgerUnavailable
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.settings import Settings
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
WALLET = "w_0123456789ab"


class Get:
    """A client that asks for the key."""

    method, path, query, headers = "GET", "/v1/key", b"", ()


async def show(till: Till, asker: Caller) -> bytes:
    sold = Sold(Settings(), lambda: Book(()), lambda family, dialect: True)
    account = Account(Settings(), till, b"p" * 32, sold)
    found = await account.answer(Get(), asker)  # type: ignore[arg-type]
    assert isinstance(found.body, bytes)
    return found.body


def caller(digest: str = "digest", wallet: str = WALLET) -> Caller:
    return Caller(wallet, digest)


async def test_figures_in_dollars_and_in_nanos(valkey_till: Till) -> None:
    """Each amount twice, equal; available is the balance less what is held."""
    await add_wallet(valkey_till, WALLET, 1_000_000_001)
    ask = reply.Ask("req_1", WALLET, "digest", 400, 400, 0, "pv", "slug", 1)
    await valkey_till.reserve(ask, owner="o", lag_limit=10**6)
    shown = msgspec.json.decode(await show(valkey_till, caller()))
    assert shown == {
        "key_id": f"key_{WALLET}", "wallet": WALLET, "label": "", "main": True, "status": "active",
        "cap": None, "cap_nanos": None, "period": None, "period_spent": None,
        "period_spent_nanos": None, "resets_at": None, "expires_at": None,
        "requests_per_minute": None, "tokens_per_minute": None,
        "concurrency": None, "models": [],
        "balance": "1.000000001", "balance_nanos": 1_000_000_001,
        "held": "0.0000004", "held_nanos": 400,
        "available": "0.999999601", "available_nanos": 999_999_601,
        "spent": "0.00", "spent_nanos": 0, "key_spent": "0.00", "key_spent_nanos": 0,
    }  # fmt: skip


async def test_unknown_wallet_and_wrong_secret_are_the_same_refusal(valkey_till: Till) -> None:
    """Nobody learns which wallets exist."""
    await add_wallet(valkey_till, WALLET, 1)
    said = []
    for asker in (caller("other"), caller(wallet="w_9876543210zz")):
        with pytest.raises(InvalidKey) as refusal:
            await show(valkey_till, asker)
        said.append(refusal.value.message)
    assert said[0] == said[1]


async def test_a_frozen_key_is_shown_as_frozen(valkey_till: Till) -> None:
    """Its owner may look."""
    row = reply.KeyRow(WALLET, 1, "0", [reply.KeyEntry("key_1", "1", [("digest", 0)])])
    await valkey_till.push(row)
    assert msgspec.json.decode(await show(valkey_till, caller()))["status"] == "frozen"


async def test_a_secret_past_its_grace_is_disabled(valkey_till: Till) -> None:
    """A rotated secret says that it has ended."""
    row = reply.KeyRow(WALLET, 1, "1", [reply.KeyEntry("key_1", "1", [("digest", 1)])])
    await valkey_till.push(row)
    with pytest.raises(KeyDisabled):
        await show(valkey_till, caller())


async def test_without_redis_it_is_refused() -> None:
    """503 with a time to come back."""
    away = Till.open("redis://127.0.0.1:1", timeout_ms=200)
    with pytest.raises(LedgerUnavailable) as refusal:
        await show(away, caller())
    assert refusal.value.retry_after_s
    await away.close()
