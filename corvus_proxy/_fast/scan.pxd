# What both scanners inline: byte classes, the plain stretches of a JSON string, its escapes.

# Sixteen bytes at a time where the processor can (SSE2: every x86-64), else eight in a word.

from libc.string cimport memcmp


cdef extern from *:
    """
    #ifndef CORVUS_BYTES
    #define CORVUS_BYTES
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "corvus_proxy/_fast/scan.pxd finds the first byte of a word from its low end"
    #endif

    #if defined(__SSE2__) && !defined(CORVUS_PORTABLE)
    #include <emmintrin.h>
    enum { CORVUS_STEP = 16, CORVUS_SHIFT = 0 };

    static inline __m128i corvus_load(const unsigned char *data) {
        return _mm_loadu_si128((const __m128i *)data);
    }

    /* A bit for each of CORVUS_STEP bytes that is a quote, a backslash or a control character. */
    static inline uint64_t corvus_stops(const unsigned char *data) {
        __m128i bytes = corvus_load(data);
        return (uint64_t)_mm_movemask_epi8(_mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(34)),
                         _mm_cmpeq_epi8(bytes, _mm_set1_epi8(92))),
            _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(31)), bytes)));
    }

    /* A bit for each of 64 bytes: whether it is that one. */
    static inline uint64_t corvus_places(const unsigned char *block, unsigned char byte) {
        uint64_t found = 0;
        for (int i = 0; i < 4; i++)
            found |= (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(
                corvus_load(block + 16 * i), _mm_set1_epi8((char)byte))) << (16 * i);
        return found;
    }

    /* A bit for each of 64 bytes: whether it is an ASCII letter. */
    static inline uint64_t corvus_letters(const unsigned char *block) {
        uint64_t found = 0;
        for (int i = 0; i < 4; i++) {
            __m128i lower = _mm_or_si128(corvus_load(block + 16 * i), _mm_set1_epi8(32));
            found |= (uint64_t)_mm_movemask_epi8(_mm_and_si128(
                _mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)))) << (16 * i);
        }
        return found;
    }
    #else
    enum { CORVUS_STEP = 8, CORVUS_SHIFT = 3 };
    #define CORVUS_ONES 0x0101010101010101u
    #define CORVUS_HIGHS 0x8080808080808080u
    #define CORVUS_LOWS 0x7F7F7F7F7F7F7F7Fu

    static inline uint64_t corvus_word(const unsigned char *data) {
        uint64_t word;
        memcpy(&word, data, 8);
        return word;
    }

    /* A byte's high bit is set where a subtraction borrowed; the lowest such bit is a true one. */
    static inline uint64_t corvus_stops(const unsigned char *data) {
        uint64_t word = corvus_word(data);
        uint64_t quote = word ^ (CORVUS_ONES * 34), backslash = word ^ (CORVUS_ONES * 92);
        return (((quote - CORVUS_ONES) & ~quote) | ((backslash - CORVUS_ONES) & ~backslash)
            | ((word - CORVUS_ONES * 32) & ~word)) & CORVUS_HIGHS;
    }

    /* The high bits of a word's eight bytes as its low eight bits. */
    static inline uint64_t corvus_gather(uint64_t word) {
        return (((word >> 7) & CORVUS_ONES) * 0x0102040810204080u) >> 56;
    }

    static inline uint64_t corvus_places(const unsigned char *block, unsigned char byte) {
        uint64_t found = 0;
        for (int i = 0; i < 8; i++) {
            uint64_t word = corvus_word(block + 8 * i) ^ (CORVUS_ONES * byte);
            found |= corvus_gather(~(((word & CORVUS_LOWS) + CORVUS_LOWS) | word)) << (8 * i);
        }
        return found;
    }

    static inline uint64_t corvus_letters(const unsigned char *block) {
        uint64_t found = 0;
        for (int i = 0; i < 8; i++) {
            uint64_t word = corvus_word(block + 8 * i);
            uint64_t lower = (word | (CORVUS_ONES * 32)) & CORVUS_LOWS;
            lower = (lower + CORVUS_ONES * (128 - 97)) & ~(lower + CORVUS_ONES * (128 - 123))
                & ~word;
            found |= corvus_gather(lower) << (8 * i);
        }
        return found;
    }
    #endif
    #endif
    """
    enum:
        CORVUS_STEP
        CORVUS_SHIFT
    int __builtin_ctzll(unsigned long long word) nogil
    unsigned long long corvus_stops(const unsigned char *data) nogil
    unsigned long long corvus_places(const unsigned char *block, unsigned char byte) nogil
    unsigned long long corvus_letters(const unsigned char *block) nogil


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
    """Offset of the first quote, backslash or control character from `at` on, or `size`."""
    cdef unsigned long long found
    while size - at >= CORVUS_STEP:
        found = corvus_stops(data + at)
        if found:
            return at + (__builtin_ctzll(found) >> CORVUS_SHIFT)
        at += CORVUS_STEP
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
