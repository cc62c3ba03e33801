"""Types of the compiled parts, for readers and for mypy."""

from collections.abc import Iterable

Place = tuple[int, int, int]
"""Offsets of a member: its name's opening quote, its value's first byte, behind its value."""

class BodyScan:
    """One pass over a JSON request body."""

    members: dict[str, Place]
    """Top-level members by name, its escapes undone; of one that stands twice, the last."""
    duplicates: tuple[str, ...]
    """Top-level names that stand more than once."""
    letters: int
    """ASCII letters in the whole body, base64 media left out, as are the next two."""
    symbols: int
    """Every other ASCII character; an escape such as \\n is one, a quote and a blank are, too."""
    non_ascii: int
    """Bytes beyond ASCII. An escape \\uXXXX counts as its character would, written in UTF-8."""
    quarter_tokens: int
    """Quarter tokens that the ASCII characters can make at most, media left out: by the pairs in
    which they stand (`quarters.pxd`)."""
    images: int
    """Objects of type image, image_url, input_image or computer_screenshot; none in a tool's schema
    or input."""
    documents: int
    """Objects of type document, file or input_file."""
    audio: int
    """Objects of type input_audio."""
    media_bytes: int
    """Base64 characters left out of the classes: of content blocks that are counted as media."""
    image_places: tuple[tuple[int, int], ...]
    """Where the base64 of the first 64 images lies: start and end."""
    cache_control: bool
    """A member cache_control that is not null stands somewhere."""
    thinking_history: bool
    """A content block of type thinking or redacted_thinking stands somewhere."""
    signed_history: bool
    """A member `signature` or `encrypted_content` says something: what only the provider that made
    it reads."""
    stored: bool
    """A turn names something that is stored at the upstream: a member `file_id` or `container_id`
    with a text in it, in a content block, in its source or directly in one of its objects, or an
    object `audio` of a turn. Never in a tool's input or schema, where it is the client's own
    word."""
    long_cache: bool
    """A member `ttl` says `12h`, other than in a tool's input or schema."""
    repeated: str
    """`type`, else `tools`, where one object anywhere in the body has it more than once; else
    empty. An upstream may take either of the two."""

def scan_body(data: bytes) -> BodyScan:
    """Scans a body.

    Raises ValueError where it is no object, is cut off, is nested beyond 512, has brackets that do
    not match or a name without a value, or is followed by anything. It is no validator otherwise.
    """

def scan_members(data: bytes, start: int, end: int) -> tuple[dict[str, Place], tuple[str, ...]]:
    """Members and duplicates of the object in `data[start:end]`. Raises ValueError."""

def join_pieces(pieces: tuple[bytes, ...]) -> bytes:
    """The pieces as one, copied while other threads run."""

def member_quarters(data: bytes, start: int, end: int) -> int:
    """Quarter tokens of the member `data[start:end]`, name and value, as the only one of its
    object. Raises ValueError."""

class StreamMeter:
    """Reads an SSE stream as it passes, chunk by chunk, cut anywhere. Never raises for its bytes.

    What an event says is known once its blank line, or the end of the body, has come; the classes
    of generated text follow every chunk.
    """

    letters: int
    """Classes of the generated text so far, as in `BodyScan`; a tool's `input` by its raw bytes."""
    symbols: int
    non_ascii: int
    deltas: int
    """Events that carried generated text."""
    generated: int
    """The four together; it never falls."""
    events: int
    """Events that had data."""
    started: bool
    """The upstream has begun the answer: message_start, a chunk with choices, or an event of a
    response."""
    committed: bool
    """Something of the answer itself has come. Up to there a response has only been announced, and
    what came may be held back for another try; elsewhere it is what `started` is."""
    ended: bool
    """The terminal event has come: message_stop, [DONE], response.completed, .incomplete or
    .failed."""
    finished: bool
    """A finish or stop reason has come."""
    reason: str
    """The latest finish or stop reason; empty until one comes."""
    failed: bool
    """An error event has come: one of that type, or with a member `error` that says something."""
    boundary: bool
    """The stream stands between two events."""
    restarts: int
    """message_start events after the first; the last one counts."""
    overflow: bool
    """A usage object beyond 1 MB or an error beyond 64 KB has come and was not kept."""
    usage_start: bytes
    """The usage object of message_start, as it came; empty when there was none."""
    usage_last: bytes
    """The latest usage object of a message_delta, of a chat chunk, or of a response's end."""
    tool_usage: bytes
    """The object of that name beside a response's usage."""
    sequence: int
    """The latest `sequence_number` of a response's events, or -1."""
    error: bytes
    """The member `error` of the latest error event, as it came: an object, rarely a string. Of a
    response's event without one its `code`."""
    upstream_id: str
    """The answer's id and model; empty until they come. With message_start they begin anew."""
    model: str
    service_tier: str
    """The last `service_tier` at the top of a chat chunk, or that of a response's end; empty where
    none came. Messages name it inside their usage."""

    def __init__(self, dialect: str, strip_usage: bool) -> None:
        """`dialect`: chat, messages or responses; ValueError for another. Only chat has chunks to
        cut out."""

    def feed(self, chunk: bytes) -> bytes:
        """What to forward: the same object, unless a usage-only chunk is held back or cut out."""

    def finish(self) -> bytes:
        """What was still held back when the body ended; an event without its end counts, too."""

def pack(count: int, begin: bytes, words: Iterable[bytes | str | int]) -> bytes:
    """One request to Redis in RESP2: `begin`, which holds `count` bulk strings already, and `words`
    behind it. Raises TypeError."""
