# How many tokens a text can make at most, by which bytes stand side by side.
#
# A text has as many tokens as it has places where one may begin. For each ASCII byte a table says
# what it costs behind the byte before it, in quarters of a token:
#
#   0  behind a blank: every tokenizer that we know joins a blank to the letter or symbol behind it;
#   2  the next small letter of a word in one of the 40 most frequent pairs (46 % of all pairs in
#      English and source code), and the next digit of a number;
#   3  the next small letter in one of the 238 pairs after these (together 98 %);
#   4  everything else: an unusual pair of letters, capitals, symbols, white space.
#
# A byte beyond ASCII is counted apart and costs nothing here. The costs are such that no text has
# more tokens in any vocabulary that is to be had, but for some 6 % in texts that a search makes for
# that alone (`bench/bound.py`); `text_percent` covers these.
#
# The bytes are those of JSON. What a backslash and one byte stand for is one character: 4 for the
# backslash, 2 for the byte behind it, so that the byte after that never comes out too cheap.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    /* For each letter those that follow it most often, and often; one bit each, a is the lowest. */
    static const unsigned int corvus_frequent[26] = {
        0x00E3800, 0x0000000, 0x0004000, 0x0000010, 0x00E2808, 0x0000000, 0x0000000,
        0x0000010, 0x00C6000, 0x0000000, 0x0000000, 0x0000130, 0x0000010, 0x0080058,
        0x0022000, 0x0000000, 0x0000000, 0x0004010, 0x0080010, 0x0024191, 0x0020000,
        0x0000000, 0x0000000, 0x0000000, 0x0000000, 0x0000000,
    };
    static const unsigned int corvus_common[26] = {
        0x1F0856E, 0x1164B15, 0x01E1D95, 0x1164909, 0x1E1D577, 0x01E4931, 0x0162991,
        0x00A4101, 0x2A2987F, 0x0004010, 0x0040110, 0x11CC80B, 0x014D10B, 0x134ED25,
        0x07CDD6F, 0x11EC911, 0x0100000, 0x13E354D, 0x154CDC5, 0x15C980C, 0x00CB97F,
        0x0000111, 0x0066191, 0x0088114, 0x00CA010, 0x0000010,
    };
    """
    const unsigned int corvus_frequent[26]
    const unsigned int corvus_common[26]


cdef inline int quarter_tokens_of(int before, int now) noexcept nogil:
    """What the byte `now` costs behind `before`."""
    cdef unsigned int bit = 1 << (now - 97) if 97 <= now < 123 else 0
    cdef bint is_digit = 48 <= now < 58
    if now >= 0x80:
        return 0
    if before >= 0x80 or now == 92:
        return 4
    if before == 92:
        return 2
    if before == 32:
        return 4 if is_digit or now <= 32 else 0
    if is_digit:
        return 2 if 48 <= before < 58 else 4
    if 97 <= before < 123:
        if corvus_frequent[before - 97] & bit:
            return 2
        if corvus_common[before - 97] & bit:
            return 3
    return 4


cdef inline void fill_quarter_tokens(unsigned char *table) noexcept:
    """The table by two bytes as they lie in memory, the first one lowest."""
    cdef int pair
    for pair in range(65536):
        table[pair] = <unsigned char>quarter_tokens_of(pair & 255, pair >> 8)


cdef inline Py_ssize_t quarter_tokens(
    const unsigned char *table, const unsigned char *data, Py_ssize_t size
) noexcept nogil:
    """What `size` bytes cost, the first one left out, for nothing stands before it."""
    cdef Py_ssize_t at = 0, found = 0
    cdef uint64_t even, odd
    while size - at >= 9:
        memcpy(&even, data + at, 8)
        memcpy(&odd, data + at + 1, 8)
        found += table[even & 0xFFFF] + table[odd & 0xFFFF]
        found += table[(even >> 16) & 0xFFFF] + table[(odd >> 16) & 0xFFFF]
        found += table[(even >> 32) & 0xFFFF] + table[(odd >> 32) & 0xFFFF]
        found += table[even >> 48] + table[odd >> 48]
        at += 8
    while at + 1 < size:
        found += table[data[at] | (data[at + 1] << 8)]
        at += 1
    return found
