"""The body scanner against its oracle."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corvus_proxy._fast import scan_body, scan_members
from tests.oracle import body_oracle

WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["type", "image", "cache_control", "a\\b", 'q"q', "\u20ac", "data", "base64"]),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        WORDS,
        st.just(base64.b64encode(b"x" * 90).decode()),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(WORDS, VALUES, max_size=6), st.booleans(), st.sampled_from([None, 2]))
def test_any_body_is_read_as_the_oracle_reads_it(value, ascii_only: bool, indent) -> None:
    """Members lie where their names and values lie; features are the tree's."""
    try:
        body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:
        return
    scan = scan_body(body)
    found = body_oracle.read(body)
    assert {
        name: json.loads(body[start:end]) for name, (_, start, end) in scan.members.items()
    } == found.members
    assert all(
        json.loads(body[at:].split(b":", 1)[0] if b":" not in name.encode() else b'""') == name
        or ":" in name
        for name, (at, _, _) in scan.members.items()
    )
    assert (scan.images, scan.cache_control, scan.media_bytes) == (
        found.images,
        found.cache_control,
        found.media_bytes,
    )


@given(st.binary(max_size=80))
def test_rubbish_is_a_value_error_or_a_scan(body: bytes) -> None:
    """Nothing but ValueError ever comes out."""
    try:
        scan = scan_body(b"{" + body)
    except ValueError:
        return
    assert scan.letters + scan.symbols + scan.non_ascii >= 0


@pytest.mark.parametrize(
    ("text", "letters", "symbols", "non_ascii"),
    [
        ('{"a":"bc"}', 3, 7, 0),
        ('{"a":"\\n\\t"}', 1, 9, 0),
        ('{"a":"\\u20ac"}', 1, 7, 3),
        ('{"a":"\u20ac\u00e9"}', 1, 7, 5),
        ('{"a":"\\u0041"}', 2, 12, 0),
    ],
)
def test_byte_classes(text: str, letters: int, symbols: int, non_ascii: int) -> None:
    """Letters, other ASCII and bytes beyond it, over the whole body."""
    scan = scan_body(text.encode())
    assert (scan.letters, scan.symbols, scan.non_ascii) == (letters, symbols, non_ascii)


def test_base64_media_are_left_out_and_prose_is_not() -> None:
    """Only a pure base64 string in its place is media; prose under `data` stays text."""
    data = base64.b64encode(bytes(range(256)) * 8).decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    scan = scan_body(json.dumps({"messages": [image]}).encode())
    assert (scan.media_bytes, scan.images) == (len(data), 1)
    assert scan.letters < 120
    prose = {"source": {"type": "base64", "data": "these are words. " * 20}}
    assert scan_body(json.dumps(prose).encode()).media_bytes == 0
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert scan_body(json.dumps({"m": [url]}).encode()).media_bytes == len(data)


def test_duplicates_and_escaped_names_are_found() -> None:
    """A name written with escapes is the same member."""
    scan = scan_body(b'{"model":"a","mod\\u0065l":"b","x":1,"x":2}')
    assert scan.duplicates == ("model", "x")
    assert (
        b'{"model":"a","mod\\u0065l":"b","x":1,"x":2}'[slice(*scan.members["model"][1:])] == b'"b"'
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a',
        b'{"a":',
        b'{"a":[',
        b'{"a":"\\',
        b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
    ],
)
def test_what_is_no_object_is_a_value_error(body: bytes) -> None:
    """No object, cut off, or nested beyond 512."""
    with pytest.raises(ValueError):
        scan_body(body)


def test_a_nested_object_is_scanned_by_its_range() -> None:
    """Offsets are those of the whole body."""
    body = b'{"o": {"include_usage" : false, "a":1, "a":2}}'
    start, end = scan_body(body).members["o"][1:]
    members, duplicates = scan_members(body, start, end)
    assert body[slice(*members["include_usage"][1:])] == b"false"
    assert duplicates == ("a",)
