# cython: language_level=3
"""Requests to Redis as they are written: arrays of bulk strings of RESP2
(redis.io, "Redis serialization protocol specification")."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

cdef enum:
    HEAD_MAX = 24         # of one length: a letter, 20 digits, CR LF


cdef inline Py_ssize_t _number(char* at, char letter, Py_ssize_t value) noexcept:
    """Writes `letter`, the number and CR LF; how many bytes that were."""
    cdef char[24] digits
    cdef Py_ssize_t count = 0, size = 0
    at[0] = letter
    size = 1
    while True:
        digits[count] = <char>(48 + value % 10)
        count += 1
        value //= 10
        if value == 0:
            break
    while count:
        count -= 1
        at[size] = digits[count]
        size += 1
    at[size] = 13
    at[size + 1] = 10
    return size + 2


def pack(Py_ssize_t count, bytes begin, words):
    """One request: `begin`, which holds `count` bulk strings already, and `words` behind it; each
    is bytes, text (as UTF-8) or a whole number. Raises TypeError for anything else."""
    cdef list texts = []
    cdef Py_ssize_t total = HEAD_MAX + PyBytes_GET_SIZE(begin), size
    cdef const char* text
    cdef char* at
    for word in words:
        if isinstance(word, int):
            word = str(int(word))
        if isinstance(word, str):
            PyUnicode_AsUTF8AndSize(word, &size)
        elif isinstance(word, bytes):
            size = PyBytes_GET_SIZE(word)
        else:
            raise TypeError(f"Redis takes bytes, text and numbers, not {type(word).__name__}")
        texts.append(word)
        total += HEAD_MAX + size + 2
    made = PyBytes_FromStringAndSize(NULL, total)
    cdef char* first = PyBytes_AS_STRING(made)
    at = first + _number(first, 42, count + len(texts))
    memcpy(at, PyBytes_AS_STRING(begin), PyBytes_GET_SIZE(begin))
    at += PyBytes_GET_SIZE(begin)
    for word in texts:
        if isinstance(word, str):
            text = PyUnicode_AsUTF8AndSize(word, &size)
        else:
            text = PyBytes_AS_STRING(word)
            size = PyBytes_GET_SIZE(word)
        at += _number(at, 36, size)
        memcpy(at, text, size)
        at[size] = 13
        at[size + 1] = 10
        at += size + 2
    return made[: at - first]
