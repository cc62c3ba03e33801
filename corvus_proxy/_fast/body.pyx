# cython: language_level=3
"""One pass over a request body: where the members lie, how much text, which features."""

cimport cython
import json

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp

from corvus_proxy._fast.scan cimport (
    Classes, count_classes, escape_bytes, hex_digit, is_space,
)

cdef enum:
    DEPTH_MAX = 512
    BASE64_MIN = 64  # shorter strings are text, whatever they look like
    NAME_OTHER = 0
    NAME_TYPE = 1
    NAME_DATA = 2
    NAME_CACHE = 3
    NAME_URL = 4

cdef struct Frame:
    bint is_object
    bint wants_name       # the next string is a member's name
    int name              # NAME_… of the member that is being read
    bint is_base64        # the object says "type": "base64"
    Py_ssize_t media_at   # a pure base64 string under "data", or -1
    Py_ssize_t media_size


@cython.final
cdef class BodyScan:
    cdef readonly dict members           # name -> (name start, value start, value end)
    cdef readonly tuple duplicates
    cdef readonly Py_ssize_t letters
    cdef readonly Py_ssize_t symbols
    cdef readonly Py_ssize_t non_ascii
    cdef readonly Py_ssize_t images
    cdef readonly Py_ssize_t documents
    cdef readonly Py_ssize_t audio
    cdef readonly Py_ssize_t media_bytes
    cdef readonly bint cache_control
    cdef readonly bint thinking_history


cdef Py_ssize_t string_end(
    const unsigned char *data, Py_ssize_t at, Py_ssize_t size, Classes *out
) noexcept nogil:
    """Offset of the quote that ends the string whose text starts at `at`, or -1.

    `out` is corrected for escapes: the raw bytes are counted elsewhere.
    """
    cdef int code
    while at < size:
        if data[at] == 34:
            return at
        if data[at] != 92:
            at += 1
            continue
        if at + 1 >= size:
            return -1
        if data[at + 1] == 117 and at + 5 < size:  # \uXXXX
            code = (hex_digit(data[at + 2]) << 12) | (hex_digit(data[at + 3]) << 8)
            code |= (hex_digit(data[at + 4]) << 4) | hex_digit(data[at + 5])
            if code >= 0x80:
                discount(data + at, 6, out)
                out.non_ascii += escape_bytes(code)
            at += 6
        else:
            if data[at + 1] >= 97:  # \n, \t …: two bytes for one symbol
                out.letters -= 1
            at += 2
    return -1


cdef void discount(const unsigned char *data, Py_ssize_t size, Classes *out) noexcept nogil:
    """Takes the classes of `size` bytes off again."""
    cdef Classes part
    part.letters = part.symbols = part.non_ascii = 0
    count_classes(data, size, &part)
    out.letters -= part.letters
    out.symbols -= part.symbols
    out.non_ascii -= part.non_ascii


cdef bint is_base64(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Whether all bytes belong to an alphabet of base64, so that none of them can be prose."""
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(size):
        c = data[i]
        if not (<unsigned char>((c | 0x20) - 97) < 26 or 48 <= c <= 57 or c == 43 or c == 47
                or c == 45 or c == 95 or c == 61):
            return False
    return True


cdef bint same(
    const unsigned char *data, Py_ssize_t size, const char *word, Py_ssize_t length
) noexcept nogil:
    return size == length and memcmp(data, word, length) == 0


cdef int name_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    if same(data, size, b"type", 4):
        return NAME_TYPE
    if same(data, size, b"data", 4):
        return NAME_DATA
    if same(data, size, b"cache_control", 13):
        return NAME_CACHE
    if same(data, size, b"url", 3) or same(data, size, b"image_url", 9) or same(
            data, size, b"file_data", 9):
        return NAME_URL
    return NAME_OTHER


cdef Py_ssize_t media_offset(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Where the base64 of a data: URL begins in `data`, or -1."""
    cdef const void *comma
    cdef Py_ssize_t at
    if size < BASE64_MIN or memcmp(data, b"data:", 5) != 0:
        return -1
    comma = memchr(data, 44, min(size, 256))
    if comma == NULL:
        return -1
    at = <const unsigned char *>comma - data
    if at < 7 or memcmp(data + at - 7, b";base64", 7) != 0:
        return -1
    return at + 1 if is_base64(data + at + 1, size - at - 1) else -1


@cython.final
cdef class _Walk:
    """A walk through one object; the frames live as long as the walk."""

    cdef Frame frames[DEPTH_MAX + 1]
    cdef Classes classes
    cdef BodyScan scan
    cdef list duplicates
    cdef bytes data

    cdef void leave_out(self, Py_ssize_t at, Py_ssize_t size) noexcept:
        discount(<const unsigned char *>PyBytes_AS_STRING(self.data) + at, size, &self.classes)
        self.scan.media_bytes += size

    cdef void value_string(self, Frame *frame, Py_ssize_t at, Py_ssize_t size) noexcept:
        """A string value of an object's member."""
        cdef const unsigned char *text = <const unsigned char *>PyBytes_AS_STRING(self.data) + at
        cdef Py_ssize_t offset
        if frame.name == NAME_TYPE:
            self.value_type(frame, text, size)
        elif frame.name == NAME_DATA:
            if size >= BASE64_MIN and is_base64(text, size):
                frame.media_at, frame.media_size = at, size
        elif frame.name == NAME_URL:
            offset = media_offset(text, size)
            if offset >= 0:
                self.leave_out(at + offset, size - offset)

    cdef void value_type(self, Frame *frame, const unsigned char *text, Py_ssize_t size) noexcept:
        if same(text, size, b"base64", 6):
            frame.is_base64 = True
        elif same(text, size, b"image", 5) or same(text, size, b"image_url", 9) or same(
                text, size, b"input_image", 11):
            self.scan.images += 1
        elif same(text, size, b"document", 8) or same(text, size, b"file", 4) or same(
                text, size, b"input_file", 10):
            self.scan.documents += 1
        elif same(text, size, b"input_audio", 11):
            self.scan.audio += 1
        elif same(text, size, b"thinking", 8) or same(text, size, b"redacted_thinking", 17):
            self.scan.thinking_history = True

    cdef int add_member(
        self, Py_ssize_t name_at, Py_ssize_t name_end, Py_ssize_t at, Py_ssize_t end
    ) except -1:
        raw = self.data[name_at + 1:name_end]
        name = json.loads(self.data[name_at:name_end + 1]) if b"\\" in raw else (
            raw.decode("utf-8", "replace"))
        if name in self.scan.members:
            self.duplicates.append(name)
        self.scan.members[name] = (name_at, at, end)
        return 0

    cdef Py_ssize_t run(self, Py_ssize_t at, Py_ssize_t size) except -1:
        """Walks the object that starts at or after `at`; the offset behind it."""
        cdef const unsigned char *text = <const unsigned char *>PyBytes_AS_STRING(self.data)
        cdef Py_ssize_t depth = 0, end, name_at = -1, name_end = -1, value_at = -1, value_end = -1
        cdef unsigned char c
        cdef Frame *frame = &self.frames[0]
        while at < size and is_space(text[at]):
            at += 1
        if at >= size or text[at] != 123:
            raise ValueError("it is not a JSON object")
        while at < size:
            c = text[at]
            if is_space(c):
                at += 1
                continue
            if depth == 1 and value_at < 0 and name_at >= 0 and c != 58 and not frame.wants_name:
                value_at = at
            if frame.name == NAME_CACHE and c != 58 and not frame.wants_name:
                self.scan.cache_control = self.scan.cache_control or c != 110  # null
                frame.name = NAME_OTHER
            if c == 34:
                end = string_end(text, at + 1, size, &self.classes)
                if end < 0:
                    raise ValueError("a string does not end")
                if frame.is_object and frame.wants_name:
                    frame.wants_name = False
                    frame.name = name_of(text + at + 1, end - at - 1)
                    if depth == 1:
                        name_at, name_end, value_at = at, end, -1
                elif frame.is_object:
                    self.value_string(frame, at + 1, end - at - 1)
                at = value_end = end + 1
                continue
            if c == 123 or c == 91:
                if depth >= DEPTH_MAX:
                    raise ValueError("it is nested too deeply")
                depth += 1
                frame = &self.frames[depth]
                frame.is_object = frame.wants_name = c == 123
                frame.name, frame.is_base64, frame.media_at = NAME_OTHER, False, -1
            elif c == 125 or c == 93:
                if frame.is_object and frame.is_base64 and frame.media_at >= 0:
                    self.leave_out(frame.media_at, frame.media_size)
                if depth == 1:
                    if name_at >= 0 and value_at >= 0:
                        self.add_member(name_at, name_end, value_at, value_end)
                    return at + 1
                depth -= 1
                frame = &self.frames[depth]
            elif c == 44:
                if depth == 1 and name_at >= 0:
                    self.add_member(name_at, name_end, value_at, value_end)
                    name_at = -1
                frame.wants_name = frame.is_object
            at += 1
            if c != 58 and c != 44:
                value_end = at
        raise ValueError("it ends too early")


cdef _Walk walk(bytes data, Py_ssize_t start, Py_ssize_t end):
    cdef _Walk one = _Walk()
    one.data = data
    one.scan = BodyScan.__new__(BodyScan)
    one.scan.members = {}
    one.duplicates = []
    one.classes.letters = one.classes.symbols = one.classes.non_ascii = 0
    one.frames[0].is_object = one.frames[0].wants_name = False
    one.frames[0].name = NAME_OTHER
    one.run(start, end)
    one.scan.duplicates = tuple(one.duplicates)
    return one


def scan_body(bytes data not None):
    """See the stub."""
    cdef _Walk one = walk(data, 0, PyBytes_GET_SIZE(data))
    cdef BodyScan scan = one.scan
    count_classes(
        <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &one.classes)
    scan.letters = one.classes.letters
    scan.symbols = one.classes.symbols
    scan.non_ascii = one.classes.non_ascii
    return scan


def scan_members(bytes data not None, Py_ssize_t start, Py_ssize_t end):
    """See the stub."""
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise ValueError("the range lies outside the body")
    cdef _Walk one = walk(data, start, end)
    return one.scan.members, one.scan.duplicates
