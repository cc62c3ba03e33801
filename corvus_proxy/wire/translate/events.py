"""Server-sent events for translation: their data out of chunks cut anywhere, and back into bytes.

Only a translated answer is read here; one in its own dialect is metered by compiled code and passes
as it came.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

_BOM = b"\xef\xbb\xbf"


class Events:
    """Takes chunks, gives the data of each event that is complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._skip_lf = False
        self._fresh = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that end in `chunk`; events without data are left out."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF that the cut went through
        text = self._rest + chunk
        if self._fresh:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            self._fresh = False
            text = text.removeprefix(_BOM)
        lines = text.splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        self._skip_lf = not self._rest and text.endswith(b"\r")
        found = []
        for line in lines:
            data = self._line(line.rstrip(b"\r\n"))
            if data is not None:
                found.append(data)
        return found

    def finish(self) -> list[bytes]:
        """The data of a last event that its empty line did not end."""
        rest, self._rest = self._rest, b""
        found = [self._line(rest), self._line(b"")] if rest else [self._line(b"")]
        return [data for data in found if data is not None]

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data = self._data, []
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None


def data_of(value: Mapping[str, Any]) -> bytes:
    """An event without a name, as chat has them."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named(name: str, value: Mapping[str, Any]) -> bytes:
    """An event whose name stands in its data, too, as Messages and Responses have them."""
    return b"event: %b\ndata: %b\n\n" % (
        name.encode(),
        msgspec.json.encode({"type": name, **value}),
    )


def decoded(data: bytes) -> dict[str, Any]:
    """An event's JSON object; empty for whatever else it is."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
