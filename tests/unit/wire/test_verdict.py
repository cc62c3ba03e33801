"""An upstream's error: whose fault it is, what a client reads, and that nothing of ours leaks."""

import json
from typing import Any

import pytest

from corvus_proxy import errors
from corvus_proxy.wire import refusal, verdict
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import Blame

NOW_MS = 1_790_000_000_000
ANTHROPIC, OPENAI, GLM = "anthropic", "openai", "glm"


def shaped(family: str, code: str, message: str = "Text.") -> dict[str, Any]:
    """An error body of the family with this code."""
    if family == ANTHROPIC:
        known = code.endswith("_error") or code == "request_too_large"
        error: dict[str, Any] = {"type": code if known else "invalid_request_error",
                                 "message": message}  # fmt: skip
        if not known:
            error["details"] = {"error_code": code}
        return {"type": "error", "error": error, "request_id": "req_up"}
    if family == GLM:
        return {"error": {"code": code, "message": message}}
    return {"error": {"message": message, "type": "invalid_request_error", "param": None,
                      "code": code}}  # fmt: skip


def judged(family: str, status: int, body: Any, **headers: str) -> verdict.Verdict:
    """The verdict on a body given as an object or as bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return verdict.judge(family, status, found, raw, NOW_MS)


ROWS = [(family, code, blame) for family, codes in verdict.CODES.items()
        for code, blame in codes.items()]  # fmt: skip


@pytest.mark.parametrize(("family", "code", "blame"), ROWS)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_a_code_that_is_known_decides_under_every_status(
    family: str, code: str, blame: Blame, status: int
) -> None:
    """Providers send their account's trouble with 400, and overload with 429 or 200."""
    body = shaped(OPENAI if family == GLM and not code.isdigit() else family, code)
    found = judged(family, status, body)
    assert (found.blame, found.code) == (blame, code)
    assert found.relayed == (blame is Blame.REQUEST)


@pytest.mark.parametrize(("status", "blame"), verdict.STATUSES.items())
@pytest.mark.parametrize("family", [ANTHROPIC, OPENAI, GLM])
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"error":{"code":"new_one"}}', b"[]",
                                  b'{"error":"text"}', b"\xff\xfe", b'{"error":null}'])  # fmt: skip
def test_without_a_code_the_status_decides(
    family: str, status: int, blame: Blame, body: bytes
) -> None:
    """Whatever stands in the body; only an error object is passed on."""
    found = judged(family, status, body)
    assert found.blame is blame
    assert found.relayed == (blame is Blame.REQUEST and b'"error"' in body)


@pytest.mark.parametrize("status", [100, 302, 418, 424, 451, 520, 599])
def test_an_unknown_status_is_the_providers(status: int) -> None:
    """Nothing is passed on that nobody has looked at."""
    assert judged(OPENAI, status, {"error": {"message": "x"}})[0] is Blame.BROKEN


@pytest.mark.parametrize(
    ("family", "status", "body", "sent", "code"),
    [
        # The client's own fault: as it came, at the status that says so.
        (ANTHROPIC, 400, shaped(ANTHROPIC, "invalid_request_error"), 400, "relayed"),
        (ANTHROPIC, 404, shaped(ANTHROPIC, "not_found_error"), 404, "relayed"),
        (ANTHROPIC, 413, shaped(ANTHROPIC, "request_too_large"), 413, "relayed"),
        (OPENAI, 400, shaped(OPENAI, "context_length_exceeded"), 400, "relayed"),
        (OPENAI, 404, shaped(OPENAI, "model_not_found"), 404, "relayed"),
        (OPENAI, 409, shaped(OPENAI, "conflict"), 409, "relayed"),
        (GLM, 400, shaped(GLM, "1210"), 400, "relayed"),
        (GLM, 500, shaped(GLM, "1211"), 404, "relayed"),
        (GLM, 429, shaped(GLM, "1301"), 400, "relayed"),
        (GLM, 200, shaped(GLM, "1214"), 400, "relayed"),
        (GLM, 435, shaped(GLM, "x"), 413, "relayed"),
        # An HTML page of some proxy of theirs is nobody's dialect.
        (OPENAI, 413, b"<html>413</html>", 413, "upstream_refused"),
        # Our credential.
        (ANTHROPIC, 401, shaped(ANTHROPIC, "authentication_error"), 502, "upstream_unavailable"),
        (ANTHROPIC, 403, shaped(ANTHROPIC, "permission_error"), 502, "upstream_unavailable"),
        (OPENAI, 401, shaped(OPENAI, "invalid_api_key"), 502, "upstream_unavailable"),
        (GLM, 401, shaped(GLM, "1002"), 502, "upstream_unavailable"),
        (GLM, 434, shaped(GLM, "x"), 502, "upstream_unavailable"),
        # Our account.
        (ANTHROPIC, 402, shaped(ANTHROPIC, "billing_error"), 502, "upstream_unavailable"),
        (ANTHROPIC, 400, shaped(ANTHROPIC, "enforced_spend_limit_reached"), 502,
         "upstream_unavailable"),
        (ANTHROPIC, 400, shaped(ANTHROPIC, "invalid_request_error",
                                "Your credit balance is too low to access the API."), 502,
         "upstream_unavailable"),
        (OPENAI, 429, shaped(OPENAI, "insufficient_quota"), 429, "upstream_overloaded"),
        (OPENAI, 429, shaped(OPENAI, "credit_balance_exhausted"), 429, "upstream_overloaded"),
        (GLM, 429, shaped(GLM, "1113"), 429, "upstream_overloaded"),
        (GLM, 200, shaped(GLM, "1113"), 502, "upstream_unavailable"),
        # Too much at once, or no room.
        (ANTHROPIC, 429, shaped(ANTHROPIC, "rate_limit_error"), 429, "upstream_overloaded"),
        (ANTHROPIC, 529, shaped(ANTHROPIC, "overloaded_error"), 429, "upstream_overloaded"),
        (OPENAI, 429, shaped(OPENAI, "rate_limit_exceeded"), 429, "upstream_overloaded"),
        (OPENAI, 503, shaped(OPENAI, "slow_down"), 429, "upstream_overloaded"),
        (GLM, 429, shaped(GLM, "1302"), 429, "upstream_overloaded"),
        (GLM, 429, shaped(GLM, "1305"), 429, "upstream_overloaded"),
        # The provider failed.
        (ANTHROPIC, 500, shaped(ANTHROPIC, "api_error"), 502, "upstream_unavailable"),
        (ANTHROPIC, 504, shaped(ANTHROPIC, "timeout_error"), 504, "upstream_timeout"),
        (GLM, 500, shaped(GLM, "1230"), 502, "upstream_unavailable"),
    ],
)  # fmt: skip
def test_each_error_is_told_by_whose_fault_it_is(
    family: str, status: int, body: Any, sent: int, code: str
) -> None:
    """Status and code on chat; on messages a busy upstream is 529."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = refusal.upstream_fault(judged(family, status, raw), [], raw)
    assert refusal.status(Dialect.CHAT, error) == sent
    on_messages = 529 if code == "upstream_overloaded" else sent
    assert refusal.status(Dialect.MESSAGES, error) == on_messages
    assert isinstance(error, refusal.Relayed) == (code == "relayed")
    if isinstance(error, refusal.Relayed):
        assert error.upstream_body == raw
        return
    assert error.code == code
    told = refusal.body(Dialect.CHAT, error, "r", "s") + refusal.body(
        Dialect.MESSAGES, error, "r", "s"
    )
    assert not verdict.names_us(told)


OURS = [
    "Rate limit reached for gpt-5.5 in organization org-AbC123 on tokens per min.",
    "The model `x` does not exist or proj_12345678 has no access to it.",
    "Incorrect API key provided: sk-proj-abc.",
    "This request would exceed your organization's limit of 30,000 input tokens.",
    "Your organization must be verified to stream this model.",
    "Not found in wrkspc_01ABC.",
    "your account is not active, please check your billing details",
    "Upgrade your plan to use this.",
    "insufficient_quota",
]


@pytest.mark.parametrize("message", OURS)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("family", [ANTHROPIC, OPENAI])
def test_words_that_name_the_operators_account_are_never_passed_on(
    family: str, status: int, message: str
) -> None:
    """Not even where the request is at fault: its status is told, in our words."""
    body = json.dumps(shaped(family, "invalid_request_error", message)).encode()
    error = refusal.upstream_fault(judged(family, status, body), [], body)
    assert not isinstance(error, refusal.Relayed)
    told = refusal.body(Dialect.CHAT, error, "r", "s").decode()
    assert message not in told
    assert refusal.status(Dialect.CHAT, error) in (status, 502)


@pytest.mark.parametrize("quoted", ["spend limit", "Your credit balance", "insufficient_quota"])
@pytest.mark.parametrize("family", [ANTHROPIC, OPENAI, GLM])
def test_a_customer_cannot_write_an_account_out_of_its_pool(family: str, quoted: str) -> None:
    """A message that quotes the request blames the request, whatever it quotes."""
    body = shaped(family, "1210" if family == GLM else "invalid_request_error",
                  f"tools.0.name: {quoted!r} does not match '^[a-z]+$'")  # fmt: skip
    found = judged(family, 400, body)
    assert (found.blame, found.relayed) == (Blame.REQUEST, False)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "7"}, 7.0), ({"retry_after": "0"}, 0.0), ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25), ({}, None),
        ({"retry_after": "soon"}, None), ({"retry_after": "-5"}, None),
        ({"retry_after": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30.0),
        ({"retry_after": "Mon, 21 Sep 2026 14:13:10 GMT"}, 0.0),
        ({"retry_after": "999999999"}, 86_400.0), ({"retry_after": "1" * 40}, None),
    ],
)  # fmt: skip
def test_how_long_to_wait_is_read_in_every_form(
    headers: dict[str, str], wait_s: float | None
) -> None:
    """Seconds, milliseconds, a date; nonsense is no word at all."""
    assert judged(OPENAI, 429, b"{}", **headers).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("wait", "told"),
    [("7", 7), ("0", 1), ("1.2", 2), ("3600", 60), (None, 5)],
)
def test_a_client_is_told_a_wait_that_it_can_sleep(wait: str | None, told: int) -> None:
    """At least a second, at most a minute: some SDKs sleep as long as they are told."""
    headers = {} if wait is None else {"retry_after": wait}
    error = refusal.upstream_fault(judged(ANTHROPIC, 429, b"{}", **headers), [], b"{}")
    assert dict(refusal.headers(error))[b"retry-after"] == b"%d" % told
    assert dict(refusal.headers(error))[b"x-should-retry"] == b"true"


@pytest.mark.parametrize(
    ("family", "error", "relayed"),
    [
        (ANTHROPIC, {"type": "overloaded_error", "message": "Overloaded"}, True),
        (ANTHROPIC, {"type": "api_error", "message": "Internal server error"}, True),
        (ANTHROPIC, {"type": "invalid_request_error", "message": "bad"}, True),
        (ANTHROPIC, {"type": "billing_error", "message": "No."}, False),
        (ANTHROPIC, {"type": "rate_limit_error", "message": "Slow."}, False),
        (ANTHROPIC, {"type": "api_error", "message": "in your organization"}, False),
        (OPENAI, {"code": "insufficient_quota", "message": "x"}, False),
        (OPENAI, {"code": "server_error", "message": "The server had an error."}, True),
        (OPENAI, "a plain text", True),
        (GLM, {"code": "1113", "message": "x"}, False),
        (GLM, {"code": "1305", "message": "busy"}, True),
    ],
)
def test_an_error_event_passes_unless_it_is_about_us(
    family: str, error: Any, relayed: bool
) -> None:
    """In a stream that has begun nothing can be tried again; the provider's failure is told."""
    assert verdict.judge_event(family, json.dumps(error).encode()).relayed is relayed


def test_the_sentence_of_an_error_is_found_in_every_shape() -> None:
    """For who has to say it in another dialect."""
    for body in (shaped(ANTHROPIC, "api_error"), shaped(OPENAI, "x"), shaped(GLM, "1210"),
                 {"error": "Text."}, {"code": 500, "msg": "Text."}):  # fmt: skip
        assert verdict.message_of(json.dumps(body).encode()) == "Text."
    assert verdict.message_of(b"<html>") == verdict.message_of(b"{}") == ""


def leaves(kind: type[errors.RequestError]) -> list[type[errors.RequestError]]:
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


@pytest.mark.parametrize(
    "kind", [kind for kind in leaves(errors.RequestError) if kind.retry], ids=lambda k: k.__name__
)
def test_what_may_be_retried_says_when(kind: type[errors.RequestError]) -> None:
    """Every class that says retry has a wait, from one second to a minute; a key's limits end at a
    time of their own, so whoever raises that gives it."""
    if kind is errors.LimitReached:
        assert kind.retry_after_default_s is None
        return
    found = dict(refusal.headers(kind("Text.")))
    assert found[b"x-should-retry"] == b"true"
    assert 1 <= int(found[b"retry-after"]) <= 60
