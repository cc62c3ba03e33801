# cython: language_level=3
"""One pass over each chunk of an answer: events, usage, text, end, in-band error.

The chunk is read byte by byte by two small machines, one for the lines of SSE and one for the JSON
behind `data:`; both keep their state between chunks, so a chunk may end anywhere. Nothing is held
back except, where the usage-only chunk of a chat stream is to be cut out, the part of an event of
which it is not yet known whether it is that one.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from corvus_proxy._fast.scan cimport escape_bytes, hex_digit, is_space

cdef enum:
    DEPTH_MAX = 64        # deeper levels are counted, their names are not remembered
    NAME_MAX = 24         # no name that we look for is longer
    WORD_MAX = 160        # ids and model names; longer ones are cut
    KEEP_MAX = 1048576    # a usage or error object larger than this is not kept

    # Where a line of SSE stands.
    LINE_START = 0
    LINE_FIELD = 1        # inside the name of a field
    LINE_SKIP = 2         # a comment or a field we do not read
    LINE_SPACE = 3        # behind "data:", before its one optional space
    LINE_DATA = 4

    # Names that matter, by number.
    N_OTHER = 0
    N_TYPE = 1
    N_USAGE = 2
    N_MESSAGE = 3
    N_DELTA = 4
    N_CHOICES = 5
    N_BLOCK = 6           # content_block
    N_ERROR = 7
    N_ID = 8
    N_MODEL = 9
    N_REASON = 10         # finish_reason, stop_reason
    N_TEXT = 11           # a member whose string value is generated text

    # What a string value is copied to.
    COPY_NONE = 0
    COPY_TYPE = 1
    COPY_ID = 2
    COPY_MODEL = 3

    # What the running event was found to be.
    T_OTHER = 0
    T_START = 1           # message_start
    T_DELTA = 2           # message_delta
    T_STOP = 3            # message_stop
    T_ERROR = 4           # error


cdef struct Kept:
    char *data            # owned, freed with the meter
    Py_ssize_t size
    Py_ssize_t room
    int depth             # depth at which the object that is being kept ends; -1: not keeping
    bint whole            # the object is complete


cdef void keep(Kept *kept, unsigned char byte, bint *overflow) noexcept nogil:
    """Appends a byte to what is kept."""
    cdef char *grown
    if kept.size >= kept.room:
        if kept.room >= KEEP_MAX:
            overflow[0] = True
            return
        grown = <char *>realloc(kept.data, max(1024, kept.room * 2))
        if grown == NULL:
            overflow[0] = True
            return
        kept.data, kept.room = grown, max(1024, kept.room * 2)
    kept.data[kept.size] = <char>byte
    kept.size += 1


cdef bint same(
    const char *data, Py_ssize_t size, const char *word, Py_ssize_t length
) noexcept nogil:
    return size == length and memcmp(data, word, length) == 0


cdef int name_of(const char *data, Py_ssize_t size) noexcept nogil:
    """The number of a member's name."""
    if size == 2:
        return N_ID if memcmp(data, b"id", 2) == 0 else N_OTHER
    if size == 4:
        if memcmp(data, b"type", 4) == 0:
            return N_TYPE
        return N_TEXT if memcmp(data, b"text", 4) == 0 or memcmp(data, b"name", 4) == 0 else N_OTHER
    if size == 5:
        if memcmp(data, b"usage", 5) == 0:
            return N_USAGE
        if memcmp(data, b"delta", 5) == 0:
            return N_DELTA
        if memcmp(data, b"error", 5) == 0:
            return N_ERROR
        return N_MODEL if memcmp(data, b"model", 5) == 0 else N_OTHER
    if size == 7:
        if memcmp(data, b"message", 7) == 0:
            return N_MESSAGE
        if memcmp(data, b"choices", 7) == 0:
            return N_CHOICES
        return N_TEXT if memcmp(data, b"content", 7) == 0 or (
            memcmp(data, b"refusal", 7) == 0) else N_OTHER
    if same(data, size, b"content_block", 13):
        return N_BLOCK
    if same(data, size, b"finish_reason", 13) or same(data, size, b"stop_reason", 11):
        return N_REASON
    if (same(data, size, b"arguments", 9) or same(data, size, b"thinking", 8)
            or same(data, size, b"reasoning", 9) or same(data, size, b"partial_json", 12)
            or same(data, size, b"reasoning_content", 17)):
        return N_TEXT
    return N_OTHER


@cython.final
cdef class StreamMeter:
    cdef readonly Py_ssize_t letters
    cdef readonly Py_ssize_t symbols
    cdef readonly Py_ssize_t non_ascii
    cdef readonly Py_ssize_t deltas
    cdef readonly Py_ssize_t events
    cdef readonly Py_ssize_t restarts
    cdef readonly bint started
    cdef readonly bint ended
    cdef readonly bint finished
    cdef readonly bint failed
    cdef readonly bint overflow
    cdef readonly bytes usage_start
    cdef readonly bytes usage_last
    cdef readonly bytes error

    cdef bint _messages             # dialect: messages, else chat
    cdef bint _strip                # cut out usage-only chunks
    cdef bytes _held                # start of an event that may have to be cut out
    cdef bint _released             # the running event has begun to leave: it is not cut out
    cdef bint _drop_lf              # the LF of a CRLF that ended a dropped event is still to come

    # The line of SSE.
    cdef int _line                  # LINE_…
    cdef bint _cr                   # the last byte was a CR
    cdef char _field[8]             # name of the field so far
    cdef int _field_size
    cdef bint _bom_checked          # the first bytes have been looked at
    cdef int _bom                   # how much of a byte-order mark has been seen
    cdef bint _empty                # the event has no byte yet

    # The JSON of the event.
    cdef int _depth
    cdef bint _object[DEPTH_MAX + 1]    # whether the container at that depth is an object
    cdef int _name[DEPTH_MAX + 1]       # the member being read at that depth
    cdef bint _wants_name           # the next string is a member's name
    cdef bint _string               # inside a string
    cdef bint _is_name              # … which is a member's name
    cdef bint _text                 # … which is generated text
    cdef int _escape                # 0 none, 1 behind a backslash, 2 to 5 digits of \uXXXX
    cdef int _code                  # code point of the escape so far
    cdef char _word[WORD_MAX]       # the name, type, id or model that is being read
    cdef int _word_size
    cdef int _copy                  # COPY_…
    cdef char _id[WORD_MAX]         # first id and model of the stream
    cdef int _id_size
    cdef char _model[WORD_MAX]
    cdef int _model_size
    cdef bint _data                 # the event has data
    cdef int _done                  # how much of "[DONE]" the data has matched, -1: something else

    # What the event has been found to be.
    cdef int _type                  # T_…
    cdef bint _has_text
    cdef bint _has_choices
    cdef bint _choice_seen          # choices is not empty
    cdef bint _choices_open         # behind "choices":[ and nothing yet
    cdef Kept _usage
    cdef Kept _error

    def __cinit__(self):
        self._usage.data = self._error.data = NULL
        self._usage.room = self._error.room = 0

    def __init__(self, str dialect not None, bint strip_usage):
        if dialect not in ("chat", "messages"):
            raise ValueError(f"there is no dialect {dialect!r}")
        self._messages = dialect == "messages"
        self._strip = strip_usage
        self._held = b""
        self.usage_start = self.usage_last = self.error = b""
        self._empty = True
        self._reset()

    def __dealloc__(self):
        free(self._usage.data)
        free(self._error.data)

    @property
    def boundary(self):
        """Whether the stream stands between two events."""
        return self._empty

    @property
    def upstream_id(self):
        """The answer's id, or ""."""
        return self._id[:self._id_size].decode("utf-8", "replace")

    @property
    def model(self):
        """The model that the upstream says it is, or ""."""
        return self._model[:self._model_size].decode("utf-8", "replace")

    cdef void _reset(self) noexcept nogil:
        """Before an event."""
        self._released = False
        self._line = LINE_START
        self._depth = 0
        self._name[0] = N_OTHER
        self._object[0] = False
        self._wants_name = self._string = self._is_name = self._text = False
        self._escape = 0
        self._copy = COPY_NONE
        self._data = False
        self._done = 0
        self._type = T_OTHER
        self._has_text = self._has_choices = self._choice_seen = self._choices_open = False
        self._usage.size = self._error.size = 0
        self._usage.depth = self._error.depth = -1
        self._usage.whole = self._error.whole = False

    # -- JSON ------------------------------------------------------------------------------------

    cdef int _path(self, int depth) noexcept nogil:
        return self._name[depth] if depth <= DEPTH_MAX else N_OTHER

    cdef bint _generates(self) noexcept nogil:
        """Whether a string here is generated text, by the names above it."""
        cdef int top = self._name[1]
        if self._messages:
            return top == N_DELTA or top == N_BLOCK
        return top == N_CHOICES

    cdef void _start_string(self) noexcept nogil:
        cdef int here = self._path(self._depth)
        self._string = True
        self._escape = 0
        self._word_size = 0
        self._text = False
        self._copy = COPY_NONE
        self._is_name = self._wants_name
        self._wants_name = False
        if self._is_name:
            return
        if here == N_TEXT:
            self._text = self._generates()
        elif here == N_TYPE and self._depth == 1:
            self._copy = COPY_TYPE
        elif here == N_ID or here == N_MODEL:
            if self._depth == 1 or (self._depth == 2 and self._name[1] == N_MESSAGE):
                self._copy = COPY_ID if here == N_ID else COPY_MODEL
        elif here == N_REASON:
            self.finished = True
        elif here == N_ERROR and self._depth == 1:
            self._error.whole = True  # an error that is just a string

    cdef void _end_string(self) noexcept nogil:
        self._string = False
        if self._is_name:
            if self._depth <= DEPTH_MAX:
                self._name[self._depth] = name_of(self._word, self._word_size)
                if self._depth == 1 and self._name[1] == N_CHOICES:
                    self._has_choices = True
        elif self._copy == COPY_TYPE:
            if same(self._word, self._word_size, b"message_start", 13):
                self._type = T_START
            elif same(self._word, self._word_size, b"message_delta", 13):
                self._type = T_DELTA
            elif same(self._word, self._word_size, b"message_stop", 12):
                self._type = T_STOP
            elif same(self._word, self._word_size, b"error", 5):
                self._type = T_ERROR
        elif self._copy == COPY_ID and self._id_size == 0:
            memcpy(self._id, self._word, self._word_size)
            self._id_size = self._word_size
        elif self._copy == COPY_MODEL and self._model_size == 0:
            memcpy(self._model, self._word, self._word_size)
            self._model_size = self._word_size

    cdef void _in_string(self, unsigned char c) noexcept nogil:
        """A byte of a string."""
        if self._escape == 1:
            if c == 117:
                self._escape, self._code = 2, 0
                return
            self._escape = 0
            if self._text:
                self.symbols += 1
                self._has_text = True
            elif self._word_size < WORD_MAX and (self._is_name or self._copy):
                self._word[self._word_size] = <char>c
                self._word_size += 1
            return
        if self._escape:
            self._code = (self._code << 4) | hex_digit(c)
            self._escape += 1
            if self._escape == 6:
                self._escape = 0
                if self._text:
                    self._has_text = True
                    if self._code >= 0x80:
                        self.non_ascii += escape_bytes(self._code)
                    else:
                        self.symbols += 1
                elif self._word_size < WORD_MAX and (self._is_name or self._copy):
                    self._word[self._word_size] = <char>(self._code if self._code < 0x80 else 63)
                    self._word_size += 1
            return
        if c == 92:
            self._escape = 1
        elif c == 34:
            self._end_string()
        elif self._text:
            self._has_text = True
            if c >= 0x80:
                self.non_ascii += 1
            elif <unsigned char>((c | 0x20) - 97) < 26:
                self.letters += 1
            else:
                self.symbols += 1
        elif (self._is_name or self._copy) and self._word_size < WORD_MAX:
            self._word[self._word_size] = <char>c
            self._word_size += 1

    cdef void _open(self, bint is_object) noexcept nogil:
        cdef int here = self._path(self._depth)
        if is_object:
            if here == N_USAGE and (self._depth == 1 or (
                    self._depth == 2 and self._name[1] == N_MESSAGE)):
                self._usage.size, self._usage.whole = 0, False
                self._usage.depth = self._depth
            elif here == N_ERROR and self._depth == 1:
                self._error.size, self._error.whole = 0, False
                self._error.depth = self._depth
        elif here == N_CHOICES and self._depth == 1:
            self._choices_open = True
            self._choice_seen = False
        self._depth += 1
        if self._depth <= DEPTH_MAX:
            self._object[self._depth] = is_object
            self._name[self._depth] = N_OTHER
        self._wants_name = is_object

    cdef void _close(self) noexcept nogil:
        if self._depth > 0:
            self._depth -= 1
        self._wants_name = False

    cdef void _json(self, unsigned char c) noexcept nogil:
        """A byte of the event's data."""
        cdef bint keep_usage = self._usage.depth >= 0
        cdef bint keep_error = self._error.depth >= 0
        if self._string:
            self._in_string(c)
        elif is_space(c):
            pass
        else:
            if self._choices_open:
                self._choices_open = False
                if c != 93:
                    self._choice_seen = True
            if c == 34:
                self._start_string()
            elif c == 123 or c == 91:
                self._open(c == 123)
                keep_usage = self._usage.depth >= 0
                keep_error = self._error.depth >= 0
            elif c == 125 or c == 93:
                self._close()
            elif c == 44:
                self._wants_name = self._depth <= DEPTH_MAX and self._object[self._depth]
            elif c == 110 and self._path(self._depth) == N_USAGE and self._depth == 1:
                self._usage.whole, self._usage.depth = False, -1  # null: the last one wins
        if keep_usage:
            keep(&self._usage, c, &self.overflow)
            if not self._string and self._depth == self._usage.depth:
                self._usage.depth, self._usage.whole = -1, True
        if keep_error:
            keep(&self._error, c, &self.overflow)
            if not self._string and self._depth == self._error.depth:
                self._error.depth, self._error.whole = -1, True

    # -- SSE -------------------------------------------------------------------------------------

    cdef void _datum(self, unsigned char c) noexcept nogil:
        """A byte behind `data:`."""
        cdef const char *done = b"[DONE]"
        self._data = True
        if self._done >= 0:
            if self._done < 6 and c == <unsigned char>done[self._done]:
                self._done += 1
                return
            if self._done < 6:
                # It began like [DONE] and is something else: what matched was no more than "[".
                if self._done > 0:
                    self._json(91)
                self._done = -1
            else:
                return
        self._json(c)

    cdef Py_ssize_t _long_string(self, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
                                 ) noexcept nogil:
        """Passes over the plain bytes of a string value, which are most of a stream."""
        cdef unsigned char c
        cdef Py_ssize_t begin = at, letters = 0, non_ascii = 0
        while at < size:
            c = data[at]
            if c == 34 or c == 92 or c == 10 or c == 13:
                break
            letters += <unsigned char>((c | 0x20) - 97) < 26
            non_ascii += c >> 7
            at += 1
        if self._text and at > begin:
            self._has_text = True
            self.letters += letters
            self.non_ascii += non_ascii
            self.symbols += at - begin - letters - non_ascii
        if self._usage.depth >= 0:
            while begin < at:
                keep(&self._usage, data[begin], &self.overflow)
                begin += 1
        return at

    cdef Py_ssize_t _run(self, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
                         ) noexcept nogil:
        """Reads on to the end of an event: its offset, or -1 when the chunk ends first."""
        cdef unsigned char c
        while at < size:
            c = data[at]
            at += 1
            if self._cr:
                self._cr = False
                if c == 10:
                    continue
            if not self._bom_checked:
                if (self._bom == 0 and c == 0xEF) or (self._bom == 1 and c == 0xBB):
                    self._bom += 1
                    continue
                self._bom_checked = True
                if self._bom == 2 and c == 0xBF:
                    continue
            if c == 10 or c == 13:
                self._cr = c == 13
                if self._line == LINE_START:
                    self._empty = True
                    return at
                if self._line == LINE_DATA or self._line == LINE_SPACE:
                    if not self._string and self._done <= 0:
                        self._json(10)
                elif self._line == LINE_FIELD and same(self._field, self._field_size, b"data", 4):
                    self._data = True
                self._line = LINE_START
                continue
            self._empty = False
            if self._line == LINE_DATA:
                self._datum(c)
                if self._string and not self._escape and not (
                        self._is_name or self._copy) and self._error.depth < 0:
                    at = self._long_string(data, at, size)
            elif self._line == LINE_SPACE:
                self._line = LINE_DATA
                if c != 32:
                    self._datum(c)
            elif self._line == LINE_START:
                if c == 58:
                    self._line = LINE_SKIP
                else:
                    self._line = LINE_FIELD
                    self._field[0], self._field_size = <char>c, 1
            elif self._line == LINE_FIELD:
                if c == 58:
                    self._line = LINE_SPACE if same(
                        self._field, self._field_size, b"data", 4) else LINE_SKIP
                elif self._field_size < 8:
                    self._field[self._field_size] = <char>c
                    self._field_size += 1
                else:
                    self._line = LINE_SKIP
        return -1

    cdef bint _end_event(self):
        """Takes an event's findings over; whether it is a usage-only chunk."""
        cdef bint only_usage = False
        cdef bytes usage = b""
        if not self._data:
            self._reset()
            return False
        self.events += 1
        if self._has_text:
            self.deltas += 1
        if self._usage.whole:
            usage = PyBytes_FromStringAndSize(self._usage.data, self._usage.size)
        if self._messages:
            self._end_messages_event(usage)
        else:
            only_usage = (self._has_choices and not self._choice_seen and self._usage.whole
                          and not self._released)
            self.ended = self.ended or self._done == 6
            self.started = self.started or self._has_choices
            self.usage_last = usage or self.usage_last
        if self._type == T_ERROR or self._error.whole:
            self.failed = True
            self.error = PyBytes_FromStringAndSize(self._error.data, self._error.size) if (
                self._error.size) else b""
        self._reset()
        return only_usage

    cdef void _end_messages_event(self, bytes usage):
        if self._type == T_START:
            if self.started:
                self.restarts += 1
            self.started = True
            self.usage_start, self.usage_last = usage, b""
        elif self._type == T_DELTA:
            self.usage_last = usage or self.usage_last
        elif self._type == T_STOP:
            self.ended = True

    # -- the door --------------------------------------------------------------------------------

    def feed(self, bytes chunk not None):
        """See the stub."""
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(chunk)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(chunk)
        cdef Py_ssize_t at = 0
        if self._strip:
            return self._feed_cutting(chunk, data, size)
        while at >= 0:
            with nogil:
                at = self._run(data, at, size)
            if at >= 0:
                self._end_event()
        return chunk

    cdef bytes _feed_cutting(self, bytes chunk, const unsigned char *data, Py_ssize_t size):
        """What is left of a chunk after usage-only events have been cut out."""
        cdef Py_ssize_t at = 0, end
        cdef Py_ssize_t sent = 0      # chunk[:sent] is in `parts` or cut out
        cdef Py_ssize_t begin = 0     # where the running event begins in this chunk
        cdef list parts = []
        if size and self._cr and self._empty and data[0] == 10:  # it belongs to the last event
            self._cr = False
            at = begin = 1
            sent = 1 if self._drop_lf else 0
        if size:
            self._drop_lf = False
        while True:
            with nogil:
                end = self._run(data, at, size)
            if end < 0:
                break
            if self._cr and end < size:  # the LF of this CR goes with the event
                self._cr = False
                if data[end] == 10:
                    end += 1
            if self._end_event():
                self._drop_lf = self._cr
                parts.append(chunk[sent:begin])
                sent = end
            elif self._held:
                parts.append(self._held)
            self._held = b""
            at = begin = end
        if begin < size and not self._released:
            if self._choice_seen:
                self._released = True
            else:
                parts.append(chunk[sent:begin])
                self._held += chunk[begin:]
                return b"".join(parts)
        if self._held:
            parts.append(self._held)
            self._held = b""
        if not parts and sent == 0:
            return chunk
        parts.append(chunk[sent:])
        return b"".join(parts)

    def finish(self):
        """See the stub."""
        held, self._held = self._held, b""
        if not self._empty and self._end_event() and self._strip:
            return b""
        return held
