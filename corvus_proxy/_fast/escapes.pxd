# Where a JSON string of a body ends, and what its escapes count; code in a prompt is full of both.

from libc.stdint cimport uint64_t

from corvus_proxy._fast.quarters cimport quarter_tokens
from corvus_proxy._fast.scan cimport (
    Classes, __builtin_ctzll, corvus_letters, corvus_places, count_classes, count_escape,
    hex_digit, plain_end)


cdef inline Py_ssize_t ones(uint64_t word) noexcept nogil:
    """How many bits are set; without the processor's own word for it, which not every one has."""
    word -= (word >> 1) & <uint64_t>0x5555555555555555u
    word = (word & <uint64_t>0x3333333333333333u) + ((word >> 2) & <uint64_t>0x3333333333333333u)
    word = (word + (word >> 4)) & <uint64_t>0x0F0F0F0F0F0F0F0Fu
    return (word * <uint64_t>0x0101010101010101u) >> 56


cdef inline uint64_t escaped_places(uint64_t backslashes, uint64_t *carry) noexcept nogil:
    """Which of 64 bytes a backslash makes another; `carry`: one stands before the first byte.

    Of a run of backslashes every second one is escaped itself. Whether a run starts at an even or
    an odd place is what the borrow of a subtraction tells, as in simdjson's first stage.
    """
    cdef uint64_t odd = 0xAAAAAAAAAAAAAAAAu
    cdef uint64_t starts = backslashes & ~carry[0]
    cdef uint64_t turns = (((starts << 1) | odd) - starts) ^ odd
    cdef uint64_t escaped = turns ^ (backslashes | carry[0])
    carry[0] = (turns & backslashes) >> 63
    return escaped


cdef inline Py_ssize_t pass_blocks(
    const unsigned char *data, Py_ssize_t at, Py_ssize_t size, Classes *out
) noexcept nogil:
    r"""Passes over escapes of two bytes, each two bytes for one symbol, in blocks of 64.

    The offset of the string's end, of an escape \uXXXX, or of what is left at the body's end.
    """
    cdef uint64_t escaped, ends, before, carry = 0
    while size - at >= 64:
        escaped = escaped_places(corvus_places(data + at, 92), &carry)
        ends = (
            (corvus_places(data + at, 34) & ~escaped) | (corvus_places(data + at, 117) & escaped))
        before = (ends & (0 - ends)) - 1  # all that stand before the first one; all if none does
        escaped &= before
        if escaped:
            before = ones(escaped & corvus_letters(data + at))
            out.letters -= before
            out.symbols += before
            out.symbols -= ones(escaped)
        if ends:
            at += __builtin_ctzll(ends)
            return at if data[at] == 34 else at - 1
        at += 64
    return at - <Py_ssize_t>carry


cdef inline int code_unit(const unsigned char *digits) noexcept nogil:
    r"""The number that the four digits of an escape \uXXXX write."""
    return (hex_digit(digits[0]) << 12) | (hex_digit(digits[1]) << 8) | (
        hex_digit(digits[2]) << 4) | hex_digit(digits[3])


cdef inline void discount(
    const unsigned char *data, Py_ssize_t size, Classes *out
) noexcept nogil:
    """Takes the classes of `size` bytes off again."""
    cdef Classes part
    part.letters = part.symbols = part.non_ascii = 0
    count_classes(data, size, &part)
    out.letters -= part.letters
    out.symbols -= part.symbols
    out.non_ascii -= part.non_ascii


cdef inline Py_ssize_t beyond_ascii(
    const unsigned char *pairs, const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    r"""Quarter tokens of an escape \uXXXX that is a character beyond ASCII, less those of its raw
    bytes: it costs nothing by itself, and the byte behind it what it costs behind such one."""
    cdef Py_ssize_t found = -quarter_tokens(pairs, data + at - 1, 7)
    if at + 6 < size:
        found += pairs[0x80 | (data[at + 6] << 8)] - pairs[data[at + 5] | (data[at + 6] << 8)]
    return found


cdef inline Py_ssize_t string_end(
    const unsigned char *pairs,
    const unsigned char *data, Py_ssize_t at, Py_ssize_t size,
    Classes *out, Py_ssize_t *quarters
) noexcept nogil:
    """Offset of the quote that ends the string whose text starts at `at` (1 or more), or -1.

    `out` and `quarters` get what an escape's character counts less what its raw bytes count
    elsewhere; `pairs` is the table of quarter tokens.
    """
    cdef int code
    while True:
        at = plain_end(data, at, size)
        if at + 1 >= size or data[at] == 34:
            return at if at < size and data[at] == 34 else -1
        if data[at] != 92:
            at += 1
        elif data[at + 1] == 117 and at + 5 < size:
            discount(data + at, 6, out)
            code = code_unit(data + at + 2)
            count_escape(code, out)
            if code >= 0x80:
                quarters[0] += beyond_ascii(pairs, data, at, size)
            at += 6
        elif size - at >= 64 and data[at + 1] != 117:
            at = pass_blocks(data, at, size, out)
        else:  # the backslash stays, as the one symbol
            discount(data + at + 1, 1, out)
            at += 2
