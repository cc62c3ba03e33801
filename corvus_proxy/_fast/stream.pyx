# cython: language_level=3
"""One pass over each chunk of an answer: events, usage, text, end, in-band error.

Rule 1: what comes in is what goes out, the same object, unless a usage-only chunk of a chat stream
        that the client did not ask for is cut out.
Rule 2: nothing is held back except, for that cut, the part of an event of which it is not yet
        known whether it is such a chunk; a choice in it, or its size, ends the doubt.
Rule 3: upstream rubbish is data. Nothing here raises for it.

The lines of SSE are read here, the JSON behind `data:` in event.pxd; both keep their state between
chunks, so a chunk may end anywhere.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free

from corvus_proxy._fast.event cimport (
    ERROR_MAX,
    K_NOTHING,
    T_COMPLETED,
    T_DELTA,
    T_ERROR,
    T_FAILED,
    T_ITEM,
    T_OPENING,
    T_START,
    T_STOP,
    T_SUMMARY,
    USAGE_MAX,
    Event,
    Kept,
    begin_event,
    read_json,
    take_raw,
)

cdef enum:
    HELD_MAX = 1048576    # an event that is longer is no usage-only chunk

    # Where a line of SSE stands.
    LINE_START = 0
    LINE_FIELD = 1        # inside the name of a field
    LINE_SKIP = 2         # a comment or a field we do not read
    LINE_SPACE = 3        # behind "data:", before its one optional space
    LINE_DATA = 4

    DONE_SIZE = 6         # of "[DONE]"
    DONE_NOT = -1


cdef struct Lines:
    int line              # LINE_…
    int field             # how much of "data" the name of the field has matched, -1: another
    int done              # how much of "[DONE]" the data has matched, or DONE_NOT
    int bom               # how much of a byte-order mark the stream has opened with, -1: read
    bint cr               # the last byte was a CR: a LF now belongs to it
    bint fresh            # the stream stands between two events
    bint has_data         # the event has a data line


cdef void begin_lines(Lines *lines) noexcept nogil:
    """Before the first byte of an event."""
    lines.line = LINE_START
    lines.done = 0
    lines.has_data = False


cdef Py_ssize_t read_data(
    Lines *lines, Event *event, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Reads on in a data line: where it or the chunk ends."""
    cdef const char *done = b"[DONE]"
    while at < size and 0 <= lines.done < DONE_SIZE:
        if data[at] == <unsigned char>done[lines.done]:
            lines.done += 1
            at += 1
        elif data[at] == 10 or data[at] == 13:
            return at
        else:
            end_doubt(lines, event)
    if lines.done == DONE_NOT:
        return read_json(event, data, at, size)
    while at < size and data[at] != 10 and data[at] != 13:  # whatever stands behind [DONE]
        at += 1
    return at


cdef void end_doubt(Lines *lines, Event *event) noexcept nogil:
    """The data is not [DONE]: of what it shared with it only the bracket means something."""
    if lines.done > 0:
        read_json(event, <const unsigned char *>b"[", 0, 1)
    lines.done = DONE_NOT


cdef void end_line(Lines *lines, Event *event) noexcept nogil:
    """A line that was not empty ends. Several data lines join with LF."""
    if lines.line >= LINE_SPACE or (lines.line == LINE_FIELD and lines.field == 4):
        lines.has_data = True
        if 0 < lines.done < DONE_SIZE:
            end_doubt(lines, event)
        if event.keeping != K_NOTHING:
            take_raw(event, <const unsigned char *>b"\n", 0, 1)
    lines.line = LINE_START


cdef void read_field(Lines *lines, unsigned char c) noexcept nogil:
    """A byte of a line before its data."""
    cdef const char *data = b"data"
    if lines.line == LINE_START:
        lines.line, lines.field = LINE_FIELD, 0
    if c == 58:
        lines.line = LINE_SPACE if lines.field == 4 else LINE_SKIP
    elif 0 <= lines.field < 4 and c == <unsigned char>data[lines.field]:
        lines.field += 1
    else:
        lines.line = LINE_SKIP


cdef bint is_bom(Lines *lines, unsigned char c) noexcept nogil:
    """Whether the byte belongs to a byte-order mark that opens the stream."""
    cdef const unsigned char *bom = b"\xef\xbb\xbf"
    if lines.bom >= 0 and c == bom[lines.bom]:
        lines.bom = lines.bom + 1 if lines.bom < 2 else -1
        return True
    lines.bom = -1
    return False


cdef Py_ssize_t read_event(
    Lines *lines, Event *event, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Reads on to the end of an event: the offset behind its blank line, or -1."""
    cdef unsigned char c
    while at < size:
        c = data[at]
        if lines.line == LINE_DATA and c != 10 and c != 13:
            at = read_data(lines, event, data, at, size)
            continue
        at += 1
        if lines.cr:
            lines.cr = False
            if c == 10:
                continue
        if lines.bom >= 0 and is_bom(lines, c):
            continue
        if c == 10 or c == 13:
            lines.cr = c == 13
            if lines.line == LINE_START:
                lines.fresh = True
                return at
            end_line(lines, event)
            continue
        lines.fresh = False
        if lines.line == LINE_SPACE:
            lines.line = LINE_DATA
            if c != 32:
                at -= 1
        elif lines.line == LINE_SKIP:
            while at < size and data[at] != 10 and data[at] != 13:
                at += 1
        else:
            read_field(lines, c)
    return -1


cdef bint is_void(const Kept *kept) noexcept nogil:
    """Whether there is nothing between the first byte and the last: {}, [] or ""."""
    cdef Py_ssize_t at = 1
    while at < kept.size - 1 and kept.data[at] <= 32:
        at += 1
    return at >= kept.size - 1


@cython.final
cdef class StreamMeter:
    cdef readonly Py_ssize_t letters    # classes of the generated text, as of the last chunk
    cdef readonly Py_ssize_t symbols
    cdef readonly Py_ssize_t non_ascii
    cdef readonly Py_ssize_t generated  # bytes of generated text, and its deltas
    cdef readonly Py_ssize_t deltas     # events with generated text
    cdef readonly Py_ssize_t events     # events with data
    cdef readonly Py_ssize_t restarts   # message_start events after the first
    cdef readonly bint started
    cdef readonly bint ended            # the terminal event has come
    cdef readonly bint finished         # a finish or stop reason has come
    cdef readonly bint failed           # an error event has come
    cdef readonly bint committed        # something of the answer itself has come
    cdef readonly bint overflow         # a part that was needed was too large to keep
    cdef readonly bytes usage_start
    cdef readonly bytes usage_last
    cdef readonly bytes tool_usage
    cdef readonly long long sequence    # the last event's sequence number, or -1
    cdef readonly bytes error
    cdef readonly str reason            # the latest finish or stop reason
    cdef readonly str upstream_id
    cdef readonly str model

    cdef Lines _lines                   # the reading of lines …
    cdef Event _event                   # … and of the event's JSON; owns three buffers
    cdef bint _strip                    # cut out usage-only chunks
    cdef bytearray _held                # start of an event that may have to be cut out
    cdef bint _released                 # the running event has begun to leave: it is not cut out
    cdef bint _drop_lf                  # an event that was cut out ended with CR: so does its LF

    def __cinit__(self):
        self._event.usage.data = self._event.inner.data = self._event.error.data = NULL
        self._event.usage.room = self._event.inner.room = self._event.error.room = 0

    def __init__(self, str dialect not None, bint strip_usage):
        if dialect not in ("chat", "messages", "responses"):
            raise ValueError(f"there is no dialect {dialect!r}")
        self.usage_start = self.usage_last = self.tool_usage = self.error = b""
        self.sequence = -1
        self.upstream_id = self.model = self.reason = ""
        self._event.messages = dialect == "messages"
        self._event.responses = dialect == "responses"
        self._event.usage.most = self._event.inner.most = USAGE_MAX
        self._event.error.most = ERROR_MAX
        self._strip = strip_usage and dialect == "chat"
        self._held = bytearray()
        self._lines.fresh = True
        begin_lines(&self._lines)
        begin_event(&self._event)

    def __dealloc__(self):
        free(self._event.usage.data)
        free(self._event.inner.data)
        free(self._event.error.data)

    @property
    def boundary(self):
        """Whether the stream stands between two events."""
        return self._lines.fresh

    @property
    def service_tier(self):
        """The tier that the stream last said (chat), or its terminal event (responses)."""
        return self._event.tier[:self._event.tier_size].decode("utf-8", "replace")

    def feed(self, bytes chunk not None):
        """See the stub."""
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(chunk)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(chunk)
        cdef Py_ssize_t at = 0
        if self._strip:
            chunk = self._cut(chunk, data, size)
        else:
            while True:
                at = read_event(&self._lines, &self._event, data, at, size)
                if at < 0:
                    break
                self._end_event()
        self._tell_text()
        return chunk

    def finish(self):
        """See the stub."""
        cdef bytes held = bytes(self._held)
        self._held.clear()
        if not self._lines.fresh:
            self._lines.fresh = True
            if self._end_event() and not self._released:
                held = b""
            self._tell_text()
        return held

    cdef void _tell_text(self) noexcept:
        self.letters = self._event.text.letters
        self.symbols = self._event.text.symbols
        self.non_ascii = self._event.text.non_ascii
        self.generated = self.letters + self.symbols + self.non_ascii + self.deltas

    cdef bytes _cut(self, bytes chunk, const unsigned char *data, Py_ssize_t size):
        """What may leave after this chunk, usage-only events cut out."""
        cdef Py_ssize_t at = 0, end
        cdef Py_ssize_t sent = 0      # chunk[:sent] has left, or is cut out
        cdef list parts = []
        if size == 0:
            return chunk
        if self._lines.cr and self._lines.fresh and data[0] == 10:  # it ends the last event
            self._lines.cr = False
            at = 1
            sent = 1 if self._drop_lf else 0
        self._drop_lf = False
        while True:  # `at` is where the running event begins in this chunk
            end = read_event(&self._lines, &self._event, data, at, size)
            if end < 0:
                break
            if self._lines.cr and end < size and data[end] == 10:
                self._lines.cr = False
                end += 1
            if self._end_event() and not self._released and (
                    len(self._held) + end - at <= HELD_MAX):
                parts.append(chunk[sent:at])
                sent = end
                self._drop_lf = self._lines.cr and end == size
            elif self._held:
                parts.append(bytes(self._held))
            self._held.clear()
            self._released = False
            at = end
        if at < size and not self._released:
            if not self._event.choice_seen and len(self._held) + size - at <= HELD_MAX:
                parts.append(chunk[sent:at])
                self._held += chunk[at:]
                return b"".join(parts)
            self._released = True
            if self._held:
                parts.append(bytes(self._held))
                self._held.clear()
        if not parts and sent == 0:
            return chunk
        parts.append(chunk[sent:])
        return b"".join(parts)

    cdef bint _end_event(self) except -1:
        """Takes an event's findings over; whether it is a usage-only chunk."""
        cdef Event *event = &self._event
        cdef bint only_usage = False
        if self._lines.has_data or self._lines.line >= LINE_SPACE:
            self.events += 1
            if event.responses:
                self._judge_text(event)
            self.deltas += event.has_text
            if event.reason_size:
                self.finished = True
                self.reason = event.reason[:event.reason_size].decode("utf-8", "replace")
            self.overflow = self.overflow or (
                event.usage.broken or event.inner.broken or event.error.broken)
            if event.messages:
                self._end_messages_event(event)
            elif event.responses:
                self._end_response_event(event)
            else:
                only_usage = event.has_choices and not event.choice_seen and event.usage.whole
                self._end_chat_event(event)
            self._end_error(event)
            if not event.responses:
                self.committed = self.started
        begin_lines(&self._lines)
        begin_event(event)
        return only_usage

    cdef int _end_chat_event(self, Event *event) except -1:
        self.started = self.started or event.has_choices
        self.ended = self.ended or self._lines.done == DONE_SIZE
        if event.usage.whole:
            self.usage_last = PyBytes_FromStringAndSize(event.usage.data, event.usage.size)
        if event.id_size and not self.upstream_id:
            self.upstream_id = event.id[:event.id_size].decode("utf-8", "replace")
        if event.model_size and not self.model:
            self.model = event.model[:event.model_size].decode("utf-8", "replace")
        return 0

    cdef int _end_messages_event(self, Event *event) except -1:
        if event.type == T_START:
            self.restarts += self.started
            self.started = True
            self.usage_start = self.usage_last = b""
            if event.inner.whole:
                self.usage_start = PyBytes_FromStringAndSize(event.inner.data, event.inner.size)
            self.upstream_id = event.id[:event.id_size].decode("utf-8", "replace")
            self.model = event.model[:event.model_size].decode("utf-8", "replace")
        elif event.type == T_DELTA:
            if event.usage.whole:
                self.usage_last = PyBytes_FromStringAndSize(event.usage.data, event.usage.size)
        elif event.type == T_STOP:
            self.ended = True
        return 0

    cdef void _judge_text(self, Event *event) noexcept:
        """Text counts once: as a delta, else in the item that is done. An item that is only
        announced, a part that repeats its deltas and a summary of the reasoning count nothing."""
        if event.type == T_SUMMARY or not (event.has_delta or event.type == T_ITEM):
            event.text = event.text_before
            event.has_text = False
        event.item_deltas += event.has_text
        if event.type == T_ITEM:
            event.item_deltas = 0

    cdef int _end_response_event(self, Event *event) except -1:
        cdef int kind = event.type
        if kind >= T_OPENING:
            self.started = True
            self.committed = self.committed or (kind != T_OPENING and kind != T_FAILED)
        if event.sequence >= 0:
            self.sequence = event.sequence
        if event.id_size and not self.upstream_id:
            self.upstream_id = event.id[:event.id_size].decode("utf-8", "replace")
        if event.model_size and not self.model:
            self.model = event.model[:event.model_size].decode("utf-8", "replace")
        if kind == T_COMPLETED or kind == T_FAILED:
            self.ended = True
            self.failed = self.failed or kind == T_FAILED
            if event.usage.whole:
                self.usage_last = PyBytes_FromStringAndSize(event.usage.data, event.usage.size)
            if event.inner.whole:
                self.tool_usage = PyBytes_FromStringAndSize(event.inner.data, event.inner.size)
        elif not self.ended:
            event.tier_size = 0  # what is said ahead of the end is only what was asked for
        return 0

    cdef int _end_error(self, Event *event) except -1:
        """An error is an event of that type, or a member `error` that says something."""
        cdef bint says = event.error.whole and (event.error.broken or not is_void(&event.error))
        if event.type == T_ERROR or event.error_is_true or says:
            self.failed = True
            self.error = b""
            if says and not event.error.broken:
                self.error = PyBytes_FromStringAndSize(event.error.data, event.error.size)
            elif event.responses and event.error_code_size:
                self.error = event.error_code[:event.error_code_size]
        return 0
