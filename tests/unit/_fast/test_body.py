"""The body scanner against its oracle."""

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy._fast import join_pieces, member_quarters, scan_body, scan_members
from tests.oracle import body_oracle, dense

PIXELS = base64.b64encode(bytes(range(256)) * 2).decode()
URL = f"data:image/png;base64,{PIXELS}"
FIGURES = (
    "members", "duplicates", "letters", "symbols", "non_ascii", "quarter_tokens", "images",
    "documents", "audio", "media_bytes", "cache_control", "thinking_history",
    "signed_history", "stored", "long_cache", "repeated",
)  # fmt: skip

NAMES = st.sampled_from([
    "type", "data", "source", "content", "output", "messages", "input", "url", "image_url", "file",
    "file_data", "file_id", "container_id", "ttl", "input_audio", "audio", "cache_control", "text",
    "tools", "signature", "encrypted_content", "a\\b", 'q"q', "\u20ac", "x", "\type",
])  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet='ab"\\/\n\t\u00e9\u20ac\U0001f600', max_size=90),
    st.sampled_from([
        "image", "image_url", "input_image", "computer_screenshot", "document", "file",
        "input_file", "input_audio",
        "base64", "content", "thinking", "redacted_thinking", "text", "12h", PIXELS, PIXELS[:63],
        PIXELS[:64], URL, URL + "!", "data:,x" + PIXELS, "data:;base64," + PIXELS, "x" * 200,
    ]),
)  # fmt: skip


class Pairs(list[tuple[str, Any]]):
    """An object that may have a name twice."""


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(NAMES, values), max_size=4).map(Pairs)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(0, 9), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), objects(inner)),
    max_leaves=12,
)
BLOCKS = st.recursive(
    st.one_of(
        objects(st.one_of(TEXTS, objects(TEXTS))),
        st.builds(
            lambda kind, inner, holder, word: Pairs(
                [("type", kind), (holder, Pairs([("type", word), (inner, PIXELS)]))]
            ),
            TEXTS, NAMES, NAMES, TEXTS,
        ),
    ),
    lambda inner: st.builds(
        lambda name, held, rest: Pairs([(name, held), *rest]),
        NAMES, st.one_of(st.lists(inner, max_size=3), inner), objects(TEXTS),
    ),
    max_leaves=6,
)  # fmt: skip
BODIES = st.one_of(
    objects(VALUES),
    st.builds(
        lambda top, turns, rest: Pairs(
            [(top, [Pairs([("role", "user"), ("content", blocks)]) for blocks in turns]), *rest]
        ),
        NAMES, st.lists(st.lists(BLOCKS, max_size=3), max_size=3), objects(VALUES),
    ),
)  # fmt: skip


def write(value: Any, style: random.Random) -> str:
    """JSON as any writer may write it: escapes, white space, names twice."""
    gap = style.choice(["", "", " ", "\n\t"])
    if isinstance(value, Pairs):
        inner = [
            f"{gap}{write(name, style)}{gap}:{gap}{write(held, style)}" for name, held in value
        ]
        return "{" + ",".join(inner) + gap + "}"
    if isinstance(value, list):
        return "[" + ",".join(gap + write(held, style) + gap for held in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if style.random() < 0.2:
        return '"' + "".join(f"\\u{unit:04x}" for unit in units(value)) + '"'
    text = json.dumps(value, ensure_ascii=style.random() < 0.5)
    return text.replace("/", "\\/") if style.random() < 0.3 else text


def units(text: str) -> list[int]:
    """The 16-bit units of a text."""
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@given(BODIES, st.integers(0, 999))
def test_any_body_is_read_as_the_oracle_reads_it(value: Any, seed: int) -> None:
    """Members lie where they lie in the tree; classes, media and features are the tree's."""
    body = write(value, random.Random(seed)).encode("utf-8", "replace")
    scan, found = scan_body(body), body_oracle.read(body)
    assert {name: getattr(scan, name) for name in FIGURES} == {
        name: getattr(found, name) for name in FIGURES
    }
    assert {
        name: json.loads(body[start:end]) for name, (_, start, end) in scan.members.items()
    } == found.values


@given(BODIES, st.integers(0, 999))
def test_a_nested_object_is_scanned_as_it_is_alone(value: Any, seed: int) -> None:
    """`scan_members` finds in a range what `scan_body` finds in those bytes, offsets moved."""
    inner = write(value, random.Random(seed)).encode("utf-8", "replace")
    body = b'{"a" : %b, "b": 1}' % inner
    start, end = scan_body(body).members["a"][1:]
    members, duplicates = scan_members(body, start, end)
    alone = scan_body(inner)
    assert duplicates == alone.duplicates
    assert members == {
        name: tuple(place + start for place in places) for name, places in alone.members.items()
    }


@given(BODIES, st.integers(0, 999))
def test_a_member_has_the_quarters_that_it_has_alone(value: Any, seed: int) -> None:
    """However its name and value are written; of what is no media."""
    body = write(value, random.Random(seed)).encode("utf-8", "replace")
    for name, (start, _, end) in scan_body(body).members.items():
        alone = scan_body(b"{%b}" % body[start:end])
        if not alone.media_bytes:
            assert member_quarters(body, start, end) == alone.quarter_tokens, name
    for start, end in ((-1, 1), (0, 0), (1, len(body) + 1)):
        with pytest.raises(ValueError, match="outside"):
            member_quarters(body, start, end)


@given(st.text(alphabet='abc"\\/\n\u00e9\u20ac\U0001f600', max_size=400), st.booleans())
def test_escapes_of_any_density_count_what_they_stand_for(text: str, ascii_only: bool) -> None:
    """Long strings are read in blocks; a run of backslashes may lie across two of them."""
    body = json.dumps({"a": text, "b": "x" * 80}, ensure_ascii=ascii_only).encode()
    scan, found = scan_body(body), body_oracle.read(body)
    assert (scan.letters, scan.symbols, scan.non_ascii, scan.members) == (
        found.letters, found.symbols, found.non_ascii, found.members,
    )  # fmt: skip
    assert scan.quarter_tokens == found.quarter_tokens


@pytest.mark.parametrize("tail", ['"', '\\"', "\\\\", "\\u00e9", "\\u0041", "\\n", "a"])
def test_every_place_in_a_block_is_read_alike(tail: str) -> None:
    """An escape or a quote is found wherever it falls in a block of 64, and at its seam."""
    for before in range(140):
        for lead in ("", "\\\\"):
            text = lead + "a" * before + tail + "b" * 70
            body = ('{"a":"' + text + ('"}' if tail != '"' else ',"c":1}')).encode()
            if tail == '"':
                body = ('{"a":"' + lead + "a" * before + '","c":"' + "b" * 70 + '"}').encode()
            scan, found = scan_body(body), body_oracle.read(body)
            assert (scan.letters, scan.symbols, scan.non_ascii, scan.members) == (
                found.letters, found.symbols, found.non_ascii, found.members,
            )  # fmt: skip


@given(st.lists(st.binary(max_size=80)))
def test_pieces_are_joined_in_their_order(pieces: list[bytes]) -> None:
    """Empty ones and none at all included; nothing but bytes is taken."""
    assert join_pieces(tuple(pieces)) == b"".join(pieces)
    with pytest.raises(TypeError):
        join_pieces((*pieces, "text"))  # type: ignore[arg-type]


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_rubbish_is_a_value_error_or_a_scan(inside: bytes, behind: bytes) -> None:
    """Nothing but ValueError ever comes out."""
    for body in (inside, b"{" + inside, b'{"' + inside + b'":' + behind + b"}"):
        try:
            scan = scan_body(body)
        except ValueError:
            continue
        assert all(0 <= a < b < c <= len(body) for a, b, c in scan.members.values())


@given(BODIES, st.integers(0, 999), st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_body_is_a_value_error_or_a_scan(
    value: Any, seed: int, at: int, byte: int
) -> None:
    """One byte changed, or the rest cut off: ValueError or offsets inside the body."""
    body = write(value, random.Random(seed)).encode("utf-8", "replace")
    for damaged in (body[:at], body[:at] + bytes([byte]) + body[at + 1 :]):
        try:
            scan = scan_body(damaged)
        except ValueError:
            continue
        assert all(0 <= a < b < c <= len(damaged) for a, b, c in scan.members.values())


@pytest.mark.parametrize(
    ("text", "letters", "symbols", "non_ascii"),
    [
        ('{"a":"bc"}', 3, 7, 0),
        ('{"a":"\\n\\t"}', 1, 9, 0),
        ('{"a":"\\"\\\\\\/"}', 1, 10, 0),
        ('{"a":"\\u20ac"}', 1, 7, 3),
        ('{"a":"\u20ac\u00e9"}', 1, 7, 5),
        ('{"a":"\\u00e9"}', 1, 7, 2),
        ('{"a":"\\ud83d\\ude00"}', 1, 7, 4),
        ('{"a":"\U0001f600"}', 1, 7, 4),
        ('{"a":"\\u0041\\u003c"}', 2, 8, 0),
        ('{ "a":true}', 5, 6, 0),
    ],
)
def test_byte_classes(text: str, letters: int, symbols: int, non_ascii: int) -> None:
    """Letters, other ASCII and bytes beyond it, over the whole body, as if nothing were escaped."""
    scan = scan_body(text.encode())
    assert (scan.letters, scan.symbols, scan.non_ascii) == (letters, symbols, non_ascii)


def content(*blocks: Any, top: str = "messages") -> bytes:
    return json.dumps({top: [{"role": "user", "content": list(blocks)}]}).encode()


def source(data: str, kind: str = "base64") -> dict[str, Any]:
    return {"type": kind, "media_type": "image/png", "data": data}


@pytest.mark.parametrize(
    ("block", "counted"),
    [
        ({"type": "image", "source": source(PIXELS)}, "images"),
        ({"source": source(PIXELS), "type": "image"}, "images"),
        ({"type": "document", "source": source(PIXELS)}, "documents"),
        ({"type": "image_url", "image_url": {"url": URL}}, "images"),
        ({"type": "input_image", "image_url": URL}, "images"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": URL}}, "documents"),
        ({"type": "input_file", "file_data": URL}, "documents"),
        ({"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}}, "audio"),
        ({"type": "tool_result", "content": [{"type": "image", "source": source(PIXELS)}]},
         "images"),
    ],
)  # fmt: skip
def test_media_are_left_out_and_counted(block: dict[str, Any], counted: str) -> None:
    """Base64 of a media block is no text; the block is counted by its kind instead."""
    for body in (content(block), content(block, top="input")):
        scan = scan_body(body)
        assert scan.media_bytes == len(PIXELS)
        assert getattr(scan, counted) == 1
        assert scan.letters + scan.symbols == len(body) - len(PIXELS)
        slashed = scan_body(body.replace(b"/", b"\\/"))
        assert (slashed.media_bytes, slashed.letters, slashed.symbols) == (
            scan.media_bytes, scan.letters, scan.symbols,
        )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        content({"type": "tool_use", "input": {"type": "base64", "data": PIXELS}}),
        content({"type": "tool_use", "input": {"type": "image", "source": source(PIXELS)}}),
        content({"type": "tool_use", "input": {"url": URL, "image_url": {"url": URL}}}),
        content({"type": "text", "text": PIXELS}),
        content({"type": "text", "text": URL}),
        content({"type": "text", "source": source(PIXELS)}),
        content({"type": "document", "source": source(PIXELS, "text")}),
        content({"type": "image", "source": source("these are words. " * 20)}),
        content(
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,but not so" * 9}}
        ),
        json.dumps({"tools": [{"type": "image", "source": source(PIXELS)}]}).encode(),
        json.dumps({"system": [{"type": "image", "source": source(PIXELS)}]}).encode(),
        b'{"messages":[{"content":[{"type":"image","source":{"type":"base64","type":"text",'
        b'"data":"%b"}}]}]}' % PIXELS.encode(),
        b'{"messages":[{"content":[{"type":"image","type":7,"source":{"type":"base64",'
        b'"data":"%b"}}]}]}' % PIXELS.encode(),
    ],
)
def test_what_an_upstream_reads_as_text_is_never_left_out(body: bytes) -> None:
    """Words that look like media elsewhere than in a media block would make a hold too small."""
    scan = scan_body(body)
    assert scan.media_bytes == 0
    assert scan.letters + scan.symbols == len(body)


TEXT = {"type": "text", "media_type": "text/plain", "data": "hi"}


@pytest.mark.parametrize(
    ("block", "images", "documents"),
    [
        ({"type": "document", "source": TEXT}, 0, 0),
        ({"source": TEXT, "type": "document"}, 0, 0),
        ({"type": "document", "source": {"type": "content", "content": [
            {"type": "image", "source": source(PIXELS)}]}}, 1, 0),
        ({"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}}, 0, 1),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, 0, 1),
        ({"type": "file", "file": {"file_id": "f"}}, 0, 1),
        ({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}, 1, 0),
        ({"type": "tool_result", "content": [{"type": "document", "source": TEXT}]}, 0, 0),
        ({"type": "tool_use", "input": {"type": "file", "of": [{"type": "image"}]}}, 0, 0),
        ({"type": "tool_use", "input": [{"type": "document"}]}, 0, 0),
        ({"type": "unknown", "inner": {"type": "document"}}, 0, 1),
    ],
)  # fmt: skip
def test_media_without_bytes_and_text_that_is_called_a_document(
    block: dict[str, Any], images: int, documents: int
) -> None:
    """What is not here counts; text and a tool's data are no documents, whatever they say."""
    scan = scan_body(content(block))
    assert (scan.images, scan.documents) == (images, documents)


def test_a_document_is_text_only_by_a_source_that_stands_once() -> None:
    """Of two an upstream may take either, also the one that is no text."""
    for first, second in ((TEXT, source(PIXELS)), (TEXT, None), (source(PIXELS), TEXT)):
        block = b'{"type":"document","source":%b,"source":%b}' % (
            json.dumps(first).encode(), json.dumps(second).encode()
        )  # fmt: skip
        assert scan_body(b'{"messages":[{"content":[%b]}]}' % block).documents == 1


@pytest.mark.parametrize("own_first", [True, False])
def test_media_inside_a_block_with_media_of_its_own(own_first: bool) -> None:
    """The outer block is judged when the inner one has been: in whichever order they stand, each
    is left out once."""
    inner = [{"type": "image", "source": source(PIXELS)}, {"type": "text", "text": "a word"}]
    block = {"type": "document", "content": inner, "source": source(PIXELS + PIXELS)}
    if own_first:
        block = {"source": block["source"], **block}
    body = content(block, {"type": "text", "text": "behind"})
    scan, found = scan_body(body), body_oracle.read(body)
    assert scan.media_bytes == 3 * len(PIXELS)
    assert {name: getattr(scan, name) for name in FIGURES} == {
        name: getattr(found, name) for name in FIGURES
    }


FAR = '{"type":"url","url":"https://x/a.png"}'
HERE = json.dumps(source(PIXELS))


@pytest.mark.parametrize(
    "block",
    [
        f'{{"type":"image","source":{HERE},"source":{FAR}}}',
        f'{{"type":"image","source":{FAR},"source":{HERE}}}',
        f'{{"type":"image","source":{FAR},"image_url":"{URL}"}}',
        f'{{"type":"image_url","image_url":{{"url":"{URL}","url":"https://x/a.png"}}}}',
        f'{{"type":"image_url","image_url":{{"url":"{URL}"}},"image_url":"https://x/a.png"}}',
        f'{{"type":"image","type":"image","source":{HERE}}}',
        f'{{"type":"image","source":{{"type":"url","type":"base64","data":"{PIXELS}"}}}}',
    ],
)
def test_media_that_are_said_twice_are_neither_left_out_nor_measured(block: str) -> None:
    """A small image beside the address of a large one: the upstream may read the large one."""
    scan = scan_body(f'{{"messages":[{{"content":[{block}]}}]}}'.encode())
    assert scan.images >= 1
    assert (scan.image_places, scan.media_bytes) == ((), 0)


@pytest.mark.parametrize("kind", ["video", "video_url", "file_url"])
def test_what_lies_elsewhere_counts_as_a_document(kind: str) -> None:
    """GLM's vision models read videos and files by their address: nothing here bounds them."""
    address = {"url": "https://x/a.mp4"}
    assert scan_body(content({"type": kind, kind: address})).documents == 1
    assert scan_body(content({"type": kind, "source": TEXT, kind: address})).documents == 1


def test_the_first_64_images_tell_where_they_lie() -> None:
    """Their base64, in the order in which the blocks end; the rest only count."""
    block = {"type": "image_url", "image_url": {"url": URL}}
    body = content(*[block] * 70, {"type": "document", "source": source(PIXELS)})
    scan = scan_body(body)
    assert (scan.images, scan.documents, len(scan.image_places)) == (70, 1, 64)
    assert {body[start:end] for start, end in scan.image_places} == {PIXELS.encode()}


def test_text_never_costs_less_for_how_it_is_written() -> None:
    """The body's pairs cost what the text's pairs do, or more, escaped or not."""
    for name, text in dense.texts():
        for ascii_only in (True, False):
            body = json.dumps({"a": text}, ensure_ascii=ascii_only).encode("utf-8", "replace")
            scan = scan_body(body)
            assert -(-scan.quarter_tokens // 4) + scan.non_ascii >= dense.text_tokens(text), name


def test_escaped_names_and_types_are_what_they_stand_for() -> None:
    """Spelling a name with escapes hides neither cache writes nor images nor a double member."""
    body = (
        b'{"model":"a","mod\\u0065l":"b","x":1,"x":2,"x":3,"messages":[{"content":[{"t\\u0079pe":'
        b'"im\\u0061ge","\\u0063ache_control":{}},{"type":"redacted\\u005fthinking"}]}]}'
    )
    scan = scan_body(body)
    assert scan.duplicates == ("model", "x")
    assert body[slice(*scan.members["model"][1:])] == b'"b"'
    assert body[slice(*scan.members["x"][1:])] == b"3"
    assert (scan.images, scan.cache_control, scan.thinking_history) == (1, True, True)


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        ({"content": [{"type": "file", "file": {"file_id": "f"}}]}, True),
        ({"content": [{"type": "input_file", "file_id": "f"}]}, True),
        ({"content": [{"type": "input_image", "file_id": "f"}]}, True),
        ({"content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}, True),
        ({"content": [{"type": "container_upload", "file_id": "f"}]}, True),
        ({"content": [{"type": "tool_result", "content": [
            {"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}, True),
        ({"type": "computer_call_output", "output": {"file_id": "f"}}, True),
        ({"type": "code_interpreter_call", "container_id": "c"}, True),
        ({"type": "shell_call", "environment": {"container_id": "c"}}, True),
        ({"role": "assistant", "audio": {"id": "audio_1"}}, True),
        ({"content": [{"type": "input_file", "file_id": None, "file_data": "x"}]}, False),
        ({"content": [{"type": "tool_use", "input": {"file_id": "f"}}]}, False),
        ({"content": [{"type": "tool_use", "input": {"deep": {"file_id": "f"}}}]}, False),
        ({"content": [{"type": "output_text", "annotations": [{"file_id": "f"}]}]}, False),
        ({"content": 'a text with "file_id": "f"'}, False),
        ({"role": "assistant", "audio": None}, False),
    ],
)  # fmt: skip
def test_what_names_something_stored_is_found(turn: Any, found: bool) -> None:
    """In a turn, however its name is spelled; not in a tool's input, a schema or a text."""
    schema = {"properties": {"file_id": {"type": "string"}}, "example": {"file_id": "f"}}
    body = {"messages": [turn], "tools": [{"parameters": schema}], "metadata": {"file_id": "f"}}
    raw = json.dumps(body).encode()
    assert scan_body(raw).stored is found
    assert scan_body(raw.replace(b'"messages"', b'"input"')).stored is found
    assert scan_body(raw.replace(b'"file_id"', b'"file\\u005fid"')).stored is found


@pytest.mark.parametrize(("value", "found"), [("null", False), ("{}", True), ('"x"', True)])
def test_cache_control_counts_unless_it_is_null(value: str, found: bool) -> None:
    """Some clients send the member with null everywhere."""
    body = f'{{"system":[{{"text":"x","cache_control" : {value}}}],"y":null}}'
    assert scan_body(body.encode()).cache_control is found


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[]", b"1", b"{", b'{"a', b'{"a":', b'{"a":[', b'{"a":"\\', b'{"a":"\\u00',
        b'{"a":"' + b"\\\\" * 90, b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", b'{"a":[}]',
        b'{"a":1]', b'{"a":}', b'{"a"}', b'{"a":,"b":1}', b'{"a":1}}', b'{"a":1}{"a":2}',
        b'{"a":1} x',
    ],
)  # fmt: skip
def test_what_is_no_object_is_a_value_error(body: bytes) -> None:
    """No object, cut off, crossed, followed by something, or nested beyond 512."""
    with pytest.raises(ValueError):
        scan_body(body)


def test_depth_up_to_512_is_read() -> None:
    """The deepest that is served."""
    assert scan_body(b'{"a":' + b"[" * 511 + b"]" * 511 + b"}").members.keys() == {"a"}


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 99)])
def test_a_range_outside_the_body_is_a_value_error(start: int, end: int) -> None:
    """Offsets are checked before a pointer follows them."""
    with pytest.raises(ValueError):
        scan_members(b'{"a":1}', start, end)


def test_a_large_body_is_read_without_the_interpreter_lock() -> None:
    """From 256 KB on other threads run meanwhile; the figures are the same."""
    words = "words and \u20ac and \\ and \n. " * 30
    body = json.dumps({"m": [words] * 600, "n": 1}).encode()
    assert len(body) > 262144
    scan = scan_body(body)
    alone = scan_body(json.dumps({"m": [words]}).encode())
    rest = scan_body(b'{"m": [], "n": 1}').letters
    assert scan.letters == (alone.letters - 1) * 600 + rest
    assert scan.members.keys() == {"m", "n"}


@pytest.mark.parametrize("call", [scan_body, lambda body: scan_members(body, 0, 1)])
@pytest.mark.parametrize("body", [None, "text", bytearray(b"{}")])
def test_only_bytes_are_scanned(call: Any, body: Any) -> None:
    """A None or a text is the caller's mistake, told by the type."""
    with pytest.raises(TypeError):
        call(body)
