"""Requests that two parsers may read differently, and requests that are none: the corpus.

A case writes bytes to a connection. `Made.body` is the request that it admits to; `Made.hidden` is
a whole request that stands where another parser would begin one: it must never be served.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

PATH = "/v1/chat/completions"
NO, ONE, TWO, ANY, WAIT = "refused", "served once", "served twice", "at most once", "waits"
LAST = "at most once, and closed"
"""What may become of a case. `refused`: no upstream is asked, 4xx or a closed connection. `waits`:
the request is not over, so no answer has to come. `at most once, and closed`: by RFC 9112, 6.1."""


class Made(NamedTuple):
    """What a case is made of; each has a text of its own inside."""

    key: str
    body: bytes
    hidden: bytes
    """A whole request with a body of its own."""
    second: bytes
    """That body."""

    @property
    def chunked(self) -> bytes:
        return chunk(self.body) + b"0\r\n\r\n"


class Case(NamedTuple):
    """One of the corpus."""

    name: str
    write: Callable[[Made], bytes]
    becomes: str


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def request(
    made: Made, *lines: bytes | str, body: bytes = b"", line: bytes | str = f"POST {PATH} HTTP/1.1",
    host: bytes | str = "host: api", key: bool = True, end: bytes = b"\r\n",
) -> bytes:  # fmt: skip
    """A request with these header lines; nothing about its length unless they say it."""
    head = [line, *([host] if host else []), "content-type: application/json"]
    head += [f"authorization: Bearer {made.key}"] if key else []
    texts = [text if isinstance(text, bytes) else text.encode() for text in (*head, *lines)]
    return end.join([*texts, b"", b""]) + body


def length(data: bytes) -> str:
    return f"content-length: {len(data)}"


def plain(made: Made, *lines: bytes | str, **more: object) -> bytes:
    """An ordinary request with more header lines."""
    return request(made, length(made.body), *lines, body=made.body, **more)  # type: ignore[arg-type]


CHUNKED = "transfer-encoding: chunked"


def both() -> Iterator[Case]:
    """Content-Length beside Transfer-Encoding."""
    yield Case("cl of the chunks, te", lambda m: request(
        m, length(m.chunked), CHUNKED, body=m.chunked), LAST)  # fmt: skip
    yield Case("te, cl of the chunks", lambda m: request(
        m, CHUNKED, length(m.chunked), body=m.chunked), LAST)  # fmt: skip
    yield Case("cl 0, te", lambda m: request(m, "content-length: 0", CHUNKED, body=m.chunked), LAST)
    yield Case("cl of the body, te", lambda m: request(
        m, length(m.body), CHUNKED, body=m.chunked), LAST)  # fmt: skip
    yield Case(
        "CL.TE: a request behind the last chunk",
        lambda m: request(
            m, length(b"0\r\n\r\n" + m.hidden), CHUNKED, body=b"0\r\n\r\n" + m.hidden
        ),
        LAST,
    )
    yield Case("CL.TE: a request behind the chunks", lambda m: request(
        m, length(m.chunked + m.hidden), CHUNKED, body=m.chunked + m.hidden), LAST)  # fmt: skip
    yield Case(
        "TE.CL: a request inside a chunk",
        lambda m: request(m, "content-length: 4", CHUNKED, body=chunk(m.hidden) + b"0\r\n\r\n"),
        LAST,
    )
    yield Case(
        "TE.CL, te first",
        lambda m: request(m, CHUNKED, "content-length: 4", body=chunk(m.hidden) + b"0\r\n\r\n"),
        LAST,
    )
    for name in ("Transfer-Encoding: Chunked", "TRANSFER-ENCODING: CHUNKED",
                 "transfer-encoding:chunked", "transfer-encoding:\tchunked",
                 "transfer-encoding: chunked "):  # fmt: skip
        yield Case(f"cl beside {name!r}", lambda m, name=name: request(
            m, length(m.body), name, body=m.body), LAST)  # fmt: skip


def lengths() -> Iterator[Case]:
    """More than one Content-Length, and such as are no numbers."""

    def two(first: str, second: str) -> Callable[[Made], bytes]:
        return lambda m: request(
            m, *(f"content-length: {text.format(n=len(m.body), m=len(m.body + m.hidden))}"
                 for text in (first, second)), body=m.body + m.hidden)  # fmt: skip

    for first, second in (("{n}", "{m}"), ("{m}", "{n}"), ("0", "{n}"), ("{n}", "0"),
                          ("{n}", ""), ("{n}", "x")):  # fmt: skip
        yield Case(f"two lengths {first!r} {second!r}", two(first, second), NO)
    yield Case("the same length twice", lambda m: request(
        m, length(m.body), length(m.body), body=m.body), ANY)  # fmt: skip
    for text in ("{n}, {n}", "{n},{m}", "+{n}", "-{n}", "0x{x}", "{n}.0", "{n}e0", "{n} {n}", "",
                 "{n};a", '"{n}"', "{n}\x00", "\x0b{n}", "{n}\x0b", "\u0661{n}", "{n}_0", "0b1",
                 "18446744073709551616{n}", "99999999999999999999", "1844674407370955{n}1616",
                 "NaN", "{n}\r", "-0", "{n}L"):  # fmt: skip
        yield Case(
            f"length {text!r}",
            lambda m, text=text: request(
                m,
                "content-length: "
                + text.format(n=len(m.body), m=len(m.body + m.hidden), x=f"{len(m.body):x}"),
                body=m.body,
            ),
            NO,
        )
    yield Case("length with zeros before it", lambda m: request(
        m, f"content-length: 000{len(m.body)}", body=m.body), ANY)  # fmt: skip
    yield Case("length with spaces around it", lambda m: request(
        m, f"content-length: \t {len(m.body)} \t", body=m.body), ONE)  # fmt: skip
    yield Case("no length, a body", lambda m: request(m, body=m.body), NO)
    yield Case("length shorter than the body", lambda m: request(
        m, "content-length: 10", body=m.body), NO)  # fmt: skip
    yield Case("length longer than the body", lambda m: request(
        m, f"content-length: {len(m.body) + 1}", body=m.body), WAIT)  # fmt: skip
    yield Case("Content_Length", lambda m: request(
        m, f"Content_Length: {len(m.body)}", body=m.body), NO)  # fmt: skip


def encodings() -> Iterator[Case]:
    """Transfer-Encoding that one parser takes for chunked and another does not."""
    for text in (
        b"xchunked",
        b"chunkedx",
        b"chunk",
        b"cow",
        b"",
        b"identity",
        b"gzip",
        b"chunked, identity",
        b"chunked, gzip",
        b"chunked;q=1",
        b'"chunked"',
        b"'chunked'",
        b"chunked\x0b",
        b"\x0bchunked",
        b"chunked\x00",
        b"chun\x00ked",
        b"\xc5\xbfchunked",
        b"chunked, cow",
        b"chunked,",
        b",chunked",
        b"[chunked]",
        b"identity, chunked",
        b"gzip, chunked",
        b"chunked, chunked",
        b"x chunked",
    ):
        yield Case(f"te {text!r}", lambda m, text=text: request(
            m, b"transfer-encoding: " + text, body=chunk(m.hidden) + b"0\r\n\r\n"), NO)  # fmt: skip
    for first, second in (("chunked", "identity"), ("identity", "chunked"), ("chunked", "chunked"),
                          ("chunked", "cow"), ("gzip", "chunked")):  # fmt: skip
        yield Case(
            f"te twice {first} {second}",
            lambda m, a=first, b=second: request(
                m, f"transfer-encoding: {a}", f"transfer-encoding: {b}", body=m.chunked
            ),
            NO,
        )
    for line in (b"transfer-encoding : chunked", b"transfer-encoding\t: chunked",
                 b" transfer-encoding: chunked", b"x: y\r\n transfer-encoding: chunked",
                 b"transfer-encoding:\r\n chunked", b"transfer-encoding:\r\n\tchunked",
                 b"x: y\rtransfer-encoding: chunked", b"transfer-encoding\x00: chunked",
                 b"\x00transfer-encoding: chunked", b"transfer\xadencoding: chunked",
                 b"x: y\x00\r\ntransfer-encoding: chunked"):  # fmt: skip
        yield Case(f"line {line!r} beside a length", lambda m, line=line: request(
            m, length(m.body), line, body=m.body), NO)  # fmt: skip
    yield Case("a bare LF before te, beside a length", lambda m: request(
        m, length(m.body), b"x: y\ntransfer-encoding: chunked", body=m.body), NO)  # fmt: skip
    yield Case("Transfer_Encoding beside a length", lambda m: plain(
        m, "Transfer_Encoding: chunked"), ANY)  # fmt: skip
    yield Case("te of HTTP/1.0", lambda m: request(
        m, CHUNKED, body=m.chunked, line=f"POST {PATH} HTTP/1.0"), NO)  # fmt: skip
    yield Case("Chunked in capitals", lambda m: request(
        m, "TRANSFER-ENCODING: CHUNKED", body=m.chunked), ONE)  # fmt: skip


def chunks() -> Iterator[Case]:
    """Chunked bodies, sound and not."""

    def sent(write: Callable[[bytes, Made], bytes]) -> Callable[[Made], bytes]:
        return lambda m: request(m, CHUNKED, body=write(b"%x" % len(m.body), m))

    end = b"0\r\n\r\n"
    good: dict[str, Callable[[bytes, Made], bytes]] = {
        "chunked": lambda n, m: m.chunked,
        "a byte a chunk": lambda n, m: b"".join(chunk(bytes([one])) for one in m.body) + end,
        "trailers": lambda n, m: chunk(m.body) + b"0\r\nx-sum: 1\r\n\r\n",
        "a trailer that is a host": lambda n, m: chunk(m.body) + b"0\r\nhost: 9\r\n\r\n",
        "a trailer that is a key": lambda n, m: chunk(m.body) + b"0\r\nauthorization: x\r\n\r\n",
        "size in capitals": lambda n, m: n.upper() + b"\r\n" + m.body + b"\r\n" + end,
    }  # fmt: skip
    for name, write in good.items():
        yield Case(name, sent(write), ONE)
    either: dict[str, Callable[[bytes, Made], bytes]] = {
        "extension": lambda n, m: n + b";a=b\r\n" + m.body + b"\r\n" + end,
        "extension of the last chunk": lambda n, m: chunk(m.body) + b"0;a=b\r\n\r\n",
        "size with zeros before it": lambda n, m: b"000" + n + b"\r\n" + m.body + b"\r\n" + end,
        "a space behind the size": lambda n, m: n + b" \r\n" + m.body + b"\r\n" + end,
    }
    for name, write in either.items():
        yield Case(name, sent(write), ANY)
    bad: dict[str, Callable[[bytes, Made], bytes]] = {
        "extension with a bare LF": lambda n, m: n + b";a\nb\r\n" + m.body + b"\r\n" + end,
        "extension with a bare CR": lambda n, m: n + b";a\rb\r\n" + m.body + b"\r\n" + end,
        "extension of 100 kB": lambda n, m: (
            n + b";" + b"a" * 100_000 + b"\r\n" + m.body + b"\r\n" + end
        ),
        "size -": lambda n, m: b"-" + n + b"\r\n" + m.body + b"\r\n" + end,
        "size +": lambda n, m: b"+" + n + b"\r\n" + m.body + b"\r\n" + end,
        "size 0x": lambda n, m: b"0x" + n + b"\r\n" + m.body + b"\r\n" + end,
        "size g": lambda n, m: n + b"g\r\n" + m.body + b"\r\n" + end,
        "size empty": lambda n, m: b"\r\n" + m.body + b"\r\n" + end,
        "size with a space before it": lambda n, m: b" " + n + b"\r\n" + m.body + b"\r\n" + end,
        "size past 64 bits": lambda n, m: b"1" + b"0" * 14 + n + b"\r\n" + m.body + b"\r\n" + end,
        "size with an underscore": lambda n, m: b"0_" + n + b"\r\n" + m.body + b"\r\n" + end,
        "LF behind the size": lambda n, m: n + b"\n" + m.body + b"\r\n" + end,
        "CR behind the size": lambda n, m: n + b"\r" + m.body + b"\r\n" + end,
        "no CRLF behind the data": lambda n, m: n + b"\r\n" + m.body + end,
        "LF behind the data": lambda n, m: n + b"\r\n" + m.body + b"\n" + end,
        "two bytes that are no CRLF": lambda n, m: n + b"\r\n" + m.body + b"xx" + end,
        "data longer than its size": lambda n, m: b"5\r\n" + m.body + b"\r\n" + end,
        "a request in place of the last chunk": lambda n, m: chunk(m.body) + m.hidden,
    }
    for name, write in bad.items():
        yield Case(name, sent(write), NO)
    trailers = b"".join(b"x-%d: %b\r\n" % (at, b"y" * 1000) for at in range(600))
    yield Case("trailers of 600 kB", sent(lambda n, m: chunk(m.body) + b"0\r\n" + trailers
                                          + b"\r\n"), NO)  # fmt: skip
    yield Case("size of 64 bits", sent(lambda n, m: b"f" * 16 + b"\r\n" + m.body + end), WAIT)
    yield Case("no last chunk", sent(lambda n, m: chunk(m.body)), WAIT)
    yield Case("size without data", sent(lambda n, m: n + b"\r\n"), WAIT)
    yield Case("last chunk without its end", sent(lambda n, m: chunk(m.body) + b"0\r\n"), WAIT)


def lines() -> Iterator[Case]:
    """Line ends, folding, and header lines that are none."""
    # RFC 9112 lets a server take a bare LF for a line's end, and this one does, as does nginx.
    yield Case("LF alone", lambda m: plain(m, end=b"\n"), ANY)
    yield Case("CR alone", lambda m: plain(m, end=b"\r") + b"\r\n\r\n", NO)
    yield Case("CRCRLF", lambda m: plain(m, end=b"\r\r\n"), NO)
    yield Case("LF behind the head", lambda m: request(
        m, length(m.body)).removesuffix(b"\r\n") + b"\n" + m.body, ANY)  # fmt: skip
    yield Case("an empty line before", lambda m: b"\r\n" + plain(m), ANY)
    yield Case("two LF before", lambda m: b"\n\n" + plain(m), ANY)
    yield Case("a space before", lambda m: b" " + plain(m), NO)
    for line in (
        b"x: a\r\n b",
        b"x: a\r\n\tb",
        b"x : a",
        b"x\t: a",
        b"x",
        b": a",
        b"x\x00: a",
        b"x: a\x00b",
        b"x: a\x01b",
        b"x: a\x7fb",
        b"x: a\rb",
        b"\xff: a",
        b"(x): a",
        b"x y: a",
        b" ",
        b"\tx: a",
        b"x\x0b: a",
        b"x: a\r\n : b",
        b"=: \x08",
        b"@x: y",
    ):
        yield Case(f"line {line!r}", lambda m, line=line: plain(m, line), NO)
    yield Case("a value beyond ASCII", lambda m: plain(m, b"x: \xff\xfe"), ANY)
    yield Case("a folded length", lambda m: request(
        m, f"content-length:\r\n {len(m.body)}", body=m.body), NO)  # fmt: skip
    yield Case("a folded key", lambda m: plain(
        m, f"authorization:\r\n Bearer {m.key}", key=False), NO)  # fmt: skip


def targets() -> Iterator[Case]:
    """Request lines."""
    for line in (f"POST {PATH}", f"POST {PATH} HTTP/0.9", f"POST {PATH} HTTP/1.2",
                 f"POST {PATH} HTTP/2.0", f"POST {PATH} HTTP/1.1x", f"POST {PATH} http/1.1",
                 f"POST {PATH} HTTP/1.1 HTTP/1.1", f"POST {PATH} HTTP/01.1", f"POST {PATH} ",
                 f"POST\t{PATH}\tHTTP/1.1", f"POST {PATH} x HTTP/1.1", f"post {PATH} HTTP/1.1",
                 f"PO ST {PATH} HTTP/1.1", f"SMUG {PATH} HTTP/1.1", f"{'A' * 9000} {PATH} HTTP/1.1",
                 "POST * HTTP/1.1", "POST api:80 HTTP/1.1", "CONNECT api:443 HTTP/1.1",
                 f"POST {PATH}\x00 HTTP/1.1", f"POST {PATH}%00 HTTP/1.1",
                 f"POST {PATH}%0d%0ahost:%20x HTTP/1.1", f"POST /{PATH} HTTP/1.1",
                 f"POST /v1/..{PATH} HTTP/1.1",
                 f"POST {PATH}/ HTTP/1.1", f"POST {PATH};a=b HTTP/1.1", f"POST {PATH}\\ HTTP/1.1",
                 "PRI * HTTP/2.0", f"TRACE {PATH} HTTP/1.1", f"POST {PATH}\x7f HTTP/1.1",
                 f"GET {PATH} HTTP/1.1", f"DELETE {PATH} HTTP/1.1"):  # fmt: skip
        yield Case(f"line {line[:60]!r}", lambda m, line=line: plain(m, line=line), NO)
    yield Case("a slash in hexadecimal", lambda m: plain(
        m, line="POST /v1/chat%2fcompletions HTTP/1.1"), ANY)  # fmt: skip
    yield Case("two spaces in the line", lambda m: plain(m, line=f"POST  {PATH} HTTP/1.1"), NO)
    yield Case("a space behind the version", lambda m: plain(m, line=f"POST {PATH} HTTP/1.1 "), NO)
    yield Case("HTTP/1.0", lambda m: plain(m, line=f"POST {PATH} HTTP/1.0"), ONE)
    yield Case("no host", lambda m: plain(m, host=""), ANY)
    yield Case("an empty host", lambda m: plain(m, host="host:"), ANY)
    yield Case("absolute", lambda m: plain(m, line=f"POST http://api{PATH} HTTP/1.1"), ANY)
    yield Case("absolute, of another host", lambda m: plain(
        m, line=f"POST http://evil.example{PATH} HTTP/1.1"), ANY)  # fmt: skip
    yield Case("absolute, with a user", lambda m: plain(
        m, line=f"POST http://api@evil.example{PATH} HTTP/1.1"), ANY)  # fmt: skip
    yield Case("a fragment", lambda m: plain(m, line=f"POST {PATH}#x HTTP/1.1"), ANY)
    yield Case("a query", lambda m: plain(m, line=f"POST {PATH}?a=%00%0d%0a HTTP/1.1"), ONE)
    for name in ("host: api\r\nhost: api", "host: api\r\nhost: evil", "host: a b",
                 "host: api/x", "host: evil@api", "host: api,evil", "host: \\api"):  # fmt: skip
        yield Case(f"{name!r} as the host", lambda m, name=name: plain(m, host=name), NO)


def hops() -> Iterator[Case]:
    """Expect, Upgrade, Connection."""
    yield Case("expect", lambda m: plain(m, "expect: 100-continue"), ONE)
    yield Case("expect twice", lambda m: plain(m, "expect: 100-continue", "expect: x"), ANY)
    yield Case("expect something else", lambda m: plain(m, "expect: 200-ok"), ANY)
    yield Case("expect and no body", lambda m: request(
        m, "expect: 100-continue", length(m.body)), WAIT)  # fmt: skip
    for name in ("websocket", "h2c", "TLS/1.0", "HTTP/2.0", "h2c, websocket"):
        yield Case(f"upgrade {name}", lambda m, name=name: plain(
            m, f"upgrade: {name}", "connection: upgrade, http2-settings",
            "http2-settings: AAMAAABkAARAAAAAAAIAAAAA"), ANY)  # fmt: skip
    yield Case(
        "h2c and frames behind it",
        lambda m: (
            plain(m, "upgrade: h2c", "connection: upgrade") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        ),
        ANY,
    )
    yield Case("connection names the key", lambda m: plain(
        m, "connection: authorization, content-length"), ANY)  # fmt: skip
    yield Case("te: trailers", lambda m: plain(m, "te: trailers", "connection: te"), ONE)
    yield Case("keep-alive of HTTP/1.0", lambda m: plain(
        m, "connection: keep-alive", line=f"POST {PATH} HTTP/1.0"), ONE)  # fmt: skip


def behind() -> Iterator[Case]:
    """What stands behind a request, and inside the body of one that is refused unread."""
    yield Case("pipelined", lambda m: plain(m) + m.hidden, TWO)
    yield Case("behind a close", lambda m: plain(m, "connection: close") + m.hidden, ONE)
    yield Case("behind HTTP/1.0", lambda m: plain(
        m, line=f"POST {PATH} HTTP/1.0") + m.hidden, ONE)  # fmt: skip
    yield Case("noise behind", lambda m: plain(m) + b"\x00\xff\r\n\r\n", ONE)
    inside: dict[str, tuple[str, tuple[str, ...], bool]] = {
        "without a key": (f"POST {PATH} HTTP/1.1", (), False),
        "of a GET": ("GET /v1/models HTTP/1.1", (), True),
        "of a HEAD": ("HEAD /v1/models HTTP/1.1", (), True),
        "of no path": ("POST /v1/nothing HTTP/1.1", (), True),
        "of a wrong method": (f"PUT {PATH} HTTP/1.1", (), True),
        "of an unserved encoding": (f"POST {PATH} HTTP/1.1", ("content-encoding: rot13",), True),
        "of a websocket": ("GET /v1/responses HTTP/1.1", ("upgrade: websocket",), True),
        "of a health check": ("POST /livez HTTP/1.1", (), False),
        "of a log-out": ("POST / HTTP/1.1", (), True),
    }
    for name, (line, more, key) in inside.items():
        yield Case(f"a request as body {name}", lambda m, line=line, more=more, key=key: request(
            m, length(m.hidden), *more, line=line, key=key, body=m.hidden), NO)  # fmt: skip
        yield Case(f"a request in chunks as body {name}",
                   lambda m, line=line, more=more, key=key: request(
                       m, CHUNKED, *more, line=line, key=key,
                       body=chunk(m.hidden) + b"0\r\n\r\n"), NO)  # fmt: skip
    yield Case("a request as the rest of a body that is too large", lambda m: request(
        m, f"content-length: {40_000_000}", body=b"{" + m.hidden), WAIT)  # fmt: skip
    yield Case("two keys", lambda m: plain(m, f"x-api-key: {m.key[:-1]}"), NO)
    yield Case("a key twice, another one", lambda m: plain(m, "authorization: Bearer x"), NO)


def large() -> Iterator[Case]:
    """Heads past any measure."""
    yield Case("a line of 1 MB", lambda m: plain(m, "x: " + "a" * 1_000_000), NO)
    yield Case("a name of 100 kB", lambda m: plain(m, "x" * 100_000 + ": a"), ANY)
    yield Case("5,000 lines", lambda m: plain(m, *(f"x-{at}: a" for at in range(5000))), NO)
    yield Case("a target of 100 kB", lambda m: plain(
        m, line=f"POST {PATH}?{'a' * 100_000} HTTP/1.1"), NO)  # fmt: skip
    yield Case("1 MB without a line", lambda m: b"A" * 1_000_000, NO)
    yield Case("nothing but line ends", lambda m: b"\r\n" * 10_000 + plain(m), ANY)
    yield Case("TLS", lambda m: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), NO)
    yield Case("noise", lambda m: bytes(range(256)) * 4, NO)


CASES: tuple[Case, ...] = tuple(
    case
    for group in (both, lengths, encodings, chunks, lines, targets, hops, behind, large)
    for case in group()
)
