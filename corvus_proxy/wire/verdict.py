"""What an upstream's error means: whose fault it is, and whether its words may be passed on.

Rule 1: the body's code decides where `CODES` knows it, else the status does (`STATUSES`).
Rule 2: words of a message decide only where they open it: a message may quote what a customer
        wrote, and no customer may write an account of ours out of its pool.
Rule 3: what names the operator's account in any way is not passed on, whosever fault it is.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

Headers = list[tuple[bytes, bytes]]


class Blame(StrEnum):
    """Whose fault an upstream's error is; the value is the word in docs, logs and metrics."""

    REQUEST = "request"
    """The client's own: passed on as it came."""
    CREDENTIAL = "credential"
    """Our credential is not accepted there, or may not do this."""
    ACCOUNT = "account"
    """Our account there has no money, has reached a limit of spending, or is closed."""
    RATE = "rate"
    """Our account there asks too much at once; it passes by itself."""
    BUSY = "busy"
    """The provider has no room, for whoever asks."""
    BROKEN = "broken"
    """The provider failed."""
    SLOW = "slow"
    """The provider ended it for the time that it took."""


class Verdict(NamedTuple):
    """What one error means."""

    blame: Blame
    status: int
    """What a client is told where the error is its own: the upstream's, or the one it stands
    for."""
    code: str
    """The code that decided; empty where the status did."""
    relayed: bool
    """The body may be passed on as it came."""
    retry_after_s: float | None
    """When the upstream says that it may be asked again, from now; None where it does not say."""
    told_as_busy: bool = False
    """It came as a 429: what is wrong with our account reads like a busy upstream, no more."""


STATUSES: dict[int, Blame] = {
    400: Blame.REQUEST,
    401: Blame.CREDENTIAL,
    402: Blame.ACCOUNT,
    403: Blame.CREDENTIAL,
    404: Blame.REQUEST,
    405: Blame.REQUEST,
    408: Blame.SLOW,
    409: Blame.REQUEST,
    413: Blame.REQUEST,
    415: Blame.REQUEST,
    422: Blame.REQUEST,
    429: Blame.RATE,
    434: Blame.CREDENTIAL,
    435: Blame.REQUEST,
    500: Blame.BROKEN,
    502: Blame.BROKEN,
    503: Blame.BUSY,
    504: Blame.SLOW,
    529: Blame.BUSY,
}
"""By status; every other one is BROKEN."""
STANDS_FOR = {435: 413}
"""Z.AI's own status of a body that is too large."""

_ANTHROPIC = {
    "authentication_error": Blame.CREDENTIAL,
    "permission_error": Blame.CREDENTIAL,
    "billing_error": Blame.ACCOUNT,
    "enforced_spend_limit_reached": Blame.ACCOUNT,
    "ramp_limit_exceeded": Blame.RATE,
    "rate_limit_error": Blame.RATE,
    "overloaded_error": Blame.BUSY,
    "api_error": Blame.BROKEN,
    "timeout_error": Blame.SLOW,
    "not_found_error": Blame.REQUEST,
    "request_too_large": Blame.REQUEST,
}
_OPENAI = {
    "invalid_api_key": Blame.CREDENTIAL,
    "invalid_organization": Blame.CREDENTIAL,
    "unsupported_country_region_territory": Blame.CREDENTIAL,
    "insufficient_quota": Blame.ACCOUNT,
    "credit_balance_exhausted": Blame.ACCOUNT,
    "organization_spend_limit_exceeded": Blame.ACCOUNT,
    "project_spend_limit_exceeded": Blame.ACCOUNT,
    "organization_usage_limit_exceeded": Blame.ACCOUNT,
    "billing_hard_limit_reached": Blame.ACCOUNT,
    "billing_not_active": Blame.ACCOUNT,
    "account_deactivated": Blame.ACCOUNT,
    "usage_limit_reached": Blame.ACCOUNT,
    "rate_limit_exceeded": Blame.RATE,
    "slow_down": Blame.BUSY,
    "server_is_overloaded": Blame.BUSY,
}
_GLM = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), Blame.CREDENTIAL),
    "1100": Blame.CREDENTIAL,
    **dict.fromkeys(("1110", "1111", "1112", "1121"), Blame.ACCOUNT),
    "1113": Blame.ACCOUNT,
    **dict.fromkeys(("1210", "1211", "1212", "1213", "1214", "1215"), Blame.REQUEST),
    **dict.fromkeys(("1220", "1221", "1222"), Blame.CREDENTIAL),
    **dict.fromkeys(("1230", "1231", "1232", "1233", "1234"), Blame.BROKEN),
    "1301": Blame.REQUEST,
    "1302": Blame.RATE,
    "1303": Blame.RATE,
    "1305": Blame.BUSY,
    "1308": Blame.ACCOUNT,
    "1313": Blame.ACCOUNT,
}
CODES: dict[str, dict[str, Blame]] = {
    "anthropic": _ANTHROPIC,
    "openai": _OPENAI,
    # Z.AI speaks the other two dialects too, and may well use their words in them.
    "glm": {**_ANTHROPIC, **_OPENAI, **_GLM},
}
"""By family and code: an error's `code`, `type` or `details.error_code`. Types that only repeat the
status (`invalid_request_error`, `server_error`) are left to it."""
REQUEST_STATUSES = {"1211": 404, "model_not_found": 404, "not_found_error": 404}
REQUEST_STATUSES |= {"request_too_large": 413}
"""What a client is told of its own error that came under a status which is not about it: Z.AI
sends some with 200, 429 or 500. Every other one is a 400."""

_OPENINGS = (
    (re.compile(r"your credit balance", re.IGNORECASE), Blame.ACCOUNT),
    (re.compile(r"you have reached your (specified )?(api )?usage limit", re.IGNORECASE),
     Blame.ACCOUNT),
    (re.compile(r"you are out of (extra )?usage", re.IGNORECASE), Blame.ACCOUNT),
    (re.compile(r"(monthly |workspace )?spend limit", re.IGNORECASE), Blame.ACCOUNT),
    (re.compile(r"you exceeded your current quota", re.IGNORECASE), Blame.ACCOUNT),
    (re.compile(r"your organization must be verified", re.IGNORECASE), Blame.CREDENTIAL),
    (re.compile(r"this organization has been disabled", re.IGNORECASE), Blame.ACCOUNT),
)  # fmt: skip
"""How messages begin that speak of our account under the status and type of a client's own error:
Anthropic sends them so."""

_NAMES_US = re.compile(
    rb"credit balance|spend[ _]limit|insufficient_quota|billing_|usage limits|extra usage"
    rb"|(?:your|this|the) organi[sz]ation|your (?:account|workspace|project|plan)\b"
    rb"|\borg-\w{4}|\bproj_\w{4}|\bwrkspc_\w{4}|\bsk-\w{3}",
    re.IGNORECASE,
)
"""Words that name the operator's account, or could be read as the client's own empty balance."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_JSON = msgspec.json.Decoder(dict[str, Any])
_ERROR = msgspec.json.Decoder(Any)
RETRY_AFTER_MAX_S = 86_400.0
"""A longer wait than a day says no more than a day does."""


def judge(family: str, status: int, headers: Headers, body: bytes, now_ms: int) -> Verdict:
    """What the error `body` under `status` means; under 200 it is judged by its code alone.

    `now_ms` is wall time, for waits that are told as an instant.
    """
    try:
        whole = _JSON.decode(body)
    except _UNREADABLE:
        whole = {}
    blame, code = _blame(family, whole.get("error", whole), whole)
    if blame is None:
        blame = STATUSES.get(status, Blame.BROKEN)
    told = STANDS_FOR.get(status, status)
    if blame is Blame.REQUEST and STATUSES.get(status) is not Blame.REQUEST:
        told = REQUEST_STATUSES.get(code, 400)
    relayed = blame is Blame.REQUEST and "error" in whole and not names_us(body)
    return Verdict(blame, told, code, relayed, retry_after_s(headers, now_ms), status == 429)


def judge_event(family: str, error: bytes) -> Verdict:
    """The same for an error inside a stream: `error` is its object, rarely a string."""
    try:
        found: Any = _ERROR.decode(error)
    except _UNREADABLE:
        found = {}
    blame, code = _blame(family, found, {})
    if blame is None:
        own = isinstance(found, dict) and found.get("type") == "invalid_request_error"
        blame = Blame.REQUEST if own else Blame.BROKEN
    # An event that says that the provider failed is the truth, and clients act upon its words.
    relayed = blame not in (Blame.CREDENTIAL, Blame.ACCOUNT, Blame.RATE) and not names_us(error)
    return Verdict(blame, 200, code, relayed, None)


def names_us(words: bytes) -> bool:
    """Whether an upstream's words name the operator's account, or speak of its money."""
    return _NAMES_US.search(words) is not None


def message_of(body: bytes) -> str:
    """The sentence in an upstream's error body, in whichever of its shapes; empty without one."""
    try:
        whole = _JSON.decode(body)
    except _UNREADABLE:
        return ""
    return _message(whole.get("error", whole))


def words_of(body: bytes) -> dict[str, str]:
    """Of an upstream's error body what both vendors' error objects have: `message`, `type`, `code`,
    `param`, each where it is a text."""
    try:
        error = _JSON.decode(body).get("error")
    except _UNREADABLE:
        error = None
    words = error if isinstance(error, dict) else {"message": error}
    found = {name: words.get(name) for name in ("message", "type", "code", "param")}
    return {name: word for name, word in found.items() if isinstance(word, str)}


def retry_after_s(headers: Headers, now_ms: int) -> float | None:
    """Seconds until the upstream wants to be asked again; None where it does not say.

    `retry-after-ms`, else `retry-after` as seconds or as a date; never negative.
    """
    found = dict(headers)
    with_ms = _number(found.get(b"retry-after-ms"))
    if with_ms is not None:
        return min(with_ms / 1000, RETRY_AFTER_MAX_S)
    value = found.get(b"retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return None if seconds is None else min(seconds, RETRY_AFTER_MAX_S)
    try:
        until = parsedate_to_datetime(value.decode("latin-1"))
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    wait_s = (until - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds()
    return min(max(0.0, wait_s), RETRY_AFTER_MAX_S)


def _number(value: bytes | None) -> float | None:
    if value is None or re.fullmatch(rb"\s*\d{1,9}(\.\d{1,6})?\s*", value) is None:
        return None
    return float(value)


def _blame(family: str, error: Any, whole: dict[str, Any]) -> tuple[Blame | None, str]:
    """The blame by code or by the message's opening words, and the code that told it."""
    known = CODES.get(family, {})
    for code in _codes(error, whole):
        if code in known:
            return known[code], code
    message = _message(error)
    for opening, blame in _OPENINGS:
        if opening.match(message):
            return blame, ""
    return None, ""


def _codes(error: Any, whole: dict[str, Any]) -> list[str]:
    """What may be a code, the most particular first; Z.AI writes numbers as texts, some relays as
    numbers."""
    if not isinstance(error, dict):
        return [str(whole.get("code", ""))]
    details = error.get("details")
    particular = details.get("error_code") if isinstance(details, dict) else None
    found = [particular, error.get("code"), error.get("type"), whole.get("code")]
    return [str(one) for one in found if isinstance(one, str | int)]


def _message(error: Any) -> str:
    if isinstance(error, str):
        return error.strip()
    if isinstance(error, dict):
        for name in ("message", "msg"):
            if isinstance(error.get(name), str):
                return str(error[name]).strip()
    return ""
