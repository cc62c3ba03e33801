# cython: language_level=3
"""One pass over a request body: where its members lie, how much text it has, which features.

Rule 1: bytes are left out of the classes only where an upstream reads them as media and nothing
        else: pure base64, in a content block of a turn, whose type is counted as media. The same
        words elsewhere (in a tool's input, in a schema) are text, and are counted as text.
Rule 2: what lowers a count is recognised strictly, what raises one generously. Names and types are
        compared after their escapes are undone.
        Of two members that say the same an upstream may take either: they lower nothing.
Rule 3: a string counts as the UTF-8 that it stands for, so that a body has the same classes
        whether its writer escaped what is beyond ASCII or not.
"""

cimport cython

import json

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from corvus_proxy._fast.escapes cimport code_unit, discount, string_end
from corvus_proxy._fast.quarters cimport fill_quarter_tokens, quarter_tokens
from corvus_proxy._fast.scan cimport Classes, count_classes, escaped, is_space, same


cdef extern from *:
    """
    #include <string.h>
    typedef unsigned char corvus_bytes __attribute__((vector_size(16)));

    /* Whether a byte is of neither alphabet of base64 nor a backslash. Sixteen at a time by hand:
       of this many comparisons a compiler makes no vectors by itself. */
    static int corvus_not_base64(const unsigned char *data, Py_ssize_t size) {
        corvus_bytes c, right = (corvus_bytes){0} == 0;
        unsigned long long halves[2];
        Py_ssize_t at;
        for (at = 0; at < size; at += 16) {
            if (size - at >= 16) {
                memcpy(&c, data + at, 16);
            } else {
                c = (corvus_bytes){0} + 'A';
                memcpy(&c, data + at, size - at);
            }
            right &= (corvus_bytes)((c | 0x20) - 'a' < 26) | (corvus_bytes)(c - '/' < 11)
                | (corvus_bytes)(c == '+') | (corvus_bytes)(c == '-') | (corvus_bytes)(c == '_')
                | (corvus_bytes)(c == '=') | (corvus_bytes)(c == 92);
        }
        memcpy(halves, &right, 16);
        return ~(halves[0] & halves[1]) != 0;
    }
    """
    bint corvus_not_base64(const unsigned char *data, Py_ssize_t size) nogil

cdef enum:
    DEPTH_MAX = 512
    BASE64_MIN = 64       # shorter strings are text, whatever they look like
    WORD_MAX = 24         # no name or type that we look for is longer
    NOGIL_MIN = 262144    # from this size on other threads may run meanwhile
    PLACES_MAX = 64       # so many images tell where they lie; the others only count

    # What a step of the walk ended with.
    STEP_MEMBER = 0       # a top-level member is complete
    STEP_END = 1          # the object is complete
    STEP_NO_OBJECT = 2
    STEP_CUT_OFF = 3
    STEP_TOO_DEEP = 4
    STEP_CROSSED = 5      # a bracket closes what another opened
    STEP_NO_VALUE = 6     # a name without a value

    # Names and types that matter.
    W_OTHER = 0
    W_TYPE = 1
    W_DATA = 2
    W_CACHE = 3           # cache_control
    W_URL = 4
    W_IMAGE_URL = 5
    W_FILE_DATA = 6
    W_TURNS = 7           # messages
    W_CONTENT = 8         # content, output
    W_SOURCE = 9
    W_FILE = 10
    W_AUDIO = 11          # input_audio
    W_IMAGE = 12
    W_DOCUMENT = 13
    W_BASE64 = 14
    W_THINKING = 15
    W_TEXT = 16
    W_INPUT = 17
    W_TOOLS = 18
    W_VIDEO = 19          # or a file by its address: as much as a document
    W_FILE_ID = 20        # file_id, container_id
    W_SPOKEN = 21         # audio: an answer of before
    W_TTL = 22
    W_LONG = 23           # 12h
    W_SIGNATURE = 24      # signature, encrypted_content

    # What a container is, by the way to it.
    R_OTHER = 0
    R_TOP = 1
    R_TURNS = 2           # the array of turns
    R_TURN = 3
    R_BLOCKS = 4          # an array of content blocks
    R_BLOCK = 5
    R_SOURCE = 6          # Anthropic's "source" of a block
    R_INNER = 7           # "image_url", "file", "input_audio" of a block
    R_DATA = 8            # a tool's schema or its input, and all that is in them

cdef unsigned char PAIRS[65536]  # what a byte costs behind another, in quarter tokens
fill_quarter_tokens(PAIRS)

cdef struct Frame:
    Py_ssize_t media_at     # pure base64 in this object or under it, or -1
    Py_ssize_t media_size
    unsigned char closer    # the bracket that closes it
    unsigned char role      # R_…
    unsigned char name      # W_… of the member that is being read
    unsigned char type      # W_… of its "type"
    bint wants_name         # the next string is a member's name
    bint is_text            # its "source" is text or blocks, which are counted as such
    bint has_type
    bint has_tools
    bint has_media          # a member that may carry media
    bint twice              # more than one of either

cdef struct Walk:
    Frame frames[DEPTH_MAX + 1]  # by depth; 0 is the outside
    Py_ssize_t depth
    Py_ssize_t at           # where the walk stands
    Py_ssize_t name_at      # top-level member: its name's opening quote …
    Py_ssize_t name_end     # … and closing quote
    Py_ssize_t value_at     # its value's first byte
    Py_ssize_t value_end    # behind the last byte of the last value that ended
    bint awaits_value       # a name has been read, its value has not begun
    Py_ssize_t counted      # classes have what stands before this, media left out …
    Classes classes         # … and corrections to the classes of the raw bytes
    Py_ssize_t quarter_tokens  # the same for them
    Py_ssize_t images
    Py_ssize_t documents
    Py_ssize_t audio
    Py_ssize_t media_bytes
    Py_ssize_t image_starts[PLACES_MAX]
    Py_ssize_t image_ends[PLACES_MAX]
    Py_ssize_t places
    bint cache_control
    bint thinking_history
    bint stored
    bint signed_history
    bint long_cache
    bint types_twice
    bint tools_twice


@cython.final
cdef class BodyScan:
    cdef readonly dict members           # name -> (name start, value start, value end)
    cdef readonly tuple duplicates       # top-level names that stand more than once
    cdef readonly Py_ssize_t letters     # byte classes of the body, media left out
    cdef readonly Py_ssize_t symbols
    cdef readonly Py_ssize_t non_ascii
    cdef readonly Py_ssize_t quarter_tokens  # that its ASCII text makes at most
    cdef readonly Py_ssize_t images      # media parts, by kind
    cdef readonly Py_ssize_t documents
    cdef readonly Py_ssize_t audio
    cdef readonly Py_ssize_t media_bytes  # base64 characters that were left out
    cdef readonly tuple image_places     # (start, end) of the first images
    cdef readonly bint cache_control     # a cache_control that is not null stands somewhere
    cdef readonly bint thinking_history  # a block of type (redacted_)thinking stands somewhere
    cdef readonly bint signed_history    # a signature or sealed content stands somewhere
    cdef readonly bint stored            # a turn names what is stored at the upstream
    cdef readonly bint long_cache        # a ttl of 12h stands somewhere
    cdef readonly str repeated           # type or tools, if one object has it more than once


cdef int word_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """The number of a name or a type."""
    if size == 3:
        if memcmp(data, b"url", 3) == 0:
            return W_URL
        if memcmp(data, b"ttl", 3) == 0:
            return W_TTL
        return W_LONG if memcmp(data, b"12h", 3) == 0 else W_OTHER
    if size == 4:
        if memcmp(data, b"type", 4) == 0:
            return W_TYPE
        if memcmp(data, b"data", 4) == 0:
            return W_DATA
        if memcmp(data, b"text", 4) == 0:
            return W_TEXT
        return W_FILE if memcmp(data, b"file", 4) == 0 else W_OTHER
    if size == 5:
        if memcmp(data, b"input", 5) == 0:
            return W_INPUT
        if memcmp(data, b"tools", 5) == 0:
            return W_TOOLS
        if memcmp(data, b"video", 5) == 0:
            return W_VIDEO
        if memcmp(data, b"audio", 5) == 0:
            return W_SPOKEN
        return W_IMAGE if memcmp(data, b"image", 5) == 0 else W_OTHER
    if size == 6:
        if memcmp(data, b"source", 6) == 0:
            return W_SOURCE
        if memcmp(data, b"output", 6) == 0:
            return W_CONTENT
        return W_BASE64 if memcmp(data, b"base64", 6) == 0 else W_OTHER
    if size == 8:
        if memcmp(data, b"messages", 8) == 0:
            return W_TURNS
        if memcmp(data, b"thinking", 8) == 0:
            return W_THINKING
        if memcmp(data, b"file_url", 8) == 0:
            return W_VIDEO
        return W_DOCUMENT if memcmp(data, b"document", 8) == 0 else W_OTHER
    if size == 9:
        if memcmp(data, b"image_url", 9) == 0:
            return W_IMAGE_URL
        if memcmp(data, b"video_url", 9) == 0:
            return W_VIDEO
        if memcmp(data, b"signature", 9) == 0:
            return W_SIGNATURE
        return W_FILE_DATA if memcmp(data, b"file_data", 9) == 0 else W_OTHER
    if size == 11:
        if memcmp(data, b"input_audio", 11) == 0:
            return W_AUDIO
        return W_IMAGE if memcmp(data, b"input_image", 11) == 0 else W_OTHER
    if same(data, size, b"content", 7):
        return W_CONTENT
    if same(data, size, b"file_id", 7) or same(data, size, b"container_id", 12):
        return W_FILE_ID
    if same(data, size, b"input_file", 10):
        return W_DOCUMENT
    if same(data, size, b"cache_control", 13):
        return W_CACHE
    if same(data, size, b"computer_screenshot", 19):
        return W_IMAGE
    if same(data, size, b"encrypted_content", 17):
        return W_SIGNATURE
    return W_THINKING if same(data, size, b"redacted_thinking", 17) else W_OTHER


cdef int word_in(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """The number of a name or a type as it stands in the body, escapes included."""
    cdef unsigned char plain[WORD_MAX]
    cdef Py_ssize_t at = 0, length = 0
    cdef int code
    if size > 6 * WORD_MAX:
        return W_OTHER
    if memchr(data, 92, size) == NULL:
        return word_of(data, size)
    while at < size and length < WORD_MAX:
        if data[at] != 92:
            plain[length] = data[at]
            at += 1
        elif at + 5 < size and data[at + 1] == 117:
            code = code_unit(data + at + 2)
            plain[length] = <unsigned char>(code if code < 0x80 else 63)
            at += 6
        else:
            plain[length] = escaped(data[at + 1]) if at + 1 < size else 63
            at += 2
        length += 1
    return word_of(plain, length) if at >= size else W_OTHER


cdef bint is_base64(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    r"""Whether no byte can be prose: the two alphabets of base64, `/` perhaps written `\/`."""
    cdef const unsigned char *slash
    cdef Py_ssize_t at = 0
    while at < size:
        if corvus_not_base64(data + at, min(size - at, 4096)):
            return False
        at += 4096
    at = 0
    while at < size:
        if data[at] == 92:
            at += 1
            if at >= size or data[at] != 47:
                return False
            at += 1
        else:
            slash = <const unsigned char *>memchr(data + at, 92, size - at)
            if slash == NULL:
                return True
            at = slash - data
    return True


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
    if at < 12 or memcmp(data + at - 7, b";base64", 7) != 0:
        return -1
    return at + 1 if is_base64(data + at + 1, size - at - 1) else -1


cdef void count_to(
    Walk *walk, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Counts what stands before `at` and is not counted yet, and what the byte at it costs."""
    cdef Py_ssize_t before = max(walk.counted - 1, 0)
    count_classes(data + walk.counted, at - walk.counted, &walk.classes)
    walk.quarter_tokens += quarter_tokens(PAIRS, data + before, min(at + 1, size) - before)
    walk.counted = at


cdef void leave_out(Walk *walk, const unsigned char *data, Frame *block) noexcept nogil:
    """Takes a block's media off the classes: it is passed over, or discounted where what stands
    behind it has been counted already (media of a block inside this one)."""
    cdef Py_ssize_t i, slashes = 0, end = block.media_at + block.media_size
    if block.media_size > 0 and block.media_at >= walk.counted:
        count_to(walk, data, block.media_at, end)
        walk.counted = end
    else:
        discount(data + block.media_at, block.media_size, &walk.classes)
        walk.quarter_tokens -= quarter_tokens(PAIRS, data + block.media_at, block.media_size)
    if memchr(data + block.media_at, 92, block.media_size) != NULL:
        for i in range(block.media_size):
            slashes += data[block.media_at + i] == 92
    walk.classes.symbols += slashes  # string_end has taken one of each pair already
    walk.media_bytes += block.media_size - slashes
    if (block.type == W_IMAGE or block.type == W_IMAGE_URL) and walk.places < PLACES_MAX:
        walk.image_starts[walk.places] = block.media_at
        walk.image_ends[walk.places] = end
        walk.places += 1


cdef void take_type(Walk *walk, Frame *frame, int word) noexcept nogil:
    """A "type": its kind is counted wherever it stands, except in a source or data to a tool."""
    frame.type = word
    if (frame.role == R_DATA or frame.role == R_SOURCE) and word != W_THINKING:
        return
    if word == W_IMAGE or word == W_IMAGE_URL:
        walk.images += 1
    elif word == W_DOCUMENT or word == W_FILE or word == W_VIDEO:
        walk.documents += 1
    elif word == W_AUDIO:
        walk.audio += 1
    elif word == W_THINKING:
        walk.thinking_history = True


cdef inline void take_member(Walk *walk, Frame *frame) noexcept nogil:
    """The value of an object's member begins."""
    cdef int name = frame.name
    if name == W_TYPE:
        frame.twice |= frame.has_type
        walk.types_twice |= frame.has_type
        frame.has_type = True
    elif name == W_TOOLS:
        walk.tools_twice |= frame.has_tools
        frame.has_tools = True
    elif (name == W_SOURCE or name == W_DATA or name == W_URL or name == W_IMAGE_URL
            or name == W_FILE or name == W_FILE_DATA or name == W_AUDIO):
        frame.twice |= frame.has_media
        frame.has_media = True


cdef bint in_turn(Walk *walk) noexcept nogil:
    """Whether a member stands in a turn, a content block or what is directly in one."""
    cdef int role = walk.frames[walk.depth].role
    if role == R_OTHER:
        role = walk.frames[walk.depth - 1].role
        return role == R_TURN or role == R_BLOCK
    return role == R_TURN or role == R_BLOCK or role == R_SOURCE or role == R_INNER


cdef void take_string(
    Walk *walk, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """The string value of an object's member."""
    cdef Frame *frame = &walk.frames[walk.depth]
    cdef Py_ssize_t offset = -1
    cdef int name = frame.name
    if name == W_TYPE:
        take_type(walk, frame, word_in(data + at, size))
    elif name == W_FILE_ID:
        walk.stored |= in_turn(walk)
    elif name == W_SIGNATURE:
        walk.signed_history |= size > 0
    elif name == W_TTL:
        walk.long_cache |= frame.role != R_DATA and word_in(data + at, size) == W_LONG
    elif name == W_DATA and (frame.role == R_SOURCE or frame.role == R_INNER):
        if size >= BASE64_MIN and is_base64(data + at, size):
            offset = 0
    elif frame.role == R_INNER and (name == W_URL or name == W_FILE_DATA) or (
            frame.role == R_BLOCK and (name == W_IMAGE_URL or name == W_FILE_DATA)):
        offset = media_offset(data + at, size)
    if offset >= 0:
        frame.media_at, frame.media_size = at + offset, size - offset


cdef int role_in(Frame *outer, bint is_object) noexcept nogil:
    """What a container is that opens inside `outer`."""
    cdef int role = outer.role, name = outer.name
    if role == R_TURNS:
        return R_TURN if is_object else R_OTHER
    if role == R_BLOCKS:
        return R_BLOCK if is_object else R_OTHER
    if role == R_DATA:
        return R_DATA
    if role == R_TOP:
        if name == W_TOOLS:
            return R_DATA
        return R_TURNS if (name == W_TURNS or name == W_INPUT) and not is_object else R_OTHER
    if role == R_TURN or role == R_BLOCK or role == R_SOURCE:
        if name == W_CONTENT:  # a tool's answer may carry one block without an array
            return R_BLOCK if is_object and role == R_BLOCK else (
                R_OTHER if is_object else R_BLOCKS)
    if role == R_BLOCK and name == W_INPUT:
        return R_DATA
    if role == R_BLOCK and is_object:
        if name == W_SOURCE:
            return R_SOURCE
        if name == W_IMAGE_URL or name == W_FILE or name == W_AUDIO:
            return R_INNER
    return R_OTHER


cdef void enter(Walk *walk, bint is_object) noexcept nogil:
    cdef Frame *outer = &walk.frames[walk.depth]
    cdef Frame *frame = &walk.frames[walk.depth + 1]
    frame.role = R_TOP if walk.depth == 0 else role_in(outer, is_object)
    frame.closer = 125 if is_object else 93
    frame.wants_name = is_object
    frame.name = frame.type = W_OTHER
    frame.is_text = frame.has_type = frame.has_tools = frame.has_media = frame.twice = False
    frame.media_at = -1
    walk.stored |= is_object and outer.role == R_TURN and outer.name == W_SPOKEN
    walk.depth += 1


cdef void leave(Walk *walk, const unsigned char *data) noexcept nogil:
    """A container ends: what it holds of media goes to its block, and the block decides."""
    cdef Frame *frame = &walk.frames[walk.depth]
    cdef Frame *outer = &walk.frames[walk.depth - 1]
    walk.depth -= 1
    if frame.twice:
        return
    if frame.role == R_SOURCE:
        outer.is_text = frame.type == W_TEXT or frame.type == W_CONTENT
    elif frame.role == R_BLOCK and frame.type == W_DOCUMENT and frame.is_text:
        walk.documents -= 1  # all that it says stands here
    if frame.media_at < 0:
        return
    if frame.role == R_INNER or (frame.role == R_SOURCE and frame.type == W_BASE64):
        outer.media_at, outer.media_size = frame.media_at, frame.media_size
    elif frame.role == R_BLOCK and (
            frame.type == W_IMAGE or frame.type == W_IMAGE_URL or frame.type == W_DOCUMENT
            or frame.type == W_FILE or frame.type == W_AUDIO):
        leave_out(walk, data, frame)


cdef int take_quoted(Walk *walk, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """A name or a string value, whose opening quote the walk stands at; False where it is cut."""
    cdef Frame *frame = &walk.frames[walk.depth]
    cdef Py_ssize_t at = walk.at + 1
    cdef Py_ssize_t end = string_end(
        PAIRS, data, at, size, &walk.classes, &walk.quarter_tokens)
    if end < 0:
        return False
    if frame.wants_name:
        frame.wants_name = False
        frame.name = word_in(data + at, end - at)
        walk.awaits_value = True
        if walk.depth == 1:
            walk.name_at, walk.name_end, walk.value_at = at - 1, end, -1
    else:
        take_string(walk, data, at, end - at)
    walk.at = walk.value_end = end + 1
    return True


cdef int step(Walk *walk, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Walks on to the end of a top-level member or of the object: STEP_…"""
    cdef unsigned char c
    cdef Frame *frame
    while walk.at < size:
        c = data[walk.at]
        if is_space(c) or c == 58:
            walk.at += 1
            continue
        frame = &walk.frames[walk.depth]
        if walk.awaits_value:
            if c == 44 or c == 125 or c == 93:
                return STEP_NO_VALUE
            walk.awaits_value = False
            if walk.depth == 1:
                walk.value_at = walk.at
            if frame.name == W_CACHE and c != 110:  # null
                walk.cache_control = True
            take_member(walk, frame)
        if c == 34:
            if not take_quoted(walk, data, size):
                return STEP_CUT_OFF
        elif c == 123 or c == 91:
            if walk.depth >= DEPTH_MAX:
                return STEP_TOO_DEEP
            enter(walk, c == 123)
            walk.at += 1
        elif c == 125 or c == 93:
            if c != frame.closer:
                return STEP_CROSSED
            leave(walk, data)
            walk.at += 1
            if walk.depth == 0:
                return STEP_END
            walk.value_end = walk.at
        elif c == 44:
            frame.wants_name = frame.closer == 125
            walk.at += 1
            if walk.depth == 1:
                return STEP_MEMBER
        else:  # a number or a word
            while walk.at < size and not (
                    c == 44 or c == 125 or c == 93 or c == 34 or c == 58 or is_space(c)):
                walk.at += 1
                c = data[walk.at] if walk.at < size else 0
            walk.value_end = walk.at
    return STEP_CUT_OFF


cdef str name_at(bytes data, Py_ssize_t start, Py_ssize_t end):
    """A member's name, from its opening to its closing quote."""
    cdef str text = data[start:end + 1].decode("utf-8", "replace")
    return json.loads(text) if "\\" in text else text[1:-1]


cdef int walk_object(
    bytes data, Py_ssize_t start, Py_ssize_t end, Walk *walk, BodyScan scan
) except -1:
    """Walks the one object of `data[start:end]`; fills `members` and `duplicates`."""
    cdef const unsigned char *text = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef list duplicates = []
    cdef str name
    cdef int found = STEP_MEMBER
    scan.members = {}
    walk.at = start
    while walk.at < end and is_space(text[walk.at]):
        walk.at += 1
    if walk.at >= end or text[walk.at] != 123:
        raise ValueError("it is not a JSON object")
    walk.name_at = walk.value_at = -1
    while found == STEP_MEMBER:
        if end - start < NOGIL_MIN:
            found = step(walk, text, end)
        else:
            with nogil:
                found = step(walk, text, end)
        if found <= STEP_END and walk.name_at >= 0 and walk.value_at >= 0:
            name = name_at(data, walk.name_at, walk.name_end)
            if name in scan.members:
                duplicates.append(name)
            scan.members[name] = (walk.name_at, walk.value_at, walk.value_end)
        walk.name_at = walk.value_at = -1
    scan.duplicates = tuple(dict.fromkeys(duplicates))
    if found == STEP_CUT_OFF:
        raise ValueError("it ends too early")
    if found == STEP_TOO_DEEP:
        raise ValueError("it is nested too deeply")
    if found == STEP_CROSSED:
        raise ValueError("its brackets do not match")
    if found == STEP_NO_VALUE:
        raise ValueError("a member has no value")
    while walk.at < end and is_space(text[walk.at]):
        walk.at += 1
    if walk.at < end:
        raise ValueError("something stands behind the object")
    return 0


cdef void begin(Walk *walk) noexcept nogil:
    """The outside, before the object."""
    walk.depth = 0
    walk.frames[0].role = R_OTHER
    walk.frames[0].closer = 0
    walk.frames[0].name = W_OTHER
    walk.frames[0].has_type = walk.frames[0].has_media = walk.frames[0].twice = False
    walk.frames[0].has_tools = False
    walk.frames[0].wants_name = walk.awaits_value = False
    walk.classes.letters = walk.classes.symbols = walk.classes.non_ascii = 0
    walk.images = walk.documents = walk.audio = walk.media_bytes = 0
    walk.places = walk.quarter_tokens = walk.counted = 0
    walk.cache_control = walk.thinking_history = walk.stored = walk.signed_history = False
    walk.long_cache = walk.types_twice = walk.tools_twice = False


def scan_body(bytes data not None):
    """See the stub."""
    cdef Walk walk
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef const unsigned char *text = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef BodyScan scan = BodyScan.__new__(BodyScan)
    cdef Py_ssize_t i
    begin(&walk)
    walk_object(data, 0, size, &walk, scan)
    if size < NOGIL_MIN:
        count_to(&walk, text, size, size)
    else:
        with nogil:
            count_to(&walk, text, size, size)
    scan.letters = walk.classes.letters
    scan.symbols = walk.classes.symbols
    scan.non_ascii = walk.classes.non_ascii
    scan.quarter_tokens = walk.quarter_tokens
    scan.images = walk.images
    scan.documents = walk.documents
    scan.audio = walk.audio
    scan.media_bytes = walk.media_bytes
    scan.image_places = tuple([
        (walk.image_starts[i], walk.image_ends[i]) for i in range(walk.places)
    ])
    scan.cache_control = walk.cache_control
    scan.thinking_history = walk.thinking_history
    scan.stored = walk.stored
    scan.signed_history = walk.signed_history
    scan.long_cache = walk.long_cache
    scan.repeated = "type" if walk.types_twice else ("tools" if walk.tools_twice else "")
    return scan


def scan_members(bytes data not None, Py_ssize_t start, Py_ssize_t end):
    """See the stub."""
    cdef Walk walk
    cdef BodyScan scan = BodyScan.__new__(BodyScan)
    if not 0 <= start <= end <= PyBytes_GET_SIZE(data):
        raise ValueError("the range lies outside the body")
    begin(&walk)
    walk.counted = start
    walk_object(data, start, end, &walk, scan)
    return scan.members, scan.duplicates


def member_quarters(bytes data not None, Py_ssize_t start, Py_ssize_t end):
    """See the stub."""
    cdef const unsigned char *text = <const unsigned char *>PyBytes_AS_STRING(data)
    if not 0 <= start < end <= PyBytes_GET_SIZE(data):
        raise ValueError("the range lies outside the body")
    if memchr(text + start, 92, end - start) != NULL:
        return scan_body(b"{%b}" % data[start:end]).quarter_tokens
    return (
        PAIRS[123 | (text[start] << 8)]
        + quarter_tokens(PAIRS, text + start, end - start)
        + PAIRS[text[end - 1] | (125 << 8)]
    )


def join_pieces(tuple pieces not None):
    """See the stub."""
    cdef Py_ssize_t count = len(pieces), size = 0, i
    cdef bytes piece, whole
    cdef const char **starts
    cdef Py_ssize_t *sizes
    cdef char *to
    for piece in pieces:
        size += len(piece)
    whole = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(whole)
    starts = <const char **>malloc((count + 1) * (sizeof(char *) + sizeof(Py_ssize_t)))
    if starts == NULL:
        raise MemoryError
    sizes = <Py_ssize_t *>(starts + count)
    for i in range(count):
        piece = pieces[i]
        starts[i] = PyBytes_AS_STRING(piece)
        sizes[i] = PyBytes_GET_SIZE(piece)
    with nogil:  # the pages of a large one are touched here for the first time
        for i in range(count):
            memcpy(to, starts[i], sizes[i])
            to += sizes[i]
    free(starts)
    return whole
