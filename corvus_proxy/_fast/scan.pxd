# What both scanners inline: byte classes, the plain stretches of a JSON string, its escapes.

from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy


cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "corvus_proxy/_fast/scan.pxd finds the first byte of a word from its low end"
    #endif
    """
    int __builtin_ctzll(unsigned long long word) nogil


cdef struct Classes:
    Py_ssize_t letters    # a-z, A-Z
    Py_ssize_t symbols    # every other ASCII byte
    Py_ssize_t non_ascii  # bytes of 0x80 and above


cdef inline void count_classes(
    const unsigned char *data, Py_ssize_t size, Classes *out
) noexcept nogil:
    """Adds the classes of `size` bytes.

    Whole blocks are summed in bytes, which cannot overflow within 64, so that the compiler makes
    vectors of them.
    """
    cdef Py_ssize_t at = 0, i, letters = 0, non_ascii = 0
    cdef unsigned char block_letters, block_non_ascii
    while size - at >= 64:
        block_letters = block_non_ascii = 0
        for i in range(64):
            block_letters += <unsigned char>((data[at + i] | 0x20) - 97) < 26
            block_non_ascii += data[at + i] >> 7
        letters += block_letters
        non_ascii += block_non_ascii
        at += 64
    while at < size:
        letters += <unsigned char>((data[at] | 0x20) - 97) < 26
        non_ascii += data[at] >> 7
        at += 1
    out.letters += letters
    out.non_ascii += non_ascii
    out.symbols += size - letters - non_ascii


cdef inline Py_ssize_t plain_end(
    const unsigned char *data, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Offset of the first quote, backslash or control character from `at` on, or `size`.

    Eight bytes at a time: a byte's high bit in `found` is set where a subtraction borrowed, and
    the lowest such bit is always a true one.
    """
    cdef uint64_t word, quote, backslash, found
    cdef uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u
    while size - at >= 8:
        memcpy(&word, data + at, 8)
        quote = word ^ (ones * 34)
        backslash = word ^ (ones * 92)
        found = (
            ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)
            | ((word - ones * 32) & ~word)
        ) & highs
        if found:
            return at + (__builtin_ctzll(found) >> 3)
        at += 8
    while at < size and data[at] != 34 and data[at] != 92 and data[at] >= 32:
        at += 1
    return at


cdef inline bint is_space(unsigned char byte) noexcept nogil:
    """White space of JSON."""
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


cdef inline bint same(
    const unsigned char *data, Py_ssize_t size, const char *word, Py_ssize_t length
) noexcept nogil:
    """Whether `data` is exactly that word."""
    return size == length and memcmp(data, word, length) == 0


cdef inline int hex_digit(unsigned char byte) noexcept nogil:
    """Value of a hexadecimal digit; of anything else 15, which makes the escape beyond ASCII."""
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 0x20
    if 97 <= byte <= 102:
        return byte - 87
    return 15


cdef inline unsigned char escaped(unsigned char byte) noexcept nogil:
    """What a backslash and this byte stand for; a question mark where that is nothing."""
    if byte == 34 or byte == 47 or byte == 92:
        return byte
    if byte == 98:
        return 8
    if byte == 102:
        return 12
    if byte == 110:
        return 10
    if byte == 114:
        return 13
    return 9 if byte == 116 else 63


cdef inline void count_escape(int code, Classes *out) noexcept nogil:
    r"""Adds the character of an escape \uXXXX as if it stood there in UTF-8.

    Half a surrogate pair counts two bytes, so that the pair counts four.
    """
    if code >= 0x80:
        out.non_ascii += 2 if code < 0x800 or 0xD800 <= code < 0xE000 else 3
    elif 97 <= (code | 0x20) < 123:
        out.letters += 1
    else:
        out.symbols += 1
