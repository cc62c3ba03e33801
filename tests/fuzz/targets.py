"""What is fuzzed: for each target a function that takes bytes, checks what must hold of any bytes,
and tells in a few words what they were taken for.

A target raises only for a defect. What it returns steers the mutator: bytes with an outcome that
was never seen are kept and mutated on.
"""

import atexit
import contextlib
import hashlib
import hmac
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Hashable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from corvus_proxy import clock
from corvus_proxy._fast import StreamMeter, scan_body
from corvus_proxy.catalogue import book
from corvus_proxy.errors import RequestError
from corvus_proxy.gateway import admission
from corvus_proxy.money.event import Event, Poison
from corvus_proxy.settings import PricingSettings, Settings
from corvus_proxy.shop.provider import Forged, Notice
from corvus_proxy.shop.services.btcpay import Btcpay
from corvus_proxy.shop.services.stripe import Stripe
from corvus_proxy.till import events, journal
from corvus_proxy.till.journal import Line, read_lines
from corvus_proxy.wire import edits, encoding, media
from corvus_proxy.wire import request as requests
from corvus_proxy.wire.dialect import Dialect
from tests.oracle import body_oracle
from tests.payments import BTCPAY_HOOK_SECRET, STRIPE_HOOK_SECRET, selling

CORPUS = Path(__file__).parent / "corpus"
Check = Callable[[bytes], Hashable]
FIGURES = (
    "members", "duplicates", "letters", "symbols", "non_ascii", "quarter_tokens", "images",
    "documents", "audio", "media_bytes", "cache_control", "thinking_history", "signed_history",
    "stored", "long_cache", "repeated",
)  # fmt: skip
SPEAKS = {
    "anthropic": (Dialect.MESSAGES,),
    "openai": (Dialect.CHAT, Dialect.RESPONSES, Dialect.EMBEDDINGS),
    "glm": (Dialect.CHAT, Dialect.MESSAGES),
}


class Target(NamedTuple):
    """One of them, with the words that its inputs are made of."""

    check: Check
    words: tuple[bytes, ...]


def _size(count: int) -> int:
    """An amount as a mutator should tell it apart: its number of bits."""
    return count.bit_length()


def _json(data: bytes) -> Any:
    """What a strict reader takes it for; None where it is no JSON."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(data.decode(), parse_constant=_refuse)
    return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def scanner(data: bytes) -> Hashable:
    """A body is a ValueError or a scan whose places lie inside it; of valid JSON it is what the
    oracle reads."""
    try:
        scan = scan_body(data)
    except ValueError as error:
        assert not isinstance(_json(data), dict) or _depth(data) > 400, "a valid body is refused"
        return str(error)
    places = list(scan.members.values())
    assert all(0 <= a < b < c <= len(data) for a, b, c in places)
    assert scan.letters + scan.symbols + scan.non_ascii <= len(data)
    assert all(getattr(scan, name) >= 0 for name in FIGURES[2:10])
    if isinstance(_json(data), dict) and _depth(data) < 100:
        found = body_oracle.read(data)
        wrong = [n for n in FIGURES if getattr(scan, n) != getattr(found, n)]
        assert not wrong, f"the oracle reads {wrong} otherwise"
    return tuple(
        bool(getattr(scan, name)) if name in FIGURES[:2] else
        _size(value) if isinstance(value := getattr(scan, name), int) else value
        for name in FIGURES
    )  # fmt: skip


def _depth(data: bytes) -> int:
    return data.count(b"{") + data.count(b"[")


@cache
def _book() -> book.Book:
    return book.load(PricingSettings())


def request(data: bytes) -> Hashable:
    """A request is refused or understood, also one that is only counted; what is priced is what any
    reader of the sent body reads, whichever of two members it takes; a translation of it is JSON.
    The first byte is its dialect."""
    dialect = list(Dialect)[data[0] % len(Dialect)] if data else Dialect.CHAT
    body = data[1:]
    for counted in (Dialect.MESSAGES, Dialect.RESPONSES):
        with contextlib.suppress(RequestError):
            requests.read_counted(counted, body)
    try:
        model, read = admission.understand(
            dialect, body, _book(), lambda family, one: one in SPEAKS[family], "req_1", 1
        )
    except RequestError as error:
        return dialect, type(error).__name__, error.param
    if read.translation is not None:
        assert isinstance(_json(read.body), dict), "a translation that is no JSON"
        return dialect, read.asked.dialect, model.family, read.asked.stream
    requests.session_word(read.asked, body)
    asked, sent = read.asked, edits.apply(body, read.asked.splices)
    for text in (body, sent):
        _priced_as_sent(asked, text)
    scan = asked.scan
    return (dialect, asked.stream, asked.choices, asked.terms, _size(asked.limit_tokens or 0),
            scan.images, scan.documents, scan.audio, scan.cache_control, asked.vendor_tools,
            bool(asked.prediction), asked.removed_tools)  # fmt: skip


def _priced_as_sent(asked: requests.Asked, text: bytes) -> None:
    for pick in (dict, _first):
        try:
            found = json.loads(text, object_pairs_hook=pick)
        except (ValueError, RecursionError):
            return  # an upstream refuses it
        assert found.get("model") == asked.model, "another model is sent than was priced"
        assert bool(found.get("stream")) == asked.stream, "another kind of answer is asked for"
        if asked.limit_tokens is not None:
            assert found.get(asked.limit_member) == asked.limit_tokens, "another limit is sent"
        assert (found.get("n") or 1) == asked.choices or asked.dialect is not Dialect.CHAT


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a reader takes it for whom the first of two members counts."""
    return dict(reversed(pairs))


def sse(data: bytes) -> Hashable:
    """However a stream is cut, its meter has the same figures and every byte goes on, but for whole
    events of usage that were not asked for. The first byte is dialect and stripping, the second
    the cuts."""
    head, stream = data[:2].ljust(2, b"\0"), data[2:]
    kind, strip = ("chat", "messages", "responses")[head[0] % 3], head[0] > 127
    whole = StreamMeter(kind, strip)
    forwarded = whole.feed(stream) + whole.finish()
    draw = random.Random(head[1])
    places = sorted(draw.choices(range(len(stream) + 1), k=min(8, len(stream))))
    ends = [0, *places, len(stream)]
    for pieces in (
        [stream[a:b] for a, b in pairwise(ends)],
        [stream[at : at + 1] for at in range(len(stream))] if len(stream) < 2000 else [stream],
    ):
        meter = StreamMeter(kind, strip)
        again = b"".join([meter.feed(piece) for piece in pieces]) + meter.finish()
        assert again == forwarded, "cut elsewhere, other bytes are forwarded"
        assert _figures(meter) == _figures(whole), "cut elsewhere, other figures"
    if not strip or kind != "chat":
        assert forwarded == stream, "bytes are lost or changed"
    else:
        assert _is_subsequence(forwarded, stream), "bytes are changed"
    assert whole.generated >= 0
    return (kind, strip, len(forwarded) == len(stream), whole.started, whole.ended, whole.finished,
            whole.failed, whole.overflow, bool(whole.usage_start), bool(whole.usage_last),
            whole.reason[:8], _size(whole.generated), min(whole.events, 5))  # fmt: skip


METERED = (
    "letters", "symbols", "non_ascii", "deltas", "events", "started", "ended", "finished", "failed",
    "overflow", "restarts", "usage_start", "usage_last", "error", "model", "upstream_id", "reason",
    "service_tier", "committed", "tool_usage", "sequence", "generated",
)  # fmt: skip


def _figures(meter: StreamMeter) -> list[object]:
    return [getattr(meter, name) for name in METERED]


def _is_subsequence(part: bytes, whole: bytes) -> bool:
    rest = iter(whole)
    return all(byte in rest for byte in part)


@cache
def _folder() -> Path:
    """One for all inputs, taken away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="corvus-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _services() -> tuple[Stripe, Btcpay]:
    settings: Settings = selling(_folder(), "http://127.0.0.1:1")
    return Stripe(settings), Btcpay(settings)


def webhook(data: bytes) -> Hashable:
    """A message is forged or a notice, signed or not; without the right signature it is forged. In
    front of the first line break stands the header of an attacker."""
    given, _, body = data.partition(b"\n")
    outcome: list[Hashable] = []
    now_s = clock.wall_s()
    signed = hmac.new(STRIPE_HOOK_SECRET.encode(), f"{now_s}.".encode() + body, "sha256")
    coins = hmac.new(BTCPAY_HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    cards, chain = _services()
    for service, name, good in (
        (cards, "stripe-signature", f"t={now_s},v1={signed.hexdigest()}"),
        (chain, "btcpay-sig", f"sha256={coins}"),
    ):
        for header in (good, given.decode("latin-1"), None):
            headers = {} if header is None else {name: header}
            try:
                notice = service.notice(headers, body)
            except Forged as error:
                outcome.append(str(error))
            else:
                assert header == good or good in (header or ""), "an unsigned message is taken"
                assert isinstance(notice, Notice)
                assert all(isinstance(word, str) for word in notice)
                outcome.append(notice.kind[:20])
    return tuple(outcome)


KEY = b"k" * 32


class Written(NamedTuple):
    """A file, as much of it as a reader needs."""

    data: bytes
    name = "segment"

    def open(self, mode: str) -> io.BytesIO:
        """Its bytes, from the first on."""
        assert mode == "rb"
        return io.BytesIO(self.data)


def journal_reader(data: bytes) -> Hashable:
    """Of a journal that was damaged the lines in front of the damage are read, as they were
    written, and nothing else. In front of the first NUL stands what is written, behind it how it is
    damaged."""
    text, _, damage = data.partition(b"\0")
    lines = [line for line in text.decode("utf-8", "replace").split("\n") if "\t" in line][:64]
    before, raw = Written.name.encode(), b""
    for line in lines:
        before = journal._chain(KEY, before, line.encode())
        raw += before + b" " + line.encode() + b"\n"
    found = list(read_lines(cast("Path", Written(_damaged(raw, damage))), KEY))
    unwritten = list(read_lines(cast("Path", Written(data)), KEY))
    assert unwritten == [], "a line that nobody has written"
    wanted = [Line(kind, rid, tuple(more)) for kind, rid, *more in (x.split("\t") for x in lines)]
    assert found == wanted[: len(found)], "a line that nobody has written"
    assert damage or len(found) == len(wanted), "a line is lost"
    return len(lines), len(found), len(damage) > 0


def _damaged(raw: bytes, how: bytes) -> bytes:
    """The file with what `how` says: cut off, bytes changed, lines moved."""
    if not how or not raw:
        return raw
    at = int.from_bytes(how[1:3], "big") % len(raw)
    match how[0] % 4:
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + how[3:] + raw[at:]
        case 2:
            return raw[:at] + bytes([raw[at] ^ (how[-1] or 1)]) + raw[at + 1 :]
        case _:
            rows = raw.splitlines(keepends=True)
            return b"".join(rows[at % len(rows) :] + rows[: at % len(rows)])


def event(data: bytes) -> Hashable:
    """An entry of the stream is an event or poison; an event's amounts are as they stand there.
    Each line is a field, its name in front of the first `=`."""
    fields = dict(line.partition(b"=")[::2] for line in data.split(b"\n"))
    found = events.read_event(7, b"3-12", fields)
    assert (found.partition, found.epoch, found.seq) == (7, 3, 12)
    if isinstance(found, Poison):
        return found.why.partition(":")[0], found.why[:40]
    assert isinstance(found, Event)
    assert found.delta_nanos == int(fields[b"d"])
    assert found.meta == fields[b"u"]
    msgspec.json.encode(found)
    return found.type, _size(abs(found.delta_nanos)), found.outcome[:10]


BOUND = encoding.Bound(1 << 20, 100)


def packed(data: bytes) -> Hashable:
    """A compressed body is refused or decoded, within its bound. The first byte is its encoding."""
    names = sorted(encoding.ENCODINGS)
    name = names[data[0] % len(names)] if data else "gzip"
    try:
        body = encoding.decode(name, data[1:], BOUND)
    except RequestError as error:
        return name, type(error).__name__
    assert len(body) <= max(encoding.FREE_BYTES, len(data) * BOUND.expansion_max)
    return name, _size(len(body))


def image(data: bytes) -> Hashable:
    """An image is as large as its header says, or of no known size."""
    import base64

    text = base64.b64encode(data)
    size = media.image_size(b'"' + text + b'"', 1, len(text) + 1)
    media.image_size(data, 0, len(data))
    if size is None:
        return None
    assert 0 < size.width < 1 << 32
    assert 0 < size.height < 1 << 32
    return data[:4], _size(size.width), _size(size.height)


_NAMES = tuple(
    f'"{name}"'.encode()
    for name in (
        "model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options",
        "include_usage", "n", "tools", "type", "role", "content", "text", "image_url", "url",
        "source", "data", "base64", "media_type", "file_id", "cache_control", "ephemeral", "ttl",
        "12h", "thinking", "budget_tokens", "signature", "input", "max_output_tokens", "user",
        "metadata", "user_id", "service_tier", "speed", "audio", "file", "input_image", "document",
        "tool_use", "tool_result", "function", "gpt-4o-mini", "claude-opus-5-5", "glm-5.3",
        "gpt-5.5", "system", "assistant", "prediction", "reasoning", "effort", "store",
    )
)  # fmt: skip
_JSON = (
    b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"-0", b"1e400", b"NaN", b"9" * 400,
    b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b'\\"', b"\xff", b"\xef\xbb\xbf", b"1.0", b"-1",
    b"[" * 600, b'{"a":' * 300, b"18446744073709551616", b"\\/", b"data:image/png;base64,",
)  # fmt: skip
_EVENTS = (
    b"data:", b"data: ", b"\n\n", b"\r\n\r\n", b"\r\r", b"\r", b": ping\n\n", b"event: ", b"[DONE]",
    b'"usage"', b'"choices"', b'"delta"', b'"finish_reason"', b'"message_start"', b'"message_stop"',
    b'"message_delta"', b'"response.completed"', b'"response"', b'"error"', b'"index"', b'"id"',
    b'{"choices":[],"usage":{"prompt_tokens":3}}', b'"prompt_tokens"', b'"sequence_number"',
)  # fmt: skip
TARGETS = {
    "scanner": Target(scanner, (*_NAMES, *_JSON)),
    "request": Target(request, (*_NAMES, *_JSON)),
    "sse": Target(sse, (*_EVENTS, *_JSON)),
    "webhook": Target(webhook, (
        b"t=1,v1=", b"sha256=", b'"id"', b'"type"', b'"data"', b'"object"', b'"checkout.session"',
        b'"payment_intent"', b'"deliveryId"', b'"originalDeliveryId"', b'"invoiceId"', *_JSON,
    )),
    "journal": Target(journal_reader, (
        b"O\t", b"K\t", b"S\t", b"D\t", b"R\t-\t", b"N\t-", b"\t", b"\n", b"\0", b"req_1",
    )),
    "event": Target(event, (
        *(b"\n%b=" % name for name in (b"t", b"id", b"w", b"k", b"g", b"d", b"b", b"ws", b"a", b"s",
                                       b"o", b"n", b"r", b"sw", b"sk", b"u")),
        b"S", b"X", b"L", b"C", b"D", b"9" * 5000, b"-", b"1_0", b"\xd9\xa1", b'{"v":1}', *_JSON,
    )),
    "packed": Target(packed, (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x78\x9c", bytes(40))),
    "image": Target(image, (
        b"\x89PNG\r\n\x1a\n", b"IHDR", b"GIF89a", b"RIFF", b"WEBPVP8X", b"\xff\xd8", b"\xff\xc0",
        b"\xff\xe0", bytes(8),
    )),
}  # fmt: skip
