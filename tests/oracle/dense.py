"""Texts that have as many tokens a byte as we know how to make, and how many a text has at most.

The rules of `text_tokens` are those of `_fast/quarters.pxd`, written for text instead of JSON.
"""

import itertools
import random
from collections.abc import Iterator

from tests.oracle.body_oracle import pair_quarters

_SOME = """
    the of and to in is that for was on are as with his they at be this from have or by one had not
    but what all were when we there can an your which their said if do will each about how up out
    them then she many some so these would other into has more her two like him see time could no
    make than first been its who now people my made over did down only way find use may water long
    little very after words called just where most know return import self def class none true false
    value string object message content function parameters description request
    """
WORDS = _SOME.split()
SYMBOLS = "!@#$%^&*()_+-=[]{};:,.<>/?|~`'\""
KINDS = {
    "l": "abcdefghijklmnopqrstuvwxyz",
    "U": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "D": "0123456789",
    "S": " ",
    "W": "\n\t\r",
    "Y": SYMBOLS,
}
BEYOND = {
    "CJK": [chr(code) for code in range(0x4E00, 0x9FA0)],
    "rare scripts": [chr(code) for code in (*range(0x1200, 0x1380), *range(0xA000, 0xA48D))],
    "emoji": [chr(code) for code in range(0x1F300, 0x1FAF0)],
    "Cyrillic and accents": [chr(code) for code in (*range(0xC0, 0x180), *range(0x400, 0x500))],
    "private use": [chr(code) for code in range(0xE000, 0xE100)],
}
SIZE = 3_000


def texts(seed: int = 7) -> Iterator[tuple[str, str]]:
    """Name and text: random within a kind of byte, two and three kinds in turn and mixed, few
    characters, words of two letters and more that only look like some, what lies beyond ASCII."""
    source = random.Random(seed)
    pick = source.choice
    for name, alphabet in (*KINDS.items(), *BEYOND.items(), ("hex", "0123456789abcdef")):
        yield f"all {name}", "".join(pick(alphabet) for _ in range(SIZE))
    for turns in (*itertools.permutations("lUDSWY", 2), *itertools.permutations("lUDSWY", 3)):
        yield f"turns {turns}", "".join(pick(KINDS[turns[i % len(turns)]]) for i in range(SIZE))
    for one, two in itertools.combinations("lUDSWY", 2):
        yield f"mixed {one}{two}", "".join(pick(KINDS[pick((one, two))]) for _ in range(SIZE))
        yield f"twice {one}{two}", "".join(pick(KINDS[(one, one, two)[i % 3]]) for i in range(SIZE))
    for name, alphabet in BEYOND.items():
        yield f"{name} and words", "".join(pick(alphabet) + pick(WORDS) for _ in range(SIZE // 8))
    printable = [chr(code) for code in range(32, 127)]
    yield "printable", "".join(pick(printable) for _ in range(SIZE))
    for number in range(40):
        few = source.sample([*printable, "\n"], source.randrange(2, 12))
        yield f"few {number}", "".join(pick(few) for _ in range(SIZE))
    for length, between in itertools.product((2, 3, 5, 8, SIZE), (" ", "_", "\n", "7", ". ")):
        for change in (str, str.upper, str.title):
            words = (change(_walk(source, length)) for _ in range(max(1, SIZE // length)))
            yield f"walk {length} {between!r} {change.__name__}", between.join(words)


def _walk(source: random.Random, length: int) -> str:
    """Letters of which each follows the one before as it does in some English word or name."""
    found = source.choice(KINDS["l"])
    while len(found) < length:
        found += source.choice(_FOLLOWS.get(found[-1]) or KINDS["l"])
    return found


def _follows() -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for word in WORDS:
        for one, two in itertools.pairwise(word):
            found.setdefault(one, set()).add(two)
    return {one: "".join(sorted(two)) for one, two in found.items()}


_FOLLOWS = _follows()


def text_tokens(text: str) -> int:
    """Tokens that a text can have at most, by its pairs and its bytes beyond ASCII."""
    raw = b"\x80" + text.encode("utf-8", "replace")
    quarters = sum(pair_quarters(one, two, escapes=False) for one, two in itertools.pairwise(raw))
    return -(-quarters // 4) + sum(byte >= 0x80 for byte in raw[1:])
