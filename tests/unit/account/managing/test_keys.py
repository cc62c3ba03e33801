"""Keys by the key itself: sub-keys, a new secret, freezing, and what each may see."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from corvus_proxy import clock
from corvus_proxy.account.managing import keys as key_endpoints
from corvus_proxy.account.quote import Sold
from corvus_proxy.account.routes import Account
from corvus_proxy.catalogue.book import Book
from corvus_proxy.errors import (
    InvalidKey,
    InvalidRequest,
    KeyDisabled,
    LimitReached,
    NotFound,
    NotPermitted,
    RecordsUnavailable,
    RequestError,
)
from corvus_proxy.gateway import admission
from corvus_proxy.sealing import unseal
from corvus_proxy.service import keys
from corvus_proxy.settings import DatabaseSettings, Settings
from corvus_proxy.shop import letters
from corvus_proxy.shop import mail as mails
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Ask, Charge
from tests.unit.account.managing.calls import PEPPER, Api

pytestmark = pytest.mark.anyio


async def sub(api: Api, made: keys.Created, **limits: Any) -> Any:
    return await api("POST", "/v1/keys", made.secret, {"label": "agent", **limits})


async def spend(api: Api, wallet: str, secret: str, rid: str, nanos: int) -> Any:
    digest = admission.caller([(b"x-api-key", secret.encode())], PEPPER).digest
    ask = Ask(rid, wallet, digest, nanos, nanos, 0, "pv", "gpt-x", 1)
    granted = await api.stores.till.reserve(ask, owner="o", lag_limit=10**6)
    if hasattr(granted, "key_id"):
        charge = Charge(rid, wallet, granted.key_id, "gpt-x", nanos, "completed", b"{}")
        await api.stores.till.settle(charge)
    return granted


async def test_a_sub_key_from_its_making_to_its_end(api: Api, made: keys.Created) -> None:
    """Made with a cap, shown, spent with, changed, stopped, started, ended; the secret once."""
    ends = clock.iso_utc(clock.utc_now().replace(microsecond=0) + timedelta(days=1))
    found = await sub(api, made, cap="0.50", period="day", expires_at=ends)
    secret, key_id = found.pop("secret"), found["key_id"]
    assert (found["cap_nanos"], found["cap"], found["period"]) == (500_000_000, "0.50", "day")
    assert (found["main"], found["status"], found["expires_at"]) == (False, "active", ends)
    assert found["resets_at"].endswith("T00:00:00.000Z")
    assert await api("GET", f"/v1/keys/{key_id}", made.secret) == found
    await spend(api, made.wallet, secret, "req_1", 200_000_000)
    own = await api("GET", "/v1/key", secret)
    assert (own["main"], own["label"], own["cap_nanos"]) == (False, "agent", 500_000_000)
    assert (own["period_spent"], own["available"], own["spent"]) == ("0.20", "0.30", "0.20")
    assert (await api("GET", "/v1/key", made.secret))["spent_nanos"] == 200_000_000
    changed = await api("PATCH", f"/v1/keys/{key_id}", made.secret, {"cap": None, "label": "x"})
    assert (changed["cap"], changed["label"], changed["expires_at"]) == (None, "x", ends)
    assert changed["spent_nanos"] == 200_000_000
    stopped = await api("PATCH", f"/v1/keys/{key_id}", made.secret, {"frozen": True})
    assert (stopped["status"], stopped["frozen_by"]) == ("frozen", "owner")
    assert not hasattr(await spend(api, made.wallet, secret, "req_2", 5), "key_id")
    started = await api("PATCH", f"/v1/keys/{key_id}", made.secret, {"frozen": False})
    assert started["status"] == "active"
    ended = await api("DELETE", f"/v1/keys/{key_id}", made.secret)
    assert (ended["status"], bool(ended["revoked_at"])) == ("revoked", True)
    listed = await api("GET", "/v1/keys", made.secret)
    assert [key["main"] for key in listed["data"]] == [True, False]
    assert "secret" not in str(listed)


async def test_limits_a_minute_at_once_and_by_model(api: Api, made: keys.Created) -> None:
    """Made, shown by key and to the key itself, changed each by itself, and refused by name."""
    rates = {"requests_per_minute": 60, "tokens_per_minute": 10**6, "concurrency": 4}
    found = await sub(api, made, **rates, models=["gpt-x", "claude-y"])
    secret, path = found["secret"], f"/v1/keys/{found['key_id']}"
    assert {name: found[name] for name in rates} == rates
    assert found["models"] == ["gpt-x", "claude-y"]
    own = await api("GET", "/v1/key", secret)
    assert {name: own[name] for name in (*rates, "models")} == {**rates, "models": found["models"]}
    changed = await api("PATCH", path, made.secret, {"concurrency": None, "models": ["other"]})
    assert (changed["concurrency"], changed["requests_per_minute"]) == (None, 60)
    assert changed["models"] == ["other"]
    assert (await spend(api, made.wallet, secret, "req_1", 5)).reason == "model"
    for name, value in (
        ("requests_per_minute", 0), ("tokens_per_minute", -1), ("concurrency", 257),
        ("concurrency", True), ("requests_per_minute", "60"), ("models", "gpt-x"),
        ("models", ["a|b"]), ("models", ["a,b"]), ("models", [""]), ("models", ["m"] * 51),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest) as caught:
            await api("PATCH", path, made.secret, {name: value})
        assert caught.value.param == name
    assert await api("GET", path, made.secret) == changed


async def test_a_sub_key_sees_and_changes_itself_alone(api: Api, made: keys.Created) -> None:
    """It neither makes keys nor sees others, and changes its own secret only."""
    found = await sub(api, made)
    other = await sub(api, made)
    secret, key_id = found["secret"], found["key_id"]
    assert [key["key_id"] for key in (await api("GET", "/v1/keys", secret))["data"]] == [key_id]
    for method, address, body in (
        ("GET", f"/v1/keys/{other['key_id']}", None),
        ("GET", f"/v1/keys/{made.key_id}", None),
        ("PATCH", f"/v1/keys/{other['key_id']}", {"frozen": True}),
        ("DELETE", f"/v1/keys/{made.key_id}", None),
    ):
        with pytest.raises(NotFound):
            await api(method, address, secret, body)
    for method, address, body in (
        ("POST", "/v1/keys", {"label": "mine"}),
        ("PATCH", f"/v1/keys/{key_id}", {"cap": "1000"}),
        ("DELETE", f"/v1/keys/{key_id}", None),
    ):
        with pytest.raises(NotPermitted):
            await api(method, address, secret, body)
    new = await api("POST", "/v1/key/rotate", secret, {"grace_s": 0})
    assert (await api("GET", "/v1/key", new["secret"]))["key_id"] == key_id
    with pytest.raises((KeyDisabled, InvalidKey)):
        await api("GET", "/v1/key", secret)
    assert (await api("POST", "/v1/key/freeze", new["secret"]))["status"] == "frozen"
    assert (await api("GET", "/v1/key", new["secret"]))["status"] == "frozen"
    assert (await api("GET", "/v1/key", made.secret))["status"] == "active"


async def test_a_new_secret_with_grace(api: Api, made: keys.Created) -> None:
    """Both open the same key; the answer says until when."""
    new = await api("POST", "/v1/key/rotate", made.secret)
    assert new["grace_s"] == 86_400
    for secret in (made.secret, new["secret"]):
        assert (await api("GET", "/v1/key", secret))["key_id"] == made.key_id


async def test_whoever_holds_the_key_stops_it_and_only_the_code_starts_it(
    api: Api, made: keys.Created
) -> None:
    """Freezing is heard at once; the code's tries are counted, and the right one ends that."""
    sub_secret = (await sub(api, made))["secret"]
    await api("POST", "/v1/key/freeze", made.secret)
    assert (await api("GET", "/v1/key", made.secret))["status"] == "frozen"
    assert not hasattr(await spend(api, made.wallet, sub_secret, "req_1", 5), "key_id")
    with pytest.raises(KeyDisabled):
        await api("POST", "/v1/keys", made.secret, {"label": "thief"})
    with pytest.raises(KeyDisabled):
        await api("POST", "/v1/key/rotate", made.secret)
    for wrong in ("", made.secret, made.recovery_code[:-1]):
        with pytest.raises(NotPermitted) as refusal:
            await api("POST", "/v1/key/unfreeze", made.secret, {"recovery_code": wrong})
        assert refusal.value.param == "recovery_code"
        assert made.recovery_code not in refusal.value.message
    found = await api("POST", "/v1/key/unfreeze", made.secret, {
        "recovery_code": made.recovery_code})  # fmt: skip
    assert found["status"] == "active"
    assert hasattr(await spend(api, made.wallet, sub_secret, "req_2", 5), "key_id")
    for _ in range(key_endpoints.TRIES_MAX):
        with pytest.raises(NotPermitted):
            await api("POST", "/v1/key/unfreeze", made.secret, {"recovery_code": "rc-x"})
    with pytest.raises(LimitReached) as limit:
        await api("POST", "/v1/key/unfreeze", made.secret, {"recovery_code": made.recovery_code})
    assert limit.value.retry_after_s


async def test_the_owner_hears_of_it_by_mail(api: Api, made: keys.Created) -> None:
    """A new secret and a freeze each queue a letter that the worker can write."""
    async with api.stores.books.transaction() as connection:
        await connection.execute(
            "update wallet set email = 'a@b.example' where wallet = $1", made.wallet
        )
    await api("POST", "/v1/key/rotate", made.secret, {"grace_s": 60})
    await api("POST", "/v1/key/freeze", made.secret)
    assert key_endpoints.MAIL_PURPOSE == mails.PURPOSE
    async with api.stores.books.connection() as connection:
        rows = await connection.fetch("select kind, address, view_sealed from mail")
    assert {row["kind"] for row in rows} == {"rotated", "frozen"}
    for row in rows:
        view = msgspec.json.decode(unseal(PEPPER, mails.PURPOSE, row["view_sealed"]))
        letters.check(row["kind"], view)
        assert view["key_id"] == made.key_id


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"colour": "red"}, "colour"),
        ({"label": 5}, "label"),
        ({"label": "x" * 65}, "label"),
        ({"cap": 5}, "cap"),
        ({"cap": "5e3"}, "cap"),
        ({"cap": "-1"}, "cap"),
        ({"cap": "1", "cap_nanos": 1}, "cap_nanos"),
        ({"cap_nanos": 1.5}, "cap_nanos"),
        ({"period": "year"}, "period"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2026-12-31T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ([1], None),
    ],
)
async def test_a_bad_member_is_refused_by_its_name(
    api: Api, made: keys.Created, body: Any, param: str | None
) -> None:
    """400, and nothing is made."""
    with pytest.raises(InvalidRequest) as refusal:
        await api("POST", "/v1/keys", made.secret, body)
    assert refusal.value.param == param
    assert len((await api("GET", "/v1/keys", made.secret))["data"]) == 1


@pytest.mark.parametrize("grace", [-1, 1.5, "60", 10**8, True])
async def test_a_grace_is_a_number_of_seconds(api: Api, made: keys.Created, grace: Any) -> None:
    """Nothing is rotated by a guess."""
    with pytest.raises(InvalidRequest) as refusal:
        await api("POST", "/v1/key/rotate", made.secret, {"grace_s": grace})
    assert refusal.value.param == "grace_s"
    assert (await api("GET", "/v1/keys", made.secret))["data"][0]["main"]


@pytest.mark.parametrize("url", ["", "postgresql://nobody@127.0.0.1:1/none"])
async def test_without_the_books_redis_still_answers(
    valkey_till: Till, api: Api, made: keys.Created, url: str
) -> None:
    """503 with the time to come back, in the error's own words; the key's figures stand."""
    settings = Settings(database=DatabaseSettings(url=url))
    sold = Sold(settings, lambda: Book(()), lambda family, dialect: True)
    away = Api(api.stores, Account(settings, valkey_till, PEPPER, sold))
    assert (await away("GET", "/v1/key", made.secret))["balance"] == "2.00"
    for method, path in (
        ("GET", "/v1/keys"),
        ("GET", "/v1/usage"),
        ("GET", "/v1/ledger?format=csv"),
        ("POST", "/v1/key/rotate"),
    ):
        with pytest.raises(RecordsUnavailable) as refusal:
            await away(method, path, made.secret)
        error: RequestError = refusal.value
        assert (error.status, error.retry) == (503, True)
        assert error.retry_after_s
