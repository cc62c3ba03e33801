# What both scanners inline: byte classes and the end of a JSON string.

cdef struct Classes:
    Py_ssize_t letters    # a-z, A-Z
    Py_ssize_t symbols    # every other ASCII byte
    Py_ssize_t non_ascii  # bytes of 0x80 and above


cdef inline void count_classes(
    const unsigned char *data, Py_ssize_t size, Classes *out
) noexcept nogil:
    """Adds the classes of `size` bytes; written so that the compiler makes vectors of it."""
    cdef Py_ssize_t i, letters = 0, non_ascii = 0
    for i in range(size):
        letters += <unsigned char>((data[i] | 0x20) - 97) < 26
        non_ascii += data[i] >> 7
    out.letters += letters
    out.non_ascii += non_ascii
    out.symbols += size - letters - non_ascii


cdef inline bint is_space(unsigned char byte) noexcept nogil:
    """White space of JSON."""
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


cdef inline int hex_digit(unsigned char byte) noexcept nogil:
    """Value of a hexadecimal digit; anything else counts as 15, which is beyond ASCII."""
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 0x20
    if 97 <= byte <= 102:
        return byte - 87
    return 15


cdef inline int escape_bytes(int code) noexcept nogil:
    """Bytes of UTF-8 that an escape of this code unit stands for; half a surrogate pair has two."""
    if code < 0x80:
        return 1
    return 2 if code < 0x800 or 0xD800 <= code < 0xE000 else 3
