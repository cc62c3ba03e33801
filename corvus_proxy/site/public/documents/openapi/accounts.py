"""The account's endpoints: one operation for each row of `account.routes.ENDPOINTS`.

A body's members are told here; the tests compare them with those that the endpoint names when it
refuses one that it does not know.
"""

from typing import Any, NamedTuple

from corvus_proxy.account.managing.keys import GRACE_MAX_S
from corvus_proxy.account.routes import ENDPOINTS, Endpoint
from corvus_proxy.books.statements import BUCKETS
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.money.usage import COUNTS
from corvus_proxy.service.keys import GRACE_S
from corvus_proxy.site.public.documents.openapi.failures import failures
from corvus_proxy.site.public.documents.openapi.inference import example
from corvus_proxy.site.public.documents.openapi.shapes import (
    LIST,
    OPEN,
    Operation,
    Schema,
    ref,
    within,
)
from corvus_proxy.site.public.page import Facts
from corvus_proxy.wire.dialect import PATHS, Dialect

_TEXT: Schema = {"type": "string"}
_INSTANT: Schema = {"type": "string", "description": "ISO 8601; without an offset, of the zone tz."}
_LIMIT: Schema = {"type": ["integer", "null"], "minimum": 1}
PARAMETERS: dict[str, Schema] = {
    "model": {**_TEXT, "description": "A slug."},
    "outcome": {"type": "string", "enum": [
        one.value for one in Outcome if one is not Outcome.REFUSED_ADMISSION]},
    "key_id": {**_TEXT, "description": "Of one key of the wallet."},
    "from": _INSTANT,
    "to": {**_INSTANT, "description": f"{_INSTANT['description']} Not included."},
    "tz": {**_TEXT, "description": "A zone such as Europe/Berlin; UTC where it is missing."},
    "bucket": {"type": "string", "enum": list(BUCKETS)},
    "group_by": {**_TEXT, "description": "`model`, `key` and `day`, with commas."},
    "cursor": {**_TEXT, "description": "Where the page begins, as the answer before said."},
    "limit": {"type": "integer", "minimum": 1},
    "format": {"type": "string", "enum": ["json", "csv", "beancount"]},
    "dialect": {"type": "string", "enum": [one.value for one in PATHS.values()]},
    "id": {**_TEXT, "description": "A request id."},
    "start_date": {"type": "string", "format": "date"},
    "end_date": {"type": "string", "format": "date"},
}  # fmt: skip
"""Every parameter that a row of the table can name."""


class Body(NamedTuple):
    """What a call sends."""

    members: dict[str, Schema]
    example: dict[str, Any]
    required: tuple[str, ...] = ()
    needed: bool = True
    """Whether there has to be a body at all."""


_KEY: dict[str, Schema] = {
    "label": _TEXT,
    "cap": {**ref("Usd"), "description": "What it may spend in its period."},
    "cap_nanos": ref("Nanos"),
    "period": {"type": "string", "enum": ["total", "day", "week", "month"]},
    "expires_at": {"type": ["string", "null"], "format": "date-time"},
    "requests_per_minute": _LIMIT,
    "tokens_per_minute": _LIMIT,
    "concurrency": _LIMIT,
    "models": {"type": ["array", "null"], "items": _TEXT},
}
_ALARM: dict[str, Schema] = {
    "kind": {"type": "string", "enum": ["balance", "hour", "day", "spike"]},
    "threshold": ref("Usd"),
    "threshold_nanos": ref("Nanos"),
    "threshold_percent": {"type": "integer", "description": "Of a spike alone."},
    "email": {"type": "boolean"},
    "webhook_url": {"type": ["string", "null"], "format": "uri"},
}
_TOLD = {"kind": "hour", "threshold": "5.00", "webhook_url": "https://example.com/hook"}
BODIES: dict[tuple[str, str], Body] = {
    ("POST", "/v1/keys"): Body(_KEY, {"label": "tests", "cap": "1.00", "period": "day"}),
    ("PATCH", "/v1/keys/{key_id}"): Body(
        {**_KEY, "frozen": {"type": "boolean"}}, {"label": "tests, changed", "cap": "2.00"}
    ),
    ("POST", "/v1/key/rotate"): Body(
        {"grace_s": {"type": "integer", "minimum": 0, "maximum": GRACE_MAX_S}},
        {"grace_s": GRACE_S}, needed=False,
    ),
    ("POST", "/v1/key/unfreeze"): Body(
        {"recovery_code": _TEXT}, {"recovery_code": "YOUR_RECOVERY_CODE"}, ("recovery_code",)
    ),
    ("POST", "/v1/alarms"): Body(_ALARM, _TOLD, ("kind",)),
    ("PUT", "/v1/alarms"): Body(
        {"alarms": {"type": "array", "items": {"type": "object", "properties": _ALARM}}},
        {"alarms": [_TOLD]}, ("alarms",),
    ),
    ("PATCH", "/v1/alarms/{alarm_id}"): Body(_ALARM, {"threshold": "7.50"}),
}  # fmt: skip
"""The bodies of those calls that take one, but for the quote, whose body is a request's."""
_STATUSES = {
    ("POST", "/v1/keys"): 201,
    ("POST", "/v1/alarms"): 201,
    ("POST", "/v1/alarms/{alarm_id}/test"): 202,
}
_ANSWERS = {
    "/v1/key": ref("Standing"),
    "/v1/keys": LIST,
    "/v1/quote": ref("Quote"),
}
_FILES = ("text/csv", "text/plain")


def operations(facts: Facts) -> list[Operation]:
    """All of them, in the table's order."""
    return [_operation(row, facts) for row in ENDPOINTS]


def _operation(row: Endpoint, facts: Facts) -> Operation:
    at = (row.method, row.path)
    body = _quote(facts) if row.path == "/v1/quote" else BODIES.get(at)
    queries = tuple(
        {"name": name, "in": "query", "schema": PARAMETERS[name]} for name in row.params
    )
    answer = (
        OPEN if row.method != "GET" and row.path == "/v1/keys" else _ANSWERS.get(row.path, OPEN)
    )
    return Operation(
        row.method,
        row.path,
        "account",
        row.what[:1].upper() + row.what[1:].replace("`", ""),
        f"Needs {row.needs}. A frozen key may {'' if row.frozen else 'not '}ask it.",
        (*within(row.path), *queries),
        body=None if body is None else _schema(body),
        body_required=body is None or body.needed,
        examples=_examples(body, facts, row.path),
        status=_STATUSES.get(at, 200),
        answer=answer,
        kinds=_FILES if "format" in row.params else (),
        failures=failures("account"),
    )


def _schema(body: Body) -> Schema:
    found: Schema = {"type": "object", "properties": body.members}
    if body.required:
        found["required"] = list(body.required)
    return found


def _examples(body: Body | None, facts: Facts, path: str) -> dict[str, Any]:
    if body is None or not body.example:
        return {}
    if path != "/v1/quote":
        return {"plain": body.example}
    request = example(facts, "/v1/chat/completions", Dialect.CHAT)
    return {"usage": body.example, "request": request}


def _quote(facts: Facts) -> Body:
    """A quote is of a usage, or of a whole request."""
    request = example(facts, "/v1/chat/completions", Dialect.CHAT)
    members: dict[str, Schema] = {
        "model": _TEXT,
        "usage": {**OPEN, "description": f"A vendor's report, or of {', '.join(COUNTS)}."},
        "shape": {"type": "string", "enum": ["classes", "messages", "chat", "responses"]},
        "mode": _TEXT,
        "geo": _TEXT,
        "messages": {"type": "array", "items": OPEN},
        "input": {"type": ["string", "array"]},
    }
    usage = {
        "model": request.get("model", ""),
        "usage": {"input": 1000, "cache_read": 9000, "output": 200},
    }
    return Body(members, usage if request else {}, ("model",))
