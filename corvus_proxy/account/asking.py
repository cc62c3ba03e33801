"""One question to an account endpoint: its parameters, read strictly.

Rule 1: a parameter that is not known, stands twice or cannot be read is refused by its name; no
        answer is about something else than what was asked.
Rule 2: instants are ISO 8601; one without an offset, or a mere date, is of the zone that `tz`
        names.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from corvus_proxy.errors import InvalidRequest
from corvus_proxy.gateway.admission import Caller
from corvus_proxy.gateway.front.client import Client
from corvus_proxy.gateway.front.endpoints import Reply
from corvus_proxy.money.amount import parse_usd
from corvus_proxy.till.reply import Look

BODY_BYTES_MAX = 64 * 1024
BODY_S = 10
_ZONE = re.compile(r"[A-Za-z]+(?:[_+/-][A-Za-z0-9_+-]+)*")
_NAME_CHARACTERS = 200


class Ask(NamedTuple):
    """Who asks what."""

    client: Client
    caller: Caller
    look: Look
    params: Mapping[str, str]
    parts: Mapping[str, str]
    """What stands in the path where the endpoint has a name in braces."""


class Standing(NamedTuple):
    """What a key may be told of its money, in nanos."""

    balance_nanos: int
    held_nanos: int
    available_nanos: int
    spent_nanos: int


def standing(look: Look) -> Standing:
    """The wallet's figures for its main key. A sub-key is told what it may spend and has spent, not
    what its wallet holds: `available` is what its cap leaves of what is free, the others are its
    own."""
    free = look.balance_nanos - look.held_nanos
    if look.main:
        return Standing(look.balance_nanos, look.held_nanos, free, look.wallet_spent_nanos)
    if look.cap_nanos is not None:
        left = look.cap_nanos - look.period_spent_nanos - look.key_held_nanos
        free = max(0, min(free, left))
    return Standing(free + look.key_held_nanos, look.key_held_nanos, free, look.key_spent_nanos)


def parameters(query: bytes, known: Sequence[str], *, strict: bool = True) -> dict[str, str]:
    """The query's parameters. Raises InvalidRequest for one that is not known or stands twice;
    others' clients send what they like, and are not read strictly."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known and strict:
            served = ", ".join(known) or "none"
            raise bad(name, f"is not known here; parameters are: {served}")
        if name in found and strict:
            raise bad(name, "stands more than once")
        found[name] = value
    return found


def bad(name: str, why: str) -> InvalidRequest:
    """The refusal of one parameter or member, by its name."""
    return InvalidRequest(f"{name[:_NAME_CHARACTERS]!r} {why}.", param=name[:_NAME_CHARACTERS])


def text(ask: Ask, name: str) -> str:
    """A parameter as it is; empty where it is missing."""
    value = ask.params.get(name, "")
    if len(value) > _NAME_CHARACTERS or "\0" in value:
        raise bad(name, "is too long, or no text")
    return value


def integer(ask: Ask, name: str, default: int, low: int, high: int) -> int:
    """A whole number within bounds."""
    value = ask.params.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise bad(name, f"must be a whole number from {low:,} to {high:,}")
    if not low <= int(value) <= high:
        raise bad(name, f"must be from {low:,} to {high:,}")
    return int(value)


def choice(ask: Ask, name: str, known: Sequence[str], default: str) -> str:
    """One of a few words."""
    value = ask.params.get(name) or default
    if value not in known:
        raise bad(name, f"must be one of {', '.join(known)}")
    return value


def zone(ask: Ask) -> str:
    """The name of a time zone by its shape; whether there is one, Postgres knows."""
    value = ask.params.get("tz") or "UTC"
    if len(value) > 64 or not _ZONE.fullmatch(value):
        raise bad("tz", "must be the name of a time zone, such as Europe/Berlin")
    return value


def instant(ask: Ask, name: str) -> datetime | None:
    """An instant, or a local time without a zone; None where it is missing."""
    value = ask.params.get(name, "")
    if not value:
        return None
    try:
        # In an address a plus sign is a space.
        found = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
    except ValueError:
        raise bad(name, "must be an instant such as 2026-11-26T10:00:00Z, or a date") from None
    if not 1970 < found.year < 9000:
        raise bad(name, "is too far away")
    return found


async def document(ask: Ask, known: Sequence[str]) -> dict[str, Any]:
    """The JSON object of the request's body; an empty body is an empty object. Raises
    InvalidRequest, BodyTooLarge, BodyTimeout, ClientGone."""
    body = await ask.client.body(BODY_BYTES_MAX, BODY_S)
    if not body.strip():
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    for name in found:
        if name not in known:
            raise bad(name, f"is not known here; members are: {', '.join(known)}")
    return found


def word(body: Mapping[str, Any], name: str, otherwise: str) -> str:
    """A member that is a text."""
    value = body.get(name, otherwise)
    if not isinstance(value, str):
        raise bad(name, "must be a text")
    return value


def amount(body: Mapping[str, Any], name: str) -> int | None:
    """An amount in nanos, from either of its two forms, `name` and `name_nanos`; None where it is
    missing or null."""
    value, nanos = body.get(name), body.get(f"{name}_nanos")
    if value is not None and nanos is not None:
        raise bad(f"{name}_nanos", f"cannot stand beside {name}")
    if nanos is not None:
        if type(nanos) is not int:
            raise bad(f"{name}_nanos", "must be a whole number")
        return nanos
    if value is None:
        return None
    try:
        return parse_usd(value if isinstance(value, str) else "")
    except ValueError:
        raise bad(name, 'must be a text such as "5.00", in USD') from None


def reply(view: object, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(msgspec.json.encode(view), status)
