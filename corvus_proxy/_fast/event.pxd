# The JSON of one SSE event, read as it comes: what stands where, without building it.
#
# E1  A chunk may end anywhere: all that the next byte needs is in `Event`.
# E2  A member counts only at its place: `usage` at the top, or in the top's `message` or
#     `response`; generated text in the top's `choices` (chat), `delta` or `content_block`
#     (messages), `delta`, or
#     the `item` of which no delta came (responses).
# E3  Of a member that stands twice the last one counts, as it does for the clients' parsers.

from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy

from corvus_proxy._fast.scan cimport (
    Classes,
    count_classes,
    count_escape,
    escaped,
    hex_digit,
    plain_end,
    same,
)

cdef enum:
    DEPTH_MAX = 64        # deeper levels are counted, their names are not remembered
    WORD_MAX = 160        # ids and model names; longer ones are cut
    USAGE_MAX = 1048576   # larger parts are not kept
    ERROR_MAX = 65536

    # Names that matter.
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
    N_FINISH = 10         # finish_reason
    N_STOP = 11           # stop_reason
    N_TEXT = 12           # a member whose string value is generated text
    N_INPUT = 13          # the same, or an object, whose raw bytes are
    N_TIER = 14           # service_tier
    N_RESPONSE = 15
    N_ITEM = 16
    N_SEQUENCE = 17       # sequence_number
    N_TOOL_USAGE = 18
    N_DETAILS = 19        # incomplete_details
    N_REASON = 20
    N_CODE = 21
    N_SUMMARY = 22

    # What a string value is read for.
    S_NOTHING = 0
    S_TEXT = 1
    S_NAME = 2
    S_TYPE = 3
    S_ID = 4
    S_MODEL = 5
    S_REASON = 6
    S_TIER = 7
    S_CODE = 8

    # What is being kept, or counted, as raw bytes.
    K_NOTHING = 0
    K_USAGE = 1           # the top's usage, or the response's
    K_INNER = 2           # the usage of the top's message, the tool_usage of the response
    K_ERROR = 3
    K_INPUT = 4

    # What the event says it is.
    T_OTHER = 0
    T_START = 1           # message_start
    T_DELTA = 2           # message_delta
    T_STOP = 3            # message_stop
    T_ERROR = 4           # error
    T_OPENING = 5         # response.created, .in_progress, .queued: nothing of the answer yet
    T_ITEM = 6            # response.output_item.done
    T_SUMMARY = 7         # response.reasoning_summary…: told about the output, no part of it
    T_COMPLETED = 8       # response.completed, .incomplete
    T_FAILED = 9          # response.failed, .cancelled
    T_EVENT = 10          # any other response.…


cdef struct Kept:
    char *data            # owned, freed with the meter
    Py_ssize_t size
    Py_ssize_t room
    Py_ssize_t most       # more is not kept
    bint broken           # it was more
    bint whole            # its end has come


cdef struct Event:
    bint messages                         # dialect: messages,
    bint responses                        # or responses, else chat
    Classes text                          # generated text of the whole stream
    Classes text_before                   # the same, without the running event's
    Py_ssize_t item_deltas                # deltas since the last item that was done (responses)
    # Where the reading stands.
    Py_ssize_t depth
    unsigned char name[DEPTH_MAX + 1]     # N_… of the member being read, by depth
    bint is_object[DEPTH_MAX + 1]         # whether the container there is an object
    bint wants_name                       # the next string is a member's name
    bint in_string
    int use                               # S_… of the string
    int escape                            # 0 none, 1 behind a backslash, 2 to 5 before a digit
    int code                              # digits of \uXXXX so far
    unsigned char word[WORD_MAX]          # what a string in pieces has had so far
    Py_ssize_t word_size
    int keeping                           # K_…
    Py_ssize_t keep_depth                 # depth around what is being kept
    Py_ssize_t muted_depth                # inside a summary that stands there; 0: inside none
    # What it has found.
    int type                              # T_…
    bint has_text
    bint has_delta                        # the top's delta is a string (responses)
    bint has_choices                      # choices is an array …
    bint choice_seen                      # … and is, or was, not empty
    bint error_is_true                    # error is a bare `true`
    Kept usage
    Kept inner
    Kept error
    unsigned char id[WORD_MAX]
    Py_ssize_t id_size
    unsigned char model[WORD_MAX]
    Py_ssize_t model_size
    unsigned char reason[WORD_MAX]        # the finish or stop reason
    Py_ssize_t reason_size
    unsigned char tier[WORD_MAX]          # service_tier, the last one of the whole stream
    Py_ssize_t tier_size
    unsigned char error_code[WORD_MAX]    # of an error that stands flat in its event (responses)
    Py_ssize_t error_code_size
    long long sequence                    # sequence_number, or -1


cdef inline void begin_kept(Kept *kept) noexcept nogil:
    kept.size = 0
    kept.broken = kept.whole = False


cdef inline void keep(Kept *kept, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Appends to what is kept."""
    cdef Py_ssize_t room = kept.room
    cdef char *grown
    if size <= 0 or kept.broken:
        return
    if size > kept.most - kept.size:
        kept.broken = True
        return
    while room < kept.size + size:
        room = max(1024, room * 2)
    if room > kept.room:
        grown = <char *>realloc(kept.data, room)
        if grown == NULL:
            kept.broken = True
            return
        kept.data, kept.room = grown, room
    memcpy(kept.data + kept.size, data, size)
    kept.size += size


cdef inline void begin_event(Event *event) noexcept nogil:
    """Before the first byte of an event."""
    event.depth = 0
    event.name[0] = N_OTHER
    event.is_object[0] = False
    event.wants_name = event.in_string = False
    event.escape = 0
    event.word_size = 0
    event.keeping = K_NOTHING
    event.muted_depth = 0
    event.type = T_OTHER
    event.text_before = event.text
    event.has_text = event.has_delta = event.has_choices = event.choice_seen = False
    event.error_is_true = False
    begin_kept(&event.usage)
    begin_kept(&event.inner)
    begin_kept(&event.error)
    event.id_size = event.model_size = event.reason_size = event.error_code_size = 0
    event.sequence = -1


cdef inline int name_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """The number of a member's name."""
    if size == 2:
        return N_ID if memcmp(data, b"id", 2) == 0 else N_OTHER
    if size == 4:
        if memcmp(data, b"type", 4) == 0:
            return N_TYPE
        if memcmp(data, b"item", 4) == 0:
            return N_ITEM
        if memcmp(data, b"code", 4) == 0:
            return N_CODE
        return N_TEXT if memcmp(data, b"text", 4) == 0 or memcmp(data, b"name", 4) == 0 else N_OTHER
    if size == 5:
        if memcmp(data, b"usage", 5) == 0:
            return N_USAGE
        if memcmp(data, b"delta", 5) == 0:
            return N_DELTA
        if memcmp(data, b"error", 5) == 0:
            return N_ERROR
        if memcmp(data, b"input", 5) == 0:
            return N_INPUT
        return N_MODEL if memcmp(data, b"model", 5) == 0 else N_OTHER
    if size == 7:
        if memcmp(data, b"message", 7) == 0:
            return N_MESSAGE
        if memcmp(data, b"choices", 7) == 0:
            return N_CHOICES
        if memcmp(data, b"summary", 7) == 0:
            return N_SUMMARY
        return N_TEXT if memcmp(data, b"content", 7) == 0 or (
            memcmp(data, b"refusal", 7) == 0) else N_OTHER
    if same(data, size, b"response", 8):
        return N_RESPONSE
    if same(data, size, b"sequence_number", 15):
        return N_SEQUENCE
    if same(data, size, b"tool_usage", 10):
        return N_TOOL_USAGE
    if same(data, size, b"incomplete_details", 18):
        return N_DETAILS
    if same(data, size, b"reason", 6):
        return N_REASON
    if same(data, size, b"content_block", 13):
        return N_BLOCK
    if same(data, size, b"service_tier", 12):
        return N_TIER
    if same(data, size, b"finish_reason", 13):
        return N_FINISH
    if same(data, size, b"stop_reason", 11):
        return N_STOP
    if (same(data, size, b"arguments", 9) or same(data, size, b"thinking", 8)
            or same(data, size, b"reasoning", 9) or same(data, size, b"partial_json", 12)
            or same(data, size, b"reasoning_content", 17)):
        return N_TEXT
    return N_OTHER


cdef inline int type_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """The number of an event's type."""
    if same(data, size, b"message_start", 13):
        return T_START
    if same(data, size, b"message_delta", 13):
        return T_DELTA
    if same(data, size, b"message_stop", 12):
        return T_STOP
    if same(data, size, b"error", 5):
        return T_ERROR
    if size > 9 and memcmp(data, b"response.", 9) == 0:
        return response_type_of(data + 9, size - 9)
    return T_OTHER


cdef inline int response_type_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """The number of a response's event, by what stands behind `response.`"""
    if (same(data, size, b"created", 7) or same(data, size, b"in_progress", 11)
            or same(data, size, b"queued", 6)):
        return T_OPENING
    if same(data, size, b"completed", 9) or same(data, size, b"incomplete", 10):
        return T_COMPLETED
    if same(data, size, b"failed", 6) or same(data, size, b"cancelled", 9):
        return T_FAILED
    if same(data, size, b"output_item.done", 16):
        return T_ITEM
    if size >= 17 and memcmp(data, b"reasoning_summary", 17) == 0:
        return T_SUMMARY
    return T_EVENT


cdef inline bint is_generated(const Event *event) noexcept nogil:
    """Whether the reading stands in what the model made."""
    cdef int top = event.name[1]
    if event.depth < 2:
        return False
    if event.responses:
        return top == N_ITEM and event.item_deltas == 0 and event.muted_depth == 0
    return (top == N_DELTA or top == N_BLOCK) if event.messages else top == N_CHOICES


cdef inline int name_here(const Event *event) noexcept nogil:
    """The member whose value is being read, where the container is an object."""
    return event.name[event.depth] if event.depth <= DEPTH_MAX else N_OTHER


cdef inline void take_name(Event *event, int name) noexcept nogil:
    """A member begins: what an earlier one of that name said no longer counts."""
    cdef Py_ssize_t depth = event.depth
    if depth <= DEPTH_MAX:
        event.name[depth] = name
    if depth == 1:
        if name == N_USAGE:
            begin_kept(&event.usage)
        elif name == N_MESSAGE:
            begin_kept(&event.inner)
            if event.messages:
                event.id_size = event.model_size = 0
        elif name == N_CHOICES:
            event.has_choices = False
        elif name == N_ERROR:
            begin_kept(&event.error)
            event.error_is_true = False
        elif name == N_TYPE:
            event.type = T_OTHER
        elif name == N_SEQUENCE:
            event.sequence = -1
        elif name == N_CODE:
            event.error_code_size = 0
        elif name == N_RESPONSE and event.responses:
            begin_kept(&event.usage)
            begin_kept(&event.inner)
            event.id_size = event.model_size = event.tier_size = event.reason_size = 0
    elif depth == 2 and event.name[1] == N_MESSAGE:
        if name == N_USAGE:
            begin_kept(&event.inner)
    elif depth == 2 and event.name[1] == N_RESPONSE and event.responses:
        if name == N_USAGE:
            begin_kept(&event.usage)
        elif name == N_TOOL_USAGE:
            begin_kept(&event.inner)
        elif name == N_ERROR:
            begin_kept(&event.error)
            event.error_is_true = False
        elif name == N_DETAILS:
            event.reason_size = 0


cdef inline void take_value(Event *event) noexcept nogil:
    """A value of any kind begins."""
    if event.depth == 2 and event.name[1] == N_CHOICES and not event.is_object[2]:
        event.choice_seen = True


cdef inline int use_in_response(Event *event, int here, int top) noexcept nogil:
    """The same for a string value of a response's event."""
    if event.depth == 1:
        if here == N_DELTA and event.keeping == K_NOTHING:
            event.has_delta = True
            return S_TEXT
        return S_TYPE if here == N_TYPE else S_CODE if here == N_CODE else S_NOTHING
    if here == N_TEXT or here == N_INPUT or here == N_CODE:
        return S_TEXT if event.keeping == K_NOTHING and is_generated(event) else S_NOTHING
    if top != N_RESPONSE:
        return S_NOTHING
    if event.depth == 2:
        if here == N_ID:
            return S_ID
        return S_MODEL if here == N_MODEL else S_TIER if here == N_TIER else S_NOTHING
    return S_REASON if here == N_REASON and event.depth == 3 and (
        event.name[2] == N_DETAILS) else S_NOTHING


cdef inline int use_of_string(Event *event) noexcept nogil:
    """What the string that begins here is read for."""
    cdef int here = name_here(event)
    cdef int top = event.name[1]
    if event.wants_name:
        return S_NAME
    take_value(event)
    if event.responses:
        return use_in_response(event, here, top)
    if here == N_TEXT or here == N_INPUT:
        return S_TEXT if event.keeping == K_NOTHING and is_generated(event) else S_NOTHING
    if here == N_TYPE and event.depth == 1:
        return S_TYPE
    if event.messages:
        if event.depth == 2 and top == N_MESSAGE:
            return S_ID if here == N_ID else S_MODEL if here == N_MODEL else S_NOTHING
        return S_REASON if here == N_STOP and event.depth == 2 and top == N_DELTA else S_NOTHING
    if event.depth == 1:
        if here == N_TIER:
            return S_TIER
        return S_ID if here == N_ID else S_MODEL if here == N_MODEL else S_NOTHING
    return S_REASON if here == N_FINISH and event.depth == 3 and top == N_CHOICES else S_NOTHING


cdef inline void end_string(
    Event *event, const unsigned char *word, Py_ssize_t size
) noexcept nogil:
    """A string is complete: `word`, where it is no text."""
    cdef Py_ssize_t most = min(size, <Py_ssize_t>WORD_MAX)
    event.in_string = False
    event.word_size = 0
    if event.use == S_NAME:
        take_name(event, name_of(word, size))
    elif event.use == S_TYPE:
        event.type = type_of(word, size)
    elif event.use == S_ID:
        memcpy(event.id, word, most)
        event.id_size = most
    elif event.use == S_MODEL:
        memcpy(event.model, word, most)
        event.model_size = most
    elif event.use == S_TIER:
        memcpy(event.tier, word, most)
        event.tier_size = most
    elif event.use == S_CODE:
        memcpy(event.error_code, word, most)
        event.error_code_size = most
    elif event.use == S_REASON and size:
        memcpy(event.reason, word, most)
        event.reason_size = most


cdef inline void take_piece(
    Event *event, const unsigned char *data, Py_ssize_t size
) noexcept nogil:
    """Some plain bytes of a string."""
    if event.use == S_TEXT:
        count_classes(data, size, &event.text)
        event.has_text = True
    elif event.use >= S_NAME:
        size = min(size, WORD_MAX - event.word_size)
        memcpy(event.word + event.word_size, data, size)
        event.word_size += size


cdef inline void take_escape(Event *event, unsigned char byte) noexcept nogil:
    """A byte behind a backslash, or a digit of an escape."""
    cdef unsigned char plain
    if event.escape == 1 and byte == 117:
        event.escape, event.code = 2, 0
        return
    if event.escape == 1:
        plain = escaped(byte)
        event.code = 32  # any symbol
    else:
        event.code = (event.code << 4) | hex_digit(byte)
        event.escape += 1
        if event.escape < 6:
            return
        plain = <unsigned char>(event.code if event.code < 0x80 else 63)
    event.escape = 0
    if event.use == S_TEXT:
        count_escape(event.code, &event.text)
        event.has_text = True
    else:
        take_piece(event, &plain, 1)


cdef inline Py_ssize_t read_string(
    Event *event, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Reads on inside a string: the offset behind its end, or where line or chunk end."""
    cdef Py_ssize_t end
    while at < size:
        if event.escape:
            if data[at] == 10 or data[at] == 13:
                return at
            take_escape(event, data[at])
            at += 1
            continue
        end = plain_end(data, at, size)
        if end < size and data[end] == 34 and event.use != S_TEXT and event.word_size == 0:
            end_string(event, data + at, end - at)  # all in one piece: nothing is copied
            return end + 1
        if end > at:
            take_piece(event, data + at, end - at)
        at = end
        if at >= size or data[at] == 10 or data[at] == 13:
            return at
        if data[at] == 34:
            end_string(event, event.word, event.word_size)
            return at + 1
        if data[at] == 92:
            event.escape = 1
        at += 1
    return at


cdef inline void take_raw(
    Event *event, const unsigned char *data, Py_ssize_t start, Py_ssize_t end
) noexcept nogil:
    """Bytes of what is being kept."""
    if event.keeping == K_INPUT:
        if end > start:
            count_classes(data + start, end - start, &event.text)
            event.has_text = True
    elif event.keeping == K_USAGE:
        keep(&event.usage, data + start, end - start)
    elif event.keeping == K_INNER:
        keep(&event.inner, data + start, end - start)
    elif event.keeping == K_ERROR:
        keep(&event.error, data + start, end - start)


cdef inline void end_raw(
    Event *event, const unsigned char *data, Py_ssize_t start, Py_ssize_t end
) noexcept nogil:
    """The last bytes of what is being kept, the closing one included."""
    take_raw(event, data, start, end - 1 if event.keeping == K_INPUT else end)
    if event.keeping == K_USAGE:
        event.usage.whole = not event.usage.broken
    elif event.keeping == K_INNER:
        event.inner.whole = not event.inner.broken
    elif event.keeping == K_ERROR:
        event.error.whole = True
    event.keeping = K_NOTHING


cdef inline int keeping_in_response(
    const Event *event, int here, bint is_object
) noexcept nogil:
    """The same in a response's event."""
    if event.depth == 2 and event.name[1] == N_RESPONSE:
        if here == N_USAGE and is_object:
            return K_USAGE
        if here == N_TOOL_USAGE and is_object:
            return K_INNER
        return K_ERROR if here == N_ERROR else K_NOTHING
    if here == N_ERROR and event.depth == 1:
        return K_ERROR
    return K_INPUT if here == N_INPUT and is_generated(event) else K_NOTHING


cdef inline int keeping_of(Event *event, bint is_object) noexcept nogil:
    """What the container that opens here is kept as."""
    cdef int here = name_here(event)
    if event.responses:
        return keeping_in_response(event, here, is_object)
    if here == N_USAGE and is_object:
        if event.depth == 1:
            return K_USAGE
        return K_INNER if event.depth == 2 and event.name[1] == N_MESSAGE else K_NOTHING
    if here == N_ERROR and event.depth == 1:
        return K_ERROR
    return K_INPUT if here == N_INPUT and is_generated(event) else K_NOTHING


cdef inline void enter(Event *event, bint is_object) noexcept nogil:
    """A container opens."""
    take_value(event)
    if event.depth == 1 and event.name[1] == N_CHOICES:
        event.has_choices = not is_object
    if event.responses and event.muted_depth == 0 and name_here(event) == N_SUMMARY:
        event.muted_depth = event.depth + 1
    event.depth += 1
    if event.depth <= DEPTH_MAX:
        event.is_object[event.depth] = is_object
        event.name[event.depth] = N_OTHER
    event.wants_name = is_object


cdef inline void take_digit(Event *event, unsigned char byte) noexcept nogil:
    """One more byte of the sequence number."""
    if 48 <= byte <= 57 and event.sequence < 1000000000:
        event.sequence = max(event.sequence, <long long>0) * 10 + (byte - 48)


cdef inline bint is_scalar(unsigned char byte) noexcept nogil:
    """Whether a number, true, false or null may go on with this byte."""
    return <unsigned char>((byte | 0x20) - 97) < 26 or (43 <= byte <= 57 and byte != 44)


cdef inline Py_ssize_t read_json(
    Event *event, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Reads data up to where its line or the chunk ends: that offset."""
    cdef Py_ssize_t raw = at  # from here on the bytes of what is being kept
    cdef unsigned char c
    while at < size:
        if event.in_string:
            at = read_string(event, data, at, size)
            if event.in_string:
                break
            if event.keeping == K_ERROR and event.depth == event.keep_depth:
                end_raw(event, data, raw, at)
            continue
        c = data[at]
        at += 1
        if c == 34:
            event.use = use_of_string(event)
            event.wants_name = False
            event.in_string = True
            if event.use == S_NOTHING and event.depth == 1 and event.name[1] == N_ERROR:
                event.keeping, event.keep_depth, raw = K_ERROR, 1, at - 1
        elif c == 44:
            event.wants_name = event.depth <= DEPTH_MAX and event.is_object[event.depth]
        elif c == 123 or c == 91:
            if event.keeping == K_NOTHING:
                event.keeping = keeping_of(event, c == 123)
                event.keep_depth = event.depth
                raw = at if event.keeping == K_INPUT else at - 1
            enter(event, c == 123)
        elif c == 125 or c == 93:
            if event.depth > 0:
                event.depth -= 1
            if event.depth < event.muted_depth:
                event.muted_depth = 0
            event.wants_name = False
            if event.keeping and event.depth <= event.keep_depth:
                end_raw(event, data, raw, at)
        elif c == 10 or c == 13:
            at -= 1
            break
        elif is_scalar(c):
            take_value(event)
            # Byte by byte, so that where a chunk ends makes no difference, whatever is written.
            if event.depth == 1 and event.name[1] == N_ERROR:
                event.error_is_true = event.error_is_true or c == 116
                continue
            if event.depth == 1 and event.name[1] == N_SEQUENCE:
                take_digit(event, c)
                continue
            while at < size and is_scalar(data[at]):
                at += 1
    if event.keeping:
        take_raw(event, data, raw, at)
    return at
