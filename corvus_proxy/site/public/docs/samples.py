"""One error of each code, as this installation would send it.

Rule 1: where the gateway's own functions raise or make an error, the sample is theirs; only a
        sentence that stands inside a handler is written down again here.
Rule 2: the body is made by `wire.refusal`, as the gateway's are.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import msgspec

from corvus_proxy import errors
from corvus_proxy.catalogue.book import Book, Model
from corvus_proxy.errors import RequestError
from corvus_proxy.gateway import admission, quoting, refusing
from corvus_proxy.gateway.ending import Seen, Stop, conclude
from corvus_proxy.gateway.exchange import Exchange
from corvus_proxy.gateway.front import hints
from corvus_proxy.gateway.front.client import Client
from corvus_proxy.money.amount import NANOS_PER_USD
from corvus_proxy.site.public import served
from corvus_proxy.site.public.page import Facts
from corvus_proxy.till.reply import Backpressure, Denied, Limited, Paced, Poor
from corvus_proxy.wire import encoding, refusal
from corvus_proxy.wire import request as requests
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.verdict import Blame, Verdict

REQUEST_ID = "req_0123456789abcdef00000001"
_CENT = NANOS_PER_USD // 100
_STOPS = {
    "insufficient_balance": Stop.OUT_OF_BALANCE,
    "cap_reached": Stop.CAP_REACHED,
    "key_disabled": Stop.KEY_DISABLED,
    "ledger_unavailable": Stop.LEDGER_AWAY,
    "upstream_cut": Stop.ENDED,
    "upstream_timeout": Stop.TIMED_OUT,
    "slow_reader": Stop.CLIENT_STALLED,
    "gateway_stopping": Stop.SHUTDOWN,
}
"""How a stream is ended that is told this code."""
STREAM_ALONE = frozenset({"upstream_cut", "slow_reader"})
"""Codes that are never the answer to a request, only the end of a stream."""


class Sample(NamedTuple):
    """What a client reads."""

    code: str
    statuses: dict[str, int]
    """By dialect."""
    headers: str
    """Those that clients act upon, as they stand in the answer."""
    bodies: dict[str, str]
    """JSON by dialect: `chat` and `messages`."""
    events: dict[str, str]
    """The last event of a stream by dialect, where there is one."""
    charged_nanos: int
    """By the answer that the events end."""


def sample(code: str, facts: Facts) -> Sample:
    """The error of a code. Raises KeyError for one that no request is answered with."""
    error = _ERRORS[code](facts)
    model = _model(facts)
    site_url = facts.site
    statuses, bodies, events = {}, {}, {}
    if code not in STREAM_ALONE:
        for dialect in (Dialect.CHAT, Dialect.MESSAGES):
            statuses[dialect.value] = refusal.status(dialect, error)
            body = refusal.body(dialect, error, REQUEST_ID, site_url)
            bodies[dialect.value] = msgspec.json.format(body, indent=2).decode()
    charged = 0
    if code in _STOPS:
        # Of an answer of which 120 tokens had come, on 900 tokens of input that nobody reported.
        seen = Seen(True, False, None, None, counted_output=120, has_output=True)
        ended = conclude(seen, _STOPS[code], model.price, input_tokens=900, limit=4096)
        charged = ended.charge_nanos
        for dialect in (Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES):
            told = refusal.in_band(dialect, ended.error or error, REQUEST_ID, site_url, charged)
            events[dialect.value] = told.decode().strip()
    head = b"\n".join(name + b": " + value for name, value in refusal.headers(error)[1:])
    return Sample(code, statuses, head.decode(), bodies, events, charged)


def _model(facts: Facts) -> Model:
    """A model that is sold; any of the book where none is."""
    return (facts.sold or facts.book.models)[0]


def _raised(call: Callable[[], object]) -> RequestError:
    """What a call raises."""
    try:
        call()
    except RequestError as error:
        return error.with_traceback(None)
    raise LookupError("it raises nothing")


def _exchange(facts: Facts) -> Exchange:
    """A request that nobody has sent, priced as any other."""
    model = _model(facts)
    content = "Summarize this text. " * 400
    body = msgspec.json.encode(
        {
            "model": model.slug,
            "max_tokens": 4096,
            "messages": [{"role": "user", "content": content}],
        }
    )
    exchange = Exchange(cast(Client, None), Dialect.CHAT, REQUEST_ID, 0.0)
    exchange.model = model
    exchange.asked = requests.read(Dialect.CHAT, body)
    exchange.quote = quoting.quote(exchange.asked, model, facts.settings.hold, clamp=True)
    return exchange


def _balance(facts: Facts) -> RequestError:
    exchange = _exchange(facts)
    free_nanos = exchange.quote.least_nanos * 9 // 10
    return refusing.out_of_balance(Poor(free_nanos, 2 * _CENT), exchange, facts.site)


def _cap(facts: Facts) -> RequestError:
    limited = Limited("cap", 0, 500 * _CENT, 499 * _CENT, _CENT)
    return refusing.cap_reached(limited, _exchange(facts))


def _refused_body(facts: Facts) -> RequestError:
    body = msgspec.json.encode({"model": "x", "messages": [], "store": True})
    return _raised(lambda: requests.read(Dialect.CHAT, body))


def _not_sold(facts: Facts) -> RequestError:
    slug = _model(facts).slug
    book = Book((), frozenset({slug}))
    return _raised(lambda: admission.find_sold(book, served.serves(facts.settings), slug))


def _elsewhere(facts: Facts) -> RequestError:
    serves, slug = served.serves(facts.settings), _model(facts).slug
    return _raised(lambda: admission.find_model(facts.book, serves, slug, Dialect.EMBEDDINGS))


def _fault(blame: Blame, status: int, wait_s: float | None = None) -> "_Maker":
    """What is told of an upstream's error whose own words are not passed on."""
    found = refusal.upstream_fault(Verdict(blame, status, "", False, wait_s), [], b"")
    return _always(found)


def _said(kind: type[RequestError], sentence: str) -> "_Maker":
    """An error whose sentence stands inside a handler."""
    return _always(kind(sentence))


def _by(call: Callable[[], object]) -> "_Maker":
    """What a call raises that needs to know nothing."""
    return _always(_raised(call))


def _always(error: RequestError) -> "_Maker":
    def made(facts: Facts) -> RequestError:
        return error

    return made


_Maker = Callable[[Facts], RequestError]
_ERRORS: dict[str, _Maker] = {
    "internal_error": _said(RequestError, "The gateway failed; nothing was charged."),
    "invalid_request": _refused_body,
    "wrong_endpoint": _elsewhere,
    "invalid_api_key": _by(lambda: admission.caller([], b"")),
    "key_disabled": _by(lambda: refusing.raise_key_refusal(Denied("frozen"))),
    "key_expired": _by(lambda: refusing.raise_key_refusal(Denied("expired_key"))),
    "model_not_allowed": lambda facts: _raised(
        lambda: refusing.check_allowed(_model(facts), ("another",))
    ),
    "not_permitted": _said(
        errors.NotPermitted,
        "Alarms are about the whole wallet: they take its main key.",
    ),
    "not_found": lambda facts: errors.NotFound(hints.hint("/chat/completions", facts.api, ())),
    "method_not_allowed": _said(
        errors.MethodNotAllowed, "/v1/chat/completions is called with POST."
    ),
    "body_timeout": lambda facts: errors.BodyTimeout(
        f"The request body did not arrive within {facts.settings.gateway.body_timeout_s:g} s."
    ),
    "request_too_large": lambda facts: errors.BodyTooLarge(
        f"The request body is larger than {facts.settings.gateway.body_bytes_max:,} bytes."
    ),
    "unsupported_encoding": _by(lambda: encoding.of([(b"content-encoding", b"compress")])),
    "upgrade_refused": _said(
        errors.UpgradeRefused, "WebSocket is not served; use HTTP on the same path."
    ),
    "insufficient_balance": _balance,
    "cap_reached": _cap,
    "rate_limit_exceeded": lambda facts: refusing.too_fast(
        Paced("rate", 12_000, 60, 60), _exchange(facts)
    ),
    "model_unavailable": _not_sold,
    "ledger_unavailable": _by(lambda: refusing.raise_key_refusal(Backpressure())),
    "records_unavailable": _said(
        errors.RecordsUnavailable,
        "The database of statements and keys does not answer at the moment. Requests are served as"
        " before, and nothing is lost.",
    ),
    "upstream_error": _said(
        errors.UpstreamFault, "The upstream answered with something else than was asked for."
    ),
    "upstream_refused": _fault(Blame.REQUEST, 400),
    "upstream_overloaded": _fault(Blame.RATE, 429, 7.0),
    "upstream_unavailable": _fault(Blame.BROKEN, 502),
    "upstream_cut": _said(errors.UpstreamCut, ""),
    "upstream_timeout": _fault(Blame.SLOW, 504),
    "slow_reader": _said(errors.SlowReader, ""),
    "gateway_stopping": _said(
        errors.GatewayStopping, "This gateway process had to stop; nothing was charged."
    ),
}
