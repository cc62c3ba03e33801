"""Errors in the caller's dialect, as clients act upon them."""

import json

import pytest

from corvus_proxy import errors
from corvus_proxy.wire import headers, refusal
from corvus_proxy.wire.dialect import Dialect


def leaves(kind: type) -> list[type]:
    """All classes below a class."""
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


KINDS = [kind for kind in leaves(errors.RequestError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.MESSAGES])
def test_every_error_tells_code_id_page_and_charge(
    kind: type[errors.RequestError], dialect: Dialect
) -> None:
    """The facts that every refusal has, in either shape; the type is never empty."""
    body = json.loads(refusal.body(dialect, kind("Text."), "req_1", "https://s"))
    error = body["error"]
    assert error["message"] == "Text."
    assert error["code"] == kind.code
    assert error["request_id"] == "req_1"
    assert error["docs_url"] == f"https://s/docs/errors/{kind.code}"
    assert error["charged"] == "0.00"
    assert error["type"]
    assert (body.get("type") == "error") == (dialect is Dialect.MESSAGES)
    quota = error["type"] in ("insufficient_quota", "billing_error")
    assert quota == (kind in (errors.OutOfBalance, errors.CapReached))


@pytest.mark.parametrize(
    ("kind", "code"),
    [(errors.OutOfBalance, "insufficient_balance"), (errors.CapReached, "cap_reached")],
)
def test_out_of_balance_stops_every_client_at_once(
    kind: type[errors.RequestError], code: str
) -> None:
    """429, not to be retried, and the type that each dialect's agents know; so does a cap."""
    error = kind("Out of balance: x", retry_after_s=61)
    assert refusal.status(Dialect.CHAT, error) == refusal.status(Dialect.MESSAGES, error) == 429
    assert dict(refusal.headers(error)) == {
        b"content-type": b"application/json", b"x-should-retry": b"false", b"retry-after": b"61",
    }  # fmt: skip
    chat = json.loads(refusal.body(Dialect.CHAT, error, "r", "s"))["error"]
    assert (chat["type"], chat["code"]) == ("insufficient_quota", code)
    messages = json.loads(refusal.body(Dialect.MESSAGES, error, "r", "s"))["error"]
    assert messages["type"] == "billing_error"


def test_what_is_written_into_a_stream_is_whole_events() -> None:
    """In-band error, keep-alive and the last comment end with an empty line."""
    for dialect in (Dialect.CHAT, Dialect.MESSAGES):
        for piece in (
            refusal.in_band(dialect, errors.UpstreamUnavailable("x"), "r", "s"),
            refusal.keepalive(dialect),
            refusal.final_comment("r", 5, settled=False),
        ):
            assert piece.endswith(b"\n\n")
            assert piece.count(b"\n\n") == 1
    assert refusal.final_comment("r", 1_500_000, settled=True) == (
        b': corvus {"request_id":"r","cost_usd":"0.0015"}\n\n'
    )


def test_headers_pass_by_a_list() -> None:
    """Nothing that names the operator's account, the connection or the caller's key."""
    up = headers.to_upstream([
        (b"authorization", b"x"), (b"x-api-key", b"x"), (b"cookie", b"x"), (b"host", b"x"),
        (b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"),
        (b"x-stainless-lang", b"py"), (b"openai-organization", b"o"), (b"x-forwarded-for", b"1"),
        (b"x-codex-turn-metadata", b"/home"), (b"accept-encoding", b"gzip"), (b"te", b"x"),
        (b"idempotency-key", b"mine"), (b"x-corvus-clamp", b"off"), (b"via", b"v"),
    ])  # fmt: skip
    assert up == [
        (b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"),
        (b"x-stainless-lang", b"py"),
    ]  # fmt: skip
    down = headers.to_client([
        (b"content-type", b"a"), (b"request-id", b"r"), (b"anthropic-organization-id", b"o"),
        (b"set-cookie", b"c"), (b"retry-after", b"1"), (b"x-ratelimit-remaining-requests", b"9"),
        (b"server", b"s"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked"),
    ])  # fmt: skip
    assert down == [(b"content-type", b"a"), (b"x-upstream-request-id", b"r")]


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}},
         {"type": "invalid_request_error", "message": "too long", "code": "upstream_refused"}),
        ({"error": {"message": "m", "type": "t", "param": "input", "code": "c"}},
         {"message": "m", "type": "t", "code": "c"}),
        ({"error": {"code": "1261", "message": "m"}}, {"message": "m", "code": "1261"}),
        ({"error": "words"}, {"message": "words"}),
        ([], {"code": "upstream_refused"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES])
def test_an_upstreams_refusal_inside_a_stream_keeps_its_words(
    dialect: Dialect, upstream: object, words: dict[str, str]
) -> None:
    """One line of data, however the upstream laid out its JSON; the facts of ours beside it."""
    pretty = json.dumps(upstream, indent=2).encode()
    event = refusal.in_band(dialect, refusal.Relayed(400, [], pretty), "r", "s")
    (data,) = [line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")]
    found = json.loads(data)
    error = found.get("response", found)["error"]
    assert words.items() <= error.items()
    assert (error["request_id"], error["charged"]) == ("r", "0.00")
