"""Where a stream is cut so that no half of an event that may not be told goes out.

A chunk may end anywhere. What an event says is known at its end, and a client can do nothing with
half of one, so the beginning of an event that may be an error is kept until its end has come.
"""

import re

KEPT_BYTES = 256
"""An event that has not named an error by here is none …"""
KEPT_BYTES_MAX = 1024 * 1024
"""… and one beyond this is not kept: a response that fails repeats its whole request."""
_BLANK_LINE = re.compile(rb"\n\r?\n")
_ERROR = re.compile(rb'"error"\s*:(?!\s*null)|"type"\s*:\s*"error"')
_FAILS = re.compile(_ERROR.pattern + rb"|(?:\A|\n)event:\s*(?:error|response\.failed)")


class Tail:
    """The beginning of an event that has come and has not been sent on."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = b""

    def sendable(self, chunk: bytes, *, whole: bool, fresh: bool) -> bytes:
        """What may be sent now of what has come. `whole`: `chunk` ends between two events;
        `fresh`: what was sent before did."""
        searched = max(0, len(self.kept) - 3)  # but for half a blank line
        chunk, self.kept = self.kept + chunk, b""
        if whole:
            return chunk
        start = _last_end(chunk, searched, len(chunk))
        if not start and not fresh:
            return chunk  # an event that has been judged by its beginning goes on
        tail = chunk[start:]
        size = len(tail)
        if size < KEPT_BYTES or (size < KEPT_BYTES_MAX and _FAILS.search(tail, 0, KEPT_BYTES)):
            self.kept = tail
            return chunk[:start]
        return chunk

    def take(self) -> bytes:
        """What is still kept where nothing more comes."""
        kept, self.kept = self.kept, b""
        return kept


def before_error(chunk: bytes) -> bytes:
    """The part of a chunk ahead of its error event: whole events, or nothing."""
    found = _ERROR.search(chunk)
    return chunk[: _last_end(chunk, 0, found.start() if found else 0)]


def _last_end(chunk: bytes, start: int, end: int) -> int:
    """Behind the last blank line between two offsets; 0 where there is none."""
    ends = [blank.end() for blank in _BLANK_LINE.finditer(chunk, start, end)]
    return ends[-1] if ends else 0
