"""Alarms by the key itself: made, changed, tested, taken away, and whose they are."""

from typing import Any

import pytest

from corvus_proxy.books import people
from corvus_proxy.errors import InvalidRequest, KeyDisabled, NotFound, NotPermitted
from corvus_proxy.service import keys, owner
from tests.unit.account.managing.calls import Api

pytestmark = pytest.mark.anyio
HOOK = "https://hooks.example/in"
LOW = {"kind": "balance", "threshold": "5.00", "webhook_url": HOOK}


async def test_an_alarm_from_its_making_to_its_end(api: Api, made: keys.Created) -> None:
    """Amounts in both forms, a spike in percent; what webhooks are signed with stands in the list
    and in no alarm."""
    assert await api("GET", "/v1/alarms", made.secret) == {
        "object": "list", "data": [], "webhook_secret": None,
    }  # fmt: skip
    low = await api("POST", "/v1/alarms", made.secret, LOW)
    assert low == {
        "object": "alarm", "alarm_id": low["alarm_id"], "kind": "balance", "threshold": "5.00",
        "threshold_nanos": 5_000_000_000, "threshold_percent": None, "email": False,
        "webhook_url": HOOK, "fired": False, "notice": None, "problem": None,
    }  # fmt: skip
    spike = {"kind": "spike", "threshold_percent": 1000, "webhook_url": HOOK}
    made_spike = await api("POST", "/v1/alarms", made.secret, spike)
    assert (made_spike["threshold"], made_spike["threshold_percent"]) == (None, 1000)
    listed = await api("GET", "/v1/alarms", made.secret)
    assert listed["data"] == [low, made_spike]
    assert listed["webhook_secret"].startswith("whsec_")
    path = f"/v1/alarms/{low['alarm_id']}"
    changed = await api("PATCH", path, made.secret, {"threshold_nanos": 1})
    assert changed == {**low, "threshold": "0.000000001", "threshold_nanos": 1}
    changed = await api("PATCH", path, made.secret, {"kind": "hour"})
    assert (changed["kind"], changed["threshold_nanos"]) == ("hour", 1)
    assert await api("GET", path, made.secret) == changed
    tested = await api("POST", f"{path}/test", made.secret)
    assert tested == {**changed, "notice": "queued"} == await api("GET", path, made.secret)
    assert await api("DELETE", path, made.secret) == tested
    for method in ("GET", "PATCH", "DELETE"):
        with pytest.raises(NotFound):
            await api(method, path, made.secret)
    assert (await api("GET", "/v1/alarms", made.secret))["data"] == [made_spike]


async def test_put_sets_them_all_or_none(api: Api, made: keys.Created) -> None:
    """Those that are given stand after it; one that cannot be leaves everything as it was."""
    await api("POST", "/v1/alarms", made.secret, LOW)
    secret = (await api("GET", "/v1/alarms", made.secret))["webhook_secret"]
    day = {"kind": "day", "threshold": "2", "webhook_url": HOOK}
    found = await api("PUT", "/v1/alarms", made.secret, {"alarms": [day]})
    assert [(one["kind"], one["threshold"]) for one in found["data"]] == [("day", "2.00")]
    assert found["webhook_secret"] == secret
    for given, param in (
        (None, "alarms"),
        ([1], "alarms"),
        ([LOW, {**day, "webhook_url": None}], "alarms"),
        ([{**day, "id": 1}], "id"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await api("PUT", "/v1/alarms", made.secret, {"alarms": given})
        assert caught.value.param == param
    assert await api("GET", "/v1/alarms", made.secret) == found
    assert (await api("PUT", "/v1/alarms", made.secret, {"alarms": []}))["data"] == []


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"kind": "weekly"}, "kind"),
        ({"kind": None}, "kind"),
        ({"threshold": 5}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"threshold": "0"}, "threshold"),
        ({"threshold_nanos": 5}, "threshold_nanos"),
        ({"threshold_percent": 500}, "threshold_percent"),
        ({"kind": "spike"}, "threshold"),
        ({"kind": "spike", "threshold": None}, "threshold_percent"),
        ({"kind": "spike", "threshold": None, "threshold_percent": True}, "threshold_percent"),
        ({"kind": "spike", "threshold": None, "threshold_percent": 100}, "threshold_percent"),
        ({"email": "yes"}, "email"),
        ({"email": True}, "email"),
        ({"webhook_url": None}, "email"),
        ({"webhook_url": 1}, "webhook_url"),
        ({"webhook_url": "http://hooks.example/"}, "webhook_url"),
        ({"webhook_url": "https://169.254.169.254/"}, "webhook_url"),
        ({"url": HOOK}, "url"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(
    api: Api, made: keys.Created, members: dict[str, Any], param: str
) -> None:
    """The member is named in `param`; nothing is kept. The wallet has no mail address."""
    with pytest.raises(InvalidRequest) as caught:
        await api("POST", "/v1/alarms", made.secret, LOW | members)
    assert caught.value.param == param
    assert (await api("GET", "/v1/alarms", made.secret))["data"] == []


async def test_a_change_is_judged_like_a_new_one(api: Api, made: keys.Created) -> None:
    """A kind with another unit takes its threshold along; two alike are not possible; without a
    webhook there is nothing to test."""
    async with api.stores.books.connection() as connection:
        await people.set_email(connection, made.wallet, "owner@rook.example")
    low = await api("POST", "/v1/alarms", made.secret, LOW)
    mailed = {"kind": "balance", "threshold": "1", "email": True}
    other = await api("POST", "/v1/alarms", made.secret, mailed)
    path = f"/v1/alarms/{low['alarm_id']}"
    for members, param in (
        ({"kind": "spike"}, "threshold_percent"),
        ({"threshold": "1"}, "threshold"),
        ({"webhook_url": None}, "email"),
        ({"fired": False}, "fired"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await api("PATCH", path, made.secret, members)
        assert caught.value.param == param
    assert await api("GET", path, made.secret) == low
    with pytest.raises(InvalidRequest):
        await api("POST", f"/v1/alarms/{other['alarm_id']}/test", made.secret)
    spike = await api("PATCH", path, made.secret, {"kind": "spike", "threshold_percent": 300})
    assert (spike["threshold"], spike["threshold_percent"]) == (None, 300)


async def test_alarms_are_the_working_main_keys(api: Api, made: keys.Created) -> None:
    """A sub-key sees none, another wallet neither; a frozen main key looks and changes nothing."""
    low = await api("POST", "/v1/alarms", made.secret, LOW)
    path = f"/v1/alarms/{low['alarm_id']}"
    sub = await api("POST", "/v1/keys", made.secret, {"label": "agent"})
    stranger = await keys.create(api.stores, credit_nanos=1)
    for method, address, body in (
        ("GET", "/v1/alarms", None), ("POST", "/v1/alarms", LOW),
        ("PUT", "/v1/alarms", {"alarms": []}), ("GET", path, None),
        ("PATCH", path, {"threshold": "1"}), ("DELETE", path, None), ("POST", f"{path}/test", None),
    ):  # fmt: skip
        with pytest.raises(NotPermitted):
            await api(method, address, sub["secret"], body)
        if address != "/v1/alarms":
            with pytest.raises(NotFound):
                await api(method, address, stranger.secret, body)
    await owner.freeze(api.stores, made.key_id, actor=made.key_id)
    assert (await api("GET", "/v1/alarms", made.secret))["data"] == [low]
    for method, address, body in (
        ("POST", "/v1/alarms", LOW), ("PUT", "/v1/alarms", {"alarms": []}),
        ("PATCH", path, {"threshold": "1"}), ("DELETE", path, None), ("POST", f"{path}/test", None),
    ):  # fmt: skip
        with pytest.raises(KeyDisabled):
            await api(method, address, made.secret, body)
    assert await api("GET", path, made.secret) == low
