"""`/v1/alarms`: when the wallet's owner is told, and where.

Alarms are the main key's: they tell what the whole wallet spends. A frozen key may look at them and
change none, for whoever froze it may be the one whom they are to tell of.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from corvus_proxy.account import asking
from corvus_proxy.account.asking import Ask, bad
from corvus_proxy.errors import InvalidRequest, NotFound, NotPermitted
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import format_usd
from corvus_proxy.service import alarms
from corvus_proxy.service.alarms import Alarm, BadAlarm, Wanted
from corvus_proxy.service.stores import Stores

ALARM = "/v1/alarms/{alarm_id}"
_MEMBERS = ("kind", "threshold", "threshold_nanos", "threshold_percent", "email", "webhook_url")
_THRESHOLDS = _MEMBERS[1:4]
Handler = Callable[[Stores, Ask], Awaitable[Reply]]


def handlers(*, private: bool) -> dict[tuple[str, str], Handler]:
    """Who answers which method and path. `private` allows webhooks to addresses that are not
    public."""
    told = Alarms(private=private)
    return {
        ("GET", "/v1/alarms"): told.listing,
        ("POST", "/v1/alarms"): told.create,
        ("PUT", "/v1/alarms"): told.replace,
        ("GET", ALARM): told.show,
        ("PATCH", ALARM): told.change,
        ("DELETE", ALARM): told.remove,
        ("POST", f"{ALARM}/test"): told.test,
    }


class Alarms:
    """Handlers of `/v1/alarms`."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    async def listing(self, stores: Stores, ask: Ask) -> Reply:
        """`GET /v1/alarms`."""
        _main(ask)
        return await _listed(stores, ask)

    async def create(self, stores: Stores, ask: Ask) -> Reply:
        """`POST /v1/alarms`: one more, or another way of telling for one that there is."""
        _main(ask)
        wanted = _wanted(await asking.document(ask, _MEMBERS))
        try:
            made = await alarms.add(stores, ask.caller.wallet, wanted, private=self._private)
        except BadAlarm as error:
            raise _refused(error, wanted.kind) from None
        return asking.reply(_document(made), 201)

    async def replace(self, stores: Stores, ask: Ask) -> Reply:
        """`PUT /v1/alarms`: all of them at once; nothing changes where one of them cannot be."""
        _main(ask)
        body = await asking.document(ask, ("alarms",))
        given = body.get("alarms")
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise bad("alarms", "must be a list of objects, as POST takes them")
        for name in (name for one in given for name in one if name not in _MEMBERS):
            raise bad(name, f"is not known here; members are: {', '.join(_MEMBERS)}")
        wanted = [_wanted(one) for one in given]
        try:
            await alarms.put(stores, ask.caller.wallet, wanted, private=self._private)
        except BadAlarm as error:
            raise bad("alarms", f"is refused: {error}") from None
        return await _listed(stores, ask)

    async def show(self, stores: Stores, ask: Ask) -> Reply:
        """`GET /v1/alarms/{alarm_id}`."""
        return asking.reply(_document(await _alarm(stores, ask)))

    async def change(self, stores: Stores, ask: Ask) -> Reply:
        """`PATCH /v1/alarms/{alarm_id}`: each member by itself."""
        present = await _alarm(stores, ask)
        body = await asking.document(ask, _MEMBERS)
        kind = asking.word(body, "kind", present.kind)
        changes: dict[str, Any] = {name: body[name] for name in ("kind",) if name in body}
        if any(name in body for name in _THRESHOLDS) or (kind == "spike") != (
            present.kind == "spike"
        ):
            changes["threshold"] = _threshold(body, kind)
        if "email" in body:
            changes["email"] = _flag(body)
        if "webhook_url" in body:
            changes["webhook_url"] = _url(body)
        try:
            changed = await alarms.change(
                stores, ask.caller.wallet, present.alarm_id, changes, private=self._private
            )
        except BadAlarm as error:
            raise _refused(error, kind) from None
        if changed is None:
            raise _absent(ask)
        return asking.reply(_document(changed))

    async def remove(self, stores: Stores, ask: Ask) -> Reply:
        """`DELETE /v1/alarms/{alarm_id}`: it, as it was."""
        present = await _alarm(stores, ask)
        if not await alarms.remove(stores, ask.caller.wallet, present.alarm_id):
            raise _absent(ask)
        return asking.reply(_document(present))

    async def test(self, stores: Stores, ask: Ask) -> Reply:
        """`POST /v1/alarms/{alarm_id}/test`."""
        await asking.document(ask, ())
        present = await _alarm(stores, ask)
        if not await alarms.test(stores, ask.caller.wallet, present.alarm_id):
            raise bad("webhook_url", "is what this alarm does not have; there is nothing to test")
        return asking.reply(_document(present._replace(notice="queued", problem="")), 202)


def _main(ask: Ask) -> None:
    if not ask.look.main:
        raise NotPermitted("Alarms are about the whole wallet: they take its main key.")


async def _listed(stores: Stores, ask: Ask) -> Reply:
    found = await alarms.list_of(stores, ask.caller.wallet)
    secret = await alarms.secret_of(stores, ask.caller.wallet)
    return asking.reply(
        {
            "object": "list",
            "data": [_document(one) for one in found],
            "webhook_secret": secret or None,
        }
    )


async def _alarm(stores: Stores, ask: Ask) -> Alarm:
    _main(ask)
    for one in await alarms.list_of(stores, ask.caller.wallet):
        if one.alarm_id == ask.parts["alarm_id"]:
            return one
    raise _absent(ask)


def _absent(ask: Ask) -> NotFound:
    return NotFound(f"There is no alarm {ask.parts['alarm_id'][:40]!r} here.", param="alarm_id")


def _document(alarm: Alarm) -> dict[str, Any]:
    spike = alarm.kind == "spike"
    return {
        "object": "alarm",
        "alarm_id": alarm.alarm_id,
        "kind": alarm.kind,
        "threshold": None if spike else format_usd(alarm.threshold),
        "threshold_nanos": None if spike else alarm.threshold,
        "threshold_percent": alarm.threshold if spike else None,
        "email": alarm.email,
        "webhook_url": alarm.webhook_url or None,
        "fired": alarm.fired,
        "notice": alarm.notice or None,
        "problem": alarm.problem or None,
    }


def _wanted(body: Mapping[str, Any]) -> Wanted:
    kind = asking.word(body, "kind", "")
    return Wanted(kind, _threshold(body, kind), _flag(body), _url(body))


def _threshold(body: Mapping[str, Any], kind: str) -> int:
    """Nanos; of a spike percent."""
    nanos, percent = asking.amount(body, "threshold"), body.get("threshold_percent")
    if kind == "spike":
        if nanos is not None:
            raise bad("threshold", "is not of a spike; threshold_percent is, such as 1000")
        if type(percent) is not int:
            raise bad("threshold_percent", "must be a whole number, such as 1000 for ten times")
        return percent
    if percent is not None:
        raise bad("threshold_percent", "is of a spike alone; write threshold, in USD")
    if nanos is None:
        raise bad("threshold", 'must be a text such as "5.00", in USD')
    return nanos


def _flag(body: Mapping[str, Any]) -> bool:
    value = body.get("email", False)
    if not isinstance(value, bool):
        raise bad("email", "must be true or false")
    return value


def _url(body: Mapping[str, Any]) -> str:
    return "" if body.get("webhook_url") is None else asking.word(body, "webhook_url", "")


def _refused(error: BadAlarm, kind: str) -> InvalidRequest:
    """The refusal by the member's name in a request."""
    percent = "threshold_percent" if kind == "spike" else "threshold"
    names = {"to": "email", "threshold": percent}
    return bad(names.get(error.field, error.field), f"is refused: {error}")
