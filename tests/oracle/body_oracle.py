"""The body scanner, slow and obvious: the whole tree, and a walk over it."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.oracle.json_tree import STRING, Node, classes, parse, plain

MEDIA_TYPES = {
    "images": {"image", "image_url", "input_image", "computer_screenshot"},
    "documents": {"document", "file", "input_file", "video", "video_url", "file_url"},
    "audio": {"input_audio"},
}
MEDIA_MEMBERS = {"source", "data", "url", "image_url", "file", "file_data", "input_audio"}
BASE64_MIN = 64
FREQUENT, COMMON = (
    dict(group.split(":") for group in text.split())
    for text in (
        """
    a:lmnrst c:o d:e e:dlnrst h:e i:nost l:efi m:e n:degt o:nr r:eo s:et t:aehior u:r
    """,
        """
    a:bcdfgikpuvwxy b:aceijlorsuy c:acehiklmrstu d:adilorsuy e:abcefgikmopqvwxy f:aefilorstu
    g:aehilnrsu h:aiort i:abcdefglmprvxz j:eo k:eis l:abdlopstuy m:abdimopsu n:acfiklnopsuvy
    o:abcdfgiklmopstuvw p:aeiloprstuy q:u r:acdgikmnrstuvy s:acghiklopsuwy t:cdlmpstuwy
    u:abcdefgilmnpst v:aei w:aehinors x:ceipt y:enpst z:e
    """,
    )
)
"""The letters that follow each letter most often, and often."""


_BEYOND = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|.)", re.DOTALL)
"""An escape, with its number if it has one."""


class Found(NamedTuple):
    """What `scan_body` should have found."""

    members: dict[str, tuple[int, int, int]]
    duplicates: tuple[str, ...]
    values: dict[str, Any]
    letters: int
    symbols: int
    non_ascii: int
    quarter_tokens: int
    images: int
    documents: int
    audio: int
    media_bytes: int
    cache_control: bool
    thinking_history: bool
    signed_history: bool
    stored: bool
    long_cache: bool
    repeated: str


def read(body: bytes) -> Found:
    """Everything the scanner should know of a valid body."""
    top = parse(body)
    names = [member.name for member in top.members or ()]
    types = list(_types(_objects(top)))
    counts = {
        kind: sum(name in names for name in _types(_objects(top, data=False)))
        for kind, names in MEDIA_TYPES.items()
    }
    counts["documents"] -= sum(1 for _ in _text_documents(top))
    media = list(_media(top))
    letters, symbols, non_ascii = _classes(body, media)
    return Found(
        members={m.name: (m.name_start, m.node.start, m.node.end) for m in top.members or ()},
        duplicates=tuple(
            dict.fromkeys(name for at, name in enumerate(names) if name in names[:at])
        ),
        values=top.value,
        letters=letters,
        symbols=symbols,
        non_ascii=non_ascii,
        quarter_tokens=_quarter_tokens(body, media),
        **counts,
        media_bytes=sum(len(base64.replace(b"\\/", b"/")) for base64 in media),
        cache_control=any(
            member.name == "cache_control" and member.node.raw != b"null"
            for node in _objects(top)
            for member in node.members or ()
        ),
        thinking_history=any(t in ("thinking", "redacted_thinking") for t in types),
        signed_history=any(
            member.name in ("signature", "encrypted_content")
            and member.node.is_text
            and member.node.value != ""
            for node in _all_objects(top)
            for member in node.members or ()
        ),
        stored=any(_names_stored(top)),
        long_cache=any(_long_ttl(node) for node in _outside_of_data(top)),
        repeated=next(
            (
                name
                for name in ("type", "tools")
                for node in _all_objects(top)
                if _has_twice(node, name)
            ),
            "",
        ),
    )


def _names_stored(top: Node) -> Iterator[bool]:
    """Of each turn and block, and of each object directly in one, but for a block's input."""
    for turn in _turns(top):
        yield any(m.name == "audio" and m.node.members is not None for m in turn.members or ())
    for owner in [*_turns(top), *_every_block(top)]:
        yield _has_file_id(owner)
    for turn in _turns(top):
        yield from (_has_file_id(m.node) for m in turn.members or ())
    for block in _every_block(top):
        yield from (_has_file_id(m.node) for m in block.members or () if m.name != "input")


def _has_file_id(node: Node) -> bool:
    names = ("file_id", "container_id")
    return any(m.name in names and m.node.is_text for m in node.members or ())


def _long_ttl(node: Node) -> bool:
    return any(
        m.name == "ttl" and m.node.is_text and m.node.value == "12h" for m in node.members or ()
    )


def _has_twice(node: Node, name: str) -> bool:
    return sum(member.name == name for member in node.members or ()) > 1


def _outside_of_data(top: Node) -> Iterator[Node]:
    """Every object that stands in no tool's schema or input."""
    inputs = [(m.node.start, m.node.end) for m in _data(top)]
    for node in _all_objects(top):
        if not any(start <= node.start < end for start, end in inputs):
            yield node


def _turns(top: Node) -> Iterator[Node]:
    for member in top.members or ():
        if member.name in ("messages", "input"):
            yield from (turn for turn in member.node.items or () if turn.members is not None)


def _types(nodes: Iterator[Node]) -> Iterator[Any]:
    for node in nodes:
        for member in node.members or ():
            if member.name == "type" and member.node.is_text:
                yield member.node.value


def _objects(top: Node, *, data: bool = True) -> Iterator[Node]:
    """Every object; without `data` no block's source, and none in a tool's schema or input."""
    inputs = [] if data else [(m.node.start, m.node.end) for m in _data(top)]
    sources = [] if data else [source.start for source in _sources(top)]
    for node in _all_objects(top):
        if node.start not in sources and not any(
            start <= node.start < end for start, end in inputs
        ):
            yield node


def _all_objects(node: Node) -> Iterator[Node]:
    if node.members is not None:
        yield node
        for member in node.members:
            yield from _all_objects(member.node)
    for item in node.items or ():
        yield from _all_objects(item)


def _data(top: Node) -> Iterator[Any]:
    yield from (member for member in top.members or () if member.name == "tools")
    for block in _every_block(top):
        yield from (member for member in block.members or () if member.name == "input")


def _sources(top: Node) -> Iterator[Node]:
    for block in _every_block(top):
        yield from (m.node for m in block.members or () if m.name == "source" and m.node.members)


def _text_documents(top: Node) -> Iterator[Node]:
    """Documents whose source is text, or blocks that are counted themselves."""
    for block in _every_block(top):
        kind, source = block.last("type"), block.last("source")
        if _says_twice(block) or (source is not None and _says_twice(source)):
            continue
        if kind is not None and kind.is_text and kind.value == "document" and source is not None:
            held = source.last("type")
            if held is not None and held.is_text and held.value in ("text", "content", "output"):
                yield block


def _says_twice(node: Node) -> bool:
    """Whether more than one member says the type, or may carry media."""
    names = [member.name for member in node.members or ()]
    return names.count("type") > 1 or sum(name in MEDIA_MEMBERS for name in names) > 1


def _every_block(top: Node) -> Iterator[Node]:
    """Content blocks of every turn, and those inside them."""
    for member in top.members or ():
        if member.name in ("messages", "input"):
            for turn in member.node.items or ():
                for block in _blocks(turn, single=False):
                    yield from _nested_blocks(block)


def _nested_blocks(block: Node) -> Iterator[Node]:
    yield block
    for inner in _blocks(block, single=True):
        yield from _nested_blocks(inner)
    for name, _, node in block.members or ():
        if name == "source":
            for inner in _blocks(node, single=False):
                yield from _nested_blocks(inner)


def _quarter_tokens(body: bytes, media: list[bytes]) -> int:
    """An escape of what lies beyond ASCII is one byte of that; media cost nothing."""
    text = STRING.sub(lambda found: _BEYOND.sub(_beyond, found.group()), body)
    return _pairs(text) - sum(_pairs(base64) for base64 in media)


def _beyond(escape: re.Match[bytes]) -> bytes:
    code = escape.group(1)
    return b"\x80" if code is not None and int(code, 16) >= 0x80 else escape.group()


def _pairs(text: bytes) -> int:
    return sum(pair_quarters(one, two) for one, two in itertools.pairwise(text))


def pair_quarters(before: int, now: int, *, escapes: bool = True) -> int:
    """Quarter tokens of a byte behind another; with `escapes` a backslash begins one."""
    one, two = chr(before), chr(now)
    if not two.isascii():
        return 0
    if escapes and two == "\\":
        return 4
    if escapes and one == "\\":
        return 2
    if one == " ":
        return 4 if two.isdigit() or two <= " " else 0
    if one.isascii() and one.isdigit() and two.isdigit():
        return 2
    if two.islower() and two in FREQUENT.get(one, ""):
        return 2
    return 3 if two.islower() and two in COMMON.get(one, "") else 4


def _classes(body: bytes, media: list[bytes]) -> tuple[int, int, int]:
    """Strings count as what they stand for and two quotes, the rest as it is, media not."""
    text = STRING.sub(lambda found: b'""' + plain(found.group()), body)
    outside = b"".join(media).replace(b"\\/", b"/")
    whole, less = classes(text), classes(outside)
    return whole[0] - less[0], whole[1] - less[1], whole[2] - less[2]


def _media(top: Node) -> Iterator[bytes]:
    """The base64 of every content block of every turn."""
    for member in top.members or ():
        if member.name in ("messages", "input"):
            for turn in member.node.items or ():
                for block in _blocks(turn, single=False):
                    yield from _media_of(block)


def _blocks(owner: Node, *, single: bool) -> Iterator[Node]:
    """Content blocks in a turn, a block or a source."""
    for member in owner.members or ():
        if member.name in ("content", "output"):
            yield from (item for item in member.node.items or () if item.members is not None)
            if single and member.node.members is not None:
                yield member.node


def _media_of(block: Node) -> Iterator[bytes]:
    """What a block and the blocks inside it leave out."""
    found: bytes | None = None
    for name, _, node in block.members or ():
        if name in ("image_url", "file_data"):
            found = _of_url(node) or found
        if name == "source" and node.members is not None:
            for inner in _blocks(node, single=False):
                yield from _media_of(inner)
            kind = node.last("type")
            if kind is not None and kind.is_text and kind.value == "base64":
                found = _last(node, data=True, url=False) or found
        if name in ("image_url", "file", "input_audio") and node.members is not None:
            found = _last(node, data=True, url=True) or found
    for inner in _blocks(block, single=True):
        yield from _media_of(inner)
    kind = block.last("type")
    if (
        found
        and not _says_twice(block)
        and kind is not None
        and kind.is_text
        and any(kind.value in names for names in MEDIA_TYPES.values())
    ):
        yield found


def _last(node: Node, *, data: bool, url: bool) -> bytes | None:
    found: bytes | None = None
    if _says_twice(node):
        return None
    for name, _, value in node.members or ():
        if data and name == "data" and _is_base64(value.raw[1:-1]) and value.is_text:
            found = value.raw[1:-1]
        if url and name in ("url", "file_data"):
            found = _of_url(value) or found
    return found


def _of_url(node: Node) -> bytes | None:
    text = node.raw[1:-1]
    url = re.match(rb"data:[^,]{0,242};base64,", text)
    if not node.is_text or url is None or len(text) < BASE64_MIN:
        return None
    return text[url.end() :] if _is_base64(text[url.end() :], least=0) else None


def _is_base64(raw: bytes, least: int = BASE64_MIN) -> bool:
    return len(raw) >= least and re.fullmatch(rb"(?:[A-Za-z0-9+/=_-]|\\/)*", raw) is not None
