"""Types of the compiled scanners, for readers and for mypy."""

Place = tuple[int, int, int]
"""Offsets of a member: its name's opening quote, its value's start, its value's end."""

class BodyScan:
    """One pass over a JSON request body."""

    members: dict[str, Place]
    """Top-level members; of one that stands twice, the last."""
    duplicates: tuple[str, ...]
    """Top-level names that stand more than once."""
    letters: int
    """ASCII letters in the whole body, base64 media left out, as are the next two."""
    symbols: int
    """Every other ASCII character; an escape such as \\n is one."""
    non_ascii: int
    """Bytes beyond ASCII; an escape \\uXXXX beyond ASCII counts three."""
    images: int
    documents: int
    audio: int
    media_bytes: int
    """Base64 characters left out of the classes."""
    cache_control: bool
    """A member cache_control that is not null stands somewhere."""
    thinking_history: bool
    """A content block of type thinking or redacted_thinking stands somewhere."""

def scan_body(data: bytes) -> BodyScan:
    """Scans a body. Raises ValueError when it is no object, is cut off, or nested beyond 512."""

def scan_members(data: bytes, start: int, end: int) -> tuple[dict[str, Place], tuple[str, ...]]:
    """Members and duplicates of the object in `data[start:end]`. Raises ValueError."""

class StreamMeter:
    """Reads an SSE stream as it passes, chunk by chunk, cut anywhere."""

    letters: int
    """Classes of the generated text so far, as in `BodyScan`."""
    symbols: int
    non_ascii: int
    deltas: int
    """Events that carried generated text."""
    events: int
    started: bool
    """The upstream has begun the answer."""
    ended: bool
    """The terminal event has come: message_stop, or [DONE]."""
    finished: bool
    """A finish or stop reason has come."""
    failed: bool
    """An error event has come."""
    boundary: bool
    """The stream stands between two events."""
    restarts: int
    """message_start events after the first; the last one counts."""
    overflow: bool
    """A part that was needed was too large to keep."""
    usage_start: bytes
    """The usage object of message_start, as it came; empty when there was none."""
    usage_last: bytes
    """The latest usage object of message_delta, or of a chat chunk."""
    error: bytes
    """The error object of the error event."""
    upstream_id: str
    model: str

    def __init__(self, dialect: str, strip_usage: bool) -> None: ...
    def feed(self, chunk: bytes) -> bytes:
        """What to forward of `chunk`: the same object unless a usage-only chunk is cut out."""

    def finish(self) -> bytes:
        """What was held back when the body ended."""
